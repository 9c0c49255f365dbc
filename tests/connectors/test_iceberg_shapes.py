"""Partitions, types, and other shapes of tables that an erasure has to meet."""

import datetime
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    IdentityTransform,
    Transform,
    TruncateTransform,
)
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BinaryType,
    DateType,
    DecimalType,
    DoubleType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    UUIDType,
)

from connectors.adapters.base import StoreError
from tests.connectors.iceberg_builders import (
    COLUMNS,
    PERSON,
    append,
    clean,
    customers,
    erase,
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


def partitioned(*parts: tuple[int, Transform[Any, Any], str]) -> PartitionSpec:
    fields = [PartitionField(s, 1000 + n, t, name) for n, (s, t, name) in enumerate(parts)]
    return PartitionSpec(*fields)


@pytest.mark.parametrize(
    "part",
    [
        (1, IdentityTransform(), "customer_id"),
        (1, IdentityTransform(), "who"),
        (1, BucketTransform(4), "customer_id_bucket"),
        (2, TruncateTransform(3), "email_trunc"),
    ],
    ids=lambda part: f"{part[1]} as {part[2]}",
)
def test_a_partitioned_table_is_erased_with_its_paths(tmp_path: Path, part: Any) -> None:
    limit = {"write.summary.partition-limit": "100"}
    make(tmp_path, spec=partitioned(part), properties=limit)
    append(tmp_path, customers(1, 4, person()))
    append(tmp_path, customers(4, 6, person(1)))
    opened = store(tmp_path)
    before = without_person(rows_of(tmp_path))
    found = opened.find_subject(PERSON)
    assert all(PERSON["customer_id"][0] not in o.path for o in found.objects)
    erase(opened)
    assert clean(opened)
    assert rows_of(tmp_path).equals(before)
    names = [p.name for p in folder(tmp_path).rglob("*")]
    assert not any(PERSON["customer_id"][0] in name for name in names)


@pytest.mark.parametrize("part", ["bucket", "identity"])
def test_short_numbers_beside_buckets_and_days_are_told_apart(tmp_path: Path, part: str) -> None:
    """Customer 4, in a table with a bucket 4, a day 4, four rows: none of that is the customer."""
    schema = Schema(
        NestedField(1, "customer_id", LongType()),
        NestedField(2, "day", DateType()),
        NestedField(3, "note", StringType()),
    )
    by: Any = (1, IdentityTransform(), "buyer")
    if part == "bucket":
        by = (1, BucketTransform(5), "customer_id_bucket")
    make(tmp_path, schema, partitioned(by, (2, DayTransform(), "day_day")))
    day = datetime.date(1970, 1, 5)
    numbers = [4, *range(5, 25), 44]
    append(tmp_path, [{"customer_id": n, "day": day, "note": "4 pieces"} for n in numbers])
    assert part == "identity" or any(folder(tmp_path).rglob("customer_id_bucket=4"))
    opened = store(tmp_path, ("customer_id",))
    needles = {"customer_id": ["00004"]}
    where = {t.where for t in opened.verify_erased(["00004"], None).traces}
    assert {"column customer_id", "lower_bounds of customer_id"} <= where
    if part == "identity":
        assert {
            "partition key buyer",
            "lower_bound of partition customer_id",
            "field data_file.partition.customer_id",
            "path of a file",
        } <= where
    erase(opened, needles)
    assert clean(opened, needles)
    assert sorted(r["customer_id"] for r in rows_of_all(tmp_path)) == numbers[1:]


def rows_of_all(root: Path) -> list[dict[str, Any]]:
    with table(root) as opened:
        rows: list[dict[str, Any]] = opened.scan().to_arrow().to_pylist()
    return rows


DEVICE = uuid.UUID("6f1c2d3e-4b5a-4978-8a9b-0c1d2e3f4a5b")
OTHER = uuid.UUID("00000000-0000-4000-8000-000000000001")


@pytest.mark.parametrize(
    ("kind", "theirs", "others", "needle"),
    [
        (IntegerType(), 42, 43, "00042"),
        (LongType(), 42, 4242, "42"),
        (LongType(), 1234567890, 1234567891, "1234567890"),
        (UUIDType(), DEVICE.bytes, OTHER.bytes, str(DEVICE)),
        (UUIDType(), DEVICE.bytes, OTHER.bytes, DEVICE.hex.upper()),
        (StringType(), "Ann.ARCHER@x.Example ", "joann.archer@x.example", "ann.archer@x.example"),
        (StringType(), str(DEVICE).upper(), str(OTHER), DEVICE.hex),
        (StringType(), "anna", "Anna", "anna"),
        (DecimalType(9, 0), 42, 43, "42"),
        (BinaryType(), b"ann@x.org", b"bob@x.org", "ann@x.org"),
        (DoubleType(), 42.0, 43.0, "42"),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_identifiers_of_every_type_are_erased_and_null_is_nobody(
    tmp_path: Path, kind: Any, theirs: Any, others: Any, needle: str
) -> None:
    schema = Schema(NestedField(1, "who", kind), NestedField(2, "n", LongType()))
    make(tmp_path, schema)
    rows = [{"who": who, "n": n} for n, who in enumerate([others, theirs, None, theirs, others])]
    with table(tmp_path) as opened:
        arrow = opened.schema().as_arrow()
        values = pa.array([r["who"] for r in rows], _storage(arrow.field("who").type))
        data = pa.table(
            [values.cast(arrow.field("who").type), [r["n"] for r in rows]], schema=arrow
        )
        opened.append(data)
    found = store(tmp_path, ("who",))
    plan = erase(found, {"who": [needle]})
    assert plan.rows == 2
    assert clean(found, {"who": [needle]})
    assert sorted(r["n"] for r in rows_of_all(tmp_path)) == [0, 2, 4]


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def test_an_identifier_in_a_struct_is_found_and_erased(tmp_path: Path) -> None:
    make(tmp_path)
    append(tmp_path, customers(1, 30))
    opened = store(tmp_path, ("account.mail",))
    needles = {"account.mail": ["INNER7@shop.example"]}
    before = rows_of(tmp_path).filter(pl.col("bought").ne(0) | pl.col("price").ne(10.5))
    assert erase(opened, needles).rows == 1
    assert clean(opened, needles)
    assert rows_of(tmp_path).equals(before)


def test_rich_types_and_odd_values_stay_what_they_are(tmp_path: Path) -> None:
    numbers = ListType(12, LongType(), element_required=False)
    schema = Schema(
        NestedField(1, "customer_id", StringType()),
        NestedField(2, "price", DoubleType()),
        NestedField(3, "sum", DecimalType(12, 3)),
        NestedField(4, "at", TimestampType()),
        NestedField(5, "tags", ListType(6, StringType(), element_required=False)),
        NestedField(7, "extra", MapType(8, StringType(), 9, LongType(), value_required=False)),
        NestedField(10, "deep", StructType(NestedField(11, "list", numbers))),
        NestedField(13, "raw", BinaryType()),
    )  # fmt: skip
    make(tmp_path, schema)
    rows: list[dict[str, Any]] = [
        {
            "customer_id": name,
            "price": float("nan") if n % 2 else None,
            "sum": None,
            "at": datetime.datetime(2024, 1, n + 1, 3, 4, 5, 678901),  # noqa: DTZ001 (as stored)
            "tags": [None, "ä", f"t{n}"] if n else None,
            "extra": {"a": n, "b": None}.items() if n else None,
            "deep": {"list": [n, None]} if n % 2 else None,
            "raw": b"\x00\xff" * n,
        }
        for n, name in enumerate(["anna", "bertha", "anna", None, "carl"])
    ]
    rows = [r | {"extra": list(r["extra"]) if r["extra"] else None} for r in rows]
    append(tmp_path, rows)
    before = [r for r in rows_of_all(tmp_path) if r["customer_id"] != "anna"]
    (source,) = (folder(tmp_path) / "data").glob("*.parquet")
    old = pq.read_schema(source)
    opened = store(tmp_path, ("customer_id",))
    erase(opened, {"customer_id": ["anna"]})
    assert clean(opened, {"customer_id": ["anna"]})
    assert repr(rows_of_all(tmp_path)) == repr(before)  # as texts, NaN is NaN
    (written,) = (folder(tmp_path) / "data").glob("*.parquet")
    assert pq.read_schema(written).equals(old, check_metadata=True)
    with table(tmp_path) as loaded:
        (task,) = loaded.scan().plan_files()
    assert task.file.record_count == 3


def test_a_table_without_rows_or_snapshots_is_fine(tmp_path: Path) -> None:
    make(tmp_path)
    opened = store(tmp_path)
    assert opened.versions() == []
    assert opened.schema()[0] == ("customer_id", "string")
    assert opened.profile()["rows"] == 0
    plan = planned(opened)
    assert (plan.snapshot, plan.objects) == ("none", ())
    assert opened.erase(plan, PERSON).rows == 0
    assert opened.control_subject(PERSON) is None
    assert opened.verify_erased([PERSON["email"][0]], None).clean


def test_a_person_who_is_the_whole_table_is_erased(tmp_path: Path) -> None:
    make(tmp_path)
    append(tmp_path, [person(n) for n in range(5)])
    opened = store(tmp_path)
    assert erase(opened).rows == 5
    assert opened.verify_erased([v for vs in PERSON.values() for v in vs], None).clean
    assert opened.control_subject(PERSON) is None
    assert rows_of(tmp_path).height == 0
    append(tmp_path, customers(1, 3))
    assert rows_of(tmp_path).height == 2


def test_a_renamed_and_a_dropped_column_are_followed_by_their_numbers(tmp_path: Path) -> None:
    make(tmp_path, spec=partitioned((1, IdentityTransform(), "customer_id")))
    append(tmp_path, customers(1, 3, person()))
    with table(tmp_path) as opened:
        with opened.update_schema() as update:
            update.rename_column("email", "mail")
            update.delete_column("price")
        with opened.update_schema() as update:
            update.add_column("email", LongType())  # another column under the old name
    rows = [{k: v for k, v in r.items() if k in ("customer_id", "bought")} for r in customers(3, 6)]
    rows[1]["mail"] = "ANN.archer@mail.example"
    append(tmp_path, rows)
    opened_store = store(tmp_path, ("customer_id", "mail"))
    needles = {"mail": PERSON["email"]}
    assert opened_store.find_subject(needles).linked == {
        "customer_id": ("c-000004-northern-branch", PERSON["customer_id"][0])
    }
    assert erase(opened_store, needles).rows == 2
    assert clean(opened_store, needles)
    assert len(rows_of_all(tmp_path)) == 4


def test_files_without_column_numbers_are_read_by_their_names(tmp_path: Path) -> None:
    """As Hive wrote them: without numbers, and without the column of the partition."""
    spec = partitioned((1, IdentityTransform(), "customer_id"))
    make(tmp_path, spec=spec)
    theirs = folder(tmp_path) / "data" / f"customer_id={PERSON['customer_id'][0]}" / "a.parquet"
    other = folder(tmp_path) / "data" / "customer_id=c-1" / "a.parquet"
    for path, who in ((theirs, PERSON["customer_id"][0]), (other, "c-1")):
        path.parent.mkdir(parents=True)
        full = pa.table(
            {"customer_id": [who] * 2, "email": [None, "x@y.example"], "bought": [1, 2]}
        )
        pq.write_table(full, path)
    with table(tmp_path) as opened:
        opened.add_files([f"file://{theirs}", f"file://{other}"])
    for path in (theirs, other):
        pq.write_table(pq.read_table(path, partitioning=None).select(["email", "bought"]), path)
    opened_store = store(tmp_path)
    found = opened_store.find_subject({"email": PERSON["email"], **PERSON})
    assert [(o.rows, o.path) for o in found.objects if o.kind == "data"] == [
        (2, "data/customer_id=*/a.parquet")
    ]
    plan = erase(opened_store)
    assert plan.rows == 2
    assert not theirs.parent.exists()
    assert other.exists()
    assert opened_store.verify_erased([PERSON["customer_id"][0]], None).clean


@pytest.mark.parametrize("codec", ["uncompressed", "gzip", "zstd"])
def test_tables_of_format_version_1_and_other_codecs(tmp_path: Path, codec: str) -> None:
    version = "1" if codec == "gzip" else "2"
    properties = {"format-version": version, "write.parquet.compression-codec": codec}
    lake = table_with_person(tmp_path, properties=properties)
    with table(lake) as opened, opened.transaction() as change:
        change.set_properties({"write.avro.compression-codec": codec})
    before = without_person(rows_of(lake))
    erase(store(lake))
    assert clean(store(lake))
    assert rows_of(lake).equals(before)
    with table(lake) as opened, opened.transaction() as change:
        change.set_properties({"write.avro.compression-codec": "gzip"})
    append(lake, customers(900, 902))
    assert rows_of(lake).height == before.height + 2


def test_a_path_with_signs_that_need_no_encoding_is_read_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, spec=partitioned((2, IdentityTransform(), "email")))
    append(tmp_path, customers(1, 3, person() | {"email": "ann archer+1@mail.example"}))
    opened = store(tmp_path)
    erase(opened)
    assert clean(opened)
    assert len(rows_of_all(tmp_path)) == 2


# Merge-on-read


def hide(root: Path, path: Path, content: DataFileContent, equality_ids: list[int] | None) -> None:
    """Commit a delete file, which pyiceberg itself cannot write."""
    with table(root) as opened:
        snapshot_id = opened.metadata.new_snapshot_id()
        parent = opened.current_snapshot()
        assert parent is not None
        sequence = opened.metadata.next_sequence_number()
        file = DataFile.from_args(
            content=content, file_path=f"file://{path}", file_format=FileFormat.PARQUET,
            partition=Record(), record_count=1, file_size_in_bytes=path.stat().st_size,
            equality_ids=equality_ids,
        )  # fmt: skip
        file.spec_id = 0
        manifest = _delete_manifest(opened, snapshot_id, file)
        listed = f"{opened.location()}/metadata/snap-{snapshot_id}-0-x.avro"
        with write_manifest_list(
            2, opened.io.new_output(listed), snapshot_id, parent.snapshot_id, sequence, "deflate"
        ) as lists:
            lists.add_manifests([*parent.manifests(opened.io), manifest])
        snapshot = Snapshot.model_validate(
            {
                "snapshot-id": snapshot_id,
                "parent-snapshot-id": parent.snapshot_id,
                "sequence-number": sequence,
                "manifest-list": listed,
                "summary": Summary(Operation.DELETE),
                "schema-id": 0,
            }
        )
        reference = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}
        opened.catalog.commit_table(
            opened,
            (),
            (AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate.model_validate(reference)),
        )


class _DeleteManifest(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def _delete_manifest(opened: Table, snapshot_id: int, file: DataFile) -> Any:
    output = opened.io.new_output(f"{opened.location()}/metadata/{uuid.uuid4()}-m0.avro")
    with _DeleteManifest(opened.spec(), opened.schema(), output, snapshot_id, "deflate") as writer:
        writer.add(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=snapshot_id, data_file=file
            )
        )
    return writer.to_manifest_file()


@pytest.mark.parametrize("kind", ["position", "equality"])
def test_delete_files_are_searched_and_block(tmp_path: Path, kind: str) -> None:
    make(tmp_path)
    append(tmp_path, customers(1, 5, person()))
    path = folder(tmp_path) / "data" / "00000-delete.parquet"
    if kind == "position":
        (data,) = (folder(tmp_path) / "data").glob("*.parquet")
        number = {b"PARQUET:field_id": b"1"}
        theirs = pa.struct([pa.field("customer_id", pa.string(), metadata=number)])
        columns = {
            "file_path": pa.array([f"file://{data}"]),
            "pos": pa.array([2], pa.int64()),
            "row": pa.array([{"customer_id": PERSON["customer_id"][0]}], theirs),
        }
        pq.write_table(pa.table(columns), path)
        hide(tmp_path, path, DataFileContent.POSITION_DELETES, None)
    else:
        field = pa.field("customer_id", pa.string(), metadata={b"PARQUET:field_id": b"1"})
        pq.write_table(pa.table([PERSON["customer_id"]], schema=pa.schema([field])), path)
        hide(tmp_path, path, DataFileContent.EQUALITY_DELETES, [1])
    opened = store(tmp_path)
    found = opened.find_subject(PERSON)
    assert {(o.kind, o.rows) for o in found.objects if o.rows} == {("data", 1), ("deletes", 1)}
    plan = opened.plan_erase(found, mode="purge")
    assert len(plan.blockers) == 1
    assert "merge-on-read" in plan.blockers[0]
    assert "Compact it" in plan.blockers[0]
    assert [v.rows for v in opened.versions()] == [5, None]
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)
    assert path.exists()


