"""The scanner's short cuts: a trace is found in whatever way and place a file keeps it.

What a fast look passes over is never looked at again. So a person is planted in every encoding, in
every type, and at the edges of whatever the fast looks take at once.
"""

import uuid
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.adapters.base import ScanReport
from connectors.folders import LocalFolder
from connectors.scan import parquet as parquet_scan
from connectors.scan import search
from connectors.scan.columns import scan_column
from connectors.scan.folder import FolderScan
from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record
from connectors.scan.search import ByteSearch

EMAIL = "ann.archer@mail.example"
PERSON = uuid.UUID("8f14e45f-ceea-467f-a0e6-1c2b6ad0c1f2")
ROWS = 30
BATCH = 8
PLACES = (0, 7, 8, 15, 29)  # the first, the last, both sides of the edges of batches and groups


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_scan, "_BATCH_ROWS", BATCH)


def scan(folder: Path, needles: Iterable[str], **options: Any) -> ScanReport:
    identifiers = Identifiers(needles, identity_columns=["customer_id"], **options)
    return FolderScan(LocalFolder(folder), identifiers).run(lambda *_: None, with_control=False)


def columns_with_traces(report: ScanReport) -> set[str]:
    assert not report.unreadable
    return {t.where for t in report.traces if t.where.startswith("column ")}


def written(path: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    """Without statistics, which would name the person a second time."""
    options = {"compression": "zstd", "write_statistics": False, "row_group_size": 16, **options}
    pq.write_table(pa.table(columns), path, **options)
    return path


def planted(others: list[Any], person: Any, place: int, kind: pa.DataType) -> pa.Array:
    """Other people's values and NULLs, and the person in one place."""
    values = [others[n % len(others)] if n % 5 else None for n in range(ROWS)]
    values[place] = person
    return pa.array(values, kind)


TEXTS = ["jo.archer@mail.example", "ann.archer@mai", "é", "b" * 40]
TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()]
TEXT_ENCODINGS = [None, "PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"]


def encoded_as(encoding: str | None) -> dict[str, Any]:
    """None: as references to a dictionary."""
    return {"use_dictionary": False, "column_encoding": encoding} if encoding else {}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("encoding", TEXT_ENCODINGS)
@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_a_text_is_found_in_every_encoding_and_place(
    tmp_path: Path, kind: pa.DataType, encoding: str | None, version: str
) -> None:
    options = {"data_page_version": version, **encoded_as(encoding)}
    path = tmp_path / "a.parquet"
    for place, spelled in zip(PLACES, [EMAIL, EMAIL.upper(), f"to {EMAIL}!"] * 2, strict=False):
        written(path, {"memo": planted(TEXTS, spelled, place, kind)}, **options)
        assert columns_with_traces(scan(tmp_path, [EMAIL])) == {"column memo"}, place
    written(path, {"memo": planted(TEXTS, "x", 3, kind)}, **options)
    assert scan(tmp_path, [EMAIL]).clean


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_an_address_that_fits_into_a_view_is_found_in_every_place(
    tmp_path: Path, kind: pa.DataType
) -> None:
    path, others = tmp_path / "a.parquet", ["jo@x.org", "ann@x", ".org", "b" * 40]
    for place in PLACES:
        written(path, {"memo": planted(others, "ann@x.org", place, kind)}, use_dictionary=False)
        assert columns_with_traces(scan(tmp_path, ["ann@x.org"])) == {"column memo"}, place


@pytest.mark.parametrize("encoding", TEXT_ENCODINGS)
@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_a_short_text_is_found_in_every_encoding_and_place(
    tmp_path: Path, kind: pa.DataType, encoding: str | None
) -> None:
    path, others = tmp_path / "a.parquet", ["5", "44", "14", "4 ", ""]
    for place in PLACES:
        column = {"customer_id": planted(others, "4", place, kind)}
        written(path, column, **encoded_as(encoding))
        assert columns_with_traces(scan(tmp_path, ["4"])) == {"column customer_id"}, place
    written(path, {"customer_id": planted(others, "6", 3, kind)}, **encoded_as(encoding))
    assert scan(tmp_path, ["4"]).clean


@pytest.mark.parametrize("encoding", [None, "PLAIN", "DELTA_BYTE_ARRAY", "BYTE_STREAM_SPLIT"])
def test_the_bytes_of_a_uuid_are_found_in_every_encoding_and_place(
    tmp_path: Path, encoding: str | None
) -> None:
    path, kind = tmp_path / "a.parquet", pa.binary(16)
    others = [uuid.UUID(int=PERSON.int + n).bytes for n in (1, 2, 1 << 100)]
    for place in PLACES:
        written(path, {"d": planted(others, PERSON.bytes, place, kind)}, **encoded_as(encoding))
        assert columns_with_traces(scan(tmp_path, [str(PERSON)])) == {"column d"}, place
    written(path, {"d": planted(others, others[0], 3, kind)}, **encoded_as(encoding))
    assert scan(tmp_path, [str(PERSON)]).clean


