"""The rows that one snapshot of an Iceberg table has and another need not have."""

from collections.abc import Iterator

import polars as pl
import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask
from pyiceberg.table.snapshots import Snapshot

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg.table import TableView


def rows_apart(view: TableView, version: Snapshot, other: Snapshot) -> Iterator[pl.DataFrame]:
    """The rows of `version` in files that `other` does not read in the same way, without those that
    delete files hide; columns as `version` names them. Raises StoreError."""
    for snapshot in (version, other):
        for _ in view.live(snapshot):  # each path is checked
            pass
    scan = view.table.scan(snapshot_id=version.snapshot_id)
    try:
        shared = {
            _read_as(task) for task in view.table.scan(snapshot_id=other.snapshot_id).plan_files()
        }
        apart = [task for task in scan.plan_files() if _read_as(task) not in shared]
        rows = ArrowScan(view.metadata, view.table.io, scan.projection(), AlwaysTrue())
        yield pl.DataFrame(rows.to_table(apart))
    except (OSError, ValueError, pa.ArrowException) as exc:
        raise StoreError(
            f"The snapshot {version.snapshot_id} of the table {view.name} cannot be read row by "
            f"row ({type(exc).__name__})."
        ) from None


def _read_as(task: FileScanTask) -> tuple[str, frozenset[str]]:
    return task.file.file_path, frozenset(file.file_path for file in task.delete_files)
