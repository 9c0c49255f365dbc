"""Erasing in Delta tables while every older version stays readable, without the person."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from connectors import folders
from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.delta import DeltaStore
from connectors.adapters.delta import table as opening
from connectors.folders import LocalFolder
from tests.connectors import s3_builders
from tests.connectors.builders import (
    CHANGES,
    EVERY_NEEDLE,
    PERSON,
    KilledError,
    actions,
    append,
    commit,
    customers,
    hide_rows,
    killed_at,
    store,
    table_with_person,
    vectors_allowed,
    without_person,
)
from tests.connectors.s3_server import S3Server

Versions = Mapping[int, pl.DataFrame]
CONTROL = ("customer_id", "c-000210")


def busy_table(path: Path) -> Path:
    """The person added, changed, deleted by a query that names them, brought back by a merge and
    by a restore, alone in a file; rows without an identifier; a checkpoint in between."""
    table_with_person(path)  # versions 0 to 4
    table = DeltaTable(str(path))
    nameless = customers(300, 303).with_columns(customer_id=pl.lit(None, pl.String))
    append(path, pl.concat([nameless, customers(303, 310, person=True)]))
    append(path, customers(0, 1, person=True).filter(pl.col("customer_id") == "c-000042"))
    table.update_incremental()
    table.create_checkpoint()
    table.delete("customer_id = 'c-000042'")
    (
        table.merge(
            customers(150, 152, person=True).to_arrow(), "t.customer_id = s.customer_id", "s", "t"
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
    table.restore(5)
    append(path, customers(310, 320))
    return path


def versions_of(path: Path) -> Versions:
    newest = DeltaTable(str(path)).version()
    return {
        v: pl.read_delta(str(path), version=v).sort(pl.all(), nulls_last=True)
        for v in range(newest + 1)
    }


def version_at(path: Path, time: datetime) -> int:
    table = DeltaTable(str(path))
    table.load_as_version(time)
    return table.version()


def plan_to_keep(path: Path, opened: DeltaStore | None = None) -> ErasePlan:
    opened = opened or store(path)
    return opened.plan_erase(opened.find_subject(PERSON), mode="keep_history")


def erase_and_purge(path: Path, plan: ErasePlan) -> DeltaStore:
    opened = store(path, orphan_grace_minutes=0)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    return opened


def digests(path: Path) -> dict[str, str]:
    return {
        p.relative_to(path).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in path.rglob("*")
        if p.is_file()
    }


def assert_same_without_person(path: Path, before: Versions, *, context: object = "") -> None:
    after = versions_of(path)
    assert set(before) <= set(after), context
    for version, frame in before.items():
        assert after[version].equals(without_person(frame)), (version, context)


def test_every_version_stays_readable_by_number_and_by_time(tmp_path: Path) -> None:
    path = busy_table(tmp_path / "customers")
    before, bytes_before = versions_of(path), digests(path)
    times = {v.id: v.created_at for v in store(path).versions(digests=False)}
    found_at = {time: version_at(path, time) for time in times.values()}
    assert len(set(found_at.values())) > 5
    plan = plan_to_keep(path)
    assert (plan.versions_lost, plan.blockers) == ((), ())
    held = {v for v, frame in before.items() if without_person(frame).height < frame.height}
    assert len(held) >= 9
    assert {
        int(v) for v, rows in store(path).find_subject(PERSON).rows_by_version.items() if rows
    } == held

    opened = store(path)
    erased = opened.erase(plan, PERSON)
    assert erased.rows == before[max(before)].height - without_person(before[max(before)]).height
    assert_same_without_person(path, before, context="before the purge")
    opened.purge_history(plan)

    assert_same_without_person(path, before)
    after = opened.versions(digests=False)
    assert {v.id: v.created_at for v in after if v.id in times} == times
    assert [int(v.id) for v in after] == [*before, max(before) + 1]
    assert {time: version_at(path, time) for time in found_at} == found_at
    report = opened.verify_erased(EVERY_NEEDLE, CONTROL)
    assert report.clean, report
    gone = {o for o in plan.objects if not o.startswith("_delta_log")}
    now = digests(path)
    for name, digest in bytes_before.items():
        if name.endswith(".parquet") and not name.startswith("_delta_log"):
            assert (name not in now) if name in gone else now[name] == digest, name
    assert any("checkpoint.parquet" in name for name in now)
    changes = pl.DataFrame(DeltaTable(str(path)).load_cdf(starting_version=0).read_all())
    assert changes.height > 300
    assert "c-000042" not in changes["customer_id"]
    assert max(before) + 1 not in changes["_commit_version"]
    append(path, customers(400, 410))
    assert pl.read_delta(str(path)).height == without_person(before[max(before)]).height + 10


def hooked(monkeypatch: pytest.MonkeyPatch, hook: Callable[[str], None]) -> None:
    """Call the hook before everything that changes the disk, and within a swap."""
    places = [
        (LocalFolder, name)
        for name in ("create", "publish", "append", "swap", "remove", "remove_empty_folders")
    ]
    for owner, name in (*places, (folders, "exchange"), (Path, "unlink"), (os, "link")):
        real = getattr(owner, name)

        def call(*args: Any, real: Any = real, name: str = name, **kwargs: Any) -> Any:
            hook(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    class HookedTable(DeltaTable):
        def create_checkpoint(self) -> None:
            hook("create_checkpoint")
            super().create_checkpoint()
            hook("after create_checkpoint")

    monkeypatch.setattr(opening, "DeltaTable", HookedTable)


def _of_create(name: str) -> bool:
    return re.fullmatch(r"\.\d{20}\.json\.[0-9a-f]{32}\.tmp", name) is not None


@pytest.mark.parametrize("current", [True, False], ids=["in the current version", "in history"])
def test_killed_anywhere_no_version_loses_a_row_and_the_next_run_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, current: bool
) -> None:
    # Waiting for the disk would be most of the time, and tells nothing about a process killed.
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    template = tmp_path / "template"
    append(template, customers(100, 110, person=True), configuration=CHANGES)
    append(template, customers(110, 112, person=True))
    (again,) = (a["add"] for a in actions(template, 0) if "add" in a)  # as for new statistics
    commit(template, 2, [{"add": {**again, "dataChange": False}}])
    table = DeltaTable(str(template))
    table.update(predicate="customer_id = 'c-000042'", new_values={"bought": 9})
    table.create_checkpoint()
    if not current:
        table.delete("customer_id = 'c-000042'")
    append(template, customers(112, 115))
    before = versions_of(template)
    plan = plan_to_keep(template)

    steps: list[str] = []
    whole = Path(shutil.copytree(template, tmp_path / "whole"))
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, steps.append)
        erase_and_purge(whole, plan)
    files = {p.name for p in whole.rglob("*") if "vestige" not in p.name}
    assert {"swap", "exchange", "unlink", "append", "remove", "create_checkpoint"} <= set(steps)
    for step, name in list(enumerate(steps))[:: 2 if current else 4]:
        path = Path(shutil.copytree(template, tmp_path / f"killed-{step}"))
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, killed_at(step))
            with pytest.raises(KilledError):
                erase_and_purge(path, plan)
        for version, frame in versions_of(path).items():
            old = before.get(version, before[max(before)])
            others = without_person(frame)
            assert others.equals(without_person(old)), (step, name, version)
            assert frame.height - others.height <= old.height - others.height
        # The plan goes on, or a new one takes up what is there.
        resumed = erase_and_purge(path, plan if current else plan_to_keep(path))
        assert_same_without_person(path, before, context=(step, name))
        report = resumed.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000104"))
        assert report.clean, (step, name, report)
        # What a killed `create` leaves is a commit that nobody made: it names no one.
        left = {p.name for p in path.rglob("*") if p.is_file() and not _of_create(p.name)}
        assert not [n for n in left if n.endswith((".journal", ".tmp"))], (step, name, left)
        assert {n for n in left if "vestige" not in n} <= files, (step, name)
        most = sum(p.is_file() for p in whole.rglob("*"))
        assert len(left) <= most or not current, (step, name)  # a new plan has files of its own


def test_running_a_finished_erasure_again_changes_nothing(tmp_path: Path) -> None:
    path = table_with_person(tmp_path / "customers")
    plan = plan_to_keep(path)
    opened = store(path)
    first = opened.erase(plan, PERSON)
    assert opened.erase(plan, PERSON) == first
    opened.purge_history(plan)
    before = digests(path)
    opened.purge_history(plan)
    assert digests(path) == before
    assert store(path).find_subject(PERSON).objects == ()


def test_what_others_commit_meanwhile_is_neither_lost_nor_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_with_person(tmp_path / "customers")
    before = versions_of(path)
    outdated = plan_to_keep(path)
    append(path, customers(300, 301))
    unchanged = digests(path)
    with pytest.raises(PlanOutdatedError):
        store(path).erase(outdated, PERSON)
    assert digests(path) == unchanged

    plan = plan_to_keep(path)
    swaps = [LocalFolder.swap]

    def busy(folder: LocalFolder, *args: Any, **kwargs: Any) -> None:
        if len(swaps) == 1:  # in the middle: an old version is brought back, and rows deleted
            swaps.append(LocalFolder.swap)
            table = DeltaTable(str(path))
            table.restore(2)
            table.delete("customer_id = 'c-000160'")
        swaps[0](folder, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFolder, "swap", busy)
        opened = erase_and_purge(path, plan)
    assert_same_without_person(path, before)
    newest = without_person(before[2]).filter(pl.col("customer_id") != "c-000160")
    assert versions_of(path)[DeltaTable(str(path)).version()].equals(newest)
    assert opened.verify_erased(EVERY_NEEDLE, CONTROL).clean


def test_a_partition_that_names_the_person_goes_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "customers"
    for first in (100, 110):
        frame = customers(first, first + 3, person=True)
        append(path, frame, partition_by=["email", "bought"])
    before = versions_of(path)
    report = erase_and_purge(path, plan_to_keep(path)).verify_erased(EVERY_NEEDLE, None)
    assert report.clean, report
    assert_same_without_person(path, before)
    assert not [p for p in path.rglob("*") if "rcher" in p.name]


def test_what_cannot_be_kept_is_said_before_anything_is_changed(tmp_path: Path) -> None:
    cut = table_with_person(tmp_path / "cut")
    DeltaTable(str(cut)).create_checkpoint()
    (cut / "_delta_log" / f"{0:020d}.json").unlink()
    assert "first commits were cleaned up" in " ".join(plan_to_keep(cut).blockers)

    vectors = tmp_path / "vectors"
    append(vectors, customers(0, 10, person=True))
    vectors_allowed(vectors, 1)
    hide_rows(vectors, 2, [3], inline=True)
    assert "deletion vectors" in " ".join(plan_to_keep(vectors).blockers)

    named = table_with_person(tmp_path / "named")
    metadata = next(a["metaData"] for a in actions(named, 0) if "metaData" in a)
    noted = {**metadata, "description": "without ann.archer@mail.example"}
    commit(named, 5, [{"metaData": noted}])
    commit(named, 6, [{"metaData": metadata}])
    unchanged = digests(named)
    with pytest.raises(StoreError, match=r"Version 5 .* plan with mode"):
        store(named).erase(plan_to_keep(named), PERSON)
    assert digests(named) == unchanged

    with pytest.raises(StoreError, match='no mode "forget"'):
        store(named).plan_erase(store(named).find_subject(PERSON), mode="forget")


def test_a_purge_without_its_erasure_is_refused(tmp_path: Path) -> None:
    path = table_with_person(tmp_path / "customers")
    unchanged = digests(path)
    with pytest.raises(StoreError, match="Erase first"):
        store(path).purge_history(plan_to_keep(path))
    assert digests(path) == unchanged


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_table_in_a_bucket_keeps_its_versions(s3_server: S3Server) -> None:
    bucket = s3_builders.Bucket.new(s3_server, versioned=True)
    options = s3_builders.table_with_person(bucket)
    uri = f"s3://{bucket.name}/lake"

    def read() -> Versions:
        newest = DeltaTable(uri, storage_options=options).version()
        tables = {v: DeltaTable(uri, v, storage_options=options) for v in range(newest + 1)}
        return {v: pl.DataFrame(t.to_pyarrow_table()).sort(pl.all()) for v, t in tables.items()}

    before = read()
    opened = s3_builders.delta_store(bucket)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="keep_history")
    assert plan.blockers == ()
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    after = read()
    assert [after[v].equals(without_person(before[v])) for v in before] == [True] * len(before)
    report = opened.verify_erased(EVERY_NEEDLE, CONTROL)
    assert report.clean, report
    assert not [body for body in bucket.bodies().values() if b"c-000042" in body]