NUMBER_ENCODINGS = [None, "PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"]
FLOAT_ENCODINGS = [None, "PLAIN", "BYTE_STREAM_SPLIT"]
NUMBER_CASES = [
    *((kind, e) for kind in (pa.int32(), pa.int64(), pa.uint64()) for e in NUMBER_ENCODINGS),
    *((kind, e) for kind in (pa.float32(), pa.float64()) for e in FLOAT_ENCODINGS),
    *((kind, None) for kind in (pa.int8(), pa.uint16(), pa.float16())),
    *((kind, e) for kind in (pa.decimal128(9, 2), pa.decimal256(60, 2)) for e in (None, "PLAIN")),
]


@pytest.mark.parametrize(("kind", "encoding"), NUMBER_CASES, ids=str)
def test_a_number_is_found_in_every_encoding_and_place(
    tmp_path: Path, kind: pa.DataType, encoding: str | None
) -> None:
    number = Decimal if pa.types.is_decimal(kind) else float
    convert = int if pa.types.is_integer(kind) else number
    path, others = tmp_path / "a.parquet", [convert(n) for n in (5, 44, 104, 0)]
    for place in PLACES:
        column = {"customer_id": planted(others, convert(4), place, kind)}
        written(path, column, **encoded_as(encoding))
        assert columns_with_traces(scan(tmp_path, ["00004"])) == {"column customer_id"}, place
    written(path, {"customer_id": planted(others, convert(6), 3, kind)}, **encoded_as(encoding))
    assert scan(tmp_path, ["00004"]).clean


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
def test_the_largest_numbers_are_found_and_not_mixed_up(tmp_path: Path, number: int) -> None:
    kind = pa.int64() if number < 2**63 else pa.uint64()
    small = pa.array([-1, 0, 127], pa.int8())
    written(tmp_path / "a.parquet", {"n": pa.array([1, number, 2], kind), "small": small})
    assert columns_with_traces(scan(tmp_path, [str(number)])) == {"column n"}
    assert scan(tmp_path, [str(number + 1 if number < 0 else number - 1)]).clean


@pytest.mark.parametrize("person", [0, 400, 999])
def test_a_text_is_found_where_a_dictionary_grew_too_large_and_values_follow(
    tmp_path: Path, person: int
) -> None:
    memos = [f"memo {n:09d}" for n in range(1000)]
    memos[person] = f"call {EMAIL}"
    path = written(tmp_path / "a.parquet", {"memo": pa.array(memos)}, row_group_size=1000,
                   dictionary_pagesize_limit=4096, data_page_size=1024)  # fmt: skip
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(
        pq.read_metadata(path).row_group(0).column(0).encodings
    )
    assert columns_with_traces(scan(tmp_path, [EMAIL])) == {"column memo"}


@pytest.mark.parametrize(
    ("values", "needle"),
    [
        (pa.array([f"call {EMAIL}", "b", "c"]), EMAIL),
        (pa.array(["4", "b", "c"]), "4"),
        (pa.array([b"4", b"b", b"c"]), "4"),
    ],
    ids=lambda v: str(v.type) if isinstance(v, pa.Array) else v,
)
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_value_that_only_a_dictionary_still_has_is_found(
    tmp_path: Path, values: pa.Array, needle: str, compression: str
) -> None:
    """As a rewrite leaves it that copies dictionaries: no row refers to the person."""
    column = pa.DictionaryArray.from_arrays(pa.array([1, 2, 1, None], pa.int8()), values)
    path = written(tmp_path / "a.parquet", {"customer_id": column}, compression=compression)
    assert needle not in str(pq.read_table(path).to_pylist())
    found = {t.where for t in scan(tmp_path, [needle]).traces}
    assert "dictionary page of column customer_id" in found


@pytest.mark.parametrize(
    ("values", "needle"),
    [
        (pa.array([PERSON.bytes, b"b" * 16], pa.binary(16)), str(PERSON)),
        (pa.array([b"4  ", b"5  "], pa.binary(3)), "4  "),
        (pa.array([4, 5], pa.int32()), "00004"),
        (pa.array([4, 5], pa.int64()), "00004"),
        (pa.array([4.0, 5.0], pa.float32()), "00004"),
        (pa.array([4.0, 5.0], pa.float64()), "00004"),
        (pa.array([Decimal("4.00"), Decimal("-5.25")]), "00004"),
        (pa.array([Decimal("4.00"), Decimal("-5.25")], pa.decimal128(38, 2)), "00004"),
    ],
    ids=lambda v: str(v.type) if isinstance(v, pa.Array) else v,
)
def test_dictionaries_of_all_types_are_read_by_themselves(
    tmp_path: Path, values: pa.Array, needle: str
) -> None:
    written(tmp_path / "a.parquet", {"customer_id": values})
    found = {t.where for t in scan(tmp_path, [needle]).traces}
    assert found == {"dictionary page of column customer_id", "column customer_id"}
    assert scan(tmp_path, ["00006", "7  ", str(uuid.UUID(int=7))]).clean


