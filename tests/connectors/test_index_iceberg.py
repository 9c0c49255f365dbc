"""The subject index of an Iceberg table: by it, a search finds what it finds without."""

import random
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFileContent
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import DoubleType, LongType, NestedField, UUIDType

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg import IcebergStore
from tests.connectors import iceberg_history
from tests.connectors.iceberg_builders import (
    PERSON,
    append,
    clean,
    customers,
    erase,
    folder,
    make,
    person,
    store,
    table,
    table_with_person,
)
from tests.connectors.indexing import assert_forgets, both_ways, build, index_at
from tests.connectors.test_iceberg_shapes import hide, partitioned, with_categories

DEVICE = uuid.UUID("6f1c2d3e-4b5a-4978-8a9b-0c1d2e3f4a5b")


def plain_table(lake: Path) -> IcebergStore:
    return store(table_with_person(lake, tag=True))


def partitioned_table(lake: Path) -> IcebergStore:
    make(lake, spec=partitioned((1, IdentityTransform(), "who"), (2, BucketTransform(2), "mail")))
    append(lake, customers(1, 4, person()))
    append(lake, customers(4, 6, person(1)))
    return store(lake)


def renamed_table(lake: Path) -> IcebergStore:
    """With a column under another name than before, and another column under its old name."""
    make(lake)
    append(lake, customers(1, 3, person()))
    with table(lake) as opened:
        with opened.update_schema() as update:
            update.rename_column("email", "mail")
        with opened.update_schema() as update:
            update.add_column("email", LongType())
    rows = [{k: v for k, v in row.items() if k != "email"} for row in customers(3, 6)]
    append(lake, [row | {"mail": "ANN.archer@mail.example", "email": 42} for row in rows])
    return store(lake, ("customer_id", "mail"))


def numberless_table(lake: Path) -> IcebergStore:
    """As Hive wrote them: without column numbers, and without the column of the partition."""
    make(lake, spec=partitioned((1, IdentityTransform(), "customer_id")))
    paths = [folder(lake) / f"data/customer_id={w}/a.parquet" for w in (PERSON_ID, "c-1")]
    for path in paths:
        path.parent.mkdir(parents=True)
        who = [path.parent.name.partition("=")[2]] * 2
        rows = {"customer_id": who, "email": [None, "x@y.example"], "bought": [1, 2]}
        pq.write_table(pa.table(rows), path)
    with table(lake) as opened:
        opened.add_files([f"file://{path}" for path in paths])
    for path in paths:
        pq.write_table(pq.read_table(path, partitioning=None).select(["email", "bought"]), path)
    return store(lake)


def typed_table(lake: Path) -> IcebergStore:
    schema = Schema(
        NestedField(1, "number", LongType()),
        NestedField(2, "device", UUIDType()),
        NestedField(3, "rounded", DoubleType()),
    )
    make(lake, schema)
    with table(lake) as opened:
        devices = [DEVICE.bytes, None, uuid.UUID(int=5).bytes]
        columns = {"number": [42, 42, None], "device": devices, "rounded": [42.0, -0.0, 0.5]}
        rows = pa.table(columns, schema=opened.schema().as_arrow())
        opened.append(rows)
        opened.append(rows.slice(1))
    return store(lake, ("number", "device", "rounded"))


def nested_table(lake: Path) -> IcebergStore:
    make(lake)
    append(lake, customers(1, 9))
    append(lake, customers(9, 12))
    return store(lake, ("account.mail",))


def hiding_table(lake: Path) -> IcebergStore:
    """With a delete file that names the person, and a leftover that does."""
    make(lake)
    append(lake, customers(1, 5, person()))
    append(lake, customers(5, 8))
    path = folder(lake) / "data" / "00000-delete.parquet"
    field = pa.field("customer_id", pa.string(), metadata={b"PARQUET:field_id": b"1"})
    pq.write_table(pa.table([PERSON["customer_id"]], schema=pa.schema([field])), path)
    hide(lake, path, DataFileContent.EQUALITY_DELETES, [1])
    pq.write_table(pa.table({"email": PERSON["email"]}), folder(lake) / "data" / "left.parquet")
    (folder(lake) / "data" / "broken.parquet").write_bytes(b"PAR1 and no more")
    return store(lake)


def filtered_table(lake: Path) -> IcebergStore:
    """With the person among the categories of a file, but in none of its rows."""
    make(lake)
    append(lake, customers(1, 5, person()))
    append(lake, customers(5, 8))
    with table(lake) as opened:
        rows = with_categories(opened)
        opened.overwrite(rows.filter(pc.field("email") != person()["email"]))
    append(lake, customers(8, 12))
    return store(lake)


PERSON_ID = PERSON["customer_id"][0]
TABLES = [
    plain_table, partitioned_table, renamed_table, numberless_table, typed_table, nested_table,
    hiding_table, filtered_table,
]  # fmt: skip
ASKED = [
    PERSON_ID, PERSON_ID.upper(), "c-000004-northern-branch", "nobody", "ann.archer@mail.example",
    " Ann.Archer@MAIL.example", "x@y.example", "c-1", "INNER7@shop.example", "42", "0042", "0",
    str(DEVICE), DEVICE.hex.upper(),
]  # fmt: skip