def test_a_table_inside_anothers_folder_blocks(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path)
    inner = folder(lake) / "data" / "inner" / "metadata"
    inner.mkdir(parents=True)
    (inner / "00000-x.metadata.json").write_text("{}")
    (blocker,) = planned(store(lake)).blockers
    assert "data/inner/" in blocker


def test_a_table_of_format_version_3_is_searched_and_blocks(tmp_path: Path) -> None:
    make(tmp_path)
    append(tmp_path, customers(1, 3, person()))
    metadata = sorted((folder(tmp_path) / "metadata").glob("*.json"))[-1]
    text = metadata.read_text()
    later = text.replace('"format-version":2', '"format-version":3,"next-row-id":3')
    assert later != text
    metadata.write_text(later)
    opened = store(tmp_path)
    (blocker,) = planned(opened).blockers
    assert "format version 3" in blocker


def test_files_outside_the_tables_folder_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    outside = tmp_path / "elsewhere.parquet"
    with table(tmp_path) as opened:
        schema = opened.schema().as_arrow()
        plain = pa.Table.from_pylist(customers(1, 3), schema=schema.remove_metadata())
        bare = pa.schema([f.remove_metadata() for f in plain.schema if f.name != "account"])
        pq.write_table(plain.select(bare.names).cast(bare), outside)
        opened.add_files([f"file://{outside}"])
    with pytest.raises(StoreError, match="files outside its folder"):
        store(tmp_path, COLUMNS).find_subject(PERSON)


