"""An erasure that keeps DVC's history and is killed, outrun or refused ends well, or changes
nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.adapters.base import PlanOutdatedError, StoreError
from connectors.adapters.dvc.journal import Journals
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.dvc_builders import (
    OTHERS,
    PERSON,
    UNRELATED,
    WITH,
    WITHOUT,
    Workshop,
    objects,
    planned,
    store,
    traces,
)
from tests.connectors.dvc_history import (
    KEEP,
    commit_map,
    every_version,
    git_objects,
    keep,
    versions,
)
from tests.connectors.test_dvc_resume import die_softly, erase_and_purge, hooked, kill_a_worker
from tests.connectors.test_dvc_resume import state as everything


def state(shop: Workshop) -> dict[str, object]:
    """As of the other mode, with all that git has."""
    git = shop.root / ".git"
    return everything(shop) | {
        "refs": shop.git("for-each-ref"),
        "git": git_objects(shop),
        "logs": {p.name: p.read_bytes() for p in (git / "logs").rglob("*") if p.is_file()},
        "ours": {p.name: p.read_bytes() for p in (git / "vestige").iterdir()},
    }


def test_killed_at_any_step_and_run_again_the_erasure_ends_the_same(
    dvc_history_template: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # hooked all the same
    whole = dvc_history_template.copy(tmp_path / "whole")
    plan = planned(store(whole), mode=KEEP)
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, steps.append)
        erase_and_purge(whole, plan)
    expected = state(whole)
    assert traces(store(whole)) == []
    assert set(expected["ours"]) == {"commit-map"}  # type: ignore[call-overload]
    assert {"add", "write", "move_all", "stage", "follow", "remove", "unlink"} <= set(steps)
    # The first time that each thing is done, of some the last, and around the move of the refs: in
    # all there are too many.
    last, moved = len(steps) - 1, steps.index("move_all")
    chosen = {steps.index(s) for s in steps} | {moved - 2, moved + 2, moved + 3}
    chosen |= {last - steps[::-1].index(s) for s in ("stage", "remove", "rename")}
    chosen |= {last - 9, last}  # while git's objects go, and when the journal does
    for step in sorted(chosen):
        shop = dvc_history_template.copy(tmp_path / f"killed-{step}")
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, killed_at(step))
            with pytest.raises(KilledError):
                erase_and_purge(shop, plan)
        erase_and_purge(shop, plan)
        assert state(shop) == expected, f"killed before step {step}, {steps[step]}"
        shutil.rmtree(shop.folder)


@pytest.mark.parametrize("step", ["move_all", "stage", "remove"])
def test_a_worker_killed_by_the_system_is_resumed(dvc_shop: Workshop, step: str) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    before = versions(dvc_shop)
    kill_a_worker(dvc_shop, step, plan)
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []
    assert dvc_shop.git("status", "--porcelain") == ""
    now = commit_map(dvc_shop)
    assert set(versions(dvc_shop)) == {now.get(old, old) for old in before}


def test_refs_of_which_some_had_moved_when_the_machine_stopped_go_on_together(
    dvc_shop: Workshop,
) -> None:
    """Git renames one file for each ref; a power cut may come in between."""
    plan = planned(store(dvc_shop), mode=KEEP)
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, die_softly("move_all"))
        with pytest.raises(KilledError):
            store(dvc_shop).erase(plan, PERSON)
    journal = Journals(dvc_shop.root).of(plan.id)
    assert journal
    dvc_shop.git("update-ref", "refs/heads/side", journal.stood["refs/heads/side"].value)
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []
    assert dvc_shop.git("merge-base", "main", "side") == dvc_shop.git("rev-parse", "main^")


# Somebody else writes.


@pytest.mark.parametrize(
    "change",
    [
        lambda s: (s.write("README.md", b"new\n"), s.commit("a text")),
        lambda s: s.git("tag", "v2"),
        lambda s: s.git("checkout", "-q", "side"),
        lambda s: s.git("branch", "-q", "-D", "side"),
    ],
    ids=["commit", "tag", "checkout", "delete"],
)
def test_a_plan_is_for_the_refs_that_were_searched(
    dvc_shop: Workshop, change: Callable[[Workshop], object]
) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    change(dvc_shop)
    before = dvc_shop.git("for-each-ref"), objects(dvc_shop.remote), git_objects(dvc_shop)
    with pytest.raises(PlanOutdatedError, match="changed since the plan was made"):
        store(dvc_shop).erase(plan, PERSON)
    assert (dvc_shop.git("for-each-ref"), objects(dvc_shop.remote), git_objects(dvc_shop)) == before


@pytest.mark.parametrize(
    "intrusion",
    [
        lambda s: s.git("commit", "-q", "--allow-empty", "-m", "late"),
        lambda s: s.git("update-ref", "refs/tags/v1", "main"),  # that the erasure leaves alone
    ],
    ids=["commit", "tag"],
)
def test_no_ref_moves_where_one_of_them_has(
    dvc_shop: Workshop, intrusion: Callable[[Workshop], object]
) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    seen: list[str] = []

    def intrude(name: str) -> None:
        if name == "move_all":
            intrusion(dvc_shop)
            seen.append(dvc_shop.git("for-each-ref"))

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, intrude)
        with pytest.raises(PlanOutdatedError):
            store(dvc_shop).erase(plan, PERSON)
    assert [dvc_shop.git("for-each-ref")] == seen
    with pytest.raises(StoreError, match="Erase first"):
        store(dvc_shop).purge_history(plan)
    keep(store(dvc_shop))
    assert traces(store(dvc_shop)) == []
    assert not list((dvc_shop.root / ".git/vestige").glob("*.json"))


def test_a_commit_between_erasure_and_purge_stays(dvc_shop: Workshop, tmp_path: Path) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    store(dvc_shop).erase(plan, PERSON)
    dvc_shop.write("data/fresh.csv", UNRELATED + b"c-000901,,\r\n")
    dvc_shop.dvc("add", "-q", "data/fresh.csv")
    late = dvc_shop.commit("late")
    dvc_shop.dvc("push", "-q")
    erase_and_purge(dvc_shop, plan)  # as a worker that took over would
    assert dvc_shop.git("rev-parse", "main") == late
    assert traces(store(dvc_shop)) == []
    (read,) = every_version(dvc_shop, [late], tmp_path / "late").values()
    assert read["data/orders.csv"] == WITHOUT + OTHERS[0]


def test_an_old_commit_that_comes_back_stops_the_purge(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    old = dvc_shop.git("rev-parse", "main")
    store(dvc_shop).erase(plan, PERSON)
    dvc_shop.git("branch", "-q", "again", old)
    with pytest.raises(StoreError, match="still points to data that the plan names"):
        store(dvc_shop).purge_history(plan)
    keep(store(dvc_shop))
    assert traces(store(dvc_shop)) == []
    assert dvc_shop.git("rev-parse", "again") == commit_map(dvc_shop)[old]


def test_data_that_is_saved_while_the_work_tree_follows_is_not_overwritten(
    dvc_shop: Workshop,
) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    late = WITH + OTHERS[1]

    def intrude(name: str) -> None:
        if name == "follow":
            dvc_shop.write("data/orders.csv", late)

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, intrude)
        with pytest.raises(StoreError, match="was changed while the erasure ran"):
            store(dvc_shop).erase(plan, PERSON)
    assert (dvc_shop.root / "data/orders.csv").read_bytes() == late
    dvc_shop.write("data/orders.csv", WITH + OTHERS[0])  # as it was
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []


@pytest.mark.parametrize("step", ["copyfile", "fsync"])
def test_no_space_is_a_clear_error_and_can_be_run_again(dvc_shop: Workshop, step: str) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    refs = dvc_shop.git("for-each-ref")

    def full(name: str) -> None:
        if name == step:
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, full)
        with pytest.raises(StoreError, match="No space left on device"):
            store(dvc_shop).erase(plan, PERSON)
    assert dvc_shop.git("for-each-ref") == refs
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []


def test_git_that_refuses_to_move_is_an_error_and_no_outdated_plan(
    dvc_shop: Workshop,
) -> None:
    plan = planned(store(dvc_shop), mode=KEEP)
    lock = dvc_shop.root / ".git/refs/heads/side.lock"
    lock.touch()
    with pytest.raises(StoreError, match="git update-ref ended") as told:
        store(dvc_shop).erase(plan, PERSON)
    assert not isinstance(told.value, PlanOutdatedError)
    lock.unlink()
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []
