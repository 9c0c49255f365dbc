"""An erasure in DVC that is killed, outrun or starved ends well, or changes nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.dvc.attempt import SCRATCH
from connectors.adapters.dvc.git import Git
from connectors.adapters.dvc.places import Place
from connectors.adapters.dvc.worktree import WorkTree
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.dvc_builders import (
    OTHERS,
    PERSON,
    UNRELATED,
    WITH,
    Workshop,
    objects,
    planned,
    store,
    traces,
)

Hook = Callable[[str], None]


def hooked(monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    """Call the hook before everything that changes the disk."""
    for owner, name in (
        (Place, "add"),
        (Place, "remove"),
        (Path, "rename"),
        (Path, "unlink"),
        (shutil, "copyfile"),
        (shutil, "rmtree"),
        (Git, "write"),
        (Git, "tree_with"),
        (Git, "commit"),
        (Git, "move"),
        (Git, "move_all"),
        (Git, "stage"),
        (WorkTree, "follow"),
        (os, "fsync"),
    ):
        monkeypatch.setattr(owner, name, _hooked(getattr(owner, name), name, hook))


def _hooked(real: Callable[..., object], name: str, hook: Hook) -> object:
    def call(*args: object, **kwargs: object) -> object:
        hook(name)
        return real(*args, **kwargs)

    return call


def erase_and_purge(shop: Workshop, plan: ErasePlan) -> None:
    opened = store(shop)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)


def state(shop: Workshop) -> dict[str, object]:
    """Everything that matters: branches and what they hold, objects, work tree and index."""
    return {
        "trees": [shop.git("rev-parse", f"{b}^{{tree}}", f"{b}^") for b in ("main", "side")],
        "tag": shop.git("rev-parse", "v1"),
        "status": shop.git("status", "--porcelain"),
        "cache": objects(shop.root / ".dvc" / "cache"),
        "remote": objects(shop.remote),
        "files": {
            path.relative_to(shop.folder).as_posix(): path.read_bytes()
            for path in sorted(shop.folder.rglob("*"))
            if path.is_file() and ".git/" not in path.as_posix()
        },
    }


def test_killed_at_any_step_and_run_again_the_erasure_ends_the_same(
    dvc_template: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # hooked all the same
    whole = dvc_template.copy(tmp_path / "whole")
    plan = planned(store(whole))
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, steps.append)
        erase_and_purge(whole, plan)
    expected = state(whole)
    assert traces(store(whole)) == []
    assert not [name for name in whole.folder.rglob("*vestige*") if name.is_file()]
    assert {"add", "commit", "move", "stage", "follow", "remove", "fsync"} <= set(steps)
    # The first time that each thing is done, and of some the last: in all there are too many.
    last = len(steps) - 1
    chosen = {steps.index(s) for s in steps}
    chosen |= {last - steps[::-1].index(s) for s in ("move", "stage", "remove")}
    for step in sorted(chosen):
        shop = dvc_template.copy(tmp_path / f"killed-{step}")
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, killed_at(step))
            with pytest.raises(KilledError):
                erase_and_purge(shop, plan)
        erase_and_purge(shop, plan)
        assert state(shop) == expected, f"killed before step {step}, {steps[step]}"
        shutil.rmtree(shop.folder)


_CHILD = """
import json, sys
import pytest
from connectors.adapters.base import ErasePlan
from tests.connectors.dvc_builders import Workshop
from tests.connectors.test_dvc_resume import Path, die_before, erase_and_purge, hooked
folder, name, plan = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
plan = ErasePlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in plan.items()})
hooked(pytest.MonkeyPatch(), die_before(name))
erase_and_purge(Workshop(Path(folder)), plan)
"""


def die_before(last: str) -> Hook:
    def hook(name: str) -> None:
        if name == last:
            os.kill(os.getpid(), 9)

    return hook


def kill_a_worker(shop: Workshop, step: str, plan: ErasePlan) -> None:
    """It dies by the system right before this step of the plan."""
    arguments = [str(shop.folder), step, json.dumps(vars(plan))]
    died = subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=False, timeout=120)
    assert died.returncode == -9


@pytest.mark.parametrize("step", ["move", "stage", "remove"])
def test_a_worker_killed_by_the_system_is_resumed(dvc_shop: Workshop, step: str) -> None:
    plan = planned(store(dvc_shop))
    kill_a_worker(dvc_shop, step, plan)
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []
    assert dvc_shop.git("status", "--porcelain") == ""


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
    plan = planned(store(dvc_shop))
    change(dvc_shop)
    before = dvc_shop.git("for-each-ref"), objects(dvc_shop.remote)
    with pytest.raises(PlanOutdatedError, match="changed since the plan was made"):
        store(dvc_shop).erase(plan, PERSON)
    assert (dvc_shop.git("for-each-ref"), objects(dvc_shop.remote)) == before


def test_a_commit_that_comes_while_a_branch_moves_is_kept(
    dvc_shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(store(dvc_shop))

    def intrude(name: str) -> None:
        if name == "move" and dvc_shop.git("log", "-1", "--format=%s", "main") != "late":
            dvc_shop.git("commit", "-q", "--allow-empty", "-m", "late")

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, intrude)
        with pytest.raises(PlanOutdatedError):
            store(dvc_shop).erase(plan, PERSON)
    assert dvc_shop.git("log", "-1", "--format=%s", "main") == "late"
    with pytest.raises(StoreError, match="Erase first"):
        store(dvc_shop).purge_history(plan)
    erase_and_purge(dvc_shop, planned(store(dvc_shop)))
    assert traces(store(dvc_shop)) == []
    assert dvc_shop.git("log", "-1", "--format=%s", "main^") == "late"


def test_data_that_is_saved_while_the_work_tree_follows_is_not_overwritten(
    dvc_shop: Workshop,
) -> None:
    plan = planned(store(dvc_shop))
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


def test_a_branch_that_points_to_the_old_data_again_stops_the_purge(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop))
    opened = store(dvc_shop)
    opened.erase(plan, PERSON)
    dvc_shop.git("branch", "-q", "again", "main^")
    with pytest.raises(StoreError, match="still points to data that the plan names"):
        opened.purge_history(plan)


def test_what_a_dead_attempt_leaves_goes_with_the_next_plan(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop))
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, die_softly("commit"))
        with pytest.raises(KilledError):
            store(dvc_shop).erase(plan, PERSON)
    left = dvc_shop.root / SCRATCH / "copy.csv"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(WITH)
    half = dvc_shop.remote / "files" / "md5" / "ab" / ".vestige-1"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(WITH)
    dvc_shop.write("README.md", b"new\n")
    dvc_shop.commit("so that the old plan is outdated")
    assert any(".vestige-1" in trace for trace in traces(store(dvc_shop)))
    erase_and_purge(dvc_shop, planned(store(dvc_shop)))
    assert not left.exists()
    assert not half.exists()
    assert traces(store(dvc_shop)) == []


def die_softly(last: str) -> Hook:
    def hook(name: str) -> None:
        if name == last:
            raise KilledError

    return hook


# A disk that gives out.


def test_a_full_disk_leaves_every_branch_and_object_as_it_was(dvc_shop: Workshop) -> None:
    """The kernel refuses every write beyond a size, in a process of its own."""
    big = b"".join(b"c-%06d,,%s\r\n" % (n, b"x" * 50) for n in range(5000))
    dvc_shop.write("data/orders.csv", WITH + big)
    dvc_shop.dvc("add", "-q", "data/orders.csv")
    dvc_shop.commit("many")
    plan = planned(store(dvc_shop))
    before = state(dvc_shop)
    limited = """
