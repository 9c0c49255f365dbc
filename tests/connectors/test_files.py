"""Folders of plain files: find, erase, and what must not change."""

import gzip
import json
import os
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.adapters.base import PlanOutdatedError, StoreError, StoreNotFoundError
from tests.connectors.folders import (
    EVERY_NEEDLE,
    HEADER,
    OTHERS,
    PERSON,
    THEIRS,
    clean,
    contents,
    csv_with_person,
    csv_without,
    erase,
    folder_with_person,
    frame,
    json_line,
    jsonl_without,
    planned,
    store,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with_person(tmp_path / "lake")


def write(path: Path, body: "bytes | str") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body.encode() if isinstance(body, str) else body)
    return path


# Versions.


def test_a_folder_has_one_version_named_after_its_content(folder: Path) -> None:
    (version,) = store(folder).versions()
    assert store(folder).versions() == [version]
    assert version.refs == ("current",)
    assert version.rows == 6 + 6 + 3 + 5 + 5 + 13
    assert version.bytes == sum(
        p.stat().st_size for p in folder.rglob("*.*") if p.name != "README.md"
    )
    assert len(version.objects) == 6
    assert all(o.digest and len(o.digest) == 64 for o in version.objects)
    assert dict(version.schema)["customer_id"] == "string"
    os.utime(folder / "orders.csv", (1, 1))
    assert store(folder).versions()[0].id == version.id
    write(folder / "README.md", "no data")
    assert store(folder).versions()[0].id == version.id
    write(folder / "orders.csv", csv_with_person() + b"c-000009,,x\n")
    assert store(folder).versions()[0].id != version.id


def test_without_digests_no_content_is_read(folder: Path) -> None:
    (quick,) = store(folder).versions(digests=False)
    assert quick.id == store(folder).versions(digests=False)[0].id
    assert quick.digest is None
    assert quick.rows is None  # a CSV file does not say how many rows it has
    body = (folder / "orders.csv").read_bytes()
    write(folder / "orders.csv", body.replace(b"plain", b"PLAIN"))
    os.utime(folder / "orders.csv", (1, 1))
    assert store(folder).versions(digests=False)[0].id != quick.id


def test_the_profile_counts_and_shows_no_value(folder: Path) -> None:
    profile = store(folder).profile()
    assert profile["version"] == store(folder).versions()[0].id
    assert (profile["rows"], profile["files"]) == (38, 6)
    assert profile["columns"]["month"]["nulls"] == 15
    assert profile["columns"]["note"] == {"type": "string", "nulls": 26, "distinct": 6}
    assert profile["duplicates"] == 11
    assert not any(needle in json.dumps(profile) for needle in EVERY_NEEDLE)


def test_the_identifiers_of_the_current_version_are_listed(folder: Path) -> None:
    opened = store(folder)
    current = opened.versions()[0].id
    found = set(opened.identifier_values("customer_id", current))
    assert {"c-000042", "c-000001", "c-000005", "c-000109"} <= found
    with pytest.raises(StoreError, match="keeps no version 17"):
        list(opened.identifier_values("customer_id", "17"))
    with pytest.raises(StoreError, match="has a column phone"):
        list(opened.identifier_values("phone", current))


# Finding.


