"""Finding a person: every file once, and every name.

Kinds of findings: `data` (rows of the person, erased), `orphan` (a leftover of our own attempt),
`log` (a sidecar whose statistics name them), `past` and `upload` (what a bucket keeps of objects
that were replaced or removed, see `connectors.scan.hidden`), and those that block a plan until
somebody has looked:
`mention` (rows of others whose text names them), `alike` (identifiers that may be theirs), `named`
(a file named after them that holds rows of others), `unrelated` and `other` (files that are not
searched by row, and name them).
"""

import contextlib
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from connectors.adapters.base import Findings, Needles, ObjectFinding, Progress, StoreError
from connectors.adapters.files.layout import Layout, Role, digest_of, leaf, version_id
from connectors.engines import Engine
from connectors.folders import hive_values
from connectors.formats.person import Columns, FileMatch, Person
from connectors.formats.reading import Names, Reader, columns_of, match_in
from connectors.people import other_identifiers
from connectors.scan.content import scan_content
from connectors.scan.hidden import hidden_findings
from connectors.scan.record import Record
from connectors.storage import FileEntry, Folder

PLANNED = ("data", "orphan", "log", "past", "upload")
BLOCKING = {
    "mention": (
        "Texts in {path} name the person in rows of other people. Take the text out of those rows, "
        "or leave the column out of text_columns."
    ),
    "alike": (
        'Rows of {path} hold the person\'s number in another spelling, as "4" for "00004". If '
        "such numbers mean the same person, name their column in the option number_columns; if "
        "not, write them differently first."
    ),
    "named": (
        "The name of {path} names the person, but it holds rows of other people. Rename it first, "
        "or, if a number in a partition is theirs, name its column in the option number_columns."
    ),
    "unrelated": (
        "{path} names the person, but the option unrelated_files says that it names nobody. "
        "Correct the option."
    ),
    "other": (
        "{path} names the person and is in no format that Vestige can rewrite (Parquet, CSV, JSON "
        "Lines). Remove it, or take the person out by hand."
    ),
}


@dataclass(frozen=True)
class Looked:
    """What a file holds of the person, and its SHA-256, hex, where it was wanted."""

    match: FileMatch
    digest: str


@dataclass(frozen=True)
class Looking:
    """The task of searching one file."""

    folder: Folder
    reader: Reader
    person: Person
    digests: bool
    result: ClassVar[Any] = Looked
    at_once: ClassVar[int] = 1

    def __call__(self, entry: FileEntry) -> Looked:
        """Raises StoreError."""
        digest = digest_of(self.folder, entry.path) if self.digests else ""
        shown = Names(self.person).shown(entry.path)
        return Looked(match_in(self.reader, entry.path, self.person, shown), digest)


