"""A folder of plain files as a store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    Findings,
    Needles,
    PhysicalObject,
    PlanOutdatedError,
    Progress,
    ScanReport,
    StoreError,
    StoreVersion,
    require_purge,
    silent,
)
from connectors.adapters.files.erase import Erasure
from connectors.adapters.files.find import PLANNED, Search, blockers_of
from connectors.adapters.files.layout import (
    Layout,
    Role,
    digest_of,
    leaf,
    read_layout,
    version_id,
)
from connectors.adapters.files.purge import Purge
from connectors.engines import Engine, Local
from connectors.folders import folder_of, masked
from connectors.formats.delimited import Dialect
from connectors.formats.formats import format_in
from connectors.formats.person import Columns, Person, names_in
from connectors.formats.profiles import DataFile, profile_of, schema_of, somebody_else
from connectors.formats.reading import Reader, require_columns
from connectors.scan.folder import FolderScan
from connectors.scan.hidden import planned_paths
from connectors.scan.identifiers import Identifiers
from connectors.storage import FileEntry, Folder

_DATA = (Role.DATA, Role.UNRELATED)  # what makes up the version


class FilesStore:
    """One folder. `subject_columns`: the columns that hold identifiers of people; a dot leads into
    structs and JSON objects ("account.email").

    Options: `delimiter`, `quote`, `escape`, `encoding` (of CSV files, where they cannot be found
    out); `text_columns` (free text in which people may be named); `number_columns` (identifier
    columns whose texts in CSV and JSON are numbers: "4" is "00004"); `unrelated_files` (patterns
    of files with rows that name nobody); `unrelated_columns` (columns whose texts may equal a short
    identifier by chance). A store that is not `writable` refuses to erase and to purge.
    """

    kind = "files"

    def __init__(
        self,
        place: "str | Folder",
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        writable: bool = True,
    ) -> None:
        """`place`: a folder, or the path of one on this machine.

        Raises StoreError for the place, ValueError for an option.
        """
        self.writable = writable
        self.folder = folder_of(place)
        options = options or {}
        self.subject_columns = tuple(subject_columns)
        self.columns = Columns.of(self.subject_columns, options)
        self.unrelated_files = names_in(options, "unrelated_files")
        self.unrelated_columns = names_in(options, "unrelated_columns")
        self.reader = Reader(self.folder, Dialect.of(options), self.subject_columns)
        self.engine: Engine = Local()

    def _layout(self) -> Layout:
        return read_layout(self.folder, self.unrelated_files)

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """The one state that a folder has. Its id is the same as long as no file changes; without
        `digests` it is another one, by sizes and times, and rows are counted only where a file
        says how many it has."""
        layout = self._layout()
        objects, leaves = [], []
        rows: int | None = 0
        for entry in layout.data:
            digest = digest_of(self.folder, entry.path) if digests else None
            count = self._count(entry, read=digests)
            rows = None if rows is None or count is None else rows + count
            leaves.append(leaf(entry.path, entry.bytes, digest or ""))
            objects.append(
                PhysicalObject(masked(entry.path, self.subject_columns), entry.bytes, count, digest)
            )
        identity = version_id(leaves)
        return [
            StoreVersion(
                id=identity if digests else layout.quick_id(),
                created_at=layout.newest_change(),
                operation="files as they are",
                refs=("current",),
                objects=tuple(objects),
                rows=rows,
                bytes=sum(o.bytes for o in objects),
                digest=identity if digests else None,
                schema=tuple(schema_of(self._files(layout, *_DATA))),
            )
        ]

    def _count(self, entry: FileEntry, *, read: bool) -> int | None:
        file = self.reader.open(entry.path)
        return file.count() if read or entry.path.lower().endswith((".parquet", ".pq")) else None

    def _layout_of(self, version: str | None) -> Layout:
        layout = self._layout()
        if version is not None:
            current = version_id(layout.leaves().values())
            if version not in (current, layout.quick_id()):
                raise StoreError(
                    f"The folder {self.folder.root} keeps no version {version}; its files are at "
                    f"{current} now. A folder keeps its current files only."
                )
        return layout

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]:
        """The union of the files' columns and partition keys; a column that has several types
        lists them. Raises StoreError for a file that has no column to find people by."""
        layout = self._layout_of(version)
        schema = schema_of(self._files(layout, *_DATA))
        known = {name for name, _ in schema}
        if any(c in known or c.split(".")[0] in known for c in self.subject_columns):
            for entry in layout.of(Role.DATA):
                if format_in(self.folder, entry.path) != "jsonl":
                    shown = masked(entry.path, self.subject_columns)
                    file = self.reader.open(entry.path)
                    if file.columns():
                        require_columns(file, entry.path, shown, self.subject_columns)
        return schema

    def _files(self, layout: Layout, *roles: Role) -> Iterator[DataFile]:
        for entry in layout.of(*roles):
            yield DataFile(entry.path, entry.bytes, self.reader.open(entry.path))

    def profile(self, version: str | None = None) -> Mapping[str, Any]:
        """Counts only, no values; see `connectors.formats.profiles.profile_of`."""
        layout = self._layout_of(version)
        known = version or version_id(layout.leaves().values())
        return {"version": known, **profile_of(list(self._files(layout, *_DATA)))}

    def witness(self) -> tuple[Folder, str] | None:
        """A file with rows, by which an engine shows that it sees the folder; None in an empty
        one."""
        entry = next(iter(self._layout().data), None)
        return (self.folder, entry.path) if entry else None

    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings:
        """Search every file once. Raises StoreError for files that cannot be read or searched."""
        search = Search(self._layout(), self.reader, self.columns, needles, self.engine)
        return search.run(progress or silent)

    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan:
        """Raises PlanOutdatedError when a file has changed since the findings were made."""
        require_purge(
            mode,
            no_history="A folder keeps no older versions, so there is no history to keep.",
        )
        layout = self._layout()
        version = version_id(layout.leaves().values())
        if version not in findings.rows_by_version:
            raise PlanOutdatedError(
                f"Files in the folder {self.folder.root} changed since it was searched. Search "
                "again, then plan."
            )
        planned = [o for o in findings.objects if o.kind in PLANNED]
        blockers = blockers_of(findings.objects) + self._special_files(layout)
        if planned:
            blockers += self._hindrances(layout, {o.path for o in planned})
        return ErasePlan(
            mode=mode,
            snapshot=version,
            objects=tuple(sorted({o.path for o in planned})),
            rows=sum(o.rows for o in planned),
            bytes=sum(o.bytes for o in planned),
            versions_lost=(version,) if planned else (),
            blockers=tuple(dict.fromkeys(blockers)),
        )

    def _special_files(self, layout: Layout) -> list[str]:
        return [
            f"{masked(entry.path, self.subject_columns)} is a symbolic link, or no regular file: "
            "what is behind it is neither searched nor erased. Remove it, or put the file itself "
            "in its place."
            for entry in layout.of(Role.SPECIAL)
        ]

    def _hindrances(self, layout: Layout, planned: set[str]) -> Iterator[str]:
        """Why planned files cannot be replaced or removed, each with what to do."""
        doomed = {}
        for entry in layout.of(Role.DATA):
            shown = masked(entry.path, self.subject_columns)
            if shown in planned:
                doomed[entry.path] = shown
                yield from self.folder.hindrances(entry.path, shown)
        for path in planned_paths(self.folder.hidden(), tuple(planned)):
            doomed[path] = masked(path, self.subject_columns)
        yield from self.folder.locks(doomed)

    @contextmanager
    def _locked(self) -> Iterator[Layout]:
        if not self.writable:
            raise StoreError(f"The folder {self.folder.root} was opened for reading only.")
        self._layout()  # says so when there is no folder
        with self.folder.locked() as mine:
            if not mine:
                raise StoreError(
                    f"Another erasure is at work in the folder {self.folder.root}. Run this one "
                    "again when it is done."
                )
            yield self._layout()

    def erase(self, plan: ErasePlan, needles: Needles, progress: Progress | None = None) -> Erased:
        """Rewrite the files without the person, each in one swap.

        Raises PlanOutdatedError (files changed), ResidueError, StoreError; what was not reached
        is as it was, and the same plan goes on from there.
        """
        with self._locked() as layout:
            search = Search(layout, self.reader, self.columns, needles, self.engine)
            return Erasure(search, plan, progress or silent).run()

    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased:
        """Remove what dead attempts, checksums and summaries keep. Raises StoreError."""
        with self._locked() as layout:
            return Purge(layout, self.subject_columns, plan, progress or silent).run()

    def verify_erased(
        self,
        needles: Iterable[str],
        control: tuple[str, str] | None,
        progress: Progress | None = None,
    ) -> ScanReport:
        """Read every byte that is left; see `connectors.scan.identifiers` for what counts."""
        if not self.folder.is_there():
            raise StoreError(f"There is no folder at {self.folder.root}, so nothing was verified.")
        identifiers = Identifiers(
            needles,
            identity_columns=self.subject_columns,
            unrelated_columns=self.unrelated_columns,
            control=control,
        )
        scan = FolderScan(self.folder, identifiers)
        return scan.run(progress or silent, with_control=control is not None)

    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct identifiers in a column, as text, in no order.

        Raises StoreError when the version is not the current one, or no file has the column.
        """
        files = list(self._files(self._layout_of(version), Role.DATA))
        if not any(file.has(column) for file in files):
            raise StoreError(f"No file of the folder {self.folder.root} has a column {column}.")
        yield from dict.fromkeys(text for file in files for text in file.texts(column))

    def control_subject(self, needles: Needles) -> tuple[str, str] | None:
        """(column, identifier) of somebody else; None when nobody is left.

        This is another person's identifier: it belongs in no log and no report.
        """
        person = Person(self.columns, needles)
        return somebody_else(self._files(self._layout(), Role.DATA), person)
