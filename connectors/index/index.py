"""One store's index: a folder with a segment for each physical file.

A segment's name is a keyed hash of the file's path, size and time, and of what its columns are
called. So a file that changed has no segment, and is searched itself: an index that is behind costs
time, never a person. What the name stands for cannot be seen from it, nor from the hashes, without
the key, which lies elsewhere.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from connectors.adapters.base import Needles
from connectors.folders import LocalFolder, locked_folder
from connectors.index import segment
from connectors.index.lookup import Lookup
from connectors.index.segment import Segment
from connectors.index.terms import (
    as_bytes,
    column_terms,
    sought_in,
    spelled,
)
from connectors.storage import FileEntry

_SLICE_ROWS = 1_048_576  # read at once; writers of Delta make row groups of as many
_ENDING = ".segment"
_BUILT = "built"

Columns = Mapping[str, tuple[pl.Expr, pl.DataType]]
# A column, its type as `terms.spelled` spells it, and the terms ("term") of some rows in it.
Terms = tuple[str, str, pl.LazyFrame]


@dataclass(frozen=True)
class Size:
    """`entries`: identifiers, each counted once a file."""

    files: int
    entries: int
    bytes: int


class SubjectIndex:
    """`folder`: of this store alone; made when something is kept. `key`: 32 bytes."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder = folder
        self.key = key

    def name_of(self, entry: FileEntry, columns: Mapping[str, Sequence[str]]) -> str:
        """The segment's name of a file as it is now. `columns`: each column that the index covers,
        with all names that it may have in files."""
        return self.named([entry.path, entry.bytes, entry.modified.isoformat()], columns)

    def named(self, facts: Sequence[object], columns: Mapping[str, Sequence[str]]) -> str:
        """The same of anything that `facts`, of JSON's types, tell from all else and from what it
        was before."""
        text = json.dumps([*facts, sorted(columns.items())])
        return hashlib.blake2b(text.encode(), key=self.key, digest_size=16).hexdigest()

    @property
    def built_at(self) -> datetime | None:
        """When a build last came to its end."""
        try:
            return datetime.fromtimestamp((self.folder / _BUILT).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def lookup(self, needles: Needles) -> Lookup:
        return Lookup(self, needles)

    def segment(self, name: str) -> AbstractContextManager[Segment | None]:
        return segment.opened(f"{self.folder}/{name}{_ENDING}")

    @contextmanager
    def building(self) -> Iterator[bool]:
        """Hold the index for a build; yields False when another process builds it. What a build
        that died left half-written goes."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked_folder(self.folder) as ours:
            if ours:
                for path in self.folder.glob(".*.tmp"):
                    path.unlink(missing_ok=True)
            yield ours

    def holds(self, name: str) -> bool:
        """Whether the file's segment is there and sound. One that is not is removed."""
        with self.segment(name) as found:
            if found is not None and found.whole:
                return True
        self._path(name).unlink(missing_ok=True)
        return False

    def add(self, name: str, frame: pl.LazyFrame, columns: Columns) -> None:
        """Hash what stands in a file's identifier columns. Raises polars' errors."""
        rows = int(frame.select(pl.len()).collect().item())
        self.write(
            name,
            (
                (column, spelled(kind), part.select(column_terms(expression, kind)))
                for start in range(0, max(rows, 1), _SLICE_ROWS)
                for part in (frame.slice(start, _SLICE_ROWS),)
                for column, (expression, kind) in columns.items()
            ),
        )

    def write(self, name: str, parts: Iterable[Terms]) -> None:
        """Hash a file's terms. Raises polars' errors, and what `parts` raises."""
        columns, runs = {}, []
        for column, kind, terms in parts:
            columns[column] = kind
            runs.append(self._run(column, terms))
        entries = pl.concat([_NO_ENTRIES, *runs])
        entries = entries.group_by("hash").agg(pl.col("rows").sum()).sort("hash")
        body = segment.written(columns, entries)
        self._path(name).unlink(missing_ok=True)
        LocalFolder(self.folder).create(self._path(name).name, body)

    def _run(self, column: str, terms: pl.LazyFrame) -> pl.DataFrame:
        found = terms.drop_nulls().group_by("term").len().collect()
        key = self._column_key(column)
        hashes = [_hash(term, key) for term in as_bytes(found["term"])]
        return pl.DataFrame(
            {"hash": hashes, "rows": found["len"]}, schema=_NO_ENTRIES.schema, strict=False
        )

    def keep(self, names: Collection[str]) -> None:
        """Remove the segments of all other files, and with them what only these held."""
        kept = set(names)
        for path in self.folder.glob(f"*{_ENDING}"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def finish(self) -> Size:
        """Note that every file has been looked at; returns what the index holds now."""
        (self.folder / _BUILT).touch()
        files = entries = size = 0
        for path in self.folder.glob(f"*{_ENDING}"):
            with segment.opened(str(path)) as found:
                if found is not None:
                    files, entries, size = files + 1, entries + found.entries, size + found.bytes
        return Size(files, entries, size)

    def remove(self) -> None:
        """Remove all of it."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def hashes(self, column: str, kind: str, identifiers: Sequence[str]) -> frozenset[int]:
        """What stands in a segment for the values of such a column that name the person."""
        key = self._column_key(column)
        return frozenset(_hash(term, key) for term in sought_in(kind, identifiers))

    def _column_key(self, column: str) -> bytes:
        return hashlib.blake2b(column.encode(), key=self.key).digest()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"


_NO_ENTRIES = pl.DataFrame(schema={"hash": pl.UInt64, "rows": pl.UInt32})


def _hash(term: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(term, digest_size=8, key=key).digest(), "little")