def with_categories(opened: Table) -> pa.Table:
    """The table's rows, with categories for the columns that name people."""
    rows = opened.scan().to_arrow()
    for place, name in enumerate(("customer_id", "email")):
        rows = rows.set_column(place, name, rows[name].combine_chunks().dictionary_encode())
    return rows


def test_a_category_that_no_row_has_any_more_is_found_and_erased(tmp_path: Path) -> None:
    """The naive recipe: read, filter, overwrite, expire. pyiceberg writes the categories that a
    filtered table still has into the new file."""
    root = make(tmp_path / "lake")
    append(root, customers(100, 120, person()))
    with table(root) as opened:
        old = opened.current_snapshot()
        assert old is not None
        opened.overwrite(with_categories(opened).filter(pc.field("email") != person()["email"]))
        opened.maintenance.expire_snapshots().by_id(old.snapshot_id).commit()
    before = rows_of(root)
    assert before.equals(without_person(before)), "no reader finds the person"
    opened_store = store(root)
    current = opened_store.versions()[-1].objects[0].path
    found = opened_store.find_subject(PERSON)
    assert (current, 0) in {(o.path, o.rows) for o in found.objects if o.kind == "data"}
    assert not clean(opened_store)
    erase(opened_store)
    assert clean(opened_store)
    assert rows_of(root).equals(before)
    assert planned(opened_store).objects == ()


def test_a_file_with_categories_is_written_anew_with_texts(tmp_path: Path) -> None:
    root = make(tmp_path / "lake")
    append(root, customers(100, 120, person()))
    with table(root) as opened:
        opened.overwrite(with_categories(opened))
    before = rows_of(root)
    erase(store(root))
    assert rows_of(root).equals(without_person(before))
    assert clean(store(root))
