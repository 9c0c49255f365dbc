"""Keeping the history of Iceberg tables of every shape, and what stands in its way."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFileContent
from pyiceberg.schema import Schema
from pyiceberg.table.statistics import StatisticsFile
from pyiceberg.transforms import BucketTransform, IdentityTransform, TruncateTransform
from pyiceberg.types import LongType, NestedField

from connectors.adapters.base import ErasePlan, OptionError, StoreError
from connectors.adapters.iceberg import IcebergStore
from tests.connectors.iceberg_builders import (
    COLUMNS,
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
from tests.connectors.iceberg_history import (
    erase,
    every_snapshot,
    metadata,
    others,
    planned,
    rows,
)
from tests.connectors.test_iceberg_shapes import hide, partitioned


@pytest.mark.parametrize(
    "part",
    [
        (1, IdentityTransform(), "who"),
        (1, BucketTransform(4), "customer_id_bucket"),
        (2, TruncateTransform(3), "email_trunc"),
    ],
    ids=lambda part: f"{part[1]} as {part[2]}",
)
def test_partitions_that_name_the_person_go_with_their_folders(tmp_path: Path, part: Any) -> None:
    limit = {"write.summary.partition-limit": "100"}
    make(tmp_path, spec=partitioned(part), properties=limit)
    append(tmp_path, customers(1, 4, person()))
    append(tmp_path, customers(4, 6, person(1)))
    before = every_snapshot(tmp_path)
    counted = {s.snapshot_id: s.summary for s in metadata(tmp_path).snapshots}
    erase(store(tmp_path))
    assert rows(every_snapshot(tmp_path), before) == others(before)
    assert clean(store(tmp_path))
    names = [p.name for p in folder(tmp_path).rglob("*")]
    assert not any(PERSON["customer_id"][0] in name for name in names)
    for snapshot in metadata(tmp_path).snapshots:
        if snapshot.snapshot_id in before:
            was, now = counted[snapshot.snapshot_id], snapshot.summary
            assert was is not None
            assert now is not None
            gone = int(was["added-data-files"] or 0) - int(now["added-data-files"] or 0)
            left = int(was["changed-partition-count"] or 0) - gone
            assert now["changed-partition-count"] == str(left)


def test_counts_that_equal_a_short_identifier_are_not_the_persons(tmp_path: Path) -> None:
    """Customer 4, in a table with a field 4 in its schema, which has four rows in the end."""
    schema = Schema(NestedField(1, "customer_id", LongType()), NestedField(4, "n", LongType()))
    lake = make(tmp_path, schema, partitioned((1, IdentityTransform(), "buyer")))
    append(lake, [{"customer_id": n, "n": 4} for n in (4, 5, 6, 7, 8)])
    opened, needles = store(lake, ("customer_id",)), {"customer_id": ["00004"]}
    plan = opened.plan_erase(opened.find_subject(needles), mode="keep_history")
    opened.erase(plan, needles)
    opened.purge_history(plan)
    first, second = metadata(lake).snapshots
    for snapshot in (first, second):
        assert snapshot.summary is not None
        assert snapshot.summary["total-records"] == "4"
        with table(lake) as loaded:
            found = loaded.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
            assert sorted(found["customer_id"].to_pylist()) == [5, 6, 7, 8]
    assert clean(opened, needles)


@pytest.mark.parametrize("codec", ["uncompressed", "gzip", "zstd"])
def test_tables_of_format_version_1_and_other_codecs(tmp_path: Path, codec: str) -> None:
    version = "1" if codec == "gzip" else "2"
    lake = table_with_person(tmp_path, properties={"format-version": version})
    with table(lake) as opened, opened.transaction() as change:
        change.set_properties({"write.avro.compression-codec": codec})
    before = every_snapshot(lake)
    erase(store(lake))
    assert rows(every_snapshot(lake), before) == others(before)
    assert clean(store(lake))


def test_a_table_that_was_upgraded_keeps_the_snapshots_from_before(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path, properties={"format-version": "1"})
    with table(lake) as opened, opened.transaction() as change:
        change.upgrade_table_version(2)
    append(lake, customers(500, 505, person(5)))
    before = every_snapshot(lake)
    erase(store(lake))
    assert rows(every_snapshot(lake), before) == others(before)
    append(lake, customers(600, 603))
    assert clean(store(lake))


def test_older_schemas_and_specs_stay_those_of_their_snapshots(tmp_path: Path) -> None:
    """A column that partitions were of is dropped later, another one comes and one is renamed."""
    lake = make(tmp_path, spec=partitioned((3, IdentityTransform(), "bought")))
    append(lake, customers(1, 9, person()))
    with table(lake) as opened:
        opened.update_spec().remove_field("bought").commit()
    with table(lake) as opened:
        opened.update_schema().rename_column("email", "mail").add_column("age", LongType()).commit()
    with table(lake) as opened:
        told = [{"customer_id": "c-000050", "mail": "x@y.example", "age": 3}]
        told += [{"customer_id": PERSON["customer_id"][0], "mail": "a@b.example", "age": 4}]
        opened.append(pa.Table.from_pylist(told, schema=opened.schema().as_arrow()))
    with table(lake) as opened:
        opened.update_schema().delete_column("bought").commit()

    def read() -> dict[int, list[dict[str, Any]]]:
        with table(lake) as opened:
            return {
                s.snapshot_id: opened.scan(snapshot_id=s.snapshot_id).to_arrow().to_pylist()
                for s in opened.metadata.snapshots
            }

    before = read()
    schemas = {s.snapshot_id: s.schema_id for s in metadata(lake).snapshots}
    assert len(set(schemas.values())) == 2
    opened_store = store(lake, ("customer_id", "mail"))
    plan = opened_store.plan_erase(
        opened_store.find_subject({"customer_id": PERSON["customer_id"]}), mode="keep_history"
    )
    assert plan.blockers == ()
    needles = {"customer_id": PERSON["customer_id"]}
    opened_store.erase(plan, needles)
    opened_store.purge_history(plan)
    now = read()
    for number, found in before.items():
        kept = [r for r in found if r["customer_id"] != PERSON["customer_id"][0]]
        assert sorted(now[number], key=str) == sorted(kept, key=str)
    left = metadata(lake).snapshots
    assert {s.snapshot_id: s.schema_id for s in left if s.snapshot_id in schemas} == (schemas)
    assert clean(opened_store, needles)


def test_statistics_of_rows_that_are_gone_go_and_others_stay(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path)
    with table(lake) as opened:
        head, first = opened.current_snapshot(), opened.snapshots()[0]
        assert head is not None
        for snapshot in (head, first):
            path = folder(lake) / "metadata" / f"{snapshot.snapshot_id}.stats"
            path.write_bytes(b'PFA1PFA1{"blobs":[]}')
            blob = {
                "type": "apache-datasketches-theta-v1",
                "snapshot-id": snapshot.snapshot_id,
                "sequence-number": 1,
                "fields": [1],
            }
            file = StatisticsFile.model_validate(
                {
                    "snapshot-id": snapshot.snapshot_id,
                    "statistics-path": f"file://{path}",
                    "file-size-in-bytes": path.stat().st_size,
                    "file-footer-size-in-bytes": 10,
                    "blob-metadata": [blob],
                }
            )
            with opened.update_statistics() as update:
                update.set_statistics(file)
    opened_store = store(lake)
    opened_store.erase(plan := planned(opened_store), PERSON)
    opened_store.purge_history(plan)
    left = metadata(lake).statistics
    assert [s.snapshot_id for s in left] == [first.snapshot_id]
    assert [p.name for p in folder(lake).rglob("*.stats")] == [f"{first.snapshot_id}.stats"]


@pytest.mark.parametrize("kind", ["position", "equality"])
def test_snapshots_that_read_delete_files_block(tmp_path: Path, kind: str) -> None:
    make(tmp_path)
    append(tmp_path, customers(1, 5, person()))
    path = folder(tmp_path) / "data" / "00000-delete.parquet"
    if kind == "position":
        (data,) = (folder(tmp_path) / "data").glob("*.parquet")
        columns = {"file_path": [f"file://{data}"], "pos": pa.array([0], pa.int64())}
        pq.write_table(pa.table(columns), path)
        hide(tmp_path, path, DataFileContent.POSITION_DELETES, None)
    else:
        field = pa.field("customer_id", pa.string(), metadata={b"PARQUET:field_id": b"1"})
        pq.write_table(pa.table([["c-1"]], schema=pa.schema([field])), path)
        hide(tmp_path, path, DataFileContent.EQUALITY_DELETES, [1])
    plan = blocked(tmp_path, "1 snapshots read delete files")
    with pytest.raises(StoreError, match="cannot be carried out"):
        store(tmp_path).erase(plan, PERSON)


def blocked(lake: Path, why: str) -> ErasePlan:
    plan = planned(store(lake))
    (blocker,) = plan.blockers
    assert why in blocker
    assert "plan with purge" in blocker
    return plan


def test_a_snapshot_whose_files_are_gone_blocks(tmp_path: Path) -> None:
    lake = make(tmp_path)
    append(lake, customers(1, 9, person()))
    (old,) = (folder(lake) / "data").glob("*.parquet")
    with table(lake) as opened:
        opened.overwrite(pa.Table.from_pylist([person(1)], schema=opened.schema().as_arrow()))
    old.unlink()
    blocked(lake, "1 snapshots read files that are not there")


def test_a_rest_catalog_cannot_keep_history_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="A REST catalog takes no change of snapshots"):
        IcebergStore("https://host/iceberg#shop.orders", COLUMNS, {"history": "keep"})