@pytest.mark.parametrize("made", TABLES)
def test_every_table_is_searched_alike_with_an_index(tmp_path: Path, made: Any) -> None:
    opened = made(tmp_path)
    index = index_at(tmp_path)
    build(opened, index)
    columns = opened.subject_columns
    for asked in ASKED:
        _, found = both_ways(opened, index, {c: [asked] for c in columns})
        assert found.method.startswith("by index of "), found.method
    for column in columns:
        both_ways(opened, index, {column: ASKED})


def test_a_file_with_a_category_that_no_row_has_is_read_whatever_the_index_says(
    tmp_path: Path,
) -> None:
    opened, index = filtered_table(tmp_path), index_at(tmp_path)
    assert build(opened, index) == 3, "all but the filtered one, of four"
    _, found = both_ways(opened, index, PERSON)
    assert (opened.versions()[-2].objects[0].path, 0) in {(o.path, o.rows) for o in found.objects}


@pytest.mark.parametrize("made", [plain_table, partitioned_table, renamed_table])
def test_somebody_who_is_in_few_files_is_found_by_reading_these(tmp_path: Path, made: Any) -> None:
    opened, index = made(tmp_path), index_at(tmp_path)
    build(opened, index)
    plain, found = both_ways(opened, index, {"customer_id": ["c-000001-northern-branch"]})
    assert found.bytes_searched < plain.bytes_searched
    _, nobody = both_ways(opened, index, {"customer_id": ["c-999999"]})
    assert nobody.bytes_searched == 0


def test_persons_at_random_are_found_alike_in_a_table_that_goes_on(tmp_path: Path) -> None:
    """One column: rows are counted by the index alone, whatever was appended and deleted."""
    chance = random.Random(7)  # noqa: S311 (nothing secret)
    index, opened = index_at(tmp_path), store(make(tmp_path), ["customer_id"])
    for step in range(6):
        numbers = chance.choices(range(30), k=8)
        append(tmp_path, [customers(n, n + 1)[0] for n in numbers])
        with table(tmp_path) as changed:
            if step % 3 == 2:
                changed.delete(f"customer_id = 'c-{chance.choice(numbers):06d}-northern-branch'")
        if step != 4:  # the last files but one are not known yet when it is searched
            build(opened, index)
        for number in chance.sample(range(40), 5):
            asked = {"customer_id": [f"c-{number:06d}-northern-branch"]}
            _, found = both_ways(opened, index, asked)
            assert ("without an entry" in found.method) == (step == 4)
            assert step == 4 or found.bytes_searched == 0


def test_files_that_the_index_does_not_know_are_searched_themselves(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path), index_at(tmp_path)
    known = build(opened, index)
    append(tmp_path, customers(300, 320, person()))
    _, found = both_ways(opened, index, PERSON)
    assert "; 1 files without an entry in it read once" in found.method
    assert build(opened, index) == 1, "only the new file is hashed"
    assert len(list(index.folder.glob("*.segment"))) == known + 1
    assert build(opened, index) == 0


def test_a_damaged_segment_costs_a_read_and_is_built_anew(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path), index_at(tmp_path)
    build(opened, index)
    for path in index.folder.glob("*.segment"):
        path.write_bytes(path.read_bytes()[:-1])
    plain, found = both_ways(opened, index, PERSON)
    assert found.method == plain.method
    assert build(opened, index) == len(list(index.folder.glob("*.segment")))
    _, found = both_ways(opened, index, PERSON)
    assert found.method.startswith("by index of ")


def test_a_column_that_gets_the_name_that_is_looked_for_is_hashed_anew(tmp_path: Path) -> None:
    opened, index = store(table_with_person(tmp_path), ("customer_id", "mail")), index_at(tmp_path)
    files = build(opened, index)
    with table(tmp_path) as changed, changed.update_schema() as update:
        update.rename_column("email", "mail")
    plain, found = both_ways(opened, index, {"mail": PERSON["email"]})
    assert sum(found.rows_by_version.values())
    assert found.method == plain.method
    assert build(opened, index) == files


def test_a_file_that_cannot_be_read_is_told_as_without_an_index(tmp_path: Path) -> None:
    opened, index = plain_table(tmp_path), index_at(tmp_path)
    for path in (folder(tmp_path) / "data").glob("*.parquet"):
        path.write_bytes(b"PAR1 and no more")
    assert build(opened, index) == 0
    opened.index = index
    with pytest.raises(StoreError, match="cannot be read: it is damaged"):
        opened.find_subject(PERSON)


@pytest.mark.parametrize("erased", [erase, iceberg_history.erase], ids=["purged", "kept"])
def test_after_an_erasure_nothing_of_the_person_is_left_in_it(tmp_path: Path, erased: Any) -> None:
    opened, index = plain_table(tmp_path), index_at(tmp_path)
    somebody = {"customer_id": ["c-000103-northern-branch"]}
    found = assert_forgets(opened, index, PERSON, somebody, lambda: erased(opened))
    assert not found.objects
    assert clean(opened)


def test_the_scan_never_looks_at_it(tmp_path: Path) -> None:
    """An index that knows every file and in none of them anybody: the scan finds the person."""
    opened, index = plain_table(tmp_path), index_at(tmp_path)
    build(opened, index)
    for path in index.folder.glob("*.segment"):
        index.add(path.stem, pl.LazyFrame({"customer_id": ["nobody"]}), {})
    opened.index = index
    assert not [o for o in opened.find_subject(PERSON).objects if o.rows]
    report = opened.verify_erased([v for vs in PERSON.values() for v in vs], None)
    assert {t.where for t in report.traces} >= {"column customer_id", "column email"}
