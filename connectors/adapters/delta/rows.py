"""The rows that one version of a Delta table has and another need not have."""

from collections.abc import Iterator

import polars as pl
from deltalake.exceptions import DeltaError

from connectors.adapters.base import StoreError
from connectors.adapters.delta.snapshot import DataFile, Snapshot
from connectors.adapters.delta.table import opened_table
from connectors.storage import Folder


def rows_apart(folder: Folder, version: Snapshot, other: Snapshot) -> Iterator[pl.DataFrame]:
    """The rows of `version` in files that `other` does not read as well.

    Tables whose files do not show their rows as readers see them (deletion vectors, column mapping)
    are read whole. Raises StoreError.
    """
    try:
        if _is_plain(version) and _is_plain(other):
            for path in sorted(version.files.keys() - other.files.keys()):
                yield _rows_of(folder, version.files[path])
        else:
            files = version.files.values()
            with opened_table(folder, files, version=version.version) as table:
                frame = pl.scan_delta(table).collect()
            yield frame
    except (DeltaError, OSError, pl.exceptions.PolarsError) as exc:
        raise StoreError(
            f"Version {version.version} of the table {folder.root} cannot be read row by row."
        ) from exc


def _is_plain(version: Snapshot) -> bool:
    mapped = version.configuration.get("delta.columnMapping.mode", "none") != "none"
    return not mapped and not any(file.deletion_vector for file in version.files.values())


def _rows_of(folder: Folder, file: DataFile) -> pl.DataFrame:
    with folder.opened(file.path) as location:
        frame = pl.read_parquet(location, glob=False, hive_partitioning=False)
    return frame.with_columns(
        pl.lit(value, dtype=pl.String).alias(name) for name, value in file.partition_values.items()
    )
