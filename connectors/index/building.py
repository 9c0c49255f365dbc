"""Building an index: each file of a store that it does not know is hashed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow as pa

from connectors.adapters.base import Progress, TakesIndex, silent
from connectors.formats.dictionaries import has_unused_values
from connectors.index.index import Columns, SubjectIndex
from connectors.storage import FileEntry, Folder


class Source(Protocol):
    """A file as it is now."""

    @property
    def bytes(self) -> int: ...

    def hash_into(self, index: SubjectIndex, name: str) -> bool:
        """Hash it under this name; False where it cannot be read: it has no segment then, so the
        search tries it, and says what is wrong."""
        ...


def build(store: TakesIndex, index: SubjectIndex, progress: Progress = silent) -> int:
    """Hash each file that has no segment yet; returns how many. What is gone goes first.

    A file may be removed while we read it, with the person in it for whose sake it was. So the
    store is looked at again until there is nothing new, and only then is the index as it is.
    Raises StoreError.
    """
    seen: set[str] = set()
    hashed = 0
    while True:
        with store.index_sources(index) as files:
            index.keep(files)
            new = sorted(files.keys() - seen)
            if not new:
                return hashed
            done_bytes = 0
            for number, name in enumerate(new):
                progress("index", number, len(new), done_bytes)
                hashed += not index.holds(name) and files[name].hash_into(index, name)
                done_bytes += files[name].bytes
            progress("index", len(new), len(new), done_bytes)
            seen |= files.keys()


def prune(store: TakesIndex, index: SubjectIndex) -> None:
    """Forget the files that are gone. Raises StoreError."""
    with store.index_sources(index) as files:
        index.keep(files)


@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file of a table. `columns_in`: the columns that name people in a local file, and
    where they stand in it."""

    folder: Folder
    entry: FileEntry
    columns_in: Callable[[Path], Columns]

    @property
    def bytes(self) -> int:
        return self.entry.bytes

    def hash_into(self, index: SubjectIndex, name: str) -> bool:
        """Nothing is kept of a file that may name somebody whom no row names: rows are what an
        index counts, so such a file is read."""
        try:
            with self.folder.opened(self.entry.path) as location:
                columns = self.columns_in(location)
                tops = {top for column, _ in columns.values() for top in column.meta.root_names()}
                if has_unused_values(location, tops):
                    return False
                frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
                index.add(name, frame, columns)
        # A panic of polars, on a type that it does not know, is no Exception.
        except (
            OSError,
            pa.ArrowException,
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
        ):
            return False
        return True
