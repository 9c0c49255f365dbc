"""Reading Avro files block by block, whatever packs the blocks.

Source: https://avro.apache.org/docs/1.12.0/specification/#object-container-files. The blocks are
unpacked here, so that their bytes can be searched as well as their records; fastavro decodes these.
"""

import bz2
import io
import json
import lzma
import mmap
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import fastavro
import pyarrow as pa
from fastavro.types import AvroMessage, Schema

MAGIC = b"Obj\x01"
_SYNC = 16
_MAX_BLOCK = 1 << 30
_MAX_NOTES = 10_000
_TOO_LARGE = "a block of the Avro file is too large to be unpacked"
_DAMAGE = (
    ArithmeticError, AssertionError, EOFError, LookupError, OSError, RecursionError, TypeError,
    ValueError, lzma.LZMAError, zlib.error, pa.ArrowException,
)  # fmt: skip


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_STREAMS: Mapping[str, Callable[[], _Stream]] = {
    "deflate": lambda: zlib.decompressobj(-15),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


class AvroFormatError(ValueError):
    """The file is not the Avro file that its first bytes say it is."""


class Block(NamedTuple):
    unpacked: bytes
    records: list[AvroMessage]


def is_avro(head: bytes) -> bool:
    return head.startswith(MAGIC)


class AvroFile:
    """`notes`: the header's metadata, such as "avro.schema" and whatever the writer added."""

    def __init__(self, data: "bytes | mmap.mmap") -> None:
        """Raises AvroFormatError."""
        self._bytes = _Bytes(data, len(MAGIC))
        self.notes: Mapping[str, bytes] = dict(self._bytes.notes())
        self._codec = self.notes.get("avro.codec", b"null").decode("utf-8", "replace")
        self._sync = self._bytes.take(_SYNC)
        try:
            self._schema: Schema = fastavro.parse_schema(json.loads(self.notes["avro.schema"]))
        except (*_DAMAGE, fastavro.schema.SchemaParseException) as exc:
            raise AvroFormatError("the Avro file has no schema that can be read") from exc

    def blocks(self) -> Iterator[Block]:
        """Raises AvroFormatError when any of them cannot be decoded to its end."""
        while not self._bytes.at_end:
            count, size = self._bytes.number(), self._bytes.number()
            packed = self._bytes.take(size)
            if self._bytes.take(_SYNC) != self._sync:
                raise AvroFormatError("a block of the Avro file is damaged")
            try:
                unpacked = _unpacked(self._codec, packed)
                yield Block(unpacked, self._records(unpacked, count))
            except AvroFormatError:
                raise
            except _DAMAGE as exc:
                raise AvroFormatError(
                    f"a block of the Avro file cannot be decoded ({type(exc).__name__})"
                ) from exc

    def _records(self, unpacked: bytes, count: int) -> list[AvroMessage]:
        stream = io.BytesIO(unpacked)
        records = [fastavro.schemaless_reader(stream, self._schema, None) for _ in range(count)]
        if stream.tell() != len(unpacked):
            raise AvroFormatError("a block of the Avro file holds more than its records")
        return records


def _unpacked(codec: str, packed: bytes) -> bytes:
    if codec == "null":
        return packed
    if codec in _STREAMS:
        stream = _STREAMS[codec]()
        unpacked = stream.decompress(packed, _MAX_BLOCK + 1)
        if not stream.eof and len(unpacked) <= _MAX_BLOCK:
            raise AvroFormatError("a block of the Avro file breaks off")
        return _limited(unpacked)
    if codec == "zstandard":
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as source:
            return _limited(source.read(_MAX_BLOCK + 1))
    if codec == "snappy":
        return _unpacked_snappy(packed)
    raise AvroFormatError(f"the Avro file is packed with {codec}, which cannot be unpacked here")


def _unpacked_snappy(packed: bytes) -> bytes:
    """Snappy begins with its unpacked size; Avro appends a checksum of 4 bytes."""
    size = _Bytes(packed, 0).unsigned()
    if size > _MAX_BLOCK:
        raise AvroFormatError(_TOO_LARGE)
    unpacked: bytes = pa.decompress(packed[:-4], size, codec="snappy", asbytes=True)
    if zlib.crc32(unpacked) != int.from_bytes(packed[-4:], "big"):
        raise AvroFormatError("a block of the Avro file is damaged")
    return unpacked


def _limited(unpacked: bytes) -> bytes:
    if len(unpacked) > _MAX_BLOCK:
        raise AvroFormatError(_TOO_LARGE)
    return unpacked


class _Bytes:
    """Avro's primitive types, one after the other."""

    def __init__(self, data: "bytes | mmap.mmap", position: int) -> None:
        self.data = data
        self.position = position

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.data)

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise AvroFormatError("the Avro file breaks off")
        taken = bytes(self.data[self.position : end])
        self.position = end
        return taken

    def unsigned(self) -> int:
        result = shift = 0
        while shift < 64:
            byte = self.take(1)[0]
            result |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return result
            shift += 7
        raise AvroFormatError("a number in the Avro file is too long")

    def number(self) -> int:
        zigzag = self.unsigned()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def notes(self) -> Iterator[tuple[str, bytes]]:
        """A map of bytes, in blocks; a negative count is followed by the block's size."""
        while count := self.number():
            if count < 0:
                self.number()
            if abs(count) > _MAX_NOTES:
                raise AvroFormatError("the header of the Avro file is damaged")
            for _ in range(abs(count)):
                name = self.take(self.number()).decode("utf-8", "replace")
                yield name, self.take(self.number())