def test_every_file_is_searched_once_in_every_format(folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    findings = store(folder).find_subject(PERSON, lambda p, n, t, _b: seen.append((p, n, t)))
    assert {o.path: o.rows for o in findings.objects} == {
        "orders.csv": 2,
        "2024/orders.csv.gz": 2,
        "2024/orders.tsv": 2,
        "2024/month=1/events.jsonl": 2,
        "2024/month=1/events.jsonl.gz": 2,
        "2024/month=1/part-0.parquet": 2,
    }
    assert findings.rows_by_version == {store(folder).versions()[0].id: 12}
    assert findings.linked == {"customer_id": ("c-000777",)}
    assert findings.files_searched == 6
    assert seen[-1] == ("find", 6, 6)


@pytest.mark.parametrize(
    ("identifier", "value", "found"),
    [
        ("00004", "00004", True),
        ("00004", 4, True),
        ("00004", 4.0, True),
        ("4", "04", False),
        ("4", True, False),
        ("4", None, False),
        ("ann@x.example", " ANN@X.example", True),
        ("ann@x.example", "joann@x.example", False),
        ("Ab3xyz9", "aB3xyz9", False),
        (str(uuid.UUID(int=7)), uuid.UUID(int=7).hex.upper(), True),
    ],
)
def test_who_is_the_same_person(
    tmp_path: Path, identifier: str, value: Any, *, found: bool
) -> None:
    needles = {"who": [identifier]}
    write(tmp_path / "a.jsonl", json_line(who=value) + json_line(who=[value, "other"]))
    write(tmp_path / "b.jsonl", json_line(account={"who": value}))
    if isinstance(value, bool) or value is None:
        pl.DataFrame({"who": [value]}).write_parquet(tmp_path / "c.parquet")
    else:
        pl.DataFrame({"who": [None, value]}).write_parquet(tmp_path / "c.parquet")
        if isinstance(value, str):
            write(tmp_path / "d.csv", f"who,n\n{value},1\n,2\n")
    opened = store(tmp_path, ["who"], unrelated_files=["b.jsonl"])
    rows = sum(o.rows for o in opened.find_subject(needles).objects if o.kind == "data")
    expected = 3 + isinstance(value, str) if found else 0
    assert rows == expected
    nested = store(tmp_path, ["account.who"], unrelated_files=["[acd].*"])
    findings = nested.find_subject({"account.who": [identifier]})
    assert sum(o.rows for o in findings.objects if o.kind == "data") == found


def test_a_number_in_another_spelling_is_asked_about(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "customer_id,n\n4,1\n00005,2\n")
    needles = {"customer_id": ["00004"]}
    (blocker,) = planned(store(tmp_path, ["customer_id"]), needles).blockers
    assert "number_columns" in blocker
    opened = store(tmp_path, ["customer_id"], number_columns=["customer_id"])
    erase(opened, needles)
    assert (tmp_path / "a.csv").read_bytes() == b"customer_id,n\n00005,2\n"
    assert clean(opened, needles)


def test_parquet_structs_are_searched(tmp_path: Path) -> None:
    rows = [{"account": {"email": "ANN@x.example"}}, {"account": {"email": "b@x.example"}}]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    opened = store(tmp_path, ["account.email"])
    needles = {"account.email": ["ann@x.example"]}
    assert erase(opened, needles).rows == 1
    assert pl.read_parquet(tmp_path / "a.parquet").to_dicts() == rows[1:]
    assert clean(opened, needles)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("customer_id;email\n{0};x\nc-000001;b@x.example\n", {}),
        ("email|customer_id\nx|{0}\nb@x.example|c-000001\n", {}),
        ("\ufeffcustomer_id,email\n{0},x\nc-000001,b@x.example\n", {}),
        ("'customer_id','email'\n'{0}','it''s'\n'c-000001','b@x.example'\n", {}),
        ("customer_id^email\n{0}^x\nc-000001^b@x.example\n", {"delimiter": "^"}),
        ('customer_id,email\n"{0}","a \\" b"\n"c-000001","c"\n', {"escape": "\\"}),
        ("customer_id , email\n {0} ,x\n c-000001,b@x.example\n", {}),
        ("customer_id\n{0}\nc-000001\n", {}),
        ("customer_id,n\r{0},1\rc-000001,2\r", {}),
    ],
    ids=[
        "semicolon",
        "pipe",
        "mark",
        "apostrophe",
        "caret",
        "escape",
        "blanks",
        "single",
        "return",
    ],
)
def test_csv_dialects_are_found_out_or_given(
    tmp_path: Path, body: str, options: dict[str, Any]
) -> None:
    written = body.format("c-000042")
    write(tmp_path / "a.csv", written)
    opened = store(tmp_path, ["customer_id"], **options)
    needles = {"customer_id": ["c-000042"]}
    assert erase(opened, needles).rows == 1
    lines = written.splitlines(keepends=True)
    assert (tmp_path / "a.csv").read_bytes() == (lines[0] + lines[2]).encode()
    assert clean(opened, needles)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16"])
def test_encodings_are_kept(tmp_path: Path, encoding: str) -> None:
    text = "customer_id,name\nc-000042,Ann\nc-000001,Zoë\n"
    write(tmp_path / "a.csv", text.encode(encoding))
    options: dict[str, Any] = {"encoding": encoding} if encoding == "cp1252" else {}
    opened = store(tmp_path, ["customer_id"], **options)
    needles = {"customer_id": ["c-000042"]}
    erase(opened, needles)
    assert (tmp_path / "a.csv").read_bytes() == text.replace("c-000042,Ann\n", "").encode(encoding)
    assert clean(opened, needles)


