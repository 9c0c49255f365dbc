"""An erasure that is killed, beaten by another writer or out of space harms nothing and goes on."""

import os
import sqlite3
from pathlib import Path
from shutil import copytree, rmtree

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from connectors.adapters.base import PlanOutdatedError, StoreError
from tests.connectors.iceberg_builders import (
    PERSON,
    append,
    clean,
    customers,
    folder,
    make,
    person,
    planned,
    rows_of,
    store,
    table,
    table_with_person,
    without_person,
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

BRANCHES = ("main", "audit", "clean")


def state(lake: Path, *branches: str) -> dict[str, object]:
    return {b: rows_of(lake, b).to_dicts() for b in branches or BRANCHES}


@pytest.mark.parametrize("current", [True, False], ids=["in the current state", "in history"])
def test_killed_at_any_step_and_run_again_the_erasure_ends_the_same(
    tmp_path: Path, *, current: bool
) -> None:
    lake = make(tmp_path / "lake")
    append(lake, customers(1, 9, person()))
    with table(lake) as opened:
        head = opened.current_snapshot()
        assert head is not None
        opened.manage_snapshots().create_branch(head.snapshot_id, "audit").commit()
    append(lake, customers(9, 19, person(1)), branch="audit")
    if not current:
        with table(lake) as opened:
            for branch in ("main", "audit"):
                opened.delete("customer_id = 'c-000042-northern-branch'", branch=branch)
    plan = planned(store(lake))
    expected = {b: without_person(rows_of(lake, b)).to_dicts() for b in ("main", "audit")}
    template = Path(copytree(lake, tmp_path / "template"))
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, steps.append)
        erase_and_purge(lake, plan)
    files = {p for p in disk(lake) if not p.endswith(".metadata.json")}
    assert {"remove", "new_output", "after commit_table", "clear_sqlite_catalog"} <= set(steps)
    assert ("write_table" in steps) is current
    assert len(steps) > 20
    for step in ends_of_runs(steps):
        rmtree(lake)
        copytree(template, lake)
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, dying_at(step, killed))
            with pytest.raises(KilledError):
                erase_and_purge(lake, plan)
        name = f"killed before step {step}, {steps[step]}"
        resumed = erase_and_purge(lake, plan)
        assert state(lake, "main", "audit") == expected, name
        assert clean(resumed), name
        # The files' names differ from run to run, what they are does not.
        left = {p for p in disk(lake) if not p.endswith(".metadata.json")}
        assert sorted(map(kind_of, left)) == sorted(map(kind_of, files)), name


@pytest.mark.parametrize("step", [4, 20])
def test_a_worker_killed_by_the_system_is_resumed(tmp_path: Path, step: int) -> None:
    lake = table_with_person(tmp_path)
    expected = {b: without_person(rows_of(lake, b)).to_dicts() for b in BRANCHES}
    plan = planned(store(lake))
    kill_at(step, lake, plan)
    resumed = erase_and_purge(lake, plan)
    assert state(lake) == expected
    assert clean(resumed)


def test_running_a_finished_erasure_again_changes_nothing(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    first = opened.erase(plan, PERSON)
    assert opened.erase(plan, PERSON) == first
    opened.purge_history(plan)
    append(lake, customers(900, 905))
    with table(lake) as loaded:
        loaded.delete("customer_id = 'c-000902-northern-branch'")
    before = disk(folder(lake))
    versions = [(v.id, v.rows, v.digest) for v in opened.versions()]
    again = opened.erase(plan, PERSON)
    assert (again.rows, again.new_version) == (first.rows, first.new_version)
    opened.purge_history(plan)
    assert disk(folder(lake)) == before
    assert [(v.id, v.rows, v.digest) for v in opened.versions()] == versions


def test_a_purge_before_the_erasure_is_refused(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    before = disk(lake)
    with pytest.raises(StoreError, match="Erase first"):
        opened.purge_history(plan)
    assert disk(lake) == before


def test_a_commit_during_the_erasure_wins_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    names: set[str] = set()

    def busy(name: str) -> None:
        if name == "commit_table" and not names:
            names.add(name)
            append(lake, customers(900, 903))
            names.update(disk(folder(lake)))

    with monkeypatch.context() as patch:
        hooked(patch, busy)
        with pytest.raises(PlanOutdatedError, match="in the meantime"):
            opened.erase(plan, PERSON)
    # Theirs is there, and nothing of the attempt is left.
    assert rows_of(lake).height == 63 + 3
    assert not [p for p in disk(folder(lake)) if "vestige-" in p]
    assert set(disk(folder(lake))) < names
    erase_and_purge(lake, planned(opened))
    assert clean(opened)
    assert rows_of(lake).height == 60 + 3


def test_a_commit_in_the_instant_of_ours_wins_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the branches and the exchange of the catalog's row."""
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    real = SqlCatalog._write_metadata

    def late(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)  # type: ignore[arg-type]
        monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(real))
        append(lake, customers(900, 903))

    monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(late))
    with pytest.raises(PlanOutdatedError, match="in the meantime"):
        opened.erase(plan, PERSON)
    assert rows_of(lake).height == 63 + 3
    assert not [p for p in disk(folder(lake)) if "vestige-" in p]
    erase_and_purge(lake, planned(opened))
    assert clean(opened)
    # What the beaten attempt had written for the catalog is gone as well.
    assert len(list((folder(lake) / "metadata").glob("*.metadata.json"))) == 1


