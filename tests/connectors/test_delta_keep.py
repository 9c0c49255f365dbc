"""Erasing in Delta tables while every older version stays readable, without the person."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.delta import DeltaStore
from connectors.adapters.delta import table as opening
from connectors.folders import LocalFolder
from connectors.storage import ChangedMeanwhileError
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


def plan_to_keep(path: Path, opened: DeltaStore | None = None) -> ErasePlan:
    opened = opened or store(path)
    return opened.plan_erase(opened.find_subject(PERSON), mode="keep_history")


def erase_and_purge(path: Path, plan: ErasePlan) -> DeltaStore:
    opened = store(path)
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
    plan = plan_to_keep(path)
    assert (plan.versions_lost, plan.blockers) == ((), ())
    held = {v for v, frame in before.items() if without_person(frame).height < frame.height}
    assert len(held) >= 9
    assert {int(v) for v, rows in store(path).find_subject(PERSON).rows_by_version.items() if rows} == held

    opened = store(path)
    erased = opened.erase(plan, PERSON)
    assert erased.rows == before[max(before)].height - without_person(before[max(before)]).height
    assert_same_without_person(path, before, context="before the purge")
    opened.purge_history(plan)

    assert_same_without_person(path, before)
    after = opened.versions(digests=False)
    assert {v.id: v.created_at for v in after if v.id in times} == times
    assert [int(v.id) for v in after] == [*before, max(before) + 1]
    for version, time in times.items():
        table = DeltaTable(str(path))
        table.load_as_version(time)
        assert table.version() == int(version)
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
    append(path, customers(400, 410))
    assert pl.read_delta(str(path)).height == without_person(before[max(before)]).height + 10