import resource, signal, json, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
from connectors.adapters.base import ErasePlan, StoreError
from tests.connectors.dvc_builders import PERSON, Path, Workshop, store
plan = ErasePlan(**{k: tuple(v) if isinstance(v, list) else v
                    for k, v in json.loads(sys.argv[2]).items()})
try:
    store(Workshop(Path(sys.argv[1]))).erase(plan, PERSON)
except StoreError as exc:
    print(exc)
"""
    ran = subprocess.run(
        [sys.executable, "-c", limited, str(dvc_shop.folder), json.dumps(vars(plan))],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "could not be written anew: File too large. Every branch is as it was." in ran.stdout
    assert state(dvc_shop) == before
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []


@pytest.mark.parametrize("step", ["copyfile", "fsync", "rename"])
def test_no_space_at_any_step_is_a_clear_error_and_can_be_run_again(
    dvc_shop: Workshop, step: str
) -> None:
    plan = planned(store(dvc_shop))
    refs = dvc_shop.git("for-each-ref")

    def full(name: str) -> None:
        if name == step:
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, full)
        with pytest.raises(StoreError, match="could not be written anew: No space left on device"):
            store(dvc_shop).erase(plan, PERSON)
    assert dvc_shop.git("for-each-ref") == refs
    assert not list(dvc_shop.folder.rglob(".vestige-*"))
    erase_and_purge(dvc_shop, plan)
    assert traces(store(dvc_shop)) == []


def test_a_purge_that_may_not_delete_says_so_and_goes_on_later(dvc_shop: Workshop) -> None:
    plan = planned(store(dvc_shop))
    opened = store(dvc_shop)
    opened.erase(plan, PERSON)

    def refuse(name: str) -> None:
        if name == "unlink":
            raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, refuse)
        with pytest.raises(StoreError, match="cannot be removed from the cache: Permission denied"):
            opened.purge_history(plan)
    opened.purge_history(plan)
    assert traces(store(dvc_shop)) == []


def test_the_erasure_is_the_same_whichever_branch_comes_first(dvc_shop: Workshop) -> None:
    """Branches at one commit get one commit."""
    dvc_shop.git("branch", "-q", "also", "main")
    erase_and_purge(dvc_shop, planned(store(dvc_shop)))
    assert dvc_shop.git("rev-parse", "also") == dvc_shop.git("rev-parse", "main")
    assert (dvc_shop.root / "data/parts/c.csv").read_bytes() == UNRELATED
