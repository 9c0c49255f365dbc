"""Avro and Puffin files, as Iceberg writes them, read by the scanner."""

import io
import json
import struct
import uuid
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from tests.connectors.test_scan import places, scan

EMAIL = "Ann.Archer@Mail.example"
LONG = "c-000042-of-the-northern-branch"
SCHEMA = {
    "type": "struct",
    "fields": [
        {"id": 1, "name": "customer_id", "required": False, "type": "string"},
        {"id": 2, "name": "number", "required": False, "type": "long"},
        {
            "id": 3,
            "name": "account",
            "required": False,
            "type": {
                "type": "struct",
                "fields": [{"id": 4, "name": "email", "required": False, "type": "string"}],
            },
        },
        {"id": 5, "name": "device", "required": False, "type": "uuid"},
        {"id": 6, "name": "sum", "required": False, "type": "decimal(9, 2)"},
    ],
}
SPEC = [
    {"source-id": 1, "field-id": 1000, "name": "who", "transform": "identity"},
    {"source-id": 1, "field-id": 1001, "name": "customer_id_bucket", "transform": "bucket[16]"},
]
BOUND = {
    "type": "array",
    "items": {
        "type": "record",
        "name": "bound",
        "fields": [{"name": "key", "type": "int"}, {"name": "value", "type": "bytes"}],
    },
}
ENTRY = {
    "type": "record",
    "name": "entry",
    "fields": [
        {"name": "file_path", "type": "string"},
        {
            "name": "partition",
            "type": {
                "type": "record",
                "name": "partition_values",
                "fields": [
                    {"name": "who", "type": ["null", "string"]},
                    {"name": "customer_id_bucket", "type": ["null", "int"]},
                ],
            },
        },
        {"name": "record_count", "type": "long"},
        {"name": "lower_bounds", "type": BOUND},
    ],
}


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "file_path": "/data/customer_id_bucket=4/who=x/part-4.parquet",
        "partition": {"who": None, "customer_id_bucket": 4},
        "record_count": 4,
        "lower_bounds": [],
        **changes,
    }


def bound(key: int, value: bytes) -> dict[str, Any]:
    return entry(lower_bounds=[{"key": key, "value": value}])


def manifest(path: Path, *entries: dict[str, Any], codec: str = "deflate") -> Path:
    notes = {"schema": json.dumps(SCHEMA), "partition-spec": json.dumps(SPEC)}
    with path.open("wb") as out:
        fastavro.writer(out, ENTRY, entries, codec, metadata=notes)
    return path


def repacked(plain: bytes, codec: str) -> bytes:
    """The Avro file with its one block packed in a way for which fastavro wants more packages."""
    sync = plain[-16:]
    start = plain.index(sync) + len(sync)
    body = io.BytesIO(plain[start : -len(sync)])
    count, size = (fastavro.schemaless_reader(body, "long", None) for _ in range(2))
    assert isinstance(size, int)
    records = body.read(size)
    assert len(records) == size
    packed: bytes = pa.compress(
        records, codec="zstd" if codec == "zstandard" else codec, asbytes=True
    )
    if codec == "snappy":
        packed += zlib.crc32(records).to_bytes(4, "big")
    out = io.BytesIO()
    out.write(plain[:start].replace(b"\x08null", bytes([2 * len(codec)]) + codec.encode()))
    for number in (count, len(packed)):
        fastavro.schemaless_writer(out, fastavro.parse_schema("long"), number)
    return out.getvalue() + packed + sync


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "zstandard", "snappy"])
def test_a_bound_in_a_packed_block_is_found(tmp_path: Path, codec: str) -> None:
    by_hand = codec in ("snappy", "zstandard")
    rows = [bound(1, LONG[:16].encode()), *[entry() for _ in range(50)]]
    path = manifest(tmp_path / "m0.avro", *rows, codec="null" if by_hand else codec)
    if by_hand:
        path.write_bytes(repacked(path.read_bytes(), codec))
    report = scan(tmp_path, [LONG])
    assert not report.unreadable
    assert ("m0.avro", "lower_bounds of customer_id, cut to 16 characters") in places(report)
    assert scan(tmp_path, ["c-000043-of-the-northern-branch"]).clean


