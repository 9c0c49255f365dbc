"""An erasure that is killed at any point and run again ends as if nothing had happened."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from connectors.adapters.base import ErasePlan
from connectors.adapters.delta import DeltaStore
from connectors.adapters.delta import table as opening
from connectors.adapters.delta.commit import write_commit
from connectors.folders import LocalFolder
from tests.connectors.builders import (
    CHANGES,
    EVERY_NEEDLE,
    PERSON,
    KilledError,
    append,
    customers,
    killed_at,
    rows_of,
    store,
    table_with_person,
    without_person,
)

COMMIT = "connectors.adapters.delta.erase.write_commit"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = table_with_person(tmp_path / "customers")
    DeltaTable(str(path)).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 7 days"}
    )
    return path


def hooked(monkeypatch: pytest.MonkeyPatch, hook: Callable[[str], None]) -> None:
    """Call the hook before everything that changes the disk, and after a file was half written."""
    for owner, name in (
        (LocalFolder, "create"),
        (LocalFolder, "remove"),
        (LocalFolder, "remove_empty_folders"),
        (pq.ParquetWriter, "write_table"),
        (os, "link"),
    ):
        monkeypatch.setattr(owner, name, _hooked(getattr(owner, name), name, hook))
    monkeypatch.setattr(opening, "DeltaTable", _table_with(hook))


def _hooked(real: Callable[..., object], name: str, hook: Callable[[str], None]) -> object:
    def call(*args: object, **kwargs: object) -> object:
        hook(name)
        return real(*args, **kwargs)

    return call


def _table_with(hook: Callable[[str], None]) -> type:
    class HookedTable(DeltaTable):
        def create_checkpoint(self) -> None:
            hook("create_checkpoint")
            super().create_checkpoint()
            hook("after create_checkpoint")

        def cleanup_metadata(self) -> None:
            hook("cleanup_metadata")
            super().cleanup_metadata()

    return HookedTable


def erase_and_purge(path: Path, plan: ErasePlan) -> DeltaStore:
    opened = store(path)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    return opened


def steps_of(path: Path, plan: ErasePlan) -> list[str]:
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, names.append)
        erase_and_purge(path, plan)
    return names


def without_current_rows(path: Path) -> None:
    """What many do first: delete the person's rows, and believe that they are gone."""
    DeltaTable(str(path)).delete("customer_id = 'c-000042'")


@pytest.mark.parametrize("current", [True, False], ids=["in the current version", "in history"])
def test_killed_at_any_step_and_run_again_the_erasure_ends_the_same(
    tmp_path: Path, *, current: bool
) -> None:
    template = table_with_person(tmp_path / "template")
    properties = {"delta.logRetentionDuration": "interval 7 days"}
    DeltaTable(str(template)).alter.set_table_properties(properties)
    if not current:
        without_current_rows(template)
    expected = without_person(rows_of(template))
    plan = store(template).plan_erase(store(template).find_subject(PERSON), mode="purge")

    def copy(name: str) -> Path:
        return Path(shutil.copytree(template, tmp_path / name))

    whole = copy("whole")
    steps = steps_of(whole, plan)
    files = sum(p.is_file() for p in whole.rglob("*"))
    assert {"link", "remove", "create_checkpoint", "cleanup_metadata"} <= set(steps)
    assert ("write_table" in steps) is current
    assert len(steps) > 12
    for step in range(len(steps)):
        path = copy(f"killed-{step}")
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, killed_at(step))
            with pytest.raises(KilledError):
                erase_and_purge(path, plan)
        name = f"killed before step {step}, {steps[step]}"
        resumed = erase_and_purge(path, plan)
        assert rows_of(path).equals(expected), name
        report = resumed.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000210"))
        assert report.clean, (name, report)
        configuration = DeltaTable(str(path)).metadata().configuration
        assert configuration == {**CHANGES, **properties}, name
        left = sorted(p.name for p in path.rglob("*") if p.is_file())
        temporary = [n for n in left if n.endswith(".tmp")]
        assert len(left) - len(temporary) <= files, (name, left)
        assert len(list(path.glob("*vestige*"))) == int(current), (name, left)


