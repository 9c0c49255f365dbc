"""Opening what is packed: gzip, bzip2, xz, zstd, zip and tar."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

import pyarrow as pa

MAX_UNPACKED = 1 << 30
_STREAMS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MARK, _TAR_AT = b"ustar", 257


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class ContainerError(ValueError):
    """A packed file that cannot be opened; the message says why."""


def container_kind(head: bytes) -> str:
    """What packs the bytes ("" for nothing); `head` is at least the first 512 of them."""
    for magic, kind in _STREAMS.items():
        if head.startswith(magic):
            return kind
    if head.startswith(_ZIP):
        return "zip"
    return "tar" if head[_TAR_AT : _TAR_AT + len(_TAR_MARK)] == _TAR_MARK else ""


def members(kind: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of everything inside; the name is empty for a plain compressed stream.

    Raises ContainerError when it is damaged, encrypted, or larger than MAX_UNPACKED unpacked.
    """
    try:
        if kind == "zip":
            yield from _zip_members(data)
        elif kind == "tar":
            yield from _tar_members(data)
        else:
            yield "", _limited(_stream(kind, data))
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
            pa.ArrowException, RuntimeError, NotImplementedError) as exc:  # fmt: skip
        raise ContainerError(f"the {kind} file cannot be unpacked: {exc}") from exc


def _stream(kind: str, data: bytes) -> _Stream:
    source = io.BytesIO(data)
    if kind == "gzip":
        return gzip.open(source)
    if kind == "bzip2":
        return bz2.open(source)
    if kind == "xz":
        return lzma.open(source)
    unzipped: _Stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
    return unzipped


def _limited(stream: _Stream) -> bytes:
    with closing(stream):
        unpacked = stream.read(MAX_UNPACKED + 1)
    if len(unpacked) > MAX_UNPACKED:
        raise ContainerError(f"unpacked it is larger than {MAX_UNPACKED:,} bytes")
    return unpacked


def _zip_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            yield info.filename, b"" if info.is_dir() else _limited(archive.open(info))


def _tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            inner = archive.extractfile(info) if info.isfile() else None
            yield info.name, _limited(inner) if inner else b""
