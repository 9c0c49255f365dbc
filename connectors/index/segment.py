"""A segment: the keyed hashes of the identifiers in one physical file, on disk.

    8 bytes     _MAGIC
    8 bytes     length of the header
    header      JSON, padded with blanks to a multiple of 8 bytes
    8 bytes n   the hashes, ascending, each once
    `width` n   for each hash, in how many rows of the file it stands

Numbers are in the machine's byte order, which the magic tells. A lookup reads what is around the
place where the hash should be. To map the file would take twice as long: most of it went into
making and unmaking the map.
"""

import hashlib
import json
import os
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

_MAGIC = b"VSTGIX1" + (b"<" if sys.byteorder == "little" else b">")
_HASH_BYTES = 8
_START = len(_MAGIC) + 8
_HEADER = 1024  # bytes: as long as nearly all headers
_WIDTHS = {1: ("B", pl.UInt8), 2: ("H", pl.UInt16), 4: ("I", pl.UInt32)}  # bytes of a count
_BYTES = {code: size for size, (code, _) in _WIDTHS.items()}
_SPREAD = 1024  # hashes
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Segment:
    """`columns`: those that the file has, each with its type as `terms.spelled` spells it;
    `entries`: how many hashes; `bytes`: of the whole segment."""

    columns: Mapping[str, str]
    entries: int
    bytes: int
    _file: int
    _start: int  # of the hashes
    _width: int  # bytes of a count
    _digest: str

    def rows_with(self, wanted: Iterable[int]) -> int:
        """In how many rows of the file these hashes stand."""
        return sum(map(self._rows_with, wanted))

    def _rows_with(self, wanted: int) -> int:
        # Hashes are spread evenly, so that this one stands near its share of the way.
        near, spread = wanted * self.entries >> 64, _SPREAD
        while True:
            first, end = max(near - spread, 0), min(near + spread, self.entries)
            hashes = self._read(first * _HASH_BYTES, (end - first) * _HASH_BYTES).cast("Q")
            begins = not first or hashes[0] <= wanted
            if begins and (end == self.entries or hashes[-1] >= wanted):
                break
            spread *= 16
        place = bisect_left(hashes, wanted)
        if place == len(hashes) or hashes[place] != wanted:
            return 0
        count = self.entries * _HASH_BYTES + (first + place) * self._width
        return int.from_bytes(self._read(count, self._width), sys.byteorder)

    def _read(self, position: int, size: int) -> memoryview:
        return memoryview(os.pread(self._file, size, self._start + position))

    @property
    def whole(self) -> bool:
        """Whether the bytes are those that were written. Reads them all."""
        places = range(0, self.bytes - self._start, _BLOCK)
        return _digest(self._read(place, _BLOCK) for place in places) == self._digest


def written(columns: Mapping[str, str], entries: pl.DataFrame) -> bytes:
    """A segment's bytes. `entries`: a hash (UInt64) and in how many rows it stands, ascending."""
    hashes, counts = entries.get_columns()
    most = max(counts.to_list(), default=0)
    width, kind = next(_WIDTHS[size] for size in _WIDTHS if most < 256**size)
    parts = [_raw(hashes), _raw(counts.cast(kind))]
    header = {
        "columns": dict(columns),
        "entries": entries.height,
        "width": width,
        "digest": _digest(parts),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([_MAGIC, len(text).to_bytes(8, "little"), text, *parts])


@contextmanager
def opened(path: str) -> Iterator[Segment | None]:
    """The segment in a file; None where there is none, or none of ours that is complete."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield _parsed(file)
    finally:
        os.close(file)


def _parsed(file: int) -> Segment | None:
    size = os.fstat(file).st_size
    head = os.pread(file, _HEADER, 0)
    start = _START + int.from_bytes(head[len(_MAGIC) : _START], "little")
    if not head.startswith(_MAGIC) or start > size:
        return None
    if start > len(head):
        head = os.pread(file, start, 0)
    try:
        header: dict[str, Any] = orjson.loads(head[_START:start])
        entries, width = header["entries"], _BYTES[header["width"]]
        end = start + entries * (_HASH_BYTES + width)
        found = Segment(header["columns"], entries, size, file, start, width, header["digest"])
    except (KeyError, TypeError, ValueError):
        return None
    return found if end == size else None


def _raw(numbers: pl.Series) -> bytes:
    return numbers.to_numpy().tobytes()


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()
