"""One file's content, recognised by its first bytes, never by its name alone."""

import mmap
import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from connectors.scan.avro import AvroFormatError, is_avro
from connectors.scan.containers import ContainerError, container_kind, members
from connectors.scan.manifests import scan_avro
from connectors.scan.parquet import ParquetFormatError, is_parquet, scan_parquet
from connectors.scan.puffin import PuffinFormatError, is_puffin, scan_puffin
from connectors.scan.raw import scan_raw
from connectors.scan.record import Record
from connectors.scan.sqlite import is_sqlite, scan_sqlite
from connectors.scan.texts import decoded, scan_text

Bytes = bytes | mmap.mmap

_HEAD = 512
_MAX_NESTED = 5
_MAX_PACKED = 1 << 30
_CHECKSUM = b"crc\x00"  # Hadoop's checksum files hold four bytes a block of another file
_VECTORS = re.compile(r"(^|/)deletion_vector_[0-9a-f-]{36}\.bin$")  # row numbers, no values


class UnknownFormatError(ValueError):
    """No decoder knows these bytes."""


# Their messages hold nothing of a file's content.
_EXPLAINED = (
    AvroFormatError, ContainerError, ParquetFormatError, PuffinFormatError, UnknownFormatError,
)  # fmt: skip

_FORMATS = (
    (is_parquet, scan_parquet),
    (is_avro, scan_avro),
    (is_puffin, scan_puffin),
    (is_sqlite, scan_sqlite),
)


def scan_content(data: Bytes, path: str, record: Record, depth: int = 0) -> None:
    """Note every identifier in the bytes.

    Raises when any part of them cannot be decoded; the type of error depends on the damage.
    """
    if not len(data):
        return
    scan_raw(data, path, record)
    head = bytes(data[:_HEAD])
    if scan := next((scan for knows, scan in _FORMATS if knows(head)), None):
        scan(data, path, record)
    elif kind := container_kind(head):
        _scan_container(kind, data, path, record, depth)
    elif not head.startswith(_CHECKSUM) and not _VECTORS.search(path):
        text = decoded(bytes(data))
        if text is None:
            raise UnknownFormatError("its format is unknown, so its content cannot be decoded")
        scan_text(text, path, record)


def _scan_container(kind: str, data: Bytes, path: str, record: Record, depth: int) -> None:
    if depth >= _MAX_NESTED or len(data) > _MAX_PACKED:
        raise ContainerError("it is packed too deep or too large to be unpacked")
    for name, inner in members(kind, bytes(data)):
        inside = f"{path}!{name}" if name else f"{path}!"
        for part in name.split("/"):
            scan_name(part, record)
        scan_content(inner, inside, record, depth + 1)


def scan_name(path: str, record: Record) -> None:
    """A name may hold an identifier, and a Hive partition ("customer_id=00004") is a value."""
    identifiers = record.identifiers
    part = unquote(unquote(PurePosixPath(path).name))
    key, equals, value = part.partition("=")
    if equals:
        found = identifiers.of_text(value, [key], declared=False)
        record.hits(found, path, f"partition key {key}", column=[key])
        if found:
            return
    found = list(dict.fromkeys(identifiers.within(part)))
    record.hits(found, path, "file name")
    record.cuts(identifiers.cuts_within(part), path, "file name")


def scan_path(path: str, record: Record, mark: str = "") -> None:
    """As `scan_name`, of every part of a path; `mark`: what stands before it in reports."""
    parts = path.split("/")
    for number in range(len(parts)):
        scan_name(f"{mark}{'/'.join(parts[: number + 1])}", record)


def reason(exc: BaseException) -> str:
    """Why a file could not be read, in words that hold none of its content."""
    if isinstance(exc, _EXPLAINED):
        return str(exc)
    return f"it cannot be decoded ({type(exc).__name__})"
