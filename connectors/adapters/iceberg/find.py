"""Finding a person's rows: each physical file once, mapped to the snapshots that read it.

Rows are counted where they physically are: a delete file hides a row from readers, yet its bytes
are there. Delete files may hold identifiers themselves, and so do the bounds in manifests.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.transforms import IdentityTransform

from connectors.adapters.base import Findings, ObjectFinding, Progress, StoreError
from connectors.adapters.iceberg.person import DAMAGE, Constants, FileMatch, Person
from connectors.adapters.iceberg.table import DataEntry, TableView
from connectors.engines import Engine
from connectors.folders import hive_values
from connectors.index import SubjectIndex, look_up
from connectors.people import other_identifiers
from connectors.scan.content import scan_content
from connectors.scan.hidden import hidden_findings
from connectors.scan.identifiers import Identifiers
from connectors.scan.parquet import prefixes_in_use
from connectors.scan.record import Record
from connectors.storage import FileEntry, Folder

_METADATA_END = ".metadata.json"


@dataclass
class Target:
    """A physical file to search."""

    path: str
    kind: str  # data | deletes | orphan
    versions: list[str]
    constants: Constants
    bytes: int


@dataclass(frozen=True)
class TableFindings(Findings):
    """With what a plan needs and no record may show. `affected`: files with rows of the person,
    by their whole paths, which may name the person."""

    affected: frozenset[str] = field(default_factory=frozenset, repr=False)


def nested_tables(view: TableView, entries: Sequence[FileEntry]) -> tuple[str, ...]:
    """Folders ("features/") of other Iceberg tables that lie inside this one's folder."""
    own = f"{view.metadata_folder}/"
    others = {
        entry.path.rpartition("/")[0].rpartition("/")[0] + "/"
        for entry in entries
        if entry.path.endswith(_METADATA_END) and not entry.path.startswith(own)
    }
    return tuple(sorted(others))


def physical_targets(view: TableView, entries: Sequence[FileEntry]) -> list[Target]:
    """Every file with rows, or with what hides rows: of any snapshot, or left over.

    Raises StoreError for a file that is missing though a branch or tag reads it, and for formats
    that cannot be searched.
    """
    present = {e.path: e for e in entries if not e.link}
    heads = {s.snapshot_id for s in (*view.branches.values(), *view.tags.values())}
    targets: dict[str, Target] = {}
    for snapshot in view.snapshots:
        for live in view.live(snapshot):
            if live.path not in present:
                if snapshot.snapshot_id in heads:
                    raise _missing(view, live)
                continue
            if target := _target(view, live, present[live.path], targets):
                target.versions.append(str(snapshot.snapshot_id))
    return [*targets.values(), *_orphans(view, entries, targets)]


def _target(
    view: TableView, live: DataEntry, entry: FileEntry, targets: dict[str, Target]
) -> Target | None:
    if live.path not in targets:
        rows = live.content == DataFileContent.DATA
        if live.file.file_format == FileFormat.PUFFIN:
            return None  # a deletion vector: row numbers alone
        if live.file.file_format != FileFormat.PARQUET:
            raise StoreError(
                f"The table {view.name} has files in the format {live.file.file_format.name}, "
                "which cannot be searched yet. Rewrite them as Parquet first."
            )
        constants = view.identity_constants(live.file) if rows else {}
        kind = "data" if rows else "deletes"
        targets[live.path] = Target(live.path, kind, [], constants, entry.bytes)
    return targets[live.path]


def _missing(view: TableView, live: DataEntry) -> StoreError:
    return StoreError(
        f"A file that a branch or tag of the table {view.name} reads is not there (file "
        f"{live.path.rpartition('/')[2]}). Restore it, or repair the table."
    )


def _orphans(
    view: TableView, entries: Sequence[FileEntry], targets: dict[str, Target]
) -> list[Target]:
    """Parquet files that no snapshot reads; their partition stands in their path alone."""
    others = (f"{view.metadata_folder}/", *nested_tables(view, entries))
    sources = {
        part.name: part.source_id
        for spec in view.metadata.partition_specs
        for part in spec.fields
        if isinstance(part.transform, IdentityTransform)
    }
    orphans = []
    for entry in entries:
        if entry.path in targets or entry.link or entry.path.startswith(others):
            continue
        if entry.path.endswith(".parquet"):
            values = hive_values(entry.path)
            constants = {sources[n]: v for n, v in values.items() if n in sources}
            orphans.append(Target(entry.path, "orphan", [], constants, entry.bytes))
    return orphans


@dataclass(frozen=True)
class Looking:
    """The task of searching one file; a leftover's result is None where it cannot be read."""

    person: Person
    result: ClassVar[Any] = FileMatch | None
    at_once: ClassVar[int] = 1

    @property
    def folder(self) -> Folder:
        return self.person.folder

    def __call__(self, target: Target) -> FileMatch | None:
        """Raises StoreError."""
        try:
            return self.person.match(target.path, target.constants)
        except StoreError:
            if target.kind != "orphan":
                raise
            return None