@pytest.mark.parametrize(
    ("name", "body", "fault"),
    [
        ("a.csv", "customer_id,n\nc-1,1\nc-2\n", "a.csv has a broken row at line 3: it has 1"),
        ("a.csv", "customer_id,n\nc-1,1,9\n", "line 2: it has 3 fields, and the header 2"),
        ("a.csv", 'customer_id,n\nc-1,"1\nc-2,2\n', "a.csv has a broken row at line 3"),
        ("a.csv", 'customer_id,n\n"c-1"x,1\n', "a.csv has a broken row at line 2"),
        ("a.csv", "\n\nc-1,1\n", "a.csv has no header"),
        ("a.csv", "name,n\nx,1\n", r"a.csv has none of the columns customer_id.*name, n"),
        ("a.csv", b"customer_id\n" + b"c-1\n" * 300_000 + b"\xff\xfe\n", "not text in the enc"),
        ("a.csv.gz", gzip.compress(b"customer_id\nc-1\n", mtime=0)[:-6], "a.csv.gz cannot be read"),
        ("a.csv.gz", b"customer_id\nc-1\n", "a.csv.gz cannot be read"),
        ("a.jsonl", '{"customer_id": 1}\n{"customer_id": \n', "row at line 2: it is not JSON"),
        ("a.jsonl", "[1]\n", "line 1: it is no JSON object"),
        ("a.jsonl", '{"name": 1}\n', "has none of the columns customer_id"),
        ("a.parquet", b"PAR1 and then nothing PAR1", "a.parquet cannot be read"),
        ("a.parquet", b"", "a.parquet cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_and_never_skipped(
    tmp_path: Path, name: str, body: "bytes | str", fault: str
) -> None:
    write(tmp_path / name, body)
    with pytest.raises(StoreError, match=fault):
        store(tmp_path, ["customer_id"]).find_subject({"customer_id": ["c-000042"]})


def test_a_page_of_parquet_that_is_damaged_is_an_error_and_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frame().write_parquet(path, compression="zstd")
    plan = planned(store(tmp_path))
    body = bytearray(path.read_bytes())
    body[8:60] = bytes(52)
    path.write_bytes(body)
    with pytest.raises(StoreError, match=r"a\.parquet cannot be read"):
        store(tmp_path).find_subject(PERSON)
    with pytest.raises(PlanOutdatedError):
        store(tmp_path).erase(plan, PERSON)
    assert path.read_bytes() == body
    assert os.listdir(tmp_path) == ["a.parquet"]  # noqa: PTH208 (hidden files count)


def test_a_column_that_no_file_has_is_an_error(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"No file of the folder .* has a column phone"):
        store(folder).find_subject({"phone": ["0123"]})


def test_files_said_to_be_unrelated_are_not_searched_by_row(folder: Path) -> None:
    write(folder / "products.csv", "product,price\nbook,1\n")
    with pytest.raises(StoreError, match=r'products\.csv has none .* "unrelated_files"'):
        store(folder).schema()
    opened = store(folder, unrelated_files=["products*.csv"])
    assert "product" in dict(opened.schema())
    erase(opened)
    write(folder / "products.csv", "product,price\nann.archer@mail.example,1\n")
    (blocker,) = planned(opened).blockers
    assert "unrelated_files says that it names nobody" in blocker


def test_free_text_counts_where_an_option_says_so(tmp_path: Path) -> None:
    rows = [
        {"customer_id": None, "email": None, "note": "call Ann.Archer@mail.example back"},
        {"customer_id": "c-000001", "email": None, "note": "nothing"},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    write(tmp_path / "a.jsonl", "".join(json_line(**row) for row in rows))
    write(tmp_path / "a.csv", "customer_id,email,note\n,,see c-000042!\nc-000001,,nothing\n")
    assert planned(store(tmp_path)).rows == 0
    opened = store(tmp_path, text_columns=["note"])
    assert erase(opened).rows == 3
    assert clean(opened)


def test_a_row_of_somebody_else_that_mentions_the_person_blocks(tmp_path: Path) -> None:
    row = {"customer_id": "c-000001", "email": None, "note": "friend of ann.archer@mail.example"}
    pl.DataFrame([row]).write_parquet(tmp_path / "a.parquet")
    write(tmp_path / "b.jsonl", json_line(**row))
    opened = store(tmp_path, text_columns=["note"])
    findings = opened.find_subject(PERSON)
    assert findings.linked == {}  # the other person is not followed
    plan = opened.plan_erase(findings, mode="purge")
    assert [b.split(" name the person")[0] for b in plan.blockers] == [
        "Texts in a.parquet",
        "Texts in b.jsonl",
    ]
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)


# Erasing.


def test_an_erasure_leaves_everything_else_byte_for_byte(folder: Path) -> None:
    opened = store(folder)
    assert not clean(opened)
    plan = planned(opened)
    erased = opened.erase(plan, PERSON)
    assert erased.rows == plan.rows == 12
    assert erased.objects_removed == erased.objects_added == plan.objects
    assert erased.new_version == opened.versions()[0].id != plan.snapshot
    opened.purge_history(plan)
    found = contents(folder)
    assert sorted(found) == [
        "2024/month=1/events.jsonl", "2024/month=1/events.jsonl.gz",
        "2024/month=1/part-0.parquet", "2024/orders.csv.gz", "2024/orders.tsv", "README.md",
        "orders.csv",
    ]  # fmt: skip
    assert found["orders.csv"] == found["2024/orders.csv.gz"] == csv_without()
    assert found["2024/month=1/events.jsonl"] == jsonl_without()
    assert found["2024/month=1/events.jsonl.gz"] == jsonl_without()
    assert found["2024/orders.tsv"] == b"customer_id\temail\tn\nc-000001\tBob@Shop.example\t2\n"
    assert pl.read_parquet(folder / "2024/month=1/part-0.parquet", hive_partitioning=False).equals(
        frame(person=False), null_equal=True
    )
    assert clean(opened)
    assert planned(opened).objects == ()


@pytest.mark.parametrize(
    "left", ["orders.csv", "2024/orders.csv.gz", "2024/orders.tsv",
             "2024/month=1/events.jsonl.gz", "2024/month=1/part-0.parquet"],
)  # fmt: skip
def test_the_scan_finds_the_person_in_one_file_that_is_left_as_it_was(
    folder: Path, left: str
) -> None:
    before = (folder / left).read_bytes()
    opened = store(folder)
    erase(opened)
    assert clean(opened)
    (folder / left).write_bytes(before)
    control = opened.control_subject(PERSON)
    for needles in (EVERY_NEEDLE, ["c-000042"]):
        report = opened.verify_erased(needles, control)
        assert not report.clean
        assert {trace.path.partition("!")[0] for trace in report.traces} == {left}


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"]
)
def test_the_scan_finds_a_short_identifier_and_the_control_in_every_format(
    tmp_path: Path, name: str
) -> None:
    frame = pl.DataFrame({"customer_id": ["00021", "00004"], "n": ["x", "y"]})
    if name.endswith(".parquet"):
        frame.write_parquet(tmp_path / name)
    else:
        tab = "\t" if ".tsv" in name else ";"
        text = frame.write_csv(separator=tab) if "sv" in name else frame.write_ndjson()
        body = text.encode()
        write(tmp_path / name, gzip.compress(body) if name.endswith(".gz") else body)
    opened = store(tmp_path, ["customer_id"])
    needles = {"customer_id": ["00004"]}
    control = opened.control_subject(needles)
    assert control == ("customer_id", "00021")
    report = opened.verify_erased(["00004"], control)
    assert report.traces
    assert report.control_found
    assert opened.verify_erased(["00009"], ("customer_id", "00008")).control_found is False
    erase(opened, needles)
    assert clean(opened, needles)


def test_a_file_without_any_row_left_keeps_its_header_or_schema(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", HEADER + b"".join(THEIRS))
    write(tmp_path / "b.jsonl.gz", gzip.compress(b'{"customer_id": "c-000042"}\n'))
    frame().filter(pl.col("price").is_in([1.0, 2.0])).write_parquet(tmp_path / "c.parquet")
    write(tmp_path / "empty.csv", HEADER)
    write(tmp_path / "nothing.csv", "")
    write(tmp_path / "2024" / "one.csv", HEADER + THEIRS[0])
    write(tmp_path / "empty.jsonl", "")
    frame().clear().write_parquet(tmp_path / "empty.parquet")
    write(tmp_path / "others.csv", HEADER + OTHERS[0])
    opened = store(tmp_path)
    before = opened.schema()
    assert erase(opened).rows == 6
    assert opened.schema() == before
    found = contents(tmp_path)
    assert found["a.csv"] == found["2024/one.csv"] == HEADER
    assert found["b.jsonl.gz"] == b""
    assert pl.read_parquet(tmp_path / "c.parquet").schema == frame().schema
    assert clean(opened)


def test_nothing_is_touched_where_nobody_is_found(folder: Path) -> None:
    opened = store(folder)
    needles = {"customer_id": ["c-999999"]}
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    plan = planned(opened, needles)
    assert (plan.objects, plan.rows, plan.versions_lost) == ((), 0, ())
    erased = opened.erase(plan, needles)
    assert erased.rows == 0
    opened.purge_history(plan)
    after = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    assert after == {p: t for p, t in before.items() if p.is_file()}


def test_mode_and_attributes_of_a_file_are_kept(folder: Path) -> None:
    path = folder / "orders.csv"
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    before = path.stat()
    erase(store(folder))
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode, before.st_uid, before.st_gid,
    )  # fmt: skip
    assert after.st_mtime_ns > before.st_mtime_ns


def test_parquet_keeps_its_types_groups_codecs_and_notes(tmp_path: Path) -> None:
    table = pa.table(
        {
            "customer_id": pa.array(["c-000042", "c-1", "c-2", "c-3", "c-000042", "c-4"] * 50),
            "kind": pa.array(["c-000042", "b", "a", "b", "c-000042", "b"] * 50).dictionary_encode(),
            "tags": pa.array([["c-000042"], ["x"], [], None, ["y"], ["z"]] * 50),
            "f": pa.array([float("nan"), 1.0, None, float("nan"), 2.0, -0.0] * 50),
            "nested": pa.array([{"f": float("nan"), "i": None}, None] * 150),
            "at": pa.array(range(300), pa.timestamp("us", "Europe/Berlin")),
            "small": pa.array([1, 2, 3] * 100, pa.int8()),
            "price": pa.array([1, 2, 3] * 100, pa.decimal128(9, 2)),
        }
    )
    table = table.replace_schema_metadata(
        {"pandas": '{"columns": []}', "seen": "for c-000042 only"}
    )
    pq.write_table(
        table, tmp_path / "a.parquet", row_group_size=100,
        compression={"customer_id": "zstd", "kind": "gzip"}, use_dictionary=["kind"],
        write_page_index=True, store_decimal_as_integer=True,
    )  # fmt: skip
    before = pq.ParquetFile(tmp_path / "a.parquet")
    opened = store(tmp_path, ["customer_id"])
    needles = {"customer_id": ["c-000042"]}
    assert erase(opened, needles).rows == 100
    after = pq.ParquetFile(tmp_path / "a.parquet")
    assert after.schema_arrow.equals(before.schema_arrow)
    assert after.schema.equals(before.schema)
    assert after.metadata.metadata.keys() == before.metadata.metadata.keys() - {b"seen"}
    assert [after.metadata.row_group(i).num_rows for i in range(3)] == [67, 66, 67]
    for column in range(before.metadata.num_columns):
        was, now = (m.row_group(0).column(column) for m in (before.metadata, after.metadata))
        assert was.compression == now.compression
        assert was.has_dictionary_page == now.has_dictionary_page
        assert was.has_column_index == now.has_column_index
    kept = [v for v in table["customer_id"].to_pylist() if v != "c-000042"]
    assert after.read()["customer_id"].to_pylist() == kept
    assert clean(opened, needles)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["c-000042", None, "long enough to be no inline view"], pa.string_view()),
        pa.array([b"x", None, b"y"], pa.binary_view()),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16] * 3, pa.binary(16))),
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None, "[1]"])),
        pa.array([[("c-000042", [1.5])], None, [("b", [float("nan")])]],
                 pa.map_(pa.string(), pa.list_(pa.float32()))),
        pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
        pa.array([1, None, 2**64 - 1], pa.uint64()),
        pa.array(["1.5", None, "2.5"]).cast(pa.decimal256(60, 2)),
        pa.array([1, None, 3], pa.duration("ms")),
        pa.array([None, None, None]),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_columns_of_any_type_are_kept(tmp_path: Path, column: pa.Array) -> None:
    table = pa.table({"customer_id": ["c-000042", "c-1", "c-2"], "v": column})
    for name, options in (("a", {}), ("b", {"data_page_version": "2.0"})):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2, **options)
    before = pq.ParquetFile(tmp_path / "a.parquet")
    opened = store(tmp_path, ["customer_id"])
    needles = {"customer_id": ["c-000042"]}
    erase(opened, needles)
    for name in ("a", "b"):
        after = pq.ParquetFile(tmp_path / f"{name}.parquet")
        assert after.schema.equals(before.schema)
        assert after.schema_arrow.equals(before.schema_arrow)
        assert str(after.read()["v"].combine_chunks()) == str(table["v"].slice(1).combine_chunks())
    assert clean(opened, needles)


