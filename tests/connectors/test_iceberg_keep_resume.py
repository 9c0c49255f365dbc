"""An erasure that keeps an Iceberg table's history, and is killed or beaten by other writers."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from connectors.adapters.base import PlanOutdatedError
from tests.connectors.iceberg_builders import (
    PERSON,
    append,
    clean,
    customers,
    folder,
    make,
    person,
    store,
    table,
    table_with_person,
)
from tests.connectors.iceberg_faults import (
    KilledError,
    disk,
    dying_at,
    ends_of_runs,
    erase_and_purge,
    hooked,
    kill_at,
    killed,
    kind_of,
)
from tests.connectors.iceberg_history import (
    erase,
    every_snapshot,
    identity,
    metadata,
    others,
    planned,
    rows,
)


def two_branches(root: Path) -> Path:
    lake = make(root)
    append(lake, customers(1, 9, person()))
    with table(lake) as opened:
        head = opened.current_snapshot()
        assert head is not None
        opened.manage_snapshots().create_branch(head.snapshot_id, "audit").commit()
    append(lake, customers(9, 19, person(1)), branch="audit")
    append(lake, customers(20, 24))
    return lake


def test_killed_at_any_step_every_snapshot_reads_and_a_second_run_ends_the_same(
    tmp_path: Path,
) -> None:
    lake = two_branches(tmp_path / "lake")
    plan = planned(store(lake))
    before, was = every_snapshot(lake), identity(metadata(lake))
    template = Path(copytree(lake, tmp_path / "template"))
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, steps.append)
        erase_and_purge(lake, plan)
    kinds = sorted(kind_of(p) for p in disk(lake))
    assert {"write_table", "new_output", "after commit_table", "remove"} <= set(steps)
    for step in ends_of_runs(steps):
        rmtree(lake)
        copytree(template, lake)
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, dying_at(step, killed))
            with pytest.raises(KilledError):
                erase_and_purge(lake, plan)
        name = f"killed before step {step}, {steps[step]}"
        assert others(still(lake, before)) == others(before), name
        resumed = erase_and_purge(lake, plan)
        assert rows(every_snapshot(lake), before) == others(before), name
        found = identity(metadata(lake))
        assert {number: found[number] for number in was} == was, name
        assert clean(resumed), name
        assert sorted(kind_of(p) for p in disk(lake)) == kinds, name


def still(lake: Path, before: dict[int, pl.DataFrame]) -> dict[int, pl.DataFrame]:
    """The snapshots from before, as they read now."""
    return {number: frame for number, frame in every_snapshot(lake).items() if number in before}


@pytest.mark.parametrize("step", [6, 12])
def test_a_worker_killed_by_the_system_is_resumed(tmp_path: Path, step: int) -> None:
    lake = table_with_person(tmp_path)
    before = every_snapshot(lake)
    plan = planned(store(lake))
    kill_at(step, lake, plan)
    assert others(still(lake, before)) == others(before)
    resumed = erase_and_purge(lake, plan)
    assert rows(every_snapshot(lake), before) == others(before)
    assert clean(resumed)


def test_running_a_finished_erasure_again_changes_nothing(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    first = erase(opened, plan)
    append(lake, customers(900, 905))
    before = disk(folder(lake))
    again = erase(opened, plan)
    assert (again.rows, again.new_version) == (first.rows, first.new_version)
    assert disk(folder(lake)) == before


@pytest.fixture
def beaten(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """Let another writer commit right before or after our look at the table that we exchange."""

    def beat(instant: str, writer: Callable[[], None]) -> None:
        name = {"before": "commit_table", "after": "_write_metadata"}[instant]
        real = getattr(SqlCatalog, name)

        def late(*args: object, **kwargs: object) -> object:
            monkeypatch.undo()
            if instant == "before":
                writer()
                return real(*args, **kwargs)
            answer = real(*args, **kwargs)
            writer()
            return answer

        made = late if instant == "before" else staticmethod(late)
        monkeypatch.setattr(SqlCatalog, name, made)

    return beat


@pytest.mark.parametrize("instant", ["before", "after"])
def test_a_commit_to_the_main_branch_during_the_erasure_outdates_the_plan(
    tmp_path: Path, beaten: Callable[[str, Callable[[], None]], None], instant: str
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    beaten(instant, lambda: append(lake, customers(900, 903)))
    with pytest.raises(PlanOutdatedError, match="since the plan was made"):
        opened.erase(plan, PERSON)
    before = every_snapshot(lake)
    assert len(before) == 5
    assert not [p for p in disk(folder(lake)) if "vestige-" in p]
    erase(opened)
    assert rows(every_snapshot(lake), before) == others(before)
    assert clean(opened)


@pytest.mark.parametrize("instant", ["before", "after"])
def test_a_commit_that_leaves_the_plan_true_is_erased_around(
    tmp_path: Path, beaten: Callable[[str, Callable[[], None]], None], instant: str
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    before = every_snapshot(lake)
    beaten(instant, lambda: append(lake, customers(900, 903), branch="clean"))
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    now = every_snapshot(lake)
    assert rows(now, before) == others(before)
    assert now[metadata(lake).refs["clean"].snapshot_id].height == 20 + 3
    assert clean(opened)


@pytest.mark.parametrize("instant", ["before", "after"])
def test_a_branch_that_is_made_during_the_erasure_is_erased_from_too(
    tmp_path: Path, beaten: Callable[[str, Callable[[], None]], None], instant: str
) -> None:
    """No branch that was there before has moved."""
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    before: dict[int, pl.DataFrame] = {}

    def writer() -> None:
        with table(lake) as loaded:
            at = loaded.metadata.refs["main"].snapshot_id
            loaded.manage_snapshots().create_branch(at, "late").commit()
        append(lake, customers(900, 903), branch="late")
        before.update(every_snapshot(lake))

    beaten(instant, writer)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert len(before) == 5
    assert rows(every_snapshot(lake), before) == others(before)
    assert "late" in metadata(lake).refs
    assert clean(opened)


def test_the_person_in_a_commit_during_the_erasure_outdates_the_plan(
    tmp_path: Path, beaten: Callable[[str, Callable[[], None]], None]
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    beaten("before", lambda: append(lake, customers(900, 903, person(7)), branch="clean"))
    with pytest.raises(PlanOutdatedError, match="which the plan does not name"):
        opened.erase(plan, PERSON)
    assert not [p for p in disk(folder(lake)) if "vestige-" in p]


def test_writers_that_commit_before_and_during_the_purge_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    before = every_snapshot(lake)
    opened.erase(plan, PERSON)
    append(lake, customers(900, 903))
    added = every_snapshot(lake)
    seen: set[str] = set()

    def busy(name: str) -> None:
        if name not in seen:
            seen.add(name)
            append(lake, customers(1000 + len(seen), 1001 + len(seen)))

    with monkeypatch.context() as patch:
        hooked(patch, busy)
        opened.purge_history(plan)
    assert {"commit_table", "remove"} <= seen
    now = every_snapshot(lake)
    assert rows(now, before) == others(before)
    assert rows(now, added) == others(added)
    assert len(now) == len(added) + len(seen)
    assert clean(opened)
