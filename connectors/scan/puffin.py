"""Puffin files, in which Iceberg keeps sketches and deletion vectors.

Source: https://iceberg.apache.org/puffin-spec/. A sketch holds hashes of values and a deletion
vector row numbers: neither holds a value, so beside the notes only the unpacked bytes are searched.
"""

import json
import mmap
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from connectors.scan.raw import scan_raw
from connectors.scan.record import Record
from connectors.scan.texts import scan_json

MAGIC = b"PFA1"
_TAIL = 12  # the payload's size, flags, magic
_MAX_BLOB = 1 << 30
_KNOWN = ("apache-datasketches-theta-v1", "deletion-vector-v1")
_CODECS = {"lz4": "lz4", "zstd": "zstd"}


class PuffinFormatError(ValueError):
    """The file is not the Puffin file that its first bytes say it is."""


def is_puffin(head: bytes) -> bool:
    return head.startswith(MAGIC)


def scan_puffin(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note every identifier in the file. Raises PuffinFormatError when it cannot be decoded."""
    footer = _footer(data)
    scan_json(footer, (), path, record)
    blobs = footer.get("blobs")
    if not isinstance(blobs, list):
        raise PuffinFormatError("the Puffin footer lists no blobs")
    for blob in blobs:
        scan_raw(_blob(data, blob), path, record)


def _footer(data: "bytes | mmap.mmap") -> dict[str, Any]:
    end = len(data) - _TAIL
    if end < 2 * len(MAGIC) or data[-4:] != MAGIC:
        raise PuffinFormatError("the Puffin file breaks off")
    size = int.from_bytes(data[end : end + 4], "little", signed=True)
    start = end - size
    if size < 0 or start < 2 * len(MAGIC) or data[start - 4 : start] != MAGIC:
        raise PuffinFormatError("the Puffin footer is damaged")
    payload = bytes(data[start:end])
    if data[end + 4] & 1:
        payload = _unpacked(payload, "lz4")
    try:
        footer = json.loads(payload)
    except ValueError as exc:
        raise PuffinFormatError("the Puffin footer is no JSON") from exc
    if not isinstance(footer, dict):
        raise PuffinFormatError("the Puffin footer is damaged")
    return footer


def _blob(data: "bytes | mmap.mmap", blob: Mapping[str, Any]) -> bytes:
    try:
        kind, start, size = str(blob["type"]), int(blob["offset"]), int(blob["length"])
    except (KeyError, TypeError, ValueError) as exc:
        raise PuffinFormatError("the Puffin footer is damaged") from exc
    if kind not in _KNOWN:
        raise PuffinFormatError("the Puffin file holds a kind of blob that cannot be decoded")
    if start < 0 or size < 0 or start + size > len(data):
        raise PuffinFormatError("a blob lies outside the Puffin file")
    raw = bytes(data[start : start + size])
    codec = blob.get("compression-codec")
    return _unpacked(raw, str(codec)) if codec else raw


def _unpacked(raw: bytes, codec: str) -> bytes:
    if codec not in _CODECS:
        raise PuffinFormatError("the Puffin file is packed in a way that is not known")
    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), _CODECS[codec]) as stream:
            unpacked: bytes = stream.read(_MAX_BLOB + 1)
    except (OSError, pa.ArrowException) as exc:
        raise PuffinFormatError("a part of the Puffin file cannot be unpacked") from exc
    if len(unpacked) > _MAX_BLOB:
        raise PuffinFormatError("a part of the Puffin file is too large to be unpacked")
    return unpacked
