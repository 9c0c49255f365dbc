"""Iceberg tables whose history is kept: plans for them, and every snapshot of one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pyiceberg.table.metadata import TableMetadata

from connectors.adapters.base import Erased, ErasePlan
from connectors.adapters.iceberg import IcebergStore
from tests.connectors.iceberg_builders import PERSON, table, without_person


def planned(opened: IcebergStore) -> ErasePlan:
    return opened.plan_erase(opened.find_subject(PERSON), mode="keep_history")


def erase(opened: IcebergStore, plan: ErasePlan | None = None) -> Erased:
    plan = plan or planned(opened)
    assert (plan.blockers, plan.versions_lost) == ((), ())
    erased = opened.erase(plan, PERSON)
    opened.purge_history(plan)
    return erased


def every_snapshot(lake: Path) -> dict[int, pl.DataFrame]:
    with table(lake) as opened:
        found = {}
        for snapshot in opened.metadata.snapshots:
            frame = pl.from_arrow(opened.scan(snapshot_id=snapshot.snapshot_id).to_arrow())
            assert isinstance(frame, pl.DataFrame)
            found[snapshot.snapshot_id] = frame.sort("customer_id", "email", "bought")
    return found


def metadata(lake: Path) -> TableMetadata:
    with table(lake) as opened:
        return opened.metadata


def identity(found: TableMetadata) -> dict[int, tuple[Any, ...]]:
    """What a snapshot is besides its rows."""
    return {
        s.snapshot_id: (
            s.timestamp_ms,
            s.parent_snapshot_id,
            s.sequence_number,
            s.schema_id,
            s.summary.operation if s.summary else None,
        )
        for s in found.snapshots
    }


def others(before: Mapping[int, pl.DataFrame]) -> dict[int, list[dict[str, Any]]]:
    return {number: without_person(frame).to_dicts() for number, frame in before.items()}


def rows(found: Mapping[int, pl.DataFrame], only: Mapping[int, Any]) -> dict[int, list[Any]]:
    return {number: frame.to_dicts() for number, frame in found.items() if number in only}