def test_writers_that_commit_during_the_purge_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    opened.erase(plan, PERSON)
    expected = rows_of(lake).height
    seen: list[str] = []

    def busy(name: str) -> None:
        busy_now, seen_names = not seen or seen[-1] != "inside", seen.count(name)
        if busy_now and seen_names < 2:
            seen.append("inside")
            append(lake, customers(1000 + len(seen), 1001 + len(seen)))
            seen[-1] = name

    with monkeypatch.context() as patch:
        hooked(patch, busy)
        opened.purge_history(plan)
    assert {"commit_table", "after commit_table", "remove", "new_output"} <= set(seen)
    assert rows_of(lake).height == expected + len(seen)
    assert clean(opened)


@pytest.mark.parametrize("step", ["write_table", "new_output", "commit_table"])
def test_a_full_disk_leaves_the_table_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lake = table_with_person(tmp_path)
    opened = store(lake)
    plan = planned(opened)
    before = disk(lake)

    def full(name: str) -> None:
        if name == step:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        hooked(patch, full)
        with pytest.raises(StoreError, match="Check free space"):
            opened.erase(plan, PERSON)
    assert disk(lake) == before
    erase_and_purge(lake, plan)
    assert clean(opened)


def test_two_workers_on_one_table_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = table_with_person(tmp_path)
    plan = planned(store(lake))

    def twin(name: str) -> None:
        if name == "write_table":
            with pytest.raises(StoreError, match="Another erasure is at work"):
                store(lake).erase(plan, PERSON)

    with monkeypatch.context() as patch:
        hooked(patch, twin)
        store(lake).erase(plan, PERSON)


def test_the_catalogs_file_keeps_nothing_of_what_it_held(tmp_path: Path) -> None:
    """A table named after the person was dropped: its row stays in a free page of the file."""
    lake = table_with_person(tmp_path)
    path = lake / "catalog.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        for number in range(400):
            row = ("lake", f"n{number}", PERSON["email"][0], "exists")
            connection.execute("INSERT INTO iceberg_namespace_properties VALUES (?, ?, ?, ?)", row)
        connection.commit()
        connection.execute(
            "DELETE FROM iceberg_namespace_properties WHERE property_key <> 'exists'"
        )
    connection.close()
    places = {t.path for t in store(lake).verify_erased(PERSON["email"], None).traces}
    assert "catalog: catalog.db" in places
    erase_and_purge(lake, planned(store(lake)))
    assert clean(store(lake))


def test_what_the_catalog_still_says_is_a_trace(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path)
    erase_and_purge(lake, planned(store(lake)))
    with sqlite3.connect(lake / "catalog.db") as connection:
        row = ("lake", "shop", "owner", PERSON["email"][0])
        connection.execute("INSERT INTO iceberg_namespace_properties VALUES (?, ?, ?, ?)", row)
    connection.close()
    report = store(lake, role="verifier").verify_erased(PERSON["email"], None)
    assert {t.path for t in report.traces} == {
        "catalog: iceberg_namespace_properties.property_value",
        "catalog: catalog.db",
    }
    assert os.access(lake / "catalog.db", os.R_OK)