class Search:
    """One search of one table."""

    def __init__(self, view: TableView, person: Person, engine: Engine) -> None:
        self.view = view
        self.person = person
        self.engine = engine
        self.objects: list[ObjectFinding] = []
        self.linked: dict[str, set[str]] = {}
        self.by_version = {str(s.snapshot_id): 0 for s in view.snapshots}
        self.affected: set[str] = set()
        self.bytes = 0
        self.unread = 0

    def run(
        self,
        progress: Progress,
        subject_columns: Sequence[str] = (),
        index: SubjectIndex | None = None,
    ) -> TableFindings:
        """With an `index` of the subject columns, only files that it names or does not know are
        read. Raises StoreError when a file cannot be read."""
        started = time.monotonic()
        entries = self.view.folder.entries()
        targets = physical_targets(self.view, entries)
        indexed = look_up(
            index,
            self.person.needles,
            self.person.marks_of(subject_columns),
            targets,
            entries,
            lambda target, hits: self.person.by_hits(hits, target.constants),
        )
        matches: dict[str, FileMatch | None] = dict(indexed.matches)
        rest = [target for target in targets if target.path not in matches]
        looked = self.engine.map_files(Looking(self.person), rest)
        with contextlib.closing(looked):
            for target, match in looked:
                progress("find", len(matches), len(targets), self.bytes)
                matches[target.path] = match
                self.bytes += target.bytes if match else 0
        progress("find", len(targets), len(targets), self.bytes)
        for target in targets:
            self._note_match(target, matches[target.path])
        self._metadata(entries, targets)
        return TableFindings(
            objects=tuple(self.objects),
            rows_by_version=self.by_version,
            linked=other_identifiers(self.linked, self.person.needles),
            method=self._method(targets, indexed.how(len(targets))),
            files_searched=len(targets) - self.unread,
            bytes_searched=self.bytes,
            seconds=time.monotonic() - started,
            affected=frozenset(self.affected),
        )

    def _note_match(self, target: Target, match: FileMatch | None) -> None:
        if match is None:
            self.unread += 1  # a leftover of a crashed writer; the purge removes it
            return
        for name, values in match.linked.items():
            self.linked.setdefault(name, set()).update(values)
        if match.holds_person:
            self.affected.add(target.path)
            self._note(target.path, target.bytes, match.rows, target.versions, target.kind)
        if target.kind == "data":
            for version in target.versions:
                self.by_version[version] += match.rows

    def _metadata(self, entries: Sequence[FileEntry], targets: Sequence[Target]) -> None:
        """Metadata files that name the person, and what a bucket keeps beside readers' files: why
        deleting rows is not enough."""
        values = [v for identifiers in self.person.needles.values() for v in identifiers]
        record = Record(Identifiers(values, identity_columns=self.person.hidden))
        inside = f"{self.view.metadata_folder}/"
        metadata = [e for e in entries if not e.link and e.path.startswith(inside)]
        for entry in metadata:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                body = self.view.folder.read(entry.path)
                with contextlib.suppress(Exception):  # left by a crash; the scan will name it
                    scan_content(body, entry.path, record)
        named = {trace.path for trace in record.traces(self._explained(record, targets))}
        for entry in metadata:
            if entry.path in named:
                self._note(entry.path, entry.bytes, 0, (), "log")
        self.objects += hidden_findings(
            self.view.folder,
            record.identifiers,
            self.person.shown,
            anything_else=bool(self.objects),
        )

    def _explained(self, record: Record, targets: Sequence[Target]) -> set[str]:
        """Beginnings of cut values that somebody else's value has, too."""
        prefixes = set(record.suspects)
        explained: set[str] = set()
        for target in targets:
            if prefixes <= explained:
                break
            with contextlib.suppress(*DAMAGE):  # a leftover that could not be searched either
                data = self.view.folder.read(target.path)
                explained |= prefixes_in_use(data, prefixes - explained, record.identifiers)
        return explained

    def _note(self, path: str, size: int, rows: int, versions: Sequence[str], kind: str) -> None:
        shown = self.person.shown(path)
        self.objects.append(ObjectFinding(shown, size, rows, tuple(versions), kind))

    def _method(self, targets: Sequence[Target], by_index: str) -> str:
        kinds = {k: sum(t.kind == k for t in targets) for k in ("data", "deletes", "orphan")}
        text = (
            f"{by_index or 'each physical file read once'} "
            f"(columns {', '.join(self.person.columns)}): "
            f"{kinds['data']} data files of {len(self.by_version)} snapshots, {kinds['deletes']} "
            f"delete files, {kinds['orphan']} outside any snapshot; the metadata decoded"
        )
        unread = f"{self.unread} of those outside could not be read" if self.unread else ""
        return "; ".join(filter(None, (text, unread, self.engine.name)))