def test_running_a_finished_erasure_again_changes_nothing(table: Path) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    first = opened.erase(plan, PERSON)
    assert opened.erase(plan, PERSON) == first
    opened.purge_history(plan)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in table.rglob("*") if p.is_file())
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in table.rglob("*") if p.is_file()) == before


def test_running_it_again_later_leaves_newer_history_alone(table: Path) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    append(table, customers(400, 410))
    DeltaTable(str(table)).delete("customer_id = 'c-000405'")
    before = [(v.id, v.rows, v.digest) for v in opened.versions()]
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert [(v.id, v.rows, v.digest) for v in opened.versions()] == before


def test_two_workers_with_the_same_plan_do_no_harm(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = without_person(rows_of(table))
    plan = store(table).plan_erase(store(table).find_subject(PERSON), mode="purge")
    twin: list[object] = []

    def beaten(*args: object, **kwargs: object) -> int:
        monkeypatch.setattr(COMMIT, write_commit)
        twin.append(store(table).erase(plan, PERSON))
        return write_commit(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(COMMIT, beaten)
    assert [store(table).erase(plan, PERSON)] == twin
    store(table).purge_history(plan)
    assert rows_of(table).equals(expected)
    assert store(table).verify_erased(EVERY_NEEDLE, None).clean


def test_writers_that_commit_during_the_purge_lose_nothing(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    opened.erase(plan, PERSON)
    expected = rows_of(table).height
    seen: list[str] = []

    def busy(name: str) -> None:
        if seen.count(name) < 2:  # each attempt loses once against another writer
            append(table, customers(1000 + len(seen), 1001 + len(seen)))
            seen.append(name)

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, busy)
        opened.purge_history(plan)
    assert {"create", "create_checkpoint", "after create_checkpoint", "remove"} <= set(seen)
    assert rows_of(table).height == expected + len(seen)
    configuration = DeltaTable(str(table)).metadata().configuration
    assert configuration == {**CHANGES, "delta.logRetentionDuration": "interval 7 days"}
    assert opened.verify_erased(EVERY_NEEDLE, None).clean


_CHILD = """
import json, os, sys
from tests.connectors.test_delta_resume import _die_at, hooked
import pytest
from connectors.adapters.base import ErasePlan
from connectors.adapters.delta import DeltaStore
path, step, plan, needles = sys.argv[1], *map(json.loads, sys.argv[2:])
plan = ErasePlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in plan.items()})
hooked(pytest.MonkeyPatch(), _die_at(step))
store = DeltaStore(path, ["customer_id", "email"])
store.erase(plan, needles)
store.purge_history(plan)
"""


def _die_at(step: int) -> Callable[[str], None]:
    passed = iter(range(step))

    def hook(_name: str) -> None:
        if next(passed, None) is None:
            os.kill(os.getpid(), 9)

    return hook


@pytest.mark.parametrize("step", [1, 5, 14])
def test_a_worker_killed_by_the_system_is_resumed(table: Path, step: int) -> None:
    expected = without_person(rows_of(table))
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    arguments = [str(table), str(step), json.dumps(vars(plan)), json.dumps(PERSON)]
    died = subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=False, timeout=120)
    assert died.returncode == -9
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert rows_of(table).equals(expected)
    assert opened.verify_erased(EVERY_NEEDLE, None).clean


def test_a_full_disk_leaves_the_table_as_it_was(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    before = sorted((p.name, p.stat().st_size) for p in table.rglob("*"))

    def full(name: str) -> None:
        if name == "write_table":
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, full)
        with pytest.raises(Exception, match="could not be rewritten"):
            opened.erase(plan, PERSON)
    assert sorted((p.name, p.stat().st_size) for p in table.rglob("*")) == before
    assert isinstance(opened, DeltaStore)
    assert pl.read_delta(str(table)).height == 202
