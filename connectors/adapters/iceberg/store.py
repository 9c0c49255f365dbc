"""An Apache Iceberg table as a store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from pyiceberg.manifest import DataFileContent

from connectors.adapters.base import (
    MODES,
    Erased,
    ErasePlan,
    Findings,
    Needles,
    OptionError,
    PlanOutdatedError,
    Progress,
    ScanReport,
    StoreError,
    StoreVersion,
    silent,
)
from connectors.adapters.iceberg.catalog import CommitLostError, opened
from connectors.adapters.iceberg.erase import Erasure
from connectors.adapters.iceberg.find import Search
from connectors.adapters.iceberg.indexing import index_sources
from connectors.adapters.iceberg.keep import KeepingErasure
from connectors.adapters.iceberg.location import Reach, ThisMachine, parse_place
from connectors.adapters.iceberg.person import Person
from connectors.adapters.iceberg.plan import NO_RESTATING, Planning
from connectors.adapters.iceberg.purge import Purge, clear_sqlite_catalog
from connectors.adapters.iceberg.reading import Digests, Versions, profile_of, values_of
from connectors.adapters.iceberg.rows import rows_apart
from connectors.adapters.iceberg.table import (
    TableView,
    schema_rows,
)
from connectors.adapters.iceberg.verify import scan_table
from connectors.engines import OPTIONS as ENGINE_OPTIONS
from connectors.engines import Engine, Local
from connectors.index import Source, SubjectIndex
from connectors.people import names_one_of
from connectors.references import CREDENTIAL_OPTIONS, Role, for_roles
from connectors.s3 import OPTIONS as S3_OPTIONS
from connectors.storage import Folder

_DEFAULT_GRACE_MINUTES = 60
_ATTEMPTS = 10
_OPTIONS = frozenset(
    {
        "catalog",
        "warehouse",
        "history",
        "orphan_grace_minutes",
        "subject_index",
        "unrelated_columns",
        *for_roles(*CREDENTIAL_OPTIONS, "token_env", "token_file"),
        *S3_OPTIONS,
        *ENGINE_OPTIONS,
    }
)


class IcebergStore:
    """One table. `subject_columns`: the columns that hold identifiers of people; a dot leads into
    structs.

    Options, besides who signs in (user, password_env or password_file for PostgreSQL, token_env or
    token_file for REST, the same with writer_ and verifier_ before them): `catalog` (its name,
    where a database holds several); `warehouse` (that a REST catalog is asked for);
    `history` (keep: plans are to keep older snapshots, which no REST catalog can);
    `orphan_grace_minutes` (how long files that no metadata ever named are left alone by a purge,
    because a writer may be about to commit them; 60); `unrelated_columns` (columns whose texts may
    equal a short identifier by chance).

    `reach` says where the table's files may be, which its catalog names; for a bucket, options say
    how to sign in there (`connectors.s3.access`). Only the role "writer" may erase and purge.
    Raises StoreError for the location, OptionError for an option.
    """

    kind = "iceberg"
    index: SubjectIndex | None = None

    def __init__(
        self,
        location: str,
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        role: Role = "writer",
        reach: Reach | None = None,
    ) -> None:
        self.options = dict(options or {})
        _check_options(self.options)
        self.place = parse_place(location)
        if self.options.get("history") == "keep" and self.place.kind == "rest":
            raise OptionError(NO_RESTATING)
        self.subject_columns = tuple(subject_columns)
        self.role = role
        self.reach = _Remembered(reach or ThisMachine())
        self.grace = timedelta(
            minutes=float(self.options.get("orphan_grace_minutes", _DEFAULT_GRACE_MINUTES))
        )
        self.engine: Engine = Local()
        self._digests: Digests = {}

    @contextmanager
    def _view(self) -> Iterator[TableView]:
        with opened(self.place, self.options, self.role, self.reach) as view:
            yield view

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """Every snapshot whose files are all there, oldest first, main's current one last.

        `digests`: read all files once to take their SHA-256 (about a second a gigabyte); without,
        objects and versions have none.
        """
        with self._view() as view:
            return Versions(view, self.subject_columns, self._digests, digests=digests).found()

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]:
        """Of a snapshot, or the table's current one."""
        with self._view() as view:
            if version is None:
                return schema_rows(view.metadata.schema())
            return schema_rows(view.schema_of(view.snapshot(version)))

    def profile(self, version: str | None = None) -> Mapping[str, Any]:
        """Counts only, no values: rows, files, bytes, whole-row duplicates, and for each column
        its type, NULLs and (where values can be compared) distinct values."""
        with self._view() as view:
            return profile_of(view, view.snapshot(version))

    def rows_apart(self, version: str, other: str) -> Iterator[pl.DataFrame]:
        """The rows of a snapshot in files that another does not read as well. Raises StoreError."""
        with self._view() as view:
            mine, theirs = view.snapshot(version), view.snapshot(other)
            if mine is not None and theirs is not None:
                yield from rows_apart(view, mine, theirs)

    def witness(self) -> tuple[Folder, str] | None:
        """A file of the table's metadata, by which an engine shows that it sees the table."""
        with self._view() as view:
            path = view.relative(view.table.metadata_location)
            return view.folder, path

    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings:
        """Search every physical file once, or those that the index leaves. Raises StoreError for
        files that cannot be searched."""
        with self._view() as view:
            person = Person(view, self.subject_columns, needles)
            search = Search(view, person, self.engine)
            return search.run(progress or silent, self.subject_columns, self.index)

    @contextmanager
    def index_sources(self, index: SubjectIndex) -> Iterator[Mapping[str, Source]]:
        with self._view() as view:
            yield index_sources(view, self.subject_columns, index)

    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan:
        """Raises PlanOutdatedError when the table has gone on since the findings were made."""
        if mode not in MODES:
            raise StoreError(f'There is no mode "{mode}". There are: {", ".join(MODES)}.')
        with self._view() as view:
            if {str(s.snapshot_id) for s in view.snapshots} != set(findings.rows_by_version):
                raise PlanOutdatedError(
                    f"The table {view.name} has other snapshots than those that were searched. "
                    "Search again, then plan."
                )
            paths = tuple(sorted({o.path for o in findings.objects}))
            planning = Planning(view, findings, mode, view.hidden_names(self.subject_columns))
            blockers = list(planning.blockers()) if paths else []
            if paths and mode == "keep_history" and self.place.kind == "rest":
                blockers.append(NO_RESTATING)
            return ErasePlan(
                mode=mode,
                snapshot=view.head,
                objects=paths,
                rows=sum(o.rows for o in findings.objects),
                bytes=sum(o.bytes for o in findings.objects),
                versions_lost=planning.versions_lost() if paths else (),
                blockers=tuple(blockers),
            )

    @contextmanager
    def _locked(self) -> Iterator[TableView]:
        if self.role != "writer":
            raise StoreError(f"The table {self.place.shown_table} was opened for reading only.")
        with self._view() as view, view.folder.locked() as mine:
            if not mine:
                raise StoreError(
                    f"Another erasure is at work in the table {view.name}. Run this one again "
                    "when it is done."
                )
            yield view

    def erase(self, plan: ErasePlan, needles: Needles, progress: Progress | None = None) -> Erased:
        """Rewrite the files without the person, for all branches in one commit; where history is
        kept, for all snapshots.

        Raises PlanOutdatedError (nothing was changed), ResidueError, StoreError.
        """
        attempts = _ATTEMPTS if plan.mode == "keep_history" else 1
        with self._locked():
            while True:
                attempts -= 1
                try:
                    return self._erased(plan, needles, progress or silent)
                except CommitLostError:  # it may have left the plan true: the next look tells
                    if not attempts:
                        raise

    def _erased(self, plan: ErasePlan, needles: Needles, progress: Progress) -> Erased:
        kind = KeepingErasure if plan.mode == "keep_history" else Erasure
        with self._view() as view:
            person = Person(view, self.subject_columns, needles)
            return kind(view, person, plan, progress, self.engine).run()

    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased:
        """Remove every snapshot but the clean heads, unless history is kept, and all that only the
        past needs.

        Raises StoreError.
        """
        if not plan.objects:  # nobody was found: nothing justifies losing the history
            return Erased(plan.snapshot, 0, (), (), {"note": "nothing to purge"})
        with self._locked() as first:
            hidden = first.hidden_names(self.subject_columns)
            purge = Purge(plan, progress or silent, self.grace, hidden)
            for _ in range(_ATTEMPTS):
                with self._view() as view:
                    if purge.expire(view):
                        break
            else:
                raise StoreError(
                    f"Other writers committed to the table {first.name} {_ATTEMPTS} times in a "
                    "row. Run the purge again when the table is quieter."
                )
            entries = first.folder.entries()
            with self._view() as view:
                purge.sweep(view, entries)
                result = purge.result(view)
        if self.place.kind == "sqlite":
            clear_sqlite_catalog(Path(self.place.base))
        return result

    def verify_erased(
        self,
        needles: Iterable[str],
        control: tuple[str, str] | None,
        progress: Progress | None = None,
    ) -> ScanReport:
        """Read every byte that is left; see `connectors.scan.identifiers` for what counts."""
        return scan_table(
            self.place,
            self.options,
            self.role,
            self.reach,
            self.subject_columns,
            needles,
            control,
            progress or silent,
        )

    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct identifiers in a column of one snapshot, as text, in no order.

        Raises StoreError when the snapshot is not retained or never had the column.
        """
        with self._view() as view:
            snapshot = view.snapshot(version)
            person = Person(view, [column], {})
            if not person.ids[column]:
                raise StoreError(f"The table {view.name} never had a column {column}.")
            seen: set[str] = set()
            for live in view.live(snapshot) if snapshot else ():
                if live.content == DataFileContent.DATA:
                    new = set(values_of(view, person, live, column)) - seen
                    seen |= new
                    yield from new

    def control_subject(self, needles: Needles) -> tuple[str, str] | None:
        """(column, identifier) of somebody else in a branch; None when nobody is left.

        This is another person's identifier: it belongs in no log and no report.
        """
        with self._view() as view:
            person = Person(view, self.subject_columns, needles)
            files = {e.path: e for s in view.branches.values() for e in view.live(s)}
            for _, live in sorted(files.items()):
                for column in self.subject_columns:
                    if live.content != DataFileContent.DATA:
                        continue
                    for text in values_of(view, person, live, column):
                        if text and not names_one_of(text, person.needles):
                            return column, text
        return None


class _Remembered:
    """A reach that opens each folder once, with what the folder knows of its files by then."""

    def __init__(self, reach: Reach) -> None:
        self.spelled = reach.spelled
        self.folder = cache(reach.folder)


def _check_options(options: Mapping[str, Any]) -> None:
    """Raises OptionError for a name that means nothing here: a secret might stand behind it."""
    if unknown := sorted(set(options) - _OPTIONS):
        raise OptionError(
            f"There is no option {', '.join(unknown)} for Iceberg tables. There are: "
            f"{', '.join(sorted(_OPTIONS))}. Secrets are given by reference."
        )
    columns = options.get("unrelated_columns", ())
    if isinstance(columns, str) or not all(isinstance(c, str) for c in columns):
        raise OptionError('The option "unrelated_columns" is a list of names, as in ["city"].')
    minutes = options.get("orphan_grace_minutes", _DEFAULT_GRACE_MINUTES)
    try:
        fine = float(minutes) >= 0
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise OptionError('The option "orphan_grace_minutes" is a number of minutes, such as 60.')