def test_values_side_by_side_are_not_read_as_one(tmp_path: Path) -> None:
    halves = pa.array([EMAIL[:9], EMAIL[9:], "x", EMAIL[:14], EMAIL[14:]])
    for encoding in TEXT_ENCODINGS:
        written(tmp_path / "a.parquet", {"memo": halves}, **encoded_as(encoding))
        report = scan(tmp_path, [EMAIL], cut=False)
        assert not columns_with_traces(report)


def test_a_document_with_a_cut_or_a_short_identifier_is_read_wherever_it_stands(
    tmp_path: Path,
) -> None:
    name = "customer-of-the-northern-branch-000042-archer"
    cut = f'  {{"minValues": {{"name": "{name[:32]}"}}}}'
    for place in PLACES:
        path = tmp_path / "a.parquet"
        written(path, {"memo": planted(["{}", "x"], cut, place, pa.string())}, use_dictionary=False)
        assert not scan(tmp_path, [name]).clean, place
        short = '{"customer_id": 4}'
        written(path, {"memo": planted(["{}", "4"], short, place, pa.string())})
        assert not scan(tmp_path, ["4"]).clean, place


def test_pages_that_no_reader_reads_fail_the_scan(tmp_path: Path) -> None:
    """The footer says that the column ends before its last page."""
    memos = pa.array([f"memo {n:04d}" for n in range(63)] + [EMAIL])
    path = written(tmp_path / "a.parquet", {"memo": memos}, row_group_size=64,
                   use_dictionary=False, write_batch_size=32, data_page_size=1)  # fmt: skip
    body = path.read_bytes()
    footer = len(body) - 8 - int.from_bytes(body[-8:-4], "little")
    rows, fewer = b"\x16\x80\x01", b"\x16\xc0\x00"  # 64 and 32, in as many bytes
    path.write_bytes(body[:footer] + body[footer:].replace(rows, fewer))
    assert pq.read_table(path).num_rows == 32
    report = scan(tmp_path, [EMAIL])
    assert report.unreadable == ("a.parquet: a column has pages that no reader reads",)


def test_a_person_in_every_file_is_found_in_every_file(tmp_path: Path) -> None:
    """Several are read at once, by one automaton."""
    for n in range(24):
        written(tmp_path / f"{n:02d}.parquet", {"memo": planted(TEXTS, EMAIL, n, pa.string())})
    report = scan(tmp_path, [EMAIL])
    assert {t.path for t in report.traces if t.where == "column memo"} == {
        f"{n:02d}.parquet" for n in range(24)
    }


@pytest.mark.parametrize("kind", [*TEXT_TYPES, pa.binary(len(EMAIL))], ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_a_part_of_a_column_is_read_from_where_it_begins_to_where_it_ends(
    kind: pa.DataType, place: int
) -> None:
    values = planted(["x" * len(EMAIL)], EMAIL, place, kind)
    for start in (0, 7, 8, 15):
        record = Record(Identifiers([EMAIL]))
        scan_column(values[start : start + 8], ("memo",), "a", "column memo", record)
        assert bool(record.counts) == (start <= place < start + 8), start


# The search of bytes.


PIECES = [b"", b"a", b"A", b"\x00", b"\xc3", b"(", b"\\", b"[z]"]


@given(
    st.lists(st.binary(min_size=1, max_size=6), max_size=4),
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.one_of(st.none(), st.integers(0, 9)),
)
@example([b"a\x00b\x00"], [b"a", b"\x00", b"B", b"\x00"], None)
@example([b"a", b"ab"], [b"x"], 0)
def test_a_search_of_bytes_finds_what_a_comparison_of_each_place_finds(
    texts: list[bytes], pieces: list[bytes], planted_at: int | None
) -> None:
    data = b"".join(pieces)
    if planted_at is not None and texts:
        data = data[:planted_at] + texts[0].swapcase() + data[planted_at:]
    assert ByteSearch(texts).found(data) == any(t.lower() in data.lower() for t in texts)


def test_a_text_across_the_pieces_of_a_search_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_PIECE", 100)
    looked_for = ByteSearch([EMAIL.encode(), b"z" * 300])
    for place in range(320):
        data = b"." * place + EMAIL.encode() + b"." * (320 - place)
        assert looked_for.found(data), place
        assert looked_for.found(memoryview(b"z" * 400)[place % 100 :])
    assert not looked_for.found(b"." * 1000)


def test_thousands_of_texts_are_looked_for_at_once() -> None:
    people = [f"person{n:05d}@shop.example".encode() for n in range(5000)]
    looked_for = ByteSearch(people)
    data = bytearray(b"person1@shop.example " * 1000)
    assert not looked_for.found(data)
    data[5000:5025] = people[4321].upper()
    assert looked_for.found(data)
