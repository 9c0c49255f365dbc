"""Tables that are not plain: deletion vectors, partitions, mapped and nested columns, odd types."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from connectors.adapters.base import StoreError
from tests.connectors.builders import (
    EVERY_NEEDLE,
    PERSON,
    append,
    commit,
    customers,
    erase,
    hide_rows,
    rows_of,
    store,
    vectors_allowed,
    without_person,
)


@pytest.mark.parametrize("inline", [True, False])
def test_rows_hidden_by_a_deletion_vector_are_found_and_erased(
    tmp_path: Path, *, inline: bool
) -> None:
    path = tmp_path / "t"
    append(path, customers(100, 120, person=True))
    vectors_allowed(path, 1)
    hide_rows(path, 2, [0, 10, 11], inline=inline)  # row 10 is the person
    visible = pl.scan_delta(str(path)).collect()
    assert visible.height == 18, "deltalake reads the vector that the test made"
    assert not visible.filter(pl.col("customer_id") == "c-000042").height
    opened = store(path)
    findings = opened.find_subject(PERSON)
    assert findings.rows_by_version["2"] == 1, "hidden, yet its bytes are there"
    assert opened.versions()[-1].rows == 18
    erase(opened)
    report = opened.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000105"))
    assert report.clean, report
    assert pl.scan_delta(str(path)).collect().sort(pl.all()).equals(visible.sort(pl.all()))
    assert not list(path.glob("deletion_vector*"))


def test_a_deletion_vector_that_cannot_be_read_blocks_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(100, 120, person=True))
    vectors_allowed(path, 1)
    hide_rows(path, 2, [0], inline=False)
    next(path.glob("deletion_vector*")).unlink()
    opened = store(path)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    assert any("deletion vectors" in blocker for blocker in plan.blockers)
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)


def test_a_person_in_a_partition_key_leaves_neither_folder_nor_name(tmp_path: Path) -> None:
    path = tmp_path / "t"
    frame = customers(0, 4, person=True).select("email", "customer_id", "bought")
    append(path, frame, partition_by=["email"])
    append(path, frame, partition_by=["email"])
    opened = store(path)
    findings = opened.find_subject({"email": ["ann.archer@mail.example"]})
    assert findings.rows_by_version == {"0": 1, "1": 2}
    assert findings.linked == {"customer_id": ("c-000042",)}
    assert all("archer" not in o.path.lower() for o in findings.objects), "paths are shown"
    control = opened.control_subject(PERSON)
    before = rows_of(path)
    dirty = opened.verify_erased(EVERY_NEEDLE, control)
    assert any("partition key" in t.where for t in dirty.traces)
    assert "archer" not in repr(dirty).lower(), "a report names the place, never the person"
    plan = erase(opened, {"email": ["ann.archer@mail.example"]})
    assert "archer" not in repr(plan).lower()
    report = opened.verify_erased(EVERY_NEEDLE, control)
    assert report.clean, report
    assert rows_of(path).equals(without_person(before))
    assert not [p for p in path.iterdir() if "Ann" in p.name]


@pytest.mark.parametrize("asked", ["4", "00004"])
def test_a_number_as_partition_key_is_compared_as_a_number(tmp_path: Path, asked: str) -> None:
    path = tmp_path / "t"
    frame = pl.DataFrame({"customer_id": [4, 44, 5], "quantity": [4, 4, 4]})
    append(path, frame, partition_by=["customer_id"])
    opened = store(path, ["customer_id"])
    assert not opened.verify_erased([asked], ("customer_id", "44")).clean
    erase(opened, {"customer_id": [asked]})
    report = opened.verify_erased([asked], ("customer_id", "44"))
    assert report.clean, report
    assert sorted(rows_of(path)["customer_id"].to_list()) == [5, 44]


def test_an_empty_partition_folder_that_names_a_person_is_found_and_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t"
    append(path, pl.DataFrame({"customer_id": [4, 5], "n": [1, 1]}), partition_by=["customer_id"])
    (path / "customer_id=77").mkdir()
    assert not store(path, ["customer_id"]).verify_erased(["77"], None).clean
    erase(store(path, ["customer_id"]), {"customer_id": ["4"]})
    assert store(path, ["customer_id"]).verify_erased(["77", "4"], None).clean


def test_columns_under_other_physical_names_are_searched_and_verified(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.mkdir()
    frame = customers(0, 60).rename({"customer_id": "col-7f", "email": "col-80"})
    frame.write_parquet(path / "part-0.parquet")
    (path / "_delta_log").mkdir()
    names = {"customer_id": "col-7f", "email": "col-80", "bought": "bought", "price": "price"}
    types = {"bought": "long", "price": "double"}
    fields = [
        {
            "name": logical,
            "type": types.get(logical, "string"),
            "nullable": True,
            "metadata": {
                "delta.columnMapping.id": number,
                "delta.columnMapping.physicalName": physical,
            },
        }
        for number, (logical, physical) in enumerate(names.items(), 1)
    ]
    metadata = {
        "id": "5b0bd3a2-1b1f-4c7c-9d6e-0f6f3bd1a001",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": {
            "delta.columnMapping.mode": "name",
            "delta.columnMapping.maxColumnId": "4",
        },
    }
    size = (path / "part-0.parquet").stat().st_size
    add = {
        "path": "part-0.parquet",
        "partitionValues": {},
        "size": size,
        "modificationTime": 1,
        "dataChange": True,
        "stats": json.dumps({"numRecords": 60, "minValues": {"col-7f": "c-000000"}}),
    }
    protocol = {"minReaderVersion": 2, "minWriterVersion": 5}
    commit(path, 0, [{"protocol": protocol}, {"metaData": metadata}, {"add": add}])
    opened = store(path)
    needles = {"customer_id": ["c-000000"], "email": ["customer0@shop.example"]}
    assert opened.find_subject(needles).rows_by_version == {"0": 1}
    plan = opened.plan_erase(opened.find_subject(needles), mode="purge")
    opened.erase(plan, needles)
    opened.purge_history(plan)
    report = opened.verify_erased(
        ["c-000000", "customer0@shop.example"], ("customer_id", "c-000007")
    )
    assert report.clean, report
    assert store(path).versions()[-1].rows == 59


def test_a_short_number_is_found_under_a_physical_name(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, pl.DataFrame({"customer_id": [5, 6]}))
    schema = {
        "type": "struct",
        "fields": [
            {
                "name": "customer_id",
                "type": "long",
                "nullable": True,
                "metadata": {"delta.columnMapping.physicalName": "col-1"},
            }
        ],
    }
    (path / "_delta_log" / "notes.json").write_text(
        json.dumps({"metaData": {"schemaString": json.dumps(schema)}})
    )
    pl.DataFrame({"col-1": [4]}).write_parquet(path / "stray.parquet")
    report = store(path, ["customer_id"]).verify_erased(["4"], None)
    assert {t.path for t in report.traces} == {"stray.parquet"}


def test_an_identifier_inside_a_struct_is_found_and_erased(tmp_path: Path) -> None:
    path = tmp_path / "t"
    frame = pl.DataFrame(
        {
            "account": [
                {"email": "ann.archer@mail.example", "n": 1},
                {"email": "b@x.example", "n": 2},
            ],
            "tags": [["a"], ["b", "c"]],
        }
    )
    append(path, frame)
    opened = store(path, ["account.email"])
    needles = {"account.email": ["ann.archer@mail.example"]}
    assert opened.find_subject(needles).rows_by_version == {"0": 1}
    assert opened.control_subject(needles) == ("account.email", "b@x.example")
    erase(opened, needles)
    report = opened.verify_erased(needles["account.email"], ("account.email", "b@x.example"))
    assert report.clean, report
    assert rows_of(path)["tags"].to_list() == [["b", "c"]]


def test_every_type_survives_a_rewrite_unchanged(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=dt.UTC)
    table = pa.table(
        {
            "customer_id": pa.array(["c-000042", "c-1", None]),
            "i8": pa.array([1, -2, None], pa.int8()),
            "i64": pa.array([1, 2**62, None], pa.int64()),
            "f32": pa.array([1.5, float("nan"), None], pa.float32()),
            "dec": pa.array(
                [Decimal("1.10"), Decimal("-9999999999999999.99"), None], pa.decimal128(20, 2)
            ),
            "day": pa.array([dt.date(2024, 1, 1), dt.date(1582, 10, 4), None]),
            "at": pa.array(
                [moment, dt.datetime(1, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("us", "UTC")
            ),
            "bin": pa.array([b"\x00\xff", b"", None]),
            "flag": pa.array([True, False, None]),
            "items": pa.array([[{"k": 1}], [], None], pa.list_(pa.struct([("k", pa.int32())]))),
            "map": pa.array(
                [[("a", 1)], [("b", 2), ("c", None)], None], pa.map_(pa.string(), pa.int64())
            ),
        }
    )
    path = tmp_path / "t"
    write_deltalake(str(path), table)
    before = DeltaTable(str(path)).to_pyarrow_table()
    schema_before = store(path).schema()
    erase(store(path, ["customer_id"]), {"customer_id": ["c-000042"]})
    after = DeltaTable(str(path)).to_pyarrow_table()
    assert store(path).schema() == schema_before
    assert str(after.slice(0, 2).to_pylist()) == str(before.slice(1, 2).to_pylist())
    assert after.schema == before.schema


def test_times_that_spark_wrote_as_int96_are_read_the_same_after_a_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "t"
    moment = dt.datetime(1500, 6, 1, 1, 2, 3, tzinfo=dt.UTC)  # outside the range of nanoseconds
    append(path, pl.DataFrame({"customer_id": ["c-000042", "c-1"], "at": [moment, moment]}))
    file = path / store(path).versions()[0].objects[0].path
    pq.write_table(pq.read_table(file), file, use_deprecated_int96_timestamps=True)
    add = json.loads((path / "_delta_log" / f"{0:020d}.json").read_text().splitlines()[-1])
    add["add"]["size"] = file.stat().st_size
    commit(path, 1, [{"remove": {"path": add["add"]["path"], "dataChange": True}}, add])
    erase(store(path, ["customer_id"]), {"customer_id": ["c-000042"]})
    assert pl.read_delta(str(path))["at"].to_list() == [moment]


def test_a_filtered_dictionary_does_not_carry_the_person_over(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(0, 60))
    file = path / store(path).versions()[0].objects[0].path
    table = pq.read_table(file)
    table = table.set_column(
        0, "customer_id", table.column(0).cast(pa.string()).dictionary_encode()
    )
    pq.write_table(table, file)
    assert pa.types.is_dictionary(pq.read_schema(file).field("customer_id").type)
    needles = {"customer_id": ["c-000042"]}
    plan = store(path).plan_erase(store(path).find_subject(needles), mode="purge")
    store(path).erase(plan, needles)
    store(path).purge_history(plan)
    assert store(path).verify_erased(["c-000042"], ("customer_id", "c-000007")).clean


def test_a_dictionary_page_that_no_row_uses_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(0, 60))
    file = path / store(path).versions()[0].objects[0].path
    table = pq.read_table(file)
    coded = table.column("customer_id").cast(pa.string()).combine_chunks().dictionary_encode()
    table = table.set_column(0, "customer_id", coded)
    kept = pa.compute.not_equal(table.column(0).cast(pa.string()), "c-000042")
    pq.write_table(table.filter(kept), file, compression="zstd")
    assert "c-000042" not in pl.read_parquet(file)["customer_id"].cast(pl.String).to_list()
    assert b"c-000042" not in file.read_bytes(), "compressed, so no search of bytes sees it"
    report = store(path).verify_erased(["c-000042"], None)
    assert [(t.path, t.where) for t in report.traces] == [
        (file.name, "dictionary page of column customer_id")
    ]


def test_columns_that_appear_in_later_versions_are_searched_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(100, 150).drop("email"))
    append(path, customers(150, 160, person=True), schema_mode="merge")
    findings = store(path).find_subject({"email": PERSON["email"]})
    assert findings.rows_by_version == {"0": 0, "1": 1}
    erase(store(path), {"email": PERSON["email"]})
    assert store(path).verify_erased(EVERY_NEEDLE, ("customer_id", "c-000107")).clean
    assert rows_of(path).height == 60


def test_statistics_of_the_commit_are_those_of_the_rows_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(0, 50))
    opened = store(path)
    needles = {"customer_id": ["c-000000", "c-000049"]}  # lowest and highest
    plan = opened.plan_erase(opened.find_subject(needles), mode="purge")
    opened.erase(plan, needles)
    added = pl.DataFrame(DeltaTable(str(path)).get_add_actions(flatten=True))
    assert added["min.customer_id"].to_list() == ["c-000001"]
    assert added["max.customer_id"].to_list() == ["c-000048"]
    assert added["null_count.customer_id"].to_list() == [0]


def test_a_log_path_that_leads_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    customers(0, 60).write_parquet(secret)
    path = tmp_path / "t"
    append(path, customers(100, 110))
    add = json.loads((path / "_delta_log" / f"{0:020d}.json").read_text().splitlines()[-1])
    commit(path, 1, [{"add": {**add["add"], "path": "../secret.parquet"}}])
    with pytest.raises(StoreError, match="not there"):
        store(path).find_subject(PERSON)
    assert secret.exists()


def test_the_version_2_to_3_gap_of_a_cleaned_log_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for start in (0, 10, 20, 30):
        append(path, customers(start, start + 10))
    DeltaTable(str(path)).create_checkpoint()
    (path / "_delta_log" / f"{1:020d}.json").unlink()
    assert [v.id for v in store(path).versions()] == ["0", "3"]
    (path / "_delta_log" / f"{3:020d}.checkpoint.parquet").unlink()
    with pytest.raises(StoreError, match="has a gap before version 3"):
        store(path).versions()