@pytest.mark.parametrize(
    ("needle", "row", "where"),
    [
        ("00004", bound(2, struct.pack("<q", 4)), "lower_bounds of number"),
        ("4", bound(2, struct.pack("<i", 4)), "lower_bounds of number"),
        ("anna", bound(1, b"anna"), "lower_bounds of customer_id"),
        (EMAIL.lower(), bound(4, EMAIL[:16].encode()), "lower_bounds of account.email, cut to 16"),
        (EMAIL, bound(4, b"ann.archer@mail/"), "lower_bounds of account.email, cut to 15"),
        (str(uuid.UUID(int=7)), bound(5, uuid.UUID(int=7).bytes), "lower_bounds of device"),
        ("40", bound(6, (4000).to_bytes(2, "big")), "lower_bounds of sum"),
        (EMAIL, bound(77, EMAIL.encode()), "lower_bounds of a column"),
        ("00004", entry(partition={"who": "00004", "customer_id_bucket": 1}), "who"),
        ("anna", entry(file_path="/data/customer_id=anna/a.parquet"), "path of a file"),
    ],
)
def test_each_place_of_a_manifest_is_read_by_its_type(
    tmp_path: Path, needle: str, row: dict[str, Any], where: str
) -> None:
    manifest(tmp_path / "m0.avro", row)
    columns = ("customer_id", "number", "account.email", "device", "sum")
    found = {w for _, w in places(scan(tmp_path, [needle], columns=columns))}
    if where == "who":
        assert "field partition.customer_id" in found
    else:
        assert any(w.startswith(where) for w in found), found
    other = manifest(tmp_path / "m0.avro", entry())
    assert scan(tmp_path, [needle], columns=columns).clean, other


def test_a_file_that_is_damaged_or_packed_unknown_is_unreadable(tmp_path: Path) -> None:
    whole = manifest(tmp_path / "whole.avro", *[entry() for _ in range(40)]).read_bytes()
    (tmp_path / "cut.avro").write_bytes(whole[:-40])
    (tmp_path / "sync.avro").write_bytes(whole[:-1] + b"x")
    middle = len(whole) - 60
    (tmp_path / "block.avro").write_bytes(whole[:middle] + b"\xff" * 8 + whole[middle + 8 :])
    (tmp_path / "codec.avro").write_bytes(whole.replace(b"\x0edeflate", b"\x0eunknown"))
    (tmp_path / "header.avro").write_bytes(whole[:30])
    report = scan(tmp_path, [EMAIL])
    named = {line.partition(":")[0] for line in report.unreadable}
    assert named == {"cut.avro", "sync.avro", "block.avro", "codec.avro", "header.avro"}
    assert all("Avro file" in line for line in report.unreadable)


def puffin(path: Path, footer: dict[str, Any], blob: bytes, *, packed: bool = False) -> Path:
    payload = json.dumps(footer).encode()
    if packed:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "lz4") as out:
            out.write(payload)
        payload = sink.getvalue().to_pybytes()
    tail = struct.pack("<i", len(payload)) + bytes([int(packed), 0, 0, 0]) + b"PFA1"
    path.write_bytes(b"PFA1" + blob + b"PFA1" + payload + tail)
    return path


def sketch(blob: bytes, **changes: Any) -> dict[str, Any]:
    found = {"type": "apache-datasketches-theta-v1", "fields": [1], "snapshot-id": 1}
    place = {"sequence-number": 1, "offset": 4, "length": len(blob)}
    return {"blobs": [{**found, **place, **changes}]}


@pytest.mark.parametrize("packed", [False, True], ids=["plain footer", "packed footer"])
def test_puffin_notes_and_packed_blobs_are_searched(tmp_path: Path, *, packed: bool) -> None:
    blob = pa.compress(b"\0" * 90 + EMAIL.encode(), codec="zstd", asbytes=True)
    noted = sketch(blob, properties={"top": LONG}, **{"compression-codec": "zstd"})
    puffin(tmp_path / "a.stats", noted, blob, packed=packed)
    report = scan(tmp_path, [EMAIL])
    assert ("a.stats", "raw bytes") in places(report)
    assert not report.unreadable
    assert ("a.stats", "JSON value of blobs.properties.top") in places(scan(tmp_path, [LONG]))
    assert scan(tmp_path, ["somebody.else@mail.example"]).clean


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "my-own-index"}, "kind of blob"),
        ({"offset": 4000}, "outside"),
        ({"compression-codec": "brotli"}, "packed in a way"),
        ({"compression-codec": "zstd"}, "cannot be unpacked"),
        ({"length": None}, "footer is damaged"),
    ],
)
def test_a_puffin_file_that_cannot_be_decoded_is_unreadable(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    puffin(tmp_path / "a.stats", sketch(b"sketch", **change), b"sketch")
    (line,) = scan(tmp_path, [EMAIL]).unreadable
    assert reason in line


def test_a_puffin_file_that_breaks_off_is_unreadable(tmp_path: Path) -> None:
    path = puffin(tmp_path / "a.stats", sketch(b"sketch"), b"sketch")
    path.write_bytes(path.read_bytes()[:-5])
    (line,) = scan(tmp_path, [EMAIL]).unreadable
    assert "breaks off" in line