def test_times_of_other_writers_are_kept_or_refused(tmp_path: Path) -> None:
    """INT96, as Spark and Hive wrote them for long: in microseconds, up to the year 9999."""
    times = pa.array([0, 253_402_300_799_999_999, None], pa.timestamp("us"))
    table = pa.table({"customer_id": ["c-000042", "c-1", "c-2"], "at": times})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False)
    erase(store(tmp_path, ["customer_id"]), {"customer_id": ["c-000042"]})
    assert pq.ParquetFile(path).schema.column(1).physical_type == "INT96"
    read = pq.read_table(path, coerce_int96_timestamp_unit="us")
    assert read["at"].to_pylist() == table["at"].to_pylist()[1:]
    odd = table.set_column(1, "at", pa.array([1, 2, 3], pa.timestamp("ns")))
    pq.write_table(odd, path, use_deprecated_int96_timestamps=True, store_schema=False)
    before = path.read_bytes()
    opened = store(tmp_path, ["customer_id"])
    needles = {"customer_id": ["c-000042"]}
    with pytest.raises(StoreError, match="its other rows would not be what they were"):
        opened.erase(planned(opened, needles), needles)
    assert path.read_bytes() == before


# Names.


def test_a_partition_of_the_person_goes_as_a_whole(tmp_path: Path) -> None:
    for who in ("c-000042", "c-000001"):
        write(tmp_path / f"customer_id={who}" / "a.csv", "email,n\n,1\n,2\n")
        pl.DataFrame({"n": [1]}).write_parquet(tmp_path / f"customer_id={who}" / "b.parquet")
    write(tmp_path / "customer_id=c-000042" / ".a.csv.crc", b"crc\x00")
    opened = store(tmp_path)
    plan = planned(opened)
    assert plan.objects == ("customer_id=*/a.csv", "customer_id=*/b.parquet")
    assert plan.rows == 3
    erase(opened)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["customer_id=c-000001"]
    assert clean(opened)


