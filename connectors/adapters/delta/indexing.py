"""What the subject index of a Delta table is made from."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from connectors.adapters.delta.find import physical_targets
from connectors.adapters.delta.log import read_history
from connectors.adapters.delta.search import Search
from connectors.index import Columns, ParquetSource, SubjectIndex
from connectors.storage import Folder


def index_sources(
    folder: Folder, subject_columns: Sequence[str], index: SubjectIndex
) -> dict[str, ParquetSource]:
    """Every file with rows, by its segment's name. Raises StoreError when the table's log cannot be
    read."""
    history, entries = read_history(folder), folder.entries()
    search = Search(folder, history, subject_columns, {})
    columns = search.names_of(subject_columns)
    present = {entry.path: entry for entry in entries}

    def columns_in(location: Path) -> Columns:
        return search.readable(dict(pl.read_parquet_schema(location)))

    files = [present[target.path] for target in physical_targets(history, entries)]
    return {index.name_of(f, columns): ParquetSource(folder, f, columns_in) for f in files}