class Search:
    """One search of one folder."""

    def __init__(
        self, layout: Layout, reader: Reader, columns: Columns, needles: Needles, engine: Engine
    ) -> None:
        self.layout = layout
        self.reader = reader
        self.engine = engine
        self.declared = columns.subject
        self.person = Person(columns, needles)
        self.names = Names(self.person)
        self.linked: dict[str, set[str]] = {}
        self.objects: list[ObjectFinding] = []
        self.bytes = 0

    def run(self, progress: Progress) -> Findings:
        """Raises StoreError when a file cannot be read, or has no column that names people."""
        started = time.monotonic()
        self._require_known_columns()
        leaves: dict[str, str] = {}
        data = self.layout.of(Role.DATA)
        found: dict[str, Looked] = {}
        looked = self.look(data, digests=True)
        with contextlib.closing(looked):
            for entry, seen in looked:
                progress("find", len(found), len(data), self.bytes)
                found[entry.path] = seen
                self.bytes += entry.bytes
        progress("find", len(data), len(data), self.bytes)
        for entry in data:
            leaves[entry.path] = leaf(entry.path, entry.bytes, found[entry.path].digest)
            self._data(entry, found[entry.path].match)
        for entry in self.layout.of(Role.UNRELATED):
            leaves[entry.path] = self._leaf(entry)
        version = version_id(leaves.values())
        self._others()
        self.objects += hidden_findings(
            self.layout.folder,
            self.person.names,
            self.names.shown,
            anything_else=bool(self.objects),
        )
        objects = [self._in_version(o, version) for o in self.objects]
        return Findings(
            objects=tuple(objects),
            rows_by_version={version: sum(o.rows for o in objects if o.kind == "data")},
            linked=other_identifiers(self.linked, self.person.needles),
            method=self._method(),
            files_searched=len(data),
            bytes_searched=self.bytes,
            seconds=time.monotonic() - started,
        )

    def _leaf(self, entry: FileEntry) -> str:
        return leaf(entry.path, entry.bytes, digest_of(self.layout.folder, entry.path))

    def _require_known_columns(self) -> None:
        # A declared column may be in no file any more: the last row of JSON that had it is gone.
        missing = set(self.person.needles) - set(self.declared)
        for entry in self.layout.of(Role.DATA):
            missing -= set(hive_values(entry.path))
            missing -= columns_of(self.reader.open(entry.path), missing)
            if not missing:
                return
        if missing and self.layout.of(Role.DATA):
            raise StoreError(
                f"No file of the folder {self.layout.folder.root} has a column "
                f"{', '.join(sorted(missing))}. Correct the connector's subject columns."
            )

    def look(
        self, entries: Sequence[FileEntry], *, digests: bool
    ) -> Generator[tuple[FileEntry, Looked], None, None]:
        """Each data file with what it holds, in no order. Raises StoreError."""
        task = Looking(self.layout.folder, self.reader, self.person, digests)
        return self.engine.map_files(task, entries)

    def is_doomed(self, path: str, match: FileMatch) -> bool:
        """Whether the file goes as a whole: named after the person, with nobody else in it."""
        return match.person == match.rows and self.names.may_name_person(path)

    def _data(self, entry: FileEntry, match: FileMatch) -> None:
        for column, values in match.linked.items():
            self.linked.setdefault(column, set()).update(values)
        named = self.names.names_person(entry.path)
        if match.mentions:
            self._note(entry, match.mentions, "mention")
        if match.alike:
            self._note(entry, match.alike, "alike")
        if named and match.person < match.rows:
            self._note(entry, match.person, "named")
        if match.holds_person or (named and match.person == match.rows):
            self._note(entry, match.person, "data")

    def _others(self) -> None:
        """What holds no rows, and yet may name the person."""
        record = Record(self.person.names)
        for entry in self.layout.of(Role.LEFTOVER, Role.SIDECAR, Role.OTHER, Role.UNRELATED):
            role = self.layout.roles[entry.path]
            before = record.counts.total()
            fine = False
            with contextlib.suppress(Exception):  # what cannot be read, the scan will name
                body = self.layout.folder.read(entry.path)
                scan_content(body, entry.path, record)
                fine = True
            seen = record.counts.total() > before or self.names.names_person(entry.path)
            if role is Role.LEFTOVER and (seen or not fine):
                self._note(entry, 0, "orphan")
            elif role is Role.SIDECAR and seen:
                self._note(entry, 0, "log")
            elif seen:
                self._note(entry, 0, "unrelated" if role is Role.UNRELATED else "other")

    def _note(self, entry: FileEntry, rows: int, kind: str) -> None:
        shown = self.names.shown(entry.path)
        self.objects.append(ObjectFinding(shown, entry.bytes, rows, (), kind))

    def _in_version(self, found: ObjectFinding, version: str) -> ObjectFinding:
        if found.kind in ("orphan", "log", "other", "past", "upload"):
            return found
        return ObjectFinding(found.path, found.bytes, found.rows, (version,), found.kind)

    def _method(self) -> str:
        roles = Counter(self.layout.roles.values())
        how = (
            f"each file read once (columns {', '.join(self.person.columns.searched)}): "
            f"{roles[Role.DATA]} files with rows, {roles[Role.UNRELATED]} said to name nobody, "
            f"{roles[Role.OTHER] + roles[Role.SIDECAR] + roles[Role.LEFTOVER]} others searched as "
            "bytes; all names"
        )
        return "; ".join(filter(None, (how, self.engine.name)))


def blockers_of(objects: Sequence[ObjectFinding]) -> list[str]:
    return [BLOCKING[o.kind].format(path=o.path) for o in objects if o.kind in BLOCKING]