def test_a_file_named_after_the_person_goes_if_nobody_else_is_in_it(tmp_path: Path) -> None:
    write(tmp_path / "ann.archer@mail.example.csv", HEADER + THEIRS[0])
    write(tmp_path / "c-000042.jsonl", "")
    write(tmp_path / "others.csv", HEADER + OTHERS[0])
    opened = store(tmp_path)
    plan = planned(opened)
    assert plan.objects == ("*.csv", "*.jsonl")
    erase(opened)
    assert [p.name for p in tmp_path.iterdir()] == ["others.csv"]
    assert clean(opened)


def test_a_file_named_after_the_person_with_others_in_it_blocks(tmp_path: Path) -> None:
    write(tmp_path / "c-000042.csv", HEADER + THEIRS[0] + OTHERS[0])
    write(tmp_path / "customer_id=c-000042" / "a.csv", HEADER + THEIRS[0] + OTHERS[0])
    plan = planned(store(tmp_path))
    assert [b.partition(" names")[0] for b in plan.blockers] == [
        "The name of *.csv",
        "The name of customer_id=*/a.csv",
    ]


def test_a_short_identifier_in_a_name_is_hidden_and_proves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "orders-00004.csv", "customer_id\n00004\n00005\n")
    write(tmp_path / "00004.csv", "customer_id\n00004\n")
    opened = store(tmp_path, ["customer_id"])
    needles = {"customer_id": ["00004"]}
    assert planned(opened, needles).objects == ("*.csv", "orders-*.csv")
    erase(opened, needles)
    assert [p.name for p in tmp_path.iterdir()] == ["orders-00004.csv"]


