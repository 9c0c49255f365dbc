"""A segment: the keyed hashes of the identifiers in one physical file, on disk.

    8 bytes     _MAGIC
    8 bytes     length of the header
    header      JSON, padded with blanks to a multiple of 8 bytes
    8 bytes n   the hashes, ascending, each once
    `width` n   for each hash, in how many rows of the file it stands

Numbers are in the machine's byte order, which the magic tells. A lookup maps the file and halves
what is around the place where the hash should be: it touches a few pages of the file.
"""

import hashlib
import io
import json
import mmap
import sys
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

_MAGIC = b"VSTGIX1" + (b"<" if sys.byteorder == "little" else b">")
_HASH_BYTES = 8
_START = len(_MAGIC) + 8
_SPREAD = 512  # hashes: a page of memory to each side
_WIDTHS = {1: ("B", pl.UInt8), 2: ("H", pl.UInt16), 4: ("I", pl.UInt32)}  # bytes of a count


@dataclass(frozen=True)
class Segment:
    """`columns`: those that the file has, each with its type as `terms.spelled` spells it."""

    columns: Mapping[str, str]
    digest: str
    bytes: int
    hashes: memoryview
    counts: memoryview

    def rows_with(self, wanted: int) -> int:
        """In how many rows of the file the hash stands."""
        hashes = self.hashes
        # Hashes are spread evenly, so that this one stands near its share of the way.
        near = wanted * len(hashes) >> 64
        start, end = max(near - _SPREAD, 0), min(near + _SPREAD, len(hashes))
        if (start and hashes[start] > wanted) or (end < len(hashes) and hashes[end] < wanted):
            start, end = 0, len(hashes)
        place = bisect_left(hashes, wanted, start, end)
        if place < len(hashes) and hashes[place] == wanted:
            return int(self.counts[place])
        return 0

    @property
    def whole(self) -> bool:
        """Whether the bytes are those that were written. Reads them all."""
        return _digest(self.hashes, self.counts) == self.digest


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
        "digest": _digest(*parts),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([_MAGIC, len(text).to_bytes(8, "little"), text, *parts])


def opened(path: Path) -> Segment | None:
    """The segment in a file; None where there is none, or none of ours that is complete."""
    try:
        with io.FileIO(str(path)) as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # not there; empty
        return None
    try:
        return _parsed(data)
    except (KeyError, TypeError, ValueError):
        return None


def _parsed(data: memoryview) -> Segment:
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("no segment")
    start = _START + int.from_bytes(data[len(_MAGIC) : _START], "little")
    header: dict[str, Any] = orjson.loads(data[_START:start])
    middle = start + header["entries"] * _HASH_BYTES
    counts = data[middle:].cast(header["width"])
    if len(counts) != header["entries"]:
        raise ValueError("not complete")
    return Segment(
        columns=header["columns"],
        digest=header["digest"],
        bytes=len(data),
        hashes=data[start:middle].cast("Q"),
        counts=counts,
    )


def _raw(numbers: pl.Series) -> bytes:
    return numbers.to_numpy().tobytes()


def _digest(*parts: bytes | memoryview) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()
