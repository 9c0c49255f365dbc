"""What a table's snapshots are, and counts and identifiers in one of them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFileContent
from pyiceberg.table.snapshots import Snapshot

from connectors.adapters.base import PhysicalObject, StoreError, StoreVersion
from connectors.adapters.iceberg.person import DAMAGE, Person, leaf_paths, shown_value
from connectors.adapters.iceberg.table import (
    DataEntry,
    TableView,
    created_at,
    operation,
    schema_rows,
)
from connectors.folders import masked
from connectors.storage import FileEntry

Digests = dict[tuple[str, int, datetime], str]


class Versions:
    """Every snapshot whose files are all there. `known`: digests of files that were read before."""

    def __init__(
        self, view: TableView, subject_columns: Sequence[str], known: Digests, *, digests: bool
    ) -> None:
        self.view = view
        self.known = known
        self.digests = digests
        self.hidden = view.hidden_names(subject_columns)
        self.entries = {e.path: e for e in view.folder.entries()}

    def found(self) -> list[StoreVersion]:
        """Oldest first, and last the one that is current on the main branch. Raises StoreError
        when a manifest cannot be read."""
        current = self.view.metadata.current_snapshot_id
        snapshots = sorted(self.view.snapshots, key=lambda s: s.snapshot_id == current)
        files = {s.snapshot_id: list(self.view.live(s)) for s in self.view.snapshots}
        readable = {n for n, live in files.items() if all(f.path in self.entries for f in live)}
        return [
            self._version(snapshot, files[snapshot.snapshot_id], readable)
            for snapshot in snapshots
            if snapshot.snapshot_id in readable
        ]

    def _version(
        self, snapshot: Snapshot, files: Sequence[DataEntry], readable: set[int]
    ) -> StoreVersion:
        objects = [self._object(live) for live in sorted(files, key=lambda f: f.path)]
        lines = "".join(f"{o.path}\n{o.bytes}\n{o.digest}\n" for o in objects)
        # What delete files hide is not counted without reading them.
        countable = all(o.rows is not None for o in objects)
        parent = snapshot.parent_snapshot_id
        return StoreVersion(
            id=str(snapshot.snapshot_id),
            created_at=created_at(snapshot),
            operation=operation(snapshot),
            parents=(str(parent),) if parent in readable else (),
            refs=self.view.refs_of(snapshot),
            objects=tuple(objects),
            rows=sum(o.rows or 0 for o in objects) if countable else None,
            bytes=sum(o.bytes for o in objects),
            digest=hashlib.sha256(lines.encode()).hexdigest() if self.digests else None,
            schema=schema_rows(self.view.schema_of(snapshot)),
        )

    def _object(self, live: DataEntry) -> PhysicalObject:
        entry = self.entries[live.path]
        rows = live.file.record_count if live.content == DataFileContent.DATA else None
        digest = self._digest(entry) if self.digests else None
        return PhysicalObject(masked(live.path, self.hidden), entry.bytes, rows, digest)

    def _digest(self, entry: FileEntry) -> str:
        key = (entry.path, entry.bytes, entry.modified)
        if key not in self.known:
            self.known[key] = self.view.folder.digest(entry.path)
        return self.known[key]


def profile_of(view: TableView, snapshot: Snapshot | None) -> Mapping[str, Any]:
    """Counts of physical rows, no values. Raises StoreError for files that cannot be read."""
    schema = view.schema_of(snapshot)
    live = list(view.live(snapshot)) if snapshot else []
    files = [f for f in live if f.content == DataFileContent.DATA]
    try:
        counted, different = _counts(view, snapshot, files) if files else ({"rows": 0}, 0)
    except DAMAGE as exc:
        raise StoreError(
            f"The table {view.name} cannot be read: a file is damaged or was removed "
            f"({type(exc).__name__})."
        ) from None
    return {
        "version": str(snapshot.snapshot_id) if snapshot else "none",
        "rows": counted["rows"],
        "files": len(files),
        "bytes": sum(f.file.file_size_in_bytes for f in files),
        "duplicates": counted["rows"] - different if different is not None else None,
        "columns": {
            name: {
                "type": kind,
                "nulls": counted.get(f"nulls:{name}", 0),
                "distinct": counted.get(f"distinct:{name}"),
            }
            for name, kind in schema_rows(schema)
        },
    }


def _counts(
    view: TableView, snapshot: Snapshot | None, files: Sequence[DataEntry]
) -> tuple[Mapping[str, int], int | None]:
    """Rows, NULLs and distinct values; distinct rows, where every column can be compared."""
    with ExitStack() as opened:
        frames = [
            _frame(view, snapshot, file, opened.enter_context(view.folder.opened(file.path)))
            for file in files
        ]
        frame = pl.concat(frames, how="vertical_relaxed")
        kinds = frame.collect_schema()
        flat = [n for n, k in kinds.items() if not k.is_nested()]
        numbers = frame.select(
            pl.len().alias("rows"),
            *(pl.col(n).null_count().alias(f"nulls:{n}") for n in kinds),
            *(pl.col(n).n_unique().alias(f"distinct:{n}") for n in flat),
        ).collect()
        different = frame.select(flat).unique().select(pl.len()).collect().item()
    return numbers.row(0, named=True), different if len(flat) == len(kinds) else None


def _frame(
    view: TableView, snapshot: Snapshot | None, live: DataEntry, location: Path
) -> pl.LazyFrame:
    """A file with the columns of the snapshot's schema, in its order and under its names."""
    numbered, named = leaf_paths(pq.read_schema(location))
    constants = view.identity_constants(live.file)
    columns = []
    for field in view.schema_of(snapshot).fields:
        path = numbered.get(field.field_id)
        if path is None and not numbered and field.name in named:
            path = field.name
        values = pl.lit(constants.get(field.field_id)) if path is None else pl.col(path)
        columns.append(values.alias(field.name))
    return pl.scan_parquet(location, glob=False, hive_partitioning=False).select(columns)


def values_of(view: TableView, person: Person, live: DataEntry, column: str) -> Iterator[str]:
    """The distinct identifiers of a column in one file, as text. Raises StoreError."""
    try:
        with view.folder.opened(live.path) as location:
            found = _values(view, person, live, column, location)
    except DAMAGE as exc:
        raise person.unreadable(live.path, exc) from None
    yield from (shown_value(value) for value in found)


def _values(
    view: TableView, person: Person, live: DataEntry, column: str, location: Path
) -> list[Any]:
    columns = person.columns_in(location)
    if column not in columns:
        constants = view.identity_constants(live.file)
        return [constants[i] for i in person.ids[column] if constants.get(i) is not None]
    frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
    values = columns[column][0].alias("v").drop_nulls().unique()
    return frame.select(values).collect()["v"].to_list()