# What blocks, and what else lies there.


def test_links_read_only_files_and_second_names_block(folder: Path, tmp_path: Path) -> None:
    (folder / "link.csv").symlink_to(write(tmp_path / "elsewhere.csv", csv_with_person()))
    (folder / "2024" / "orders.tsv").chmod(0o444)
    os.link(folder / "orders.csv", tmp_path / "second.csv")
    blockers = planned(store(folder)).blockers
    assert [b.partition(" ")[0] for b in blockers] == ["link.csv", "2024/orders.tsv", "orders.csv"]
    assert "symbolic link" in blockers[0]
    assert "read-only" in blockers[1]
    assert "hard links" in blockers[2]
    (folder / "link.csv").unlink()
    (folder / "2024" / "orders.tsv").chmod(0o644)
    (tmp_path / "second.csv").unlink()
    plan = planned(store(folder))
    os.link(folder / "orders.csv", tmp_path / "second.csv")
    with pytest.raises(StoreError, match="2 names"):
        store(folder).erase(plan, PERSON)


def test_a_file_that_cannot_be_rewritten_blocks_when_it_names_the_person(folder: Path) -> None:
    write(folder / "letter.txt", "Dear ann.archer@mail.example,\n")
    write(folder / "all.json", json.dumps([{"customer_id": "c-000042"}], indent=1))
    assert [b.partition(" names")[0] for b in planned(store(folder)).blockers] == [
        "all.json", "letter.txt",
    ]  # fmt: skip


