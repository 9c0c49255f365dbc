"""Building the subject index of a Delta table."""

from collections.abc import Sequence

import polars as pl

from connectors.adapters.base import Progress
from connectors.adapters.delta.find import physical_targets
from connectors.adapters.delta.log import read_history
from connectors.adapters.delta.search import Search, Target
from connectors.index import SubjectIndex
from connectors.storage import Folder


def build_index(
    folder: Folder, subject_columns: Sequence[str], index: SubjectIndex, progress: Progress
) -> int:
    """Hash each file that has no segment yet; returns how many. What is gone goes first.

    A file may be removed while we read it, with the person in it for whose sake it was. So the
    table is looked at again until there is nothing new, and only then is the index as it is.
    Raises StoreError when the table's log cannot be read.
    """
    seen: set[str] = set()
    hashed = 0
    while True:
        search, names = _names(folder, subject_columns, index)
        index.keep(names)
        new = sorted(names.keys() - seen)
        if not new:
            return hashed
        done_bytes = 0
        for number, name in enumerate(new):
            progress("index", number, len(new), done_bytes)
            hashed += not index.holds(name) and _add(folder, search, index, name, names[name])
            done_bytes += names[name].bytes
        progress("index", len(new), len(new), done_bytes)
        seen |= names.keys()


def prune_index(folder: Folder, subject_columns: Sequence[str], index: SubjectIndex) -> None:
    """Forget what only files held that are gone. Raises StoreError."""
    index.keep(_names(folder, subject_columns, index)[1])


def _names(
    folder: Folder, subject_columns: Sequence[str], index: SubjectIndex
) -> tuple[Search, dict[str, Target]]:
    history, entries = read_history(folder), folder.entries()
    search = Search(folder, history, subject_columns, {})
    columns = search.names_of(subject_columns)
    present = {entry.path: entry for entry in entries}
    targets = physical_targets(history, entries)
    return search, {index.name_of(present[t.path], columns): t for t in targets}


def _add(folder: Folder, search: Search, index: SubjectIndex, name: str, target: Target) -> bool:
    try:
        with folder.opened(target.path) as location:
            columns = search.readable(dict(pl.read_parquet_schema(location)))
            frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
            index.add(name, frame, columns)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False  # it has no segment, so the search tries it, and says what is wrong
    return True
