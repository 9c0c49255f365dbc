"""The scanner by itself: what it must never miss, and what it must not take for a person."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import unicodedata
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.adapters.base import ScanReport
from connectors.folders import LocalFolder
from connectors.scan import texts
from connectors.scan.folder import FolderScan
from connectors.scan.identifiers import Identifiers

EMAIL = "ann.archer@mail.example"
LONG = "customer-of-the-northern-branch-000042-archer"


def scan(
    folder: Path,
    needles: Iterable[str],
    *,
    columns: Iterable[str] = ("customer_id", "email"),
    control: tuple[str, str] | None = None,
    **options: Any,
) -> ScanReport:
    identifiers = Identifiers(needles, identity_columns=columns, control=control, **options)
    return FolderScan(LocalFolder(folder), identifiers).run(
        lambda *_: None, with_control=control is not None
    )


def places(report: ScanReport) -> set[tuple[str, str]]:
    return {(t.path, t.where) for t in report.traces}


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


# Short and numeric identifiers: nothing by chance, nothing missed.


@pytest.mark.parametrize("needle", ["4", "00004", "40", "123456"])
def test_a_short_number_in_unrelated_bytes_is_no_trace(tmp_path: Path, needle: str) -> None:
    number = int(needle)
    parquet(
        tmp_path / f"part-{needle}-4e0a4.parquet",
        {
            "customer_id": [5, 6, 44, 400004],
            "quantity": [number, number, number, number],
            "note": ["bought 4 at 40", "order 00004-A", f"at 17{needle}", None],
            "price": [4.0, 40.0, 4.4, float(number)],
        },
    )
    log = {
        "commitInfo": {"timestamp": 1700000000004, "operationParameters": {"rows": number}},
        "add": {
            "size": number,
            "stats": json.dumps({"numRecords": number, "nullCount": {"customer_id": number}}),
        },
    }
    (tmp_path / "0004.json").write_text(json.dumps(log))
    (tmp_path / "notes.txt").write_text(f"we sold {needle} pieces for {needle}.00")
    report = scan(tmp_path, [needle])
    assert report.clean, report


@pytest.mark.parametrize(
    "values",
    [
        pa.array([5, 4], pa.int64()),
        pa.array([5, 4], pa.int8()),
        pa.array([5, 4], pa.uint16()),
        pa.array([5.0, 4.0]),
        pa.array(["5", "4"]),
        pa.array(["5", "4"], pa.large_string()),
        pa.array(["5", "4"]).dictionary_encode(),
        pa.array([[5], [7, 4]]),
        pa.array([{"customer_id": 5}, {"customer_id": 4}]),
        pa.array([[("customer_id", "4")], [("x", "9")]], pa.map_(pa.string(), pa.string())),
        pa.array([b"5", b"4"]),
    ],
    ids=lambda values: str(values.type),
)
def test_a_short_number_in_an_identity_column_is_found_whatever_its_type(
    tmp_path: Path, values: pa.Array
) -> None:
    parquet(tmp_path / "a.parquet", {"customer_id": values, "x": [1, 1]}, compression="zstd")
    assert any("column customer_id" in where for _, where in places(scan(tmp_path, ["4"])))


def test_zeros_in_front_are_part_of_a_text_but_not_of_a_number(tmp_path: Path) -> None:
    parquet(tmp_path / "text.parquet", {"customer_id": ["4", "0004"]})
    assert scan(tmp_path, ["00004"]).clean
    parquet(tmp_path / "number.parquet", {"customer_id": [4]})
    assert {p for p, _ in places(scan(tmp_path, ["00004"]))} == {"number.parquet"}


@pytest.mark.parametrize(
    "text",
    [
        '{"commitInfo":{"operationParameters":{"predicate":"customer_id = 4"}}}',
        '{"commitInfo":{"operationParameters":{"predicate":"[\\"(customer_id#12L = 4L)\\"]"}}}',
        '{"commitInfo":{"operationParameters":{"predicate":"customer_id IN (3,4,5)"}}}',
        """{"operationParameters":{"predicate":"customer_id = '00004'"}}""",
        '{"add":{"stats":"{\\"minValues\\":{\\"customer_id\\":4}}"}}',
        '{"add":{"stats_parsed":{"maxValues":{"customer_id":"00004"}}}}',
        '{"add":{"partitionValues":{"customer_id":"4"}}}',
        '{"people":[{"customer_id":[1,4]}]}',
        '{"a":1}\n{"customer_id":4}\n',
        '{"customer_id":4}\n{"customer_id":',
        "DELETE FROM t WHERE customer_id=4",
    ],
)
def test_a_short_number_in_a_log_is_found_where_it_names_a_customer(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "x.json").write_text(text)
    assert not scan(tmp_path, ["00004"] if "00004" in text else ["4"]).clean
    assert not scan(tmp_path, ["00004"]).clean, "the number 4 where a number is meant"


def test_an_expression_id_of_spark_is_no_identifier(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"predicate":"(customer_id#4 = 7)"}')
    assert scan(tmp_path, ["4"]).clean


def test_a_short_text_counts_as_a_whole_value_in_any_column(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"referred_by": ["00004", None], "zip": ["10115", "00005"]})
    assert places(scan(tmp_path, ["00004"])) >= {("a.parquet", "column referred_by")}
    assert not scan(tmp_path, ["00005"]).clean
    assert scan(tmp_path, ["00005"], unrelated_columns=["zip"]).clean


def test_a_csv_file_is_read_by_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,quantity\n5,4\n6,4\n")
    assert scan(tmp_path, ["4"]).clean
    (tmp_path / "b.csv").write_text("quantity,customer_id\n1,4\n")
    assert places(scan(tmp_path, ["4"])) == {("b.csv", "column customer_id")}


@pytest.mark.parametrize("name", ["customer_id=4", "customer_id=00004", "Customer_ID=4"])
def test_a_partition_folder_names_a_customer(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    report = scan(tmp_path, ["00004"])
    assert [t.path for t in report.traces] == [f"{name.split('=')[0]}=*"]
    assert scan(tmp_path, ["40"]).clean


def test_the_same_number_under_another_key_is_no_customer(tmp_path: Path) -> None:
    (tmp_path / "month=4").mkdir()
    assert scan(tmp_path, ["4"]).clean


# Distinctive identifiers: everywhere.


@pytest.mark.parametrize(
    "value",
    [EMAIL, "Ann.Archer@Mail.Example", f"call {EMAIL}, please", f"<{EMAIL}>", f"{EMAIL}."],
)
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_an_email_address_is_found_in_any_text_column(
    tmp_path: Path, value: str, compression: str
) -> None:
    parquet(tmp_path / "a.parquet", {"memo": ["x", value] * 50}, compression=compression)
    found = places(scan(tmp_path, [EMAIL]))
    assert ("a.parquet", "column memo") in found


@pytest.mark.parametrize(
    "other", ["joann.archer@mail.example", "x-ann.archer@mail.example", f"{EMAIL}.org", f"{EMAIL}s"]
)
def test_a_longer_address_is_another_person(tmp_path: Path, other: str) -> None:
    parquet(tmp_path / "a.parquet", {"email": [other, "b@x.example"]}, compression="none")
    (tmp_path / "a.json").write_text(json.dumps({"email": other}))
    (tmp_path / "a.txt").write_text(f"mail {other} today")
    assert scan(tmp_path, [EMAIL]).clean


def test_a_long_number_is_found_whole_and_not_inside_another(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"n": [1234567890], "t": ["x1234567890"], "p": [3.1234567890]})
    (tmp_path / "a.txt").write_text("0.1234567890 91234567890 12345678901 1234567890.55")
    assert places(scan(tmp_path, ["1234567890"])) >= {("a.parquet", "column n")}
    (tmp_path / "a.parquet").unlink()
    assert scan(tmp_path, ["1234567890"]).clean
    (tmp_path / "b.txt").write_text("customer 1234567890.")
    assert {p for p, _ in places(scan(tmp_path, ["1234567890"]))} == {"b.txt"}


@pytest.mark.parametrize("text", [EMAIL, EMAIL.upper(), f"\xff{EMAIL}\x00", LONG[:16]])
def test_bytes_that_nothing_decodes_are_searched_as_they_are(tmp_path: Path, text: str) -> None:
    (tmp_path / ".x.crc").write_bytes(b"crc\x00\x00 " + text.encode("latin-1") + b" \x01")
    found = scan(tmp_path, [EMAIL, LONG])
    assert {t.where.split(",")[0] for t in found.traces} == {"raw bytes"}
    (tmp_path / ".x.crc").write_bytes(b"crc\x00jo" + EMAIL.encode() + b"\x01")
    assert scan(tmp_path, [EMAIL, LONG]).clean


def test_a_person_in_a_later_row_group_is_found(tmp_path: Path) -> None:
    memos = [f"m{n % 5}" for n in range(400)]
    memos[399] = f"call {EMAIL}"
    parquet(tmp_path / "a.parquet", {"memo": memos}, row_group_size=100, compression="zstd")
    assert ("a.parquet", "column memo") in places(scan(tmp_path, [EMAIL]))


def test_a_uuid_is_found_in_every_spelling(tmp_path: Path) -> None:
    person = uuid.UUID("8f14e45f-ceea-467f-a0e6-1c2b6ad0c1f2")
    parquet(tmp_path / "a.parquet", {"id": [str(person).upper()]}, compression="zstd")
    parquet(tmp_path / "b.parquet", {"id": [person.hex]}, compression="zstd")
    raw = pa.array([person.bytes], pa.binary(16))
    parquet(tmp_path / "c.parquet", {"customer_id": raw}, compression="zstd")
    found = {path for path, _ in places(scan(tmp_path, [str(person)]))}
    assert found == {"a.parquet", "b.parquet", "c.parquet"}


def test_an_identifier_in_a_file_name_is_found_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "export_c-000042_2024.csv").write_text("a,b\n1,2\n")
    (tmp_path / "email=ann.archer%40mail.example").mkdir()
    report = scan(tmp_path, ["c-000042", EMAIL])
    assert {t.where for t in report.traces} == {"file name", "partition key email"}
    assert "000042" not in repr(report)
    assert "archer" not in repr(report)


def test_footer_notes_and_statistics_are_read(tmp_path: Path) -> None:
    table = pa.table({"memo": ["a"]}).replace_schema_metadata({"made for": f"call {EMAIL}"})
    pq.write_table(table, tmp_path / "note.parquet")
    assert {p for p, _ in places(scan(tmp_path, [EMAIL]))} == {"note.parquet"}


def test_statistics_in_the_footer_and_in_page_headers_are_read(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"customer_id": [4, 5], "email": ["x@y.example", EMAIL]})
    found = {where for _, where in places(scan(tmp_path, ["4", "x@y.example"]))}
    assert found >= {"footer statistics of customer_id", "footer statistics of email"}
    assert found >= {"page statistics of customer_id", "page statistics of email"}


def test_the_column_index_is_read(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"customer_id": [4, 5]}, write_page_index=True)
    assert ("a.parquet", "column index of customer_id") in places(scan(tmp_path, ["4"]))


@pytest.mark.parametrize("length", [16, 32])
def test_a_statistic_cut_to_its_beginning_is_found(tmp_path: Path, length: int) -> None:
    stats = {"minValues": {"customer_id": LONG[:length]}}
    (tmp_path / "a.json").write_text(json.dumps({"add": {"stats": json.dumps(stats)}}))
    found = scan(tmp_path, [LONG])
    assert f"cut to {length} characters" in found.traces[0].where


def test_a_cut_statistic_with_blanks_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"minValues": {"name": "Ann Margaret Arc"}}')
    assert not scan(tmp_path, ["Ann Margaret Archer of Leeds"]).clean


@pytest.mark.parametrize("length", [15, 31])
def test_a_highest_value_whose_last_character_was_raised_is_found(
    tmp_path: Path, length: int
) -> None:
    raised = LONG[:length] + chr(ord(LONG[length]) + 1)
    (tmp_path / "a.json").write_text(json.dumps({"maxValues": {"customer_id": raised}}))
    assert not scan(tmp_path, [LONG]).clean


def test_a_beginning_that_a_survivor_shares_is_no_trace(tmp_path: Path) -> None:
    survivor = LONG[:36] + "77-baker"
    stats = {"minValues": {"customer_id": LONG[:32]}}
    (tmp_path / "a.json").write_text(json.dumps({"add": {"stats": json.dumps(stats)}}))
    parquet(tmp_path / "a.parquet", {"customer_id": [survivor]})
    assert scan(tmp_path, [LONG]).clean
    (tmp_path / "a.parquet").unlink()
    assert not scan(tmp_path, [LONG]).clean


def test_utf_16_text_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(EMAIL.encode("utf-16"))
    (tmp_path / "b.txt").write_bytes(f"x {EMAIL.upper()} y".encode("utf-16-le"))
    report = scan(tmp_path, [EMAIL])
    assert {t.path for t in report.traces} == {"a.txt", "b.txt"}


@pytest.mark.parametrize("spelling", ["NFC", "NFD"])
def test_letters_outside_ascii_are_found_in_any_case(
    tmp_path: Path, spelling: Literal["NFC", "NFD"]
) -> None:
    needle, text = "jürgen.müller@straße.example", "Jürgen.MÜLLER@straße.example"
    stored = unicodedata.normalize(spelling, text)
    parquet(tmp_path / "a.parquet", {"memo": [f"to {stored}"]}, compression="zstd")
    (tmp_path / "a.txt").write_text(f"to {stored}")
    (tmp_path / f"to {stored}").write_text("")
    found = {where for _, where in places(scan(tmp_path, [needle]))}
    assert found >= {"column memo", "text", "file name"}
    parquet(tmp_path / "a.parquet", {"memo": ["ein ÄÖü-éß lief", "нет ИвАнОв"]}, compression="zstd")
    assert ("a.parquet", "column memo") in places(scan(tmp_path, ["äöü-éß"]))
    assert ("a.parquet", "column memo") in places(scan(tmp_path, ["иванов"]))


@pytest.mark.parametrize(
    ("needle", "written"),
    [
        (EMAIL, "ann.archer\\u0040mail.example"),
        (EMAIL, "\\u0061NN.ARCHER@mail.example"),
        (EMAIL, f" {EMAIL.upper()}\\n"),
        ("jürgen.müller@web.example", "j\\u00fcrgen.m\\u00fcller@web.example"),
        ("ann/archer@mail.example", "ann\\/archer@mail.example"),
        ("ann/archer@mail.example", "ann/archer@mail.example"),
        ('ann "archer" of leeds', 'ann \\"archer\\" of leeds'),
        ("leeds\\ann.archer", "leeds\\\\ann.archer"),
        ("ann\tarcher", "ann\\tarcher"),
        ("anna", "anna"),
        ("anna", "\\u0061nna"),
        ("12345678", "12345678"),
    ],
)
@pytest.mark.parametrize(
    "document", ['{"memo": "%s"}', '{"n": 1}\n{"n": 2, "memo": ["%s"]}\n', '{"%s": 1}']
)
def test_text_with_escapes_is_decoded_before_it_is_compared(
    tmp_path: Path, needle: str, written: str, document: str
) -> None:
    body = document % written
    (tmp_path / "a.json").write_text(body)
    assert any("JSON" in where for _, where in places(scan(tmp_path, [needle])))
    nested = json.dumps({"add": {"stats": body.splitlines()[-1]}})
    (tmp_path / "a.json").write_text(nested)
    assert any("JSON" in where for _, where in places(scan(tmp_path, [needle])))
    (tmp_path / "a.json").write_text(document % "nobody\\u0040mail.example")
    assert scan(tmp_path, [needle]).clean


@pytest.mark.parametrize("written", ["12345678", "12345678.0", "1.2345678e7", '"+0012345678"'])
def test_a_long_number_is_found_in_json_however_it_is_written(tmp_path: Path, written: str) -> None:
    (tmp_path / "a.json").write_text('{"customer_id": ' + written + "}")
    assert not scan(tmp_path, ["12345678"]).clean
    assert not scan(tmp_path, ["0012345678"]).clean
    assert scan(tmp_path, ["12345679"]).clean


def test_a_survivor_in_lines_of_json_proves_the_scan(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"email": "bob@mail.example"}\n{"email": "x@y.example"}\n')
    assert scan(tmp_path, [EMAIL], control=("email", "bob@mail.example")).clean
    (tmp_path / "a.jsonl").write_text('{"email": "bob\\u0040mail.example"}\n')
    assert scan(tmp_path, [EMAIL], control=("email", "bob@mail.example")).clean
    assert not scan(tmp_path, [EMAIL], control=("email", "eve@mail.example")).clean


# Packed files.


def packed(kind: str, name: str, body: bytes) -> bytes:
    out = io.BytesIO()
    if kind == "gzip":
        return gzip.compress(body)
    if kind == "bzip2":
        return bz2.compress(body)
    if kind == "xz":
        return lzma.compress(body)
    if kind == "zstd":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(body)
        return bytes(sink.getvalue())
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, body)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", "zip", "tar"])
def test_packed_files_are_opened(tmp_path: Path, kind: str) -> None:
    inner = io.BytesIO()
    pq.write_table(pa.table({"customer_id": [4]}), inner, compression="zstd")
    (tmp_path / "a.bin").write_bytes(packed(kind, "inner.parquet", inner.getvalue()))
    assert not scan(tmp_path, ["4"]).clean
    twice = packed("gzip", "", packed(kind, "x.json", json.dumps({"customer_id": 7}).encode()))
    (tmp_path / "a.bin").write_bytes(twice)
    assert not scan(tmp_path, ["7"]).clean
    assert scan(tmp_path, ["4"]).clean


def test_a_name_inside_an_archive_is_searched(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed("zip", "customer_id=4/x.txt", b"nothing"))
    assert not scan(tmp_path, ["4"]).clean


# What cannot be read fails.


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("broken.parquet", b"PAR1 and then nothing", "breaks off"),
        ("secret.parquet", b"PARE....PARE....PARE", "encrypted"),
        ("a.avro", b"Obj\x01\x00\x00", "breaks off"),
        ("a.orc", b"ORC\x00\x01\x00", "format is unknown"),
        ("a.gz", gzip.compress(b"x" * 5000, mtime=0)[:30], "cannot be unpacked"),
        ("a.zip", b"PK\x03\x04 broken", "cannot be unpacked"),
        ("a.zst", b"\x28\xb5\x2f\xfd\x00\x01", "cannot be unpacked"),
    ],
)
def test_a_file_that_cannot_be_read_fails_the_scan_by_name(
    tmp_path: Path, name: str, body: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(body)
    report = scan(tmp_path, [EMAIL])
    assert not report.clean
    assert report.unreadable[0].startswith(f"{name}: ")
    assert why in report.unreadable[0]


def test_a_damaged_parquet_file_never_passes_as_clean(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"customer_id": [EMAIL], "n": [1]}, compression="zstd")
    whole = path.read_bytes()
    for where in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[where] ^= 0xFF
        path.write_bytes(damaged)
        report = scan(tmp_path, [EMAIL])
        assert report.traces or report.unreadable, f"byte {where}"


def test_a_link_out_of_the_folder_fails_the_scan(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text(EMAIL)
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    report = scan(inside, [EMAIL])
    assert report.unreadable == (
        "link.txt: it is a symbolic link, whose target is not in the folder",
    )


# The positive control.


def test_a_scan_that_cannot_find_a_survivor_is_not_clean(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"customer_id": ["00007", "00008"]})
    found = scan(tmp_path, ["00004"], control=("customer_id", "00007"))
    assert found.control_found
    assert found.clean
    lost = scan(tmp_path, ["00004"], control=("customer_id", "00009"))
    assert lost.control_found is False
    assert not lost.clean


def test_a_survivor_who_is_only_in_the_log_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "0.json").write_text('{"minValues": {"customer_id": "00007"}}')
    parquet(tmp_path / "_delta_log" / "1.checkpoint.parquet", {"customer_id": ["00007"]})
    identifiers = Identifiers(
        ["00004"], identity_columns=["customer_id"], control=("customer_id", "00007")
    )
    scan_ = FolderScan(LocalFolder(tmp_path), identifiers, metadata_folders=("_delta_log/",))
    assert scan_.run(lambda *_: None, with_control=True).control_found is False


def test_the_report_counts_files_and_bytes_and_fixes_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty").write_text("")
    first = scan(tmp_path, [EMAIL])
    assert (first.files, first.bytes) == (2, 5)
    assert first.started_at <= first.finished_at
    assert scan(tmp_path, [EMAIL]).digest == first.digest
    (tmp_path / "a.txt").write_text("hellp")
    assert scan(tmp_path, [EMAIL]).digest != first.digest


def test_many_identifiers_cost_little_more_than_one(tmp_path: Path) -> None:
    people = [f"person{n:05d}@shop.example" for n in range(3000)]
    frame = pl.DataFrame({"email": people[1000:], "n": range(2000)})
    frame.write_parquet(tmp_path / "a.parquet")
    report = scan(tmp_path, people[:1001])
    assert {t.where for t in report.traces if "column email" in t.where and t.count == 1}
    assert scan(tmp_path, people[:1000]).clean


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_text_in_pieces_is_read_as_if_it_were_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Lines, quoted rows over several lines, and line ends at the edges of pieces."""
    monkeypatch.setattr(texts, "_BLOCK", block)
    rows = 'x,"one\r\ntwo"\r\n' * 20
    (tmp_path / "a.csv").write_bytes(
        f'n,customer_id\r\n{rows}y,"00004"\r\n"a\nb",ann@x.example\r\n'.encode()
    )
    (tmp_path / "b.log").write_text("nothing\n" * 30 + "customer_id = 00004\n" + "nothing\n" * 9)
    (tmp_path / "c.jsonl").write_text('{"n": 1}\n' * 30 + '{"customer_id": 4}')
    report = scan(tmp_path, ["00004", "ann@x.example"])
    assert places(report) == {
        ("a.csv", "column customer_id"),
        ("a.csv", "text"),
        ("a.csv", "raw bytes"),
        ("b.log", "text"),
        ("c.jsonl", "JSON value of customer_id"),
    }


def test_a_summary_of_other_parquet_files_is_read_for_what_it_repeats(tmp_path: Path) -> None:
    """`_metadata` holds statistics and paths of other files, and no page of its own."""
    table = pa.table({"customer_id": ["00004", "00021"], "n": [1, 2]})
    found: list[Any] = []
    pq.write_to_dataset(table, tmp_path / "d", metadata_collector=found)
    for metadata in found:
        metadata.set_file_path("customer_id=00004/part.parquet")
    pq.write_metadata(table.schema, tmp_path / "_metadata", found)
    for file in (tmp_path / "d").iterdir():
        file.unlink()
    report = scan(tmp_path, ["00004"])
    assert not report.unreadable
    assert places(report) == {
        ("_metadata", "footer statistics of customer_id"),
        ("_metadata", "path of a file"),
    }


def test_a_decimal_of_256_bits_is_compared_as_a_number(tmp_path: Path) -> None:
    values = pa.array(["4", "5", None]).cast(pa.decimal256(60, 2))
    pq.write_table(pa.table({"customer_id": values}), tmp_path / "a.parquet")
    assert ("a.parquet", "column customer_id") in places(scan(tmp_path, ["00004"]))
    assert not scan(tmp_path, ["00006"]).traces