def test_json_with_an_object_a_line_counts_as_rows_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path / "part-0.json", json_line(customer_id="c-000042") + json_line(customer_id="x"))
    assert erase(store(tmp_path)).rows == 1
    assert (tmp_path / "part-0.json").read_text() == json_line(customer_id="x")


def test_sidecars_of_rewritten_files_go_and_others_stay(tmp_path: Path) -> None:
    for part in ("a", "b"):
        table = frame(person=part == "a").to_arrow()
        (tmp_path / part).mkdir()
        collected: list[Any] = []
        pq.write_to_dataset(table, tmp_path / part, metadata_collector=collected)
        pq.write_metadata(table.schema, tmp_path / part / "_metadata", collected)
        name = next((tmp_path / part).glob("*.parquet")).name
        write(tmp_path / part / f".{name}.crc", b"crc\x00\x00\x00\x02\x00")
        write(tmp_path / part / "_SUCCESS", "")
    opened = store(tmp_path)
    assert {o.kind for o in opened.find_subject(PERSON).objects} >= {"data"}
    erase(opened)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p for p in left if not p.endswith(".parquet")} == {
        "a/_SUCCESS", "b/_SUCCESS", "b/_metadata", next(p for p in left if p.endswith(".crc")),
    }  # fmt: skip
    assert clean(opened)


def test_tables_of_other_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "t" / "_delta_log" / "0.json", "{}")
    with pytest.raises(StoreError, match=r"holds a Delta table \(_delta_log\)"):
        store(tmp_path).versions()
    write(tmp_path / "i" / "metadata" / "v1.metadata.json", "{}")
    with pytest.raises(StoreError, match="holds an Iceberg table"):
        store(tmp_path / "i").schema()
    with pytest.raises(StoreNotFoundError, match="There is no folder"):
        store(tmp_path / "nowhere").versions()


def test_modes_and_roles_are_refused_by_name(folder: Path) -> None:
    opened = store(folder)
    findings = opened.find_subject(PERSON)
    with pytest.raises(StoreError, match="keeps no older versions"):
        opened.plan_erase(findings, mode="keep_history")
    with pytest.raises(StoreError, match='no mode "shred"'):
        opened.plan_erase(findings, mode="shred")
    plan = opened.plan_erase(findings, mode="purge")
    reader = store(folder, writable=False)
    with pytest.raises(StoreError, match="reading only"):
        reader.erase(plan, PERSON)
    with pytest.raises(StoreError, match="Erase first"):
        opened.purge_history(plan)
    wrongs: list[dict[str, Any]] = [{"delimiter": ";;"}, {"text_columns": "note"}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"is one character|is a list"):
            store(folder, **wrong)
    with pytest.raises(StoreError, match='no encoding "utf-9"'):
        store(folder, encoding="utf-9").find_subject(PERSON)
