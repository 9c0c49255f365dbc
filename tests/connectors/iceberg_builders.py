"""Real Iceberg tables, with a person spread over snapshots, branches and files.

They are in the catalog's own folder, or where a file `warehouse.json` beside it says.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, StructType

from connectors.adapters.base import ErasePlan
from connectors.adapters.iceberg import IcebergStore
from connectors.references import Role

PERSON = {"customer_id": ["c-000042-northern-branch"], "email": ["ann.archer@mail.example"]}
EVERY_NEEDLE = [value for values in PERSON.values() for value in values]
COLUMNS = ("customer_id", "email")
SCHEMA = Schema(
    NestedField(1, "customer_id", StringType()),
    NestedField(2, "email", StringType()),
    NestedField(3, "bought", LongType()),
    NestedField(4, "price", DoubleType()),
    NestedField(5, "account", StructType(NestedField(6, "mail", StringType()))),
)


def row(number: int) -> dict[str, Any]:
    return {
        "customer_id": f"c-{number:06d}-northern-branch",
        "email": f"Customer{number}@shop.example",
        "bought": number % 7,
        "price": number * 1.5,
        "account": {"mail": f"inner{number}@shop.example"},
    }


def person(number: int = 0) -> dict[str, Any]:
    found = row(number) | {"customer_id": PERSON["customer_id"][0]}
    return found | {"email": "Ann.Archer@Mail.example"}


def customers(first: int, last: int, *theirs: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of customers first to last-1, with the person's in the middle."""
    rows = [row(number) for number in range(first, last)]
    half = len(rows) // 2
    return [*rows[:half], *theirs, *rows[half:]]


@contextmanager
def catalog(root: Path) -> Iterator[SqlCatalog]:
    root.mkdir(parents=True, exist_ok=True)
    given = {"warehouse": f"file://{root}/warehouse"}
    if (elsewhere := root / "warehouse.json").is_file():
        given = json.loads(elsewhere.read_text())
    opened = SqlCatalog("lake", uri=f"sqlite:///{root}/catalog.db", **given)
    try:
        yield opened
    finally:
        opened.close()


def make(
    root: Path,
    schema: Schema = SCHEMA,
    spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
    properties: Mapping[str, str] | None = None,
) -> Path:
    with catalog(root) as opened:
        opened.create_namespace_if_not_exists("shop")
        given = dict(properties or {})
        opened.create_table("shop.orders", schema, partition_spec=spec, properties=given)
    return root


@contextmanager
def table(root: Path) -> Iterator[Table]:
    with catalog(root) as opened:
        yield opened.load_table("shop.orders")


def append(root: Path, rows: Sequence[Mapping[str, Any]], branch: str = "main") -> None:
    with table(root) as opened:
        opened.append(
            pa.Table.from_pylist(list(rows), schema=opened.schema().as_arrow()), branch=branch
        )


def table_with_person(
    root: Path, *, tag: bool = False, properties: Mapping[str, str] | None = None
) -> Path:
    """Three snapshots on main with the person in two files, and two more branches: "audit" with
    another row of the person, "clean" from before anybody was written with the person."""
    make(root, properties=properties)
    append(root, customers(200, 220))
    with table(root) as opened:
        head = opened.current_snapshot()
        assert head is not None
        manage = opened.manage_snapshots()
        manage.create_branch(head.snapshot_id, "clean")
        manage.create_branch(head.snapshot_id, "audit")
        if tag:
            manage.create_tag(head.snapshot_id, "v1")
        manage.commit()
    append(root, customers(100, 120, person()))
    append(root, customers(120, 140, person(1), person(2)))
    append(root, customers(300, 310, person(3)), branch="audit")
    return root


def location(root: Path) -> str:
    return f"sqlite:///{root}/catalog.db#shop.orders"


def folder(root: Path) -> Path:
    return root / "warehouse" / "shop" / "orders"


def store(
    root: Path, columns: Sequence[str] = COLUMNS, *, role: Role = "writer", **options: Any
) -> IcebergStore:
    return IcebergStore(location(root), columns, options, role=role)


def rows_of(root: Path, branch: str = "main") -> pl.DataFrame:
    with table(root) as opened:
        snapshot = opened.metadata.snapshot_by_name(branch)
        assert snapshot is not None
        frame = pl.from_arrow(opened.scan(snapshot_id=snapshot.snapshot_id).to_arrow())
    assert isinstance(frame, pl.DataFrame)
    return frame.sort("customer_id", "email", "bought", nulls_last=True)


def without_person(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("customer_id").ne_missing(PERSON["customer_id"][0]))


def planned(opened: IcebergStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    return opened.plan_erase(opened.find_subject(needles), mode="purge")


def erase(opened: IcebergStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    """Search, plan, erase and purge, as one would; returns the plan."""
    plan = planned(opened, needles)
    assert plan.blockers == ()
    opened.erase(plan, needles)
    opened.purge_history(plan)
    return plan


def clean(opened: IcebergStore, needles: Mapping[str, Sequence[str]] = PERSON) -> bool:
    """Whether the scan finds nothing of the person, and somebody else."""
    control = opened.control_subject(needles)
    report = opened.verify_erased([v for vs in needles.values() for v in vs], control)
    assert not report.unreadable, report.unreadable
    return control is not None and report.clean
