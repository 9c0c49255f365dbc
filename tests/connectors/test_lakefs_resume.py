"""An erasure in lakeFS that is killed, outrun or refused ends well, or changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.lakefs.client import Lakefs
from connectors.folders import LocalFolder
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.dvc_builders import OTHERS, PERSON, WITH, WITHOUT
from tests.connectors.lakefs_builders import (
    SECRET_VARIABLE,
    contents,
    opened_shop,
    planned,
    store,
    traces,
)
from tests.connectors.lakefs_server import SECRET, Server

pytestmark = pytest.mark.enable_socket
Hook = Callable[[str], None]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with opened_shop(tmp_path) as running:
        yield running


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Call the hook before everything that changes the repository or its bytes."""
    names = ("begin_branch", "drop_branch", "upload", "delete", "record", "merge")
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (*((Lakefs, n) for n in names), (LocalFolder, "remove")):
            patch.setattr(owner, name, _hooked(getattr(owner, name), name, hook))
        yield


def _hooked(real: Callable[..., object], name: str, hook: Hook) -> object:
    def call(*args: object) -> object:
        hook(name)
        return real(*args)

    return call


def erase_and_purge(server: Server, plan: ErasePlan) -> None:
    opened = store(server)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)


State = dict[str, tuple[dict[str, bytes], dict[str, Any], tuple[str, ...]]]


def state(server: Server) -> State:
    """What matters: what each branch shows, on top of which commit, and that nothing is open."""
    shop = server.shop
    return {
        name: (contents(shop, name), branch.staged, shop.commits[branch.head].parents)
        for name, branch in shop.branches.items()
    }


def test_killed_at_any_step_and_run_again_the_erasure_ends_the_same(tmp_path: Path) -> None:
    steps: list[str] = []
    with opened_shop(tmp_path / "whole") as server:
        plan = planned(store(server))
        with hooked(steps.append):
            erase_and_purge(server, plan)
        expected = {name: (files, staged) for name, (files, staged, _) in state(server).items()}
    assert {"begin_branch", "upload", "record", "merge", "drop_branch", "remove"} <= set(steps)
    # The first and the last time that each thing is done.
    last = len(steps) - 1
    chosen = {steps.index(s) for s in steps} | {last - steps[::-1].index(s) for s in steps}
    for step in sorted(chosen):
        with opened_shop(tmp_path / f"killed-{step}") as server:
            heads = {name: branch.head for name, branch in server.shop.branches.items()}
            plan = planned(store(server))
            with hooked(killed_at(step)), pytest.raises(KilledError):
                erase_and_purge(server, plan)
            erase_and_purge(server, plan)
            found = state(server)
            where = f"killed at step {step}, {steps[step]}"
            assert {n: (files, staged) for n, (files, staged, _) in found.items()} == expected, (
                where
            )
            assert {n: parents for n, (_, _, parents) in found.items()} == {
                n: (head,) for n, head in heads.items()
            }, where
            assert traces(store(server)) == [], where


def test_another_writer_between_plan_and_erasure_outdates_the_plan(server: Server) -> None:
    plan = planned(store(server))
    server.shop.put("side", "data/late.csv", WITH)
    theirs = server.shop.commit("side", "late").id
    before = state(server)
    with pytest.raises(PlanOutdatedError, match="changed since the plan was made"):
        store(server).erase(plan, PERSON)
    assert state(server) == before
    assert server.shop.branches["side"].head == theirs


@pytest.mark.parametrize("path", ["data/late.csv", "data/parts/d.csv"])
def test_a_commit_during_the_erasure_is_kept_and_the_next_plan_covers_it(
    server: Server, path: str
) -> None:
    """A new file, and one that is being rewritten: both sides changed it then."""
    plan = planned(store(server))
    was = server.shop.branches["side"].head

    def interrupted(name: str) -> None:
        if name == "record" and server.shop.branches["side"].head == was:
            server.shop.put("side", path, WITH + OTHERS[2])
            server.shop.commit("side", "late")

    with hooked(interrupted), pytest.raises(PlanOutdatedError):
        store(server).erase(plan, PERSON)
    assert contents(server.shop, "side")[path] == WITH + OTHERS[2]
    assert not [name for name in server.shop.branches if name.startswith("vestige")]
    with pytest.raises(StoreError, match="still leads to data"):
        store(server).purge_history(plan)
    again = planned(store(server))
    assert again.blockers == ()
    erase_and_purge(server, again)
    assert contents(server.shop, "side")[path] == WITHOUT + OTHERS[2]
    assert traces(store(server)) == []


def test_a_writer_who_is_faster_by_a_hair_is_noticed_and_loses_nothing(server: Server) -> None:
    """Between our look at the branch and our merge: a file of theirs is merged with ours."""
    plan = planned(store(server))
    seen: list[str] = []

    def raced(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/merge/side") and not seen:
            seen.append(path)
            server.shop.put("side", "data/late.csv", WITHOUT)
            server.shop.commit("side", "late")

    server.shop.before = raced
    with pytest.raises(PlanOutdatedError):
        store(server).erase(plan, PERSON)
    assert seen
    assert contents(server.shop, "side")["data/late.csv"] == WITHOUT
    assert contents(server.shop, "side")["data/parts/d.csv"] == WITHOUT + OTHERS[1]
    erase_and_purge(server, planned(store(server)))
    assert traces(store(server)) == []


def test_a_hook_that_says_no_stops_the_erasure_without_harm(server: Server) -> None:
    action = (
        "name: gate\non:\n  pre-merge:\n    branches: [main]\nhooks:\n"
        "  - id: never\n    type: webhook\n    properties: {url: 'https://gate.example'}\n"
    )
    server.shop.protected = []
    server.shop.put("main", "_lakefs_actions/gate.yaml", action.encode())
    server.shop.commit("main", "a gate")
    server.shop.webhook = lambda *_: 403
    plan = planned(store(server))
    with pytest.raises(
        StoreError, match=r"refused to merge .* into the branch main \(status 412\)"
    ):
        store(server).erase(plan, PERSON)
    assert not [name for name in server.shop.branches if name.startswith("vestige")]
    server.shop.webhook = lambda *_: 200
    erase_and_purge(server, plan)
    assert traces(store(server)) == []


def test_a_server_that_breaks_down_meanwhile_leaves_a_state_that_goes_on(server: Server) -> None:
    plan = planned(store(server))

    def down(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/merge/same"):
            server.shop.failing = 500

    server.shop.before = down
    with pytest.raises(StoreError, match="cannot answer now"):
        store(server).erase(plan, PERSON)
    server.shop.failing = 0
    server.shop.before = lambda *_: None
    erase_and_purge(server, plan)
    assert traces(store(server)) == []


def test_a_purge_before_the_erasure_is_refused(server: Server) -> None:
    plan = planned(store(server))
    with pytest.raises(StoreError, match="still leads to data that the plan names"):
        store(server).purge_history(plan)
    assert contents(server.shop, "main")["data/orders.csv"] == WITH + OTHERS[0]
