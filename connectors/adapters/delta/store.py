"""A Delta Lake table as a store."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    Findings,
    Needles,
    PhysicalObject,
    Progress,
    ScanReport,
    StoreError,
    StoreVersion,
    silent,
)
from connectors.adapters.delta.erase import erase_rows
from connectors.adapters.delta.find import check_head, find_rows
from connectors.adapters.delta.indexing import index_sources
from connectors.adapters.delta.keep import rewrite_history
from connectors.adapters.delta.log import LOG, read_history
from connectors.adapters.delta.plan import plan_for
from connectors.adapters.delta.purge import Purge
from connectors.adapters.delta.replaced import purge_replaced
from connectors.adapters.delta.rows import rows_apart
from connectors.adapters.delta.search import Search
from connectors.adapters.delta.snapshot import DataFile, History, Snapshot
from connectors.adapters.delta.table import opened_table
from connectors.adapters.delta.verify import scan_table
from connectors.clustering import Range
from connectors.engines import Engine, Local
from connectors.folders import folder_of, masked
from connectors.index import Source, SubjectIndex
from connectors.people import column_expression, identifier_text, names_one_of
from connectors.storage import FileEntry, Folder

_DEFAULT_GRACE_MINUTES = 60


class DeltaStore:
    """One table. `subject_columns`: the columns that hold identifiers of people.

    Options: `orphan_grace_minutes` (how long files that no version ever named are left alone by a
    purge, because a writer may be about to commit them; 60), `unrelated_columns` (columns whose
    texts may equal a short identifier by chance, such as a postal code). A store that is not
    `writable` refuses to erase and to purge.
    """

    kind = "delta"
    index: SubjectIndex | None = None

    def __init__(
        self,
        place: "str | Folder",
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        writable: bool = True,
    ) -> None:
        """`place`: a folder, or the path of one on this machine. Raises StoreError for it."""
        self.writable = writable
        self.folder = folder_of(place)
        self.subject_columns = tuple(subject_columns)
        options = options or {}
        self.grace = timedelta(
            minutes=float(options.get("orphan_grace_minutes", _DEFAULT_GRACE_MINUTES))
        )
        self.unrelated_columns = tuple(options.get("unrelated_columns", ()))
        self.engine: Engine = Local()
        self._digests: dict[tuple[str, int, datetime], str] = {}

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """Every version that can still be read, oldest first.

        `digests`: read all files once to take their SHA-256 (about a second a gigabyte); without,
        objects and versions have none.
        """
        history = read_history(self.folder)
        entries = {e.path: e for e in self.folder.entries()}
        readable = [s for s in history.snapshots if all(p in entries for p in s.files)]
        kept = {s.version for s in readable}
        return [
            self._version(s, entries, kept & {s.version - 1}, digests=digests) for s in readable
        ]

    def _version(
        self,
        snapshot: Snapshot,
        entries: Mapping[str, FileEntry],
        parents: set[int],
        *,
        digests: bool,
    ) -> StoreVersion:
        objects = []
        for path, file in sorted(snapshot.files.items()):
            entry = entries[path]
            digest = self._digest(entry) if digests else None
            rows = self._physical_rows(file) - file.hidden_rows
            objects.append(
                PhysicalObject(masked(path, self.subject_columns), entry.bytes, rows, digest)
            )
        lines = "".join(f"{o.path}\n{o.bytes}\n{o.digest}\n" for o in objects)
        return StoreVersion(
            id=str(snapshot.version),
            created_at=snapshot.created_at,
            operation=snapshot.operation,
            parents=tuple(str(parent) for parent in parents),
            objects=tuple(objects),
            rows=sum(o.rows or 0 for o in objects),
            bytes=sum(o.bytes for o in objects),
            digest=hashlib.sha256(lines.encode()).hexdigest() if digests else None,
            schema=snapshot.schema,
        )

    def _digest(self, entry: FileEntry) -> str:
        key = (entry.path, entry.bytes, entry.modified)
        if key not in self._digests:
            self._digests[key] = self.folder.digest(entry.path)
        return self._digests[key]

    def _physical_rows(self, file: DataFile) -> int:
        if file.rows is not None:
            return file.rows
        try:
            with self.folder.opened(file.path) as location:
                return int(pq.read_metadata(location).num_rows)
        except (OSError, pa.ArrowException) as exc:
            raise StoreError(
                f"The file {masked(file.path, self.subject_columns)} cannot be read: it is damaged."
            ) from exc

    def _snapshot(self, history: History, version: str | None) -> Snapshot:
        if version is None:
            return history.head
        found = next((s for s in history.snapshots if str(s.version) == version), None)
        if found is None:
            raise StoreError(
                f"The table {self.folder.root} has no version {version}; it keeps "
                f"{history.snapshots[0].version} to {history.head.version}."
            )
        return found

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]:
        return self._snapshot(read_history(self.folder), version).schema

    def profile(self, version: str | None = None) -> Mapping[str, Any]:
        """Counts only, no values: rows, files, bytes, whole-row duplicates, and for each column
        its type, NULLs and (where values can be compared) distinct values."""
        snapshot = self._snapshot(read_history(self.folder), version)
        try:
            with opened_table(
                self.folder, snapshot.files.values(), version=snapshot.version
            ) as table:
                found, distinct_rows, flat = _counts(table)
        except (DeltaError, OSError, pl.exceptions.PolarsError) as exc:
            raise StoreError(
                f"Version {snapshot.version} of the table {self.folder.root} cannot be read: {exc}"
            ) from exc
        return {
            "version": str(snapshot.version),
            "rows": found["rows"],
            "files": len(snapshot.files),
            "bytes": sum(f.bytes for f in snapshot.files.values()),
            "duplicates": found["rows"] - distinct_rows if flat else None,
            "columns": {
                name: {
                    "type": kind,
                    "nulls": found.get(f"nulls:{name}"),
                    "distinct": found.get(f"distinct:{name}"),
                }
                for name, kind in snapshot.schema
            },
        }

    def rows_apart(self, version: str, other: str) -> Iterable[pl.DataFrame]:
        """The rows of a version in files that another does not read as well. Raises StoreError."""
        history = read_history(self.folder)
        return rows_apart(
            self.folder, self._snapshot(history, version), self._snapshot(history, other)
        )

    def ranges(self, columns: Iterable[str]) -> dict[str, list[Range]]:
        """As the log says them of the newest version's files, which are not read."""
        head = read_history(self.folder).head
        return {column: _ranges(head, column) for column in columns}

    def witness(self) -> tuple[Folder, str]:
        """A file of the table that is there, by which an engine shows that it sees the table."""
        entries = self.folder.entries()
        history = read_history(self.folder)
        check_head(self.folder, history, entries)
        log = next(e.path for e in entries if e.path.startswith(f"{LOG}/"))
        return self.folder, next(iter(history.head.files), log)

    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings:
        """Search every physical file once, or those that the index leaves. Raises StoreError for
        columns that never existed."""
        return find_rows(
            self.folder,
            read_history(self.folder),
            self.subject_columns,
            needles,
            progress or silent,
            engine=self.engine,
            index=self.index,
        )

    @contextmanager
    def index_sources(self, index: SubjectIndex) -> Iterator[Mapping[str, Source]]:
        yield index_sources(self.folder, self.subject_columns, index)

    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan:
        """Modes: see `MODES`. Raises PlanOutdatedError when the table has gone on since the
        findings were made, StoreError for an unknown mode."""
        return plan_for(self.folder, self.subject_columns, findings, mode)

    def erase(self, plan: ErasePlan, needles: Needles, progress: Progress | None = None) -> Erased:
        """Rewrite the current version's files without the person, in one commit; if history is
        kept, then those of every other version.

        Raises PlanOutdatedError (nothing was changed), ResidueError, StoreError.
        """
        self._refuse_if_read_only()
        asked = (self.folder, self.subject_columns, plan, needles, progress or silent, self.engine)
        if plan.mode != "keep_history":
            return erase_rows(*asked)
        with self._alone():
            return rewrite_history(*asked)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self.folder.locked() as mine:
            if not mine:
                raise StoreError(
                    f"Another worker is rewriting the history of the table {self.folder.root}. "
                    "Wait until it has ended."
                )
            yield

    def _refuse_if_read_only(self) -> None:
        if not self.writable:
            raise StoreError(f"The table {self.folder.root} was opened for reading only.")

    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased:
        """Remove every older version and what the log says of it; if history is kept, only what
        was replaced. Raises StoreError."""
        self._refuse_if_read_only()
        if plan.mode == "keep_history":
            with self._alone():
                return purge_replaced(
                    self.folder, self.subject_columns, plan, progress or silent, self.grace
                )
        return Purge(self.folder, self.subject_columns, plan, progress or silent, self.grace).run()

    def verify_erased(
        self,
        needles: Iterable[str],
        control: tuple[str, str] | None,
        progress: Progress | None = None,
    ) -> ScanReport:
        """Read every byte that is left; see `connectors.scan.identifiers` for what counts."""
        if not self.folder.is_there():
            raise StoreError(f"There is no folder at {self.folder.root}, so nothing was verified.")
        return scan_table(
            self.folder,
            self.subject_columns,
            needles,
            control,
            progress or silent,
            self.unrelated_columns,
        )

    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct identifiers in a column of one version, as text, in no order.

        Raises StoreError when the version is not retained or never had the column.
        """
        history = read_history(self.folder)
        snapshot = self._snapshot(history, version)
        if snapshot.column(column) is None:
            raise StoreError(
                f"Version {version} of the table {self.folder.root} has no column {column}."
            )
        seen: set[str] = set()
        for file in snapshot.files.values():
            new = self._values(file, snapshot, column) - seen
            seen |= new
            yield from new

    def _values(self, file: DataFile, snapshot: Snapshot, column: str) -> set[str]:
        found = snapshot.column(column)
        physical = found.physical if found else column
        try:
            with self.folder.opened(file.path) as location:
                expression, _ = column_expression(physical, dict(pl.read_parquet_schema(location)))
                frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
                values = frame.select(expression.alias("v").drop_nulls().unique()).collect()["v"]
        except KeyError:  # a partition column, or a column that this file is older than
            value = file.partition_values.get(physical)
            return {value} if value is not None else set()
        except (OSError, pl.exceptions.PolarsError) as exc:
            raise StoreError(
                f"The file {masked(file.path, self.subject_columns)} cannot be read: it is damaged."
            ) from exc
        return {identifier_text(value) for value in values.to_list()}

    def control_subject(self, needles: Needles) -> tuple[str, str] | None:
        """(column, identifier) of somebody else in the current version; None when nobody is left.

        This is another person's identifier: it belongs in no log and no report.
        """
        history = read_history(self.folder)
        search = Search(self.folder, history, self.subject_columns, needles)
        for file in sorted(history.head.files.values(), key=lambda f: f.path):
            if found := self._survivor(search, file):
                return found
        return None

    def _survivor(self, search: Search, file: DataFile) -> tuple[str, str] | None:
        try:
            with self.folder.opened(file.path) as location:
                return self._other_identifier(search, file, location)
        except (OSError, pl.exceptions.PolarsError) as exc:
            raise StoreError(
                f"The file {masked(file.path, self.subject_columns)} cannot be read: it is damaged."
            ) from exc

    def _other_identifier(
        self, search: Search, file: DataFile, location: Path
    ) -> tuple[str, str] | None:
        schema = dict(pl.read_parquet_schema(location))
        theirs = search.rows(schema, file.partition_values)
        frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
        if theirs is not None:
            frame = frame.filter(~theirs)
        for name, spellings in search.columns.items():
            for column in spellings:
                try:
                    expression, _ = column_expression(column.physical, schema)
                except KeyError:
                    continue
                values = frame.select(expression.alias("v")).drop_nulls().unique().head(50)
                for value in values.collect()["v"].to_list():
                    text = identifier_text(value)
                    if text and not names_one_of(text, search.needles):
                        return name, text
        return None


def _counts(table: DeltaTable) -> tuple[dict[str, int], int, bool]:
    """Rows, NULLs and distinct values; distinct rows; whether those are of every column."""
    frame = pl.scan_delta(table)
    kinds = frame.collect_schema()
    flat = [n for n, k in kinds.items() if not k.is_nested()]
    numbers = frame.select(
        pl.len().alias("rows"),
        *(pl.col(n).null_count().alias(f"nulls:{n}") for n in kinds),
        *(pl.col(n).n_unique().alias(f"distinct:{n}") for n in flat),
    ).collect()
    distinct_rows = frame.select(flat).unique().select(pl.len()).collect().item()
    return numbers.row(0, named=True), distinct_rows, len(flat) == len(kinds)


def _ranges(head: Snapshot, column: str) -> list[Range]:
    found = head.column(column)
    ranges = []
    for file in head.files.values():
        said = file.range_of(found.physical) if found else None
        if said is None:
            return []
        ranges.append(Range(*said, file.bytes))
    return ranges
