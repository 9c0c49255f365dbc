"""Searching objects that are stored under other names than the files they are."""

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from connectors.formats.delimited import Dialect
from connectors.formats.formats import format_of
from connectors.formats.indexing import StoredObject
from connectors.formats.person import Columns, FileMatch, Person
from connectors.formats.reading import Names, Reader, match_in
from connectors.formats.staging import Staging
from connectors.index import Indexed, Lookup, SubjectIndex
from connectors.scan.content import UnknownFormatError, scan_content
from connectors.scan.record import Record

_SAMPLE = 1 << 16


def is_unrelated(paths: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of a file's names, its own or its object's, matches one of the patterns."""
    return any(fnmatch.fnmatchcase(path, pattern) for path in paths for pattern in patterns)


class ObjectSearch:
    """Finds one person's rows in the objects of one store. `unrelated`: patterns of files whose
    rows are not searched."""

    def __init__(
        self,
        staged: Staging,
        dialect: Dialect,
        columns: Columns,
        person: Person,
        unrelated: Sequence[str],
    ) -> None:
        self.staged = staged
        self.reader = Reader(staged, dialect, columns.subject)
        self.person = person
        self.names = Names(person)
        self.unrelated = unrelated
        self.indexed = Indexed[FileMatch]()

    def look_up(self, index: SubjectIndex | None, objects: Iterable[StoredObject]) -> None:
        """Have an index of the store's subject columns say which objects need not be read."""
        columns = self.person.columns
        uncovered = columns.text or set(columns.subject) - set(self.reader.subject_columns)
        if index is None or uncovered:
            return
        lookup = Lookup(index, self.person.needles)
        self.indexed = Indexed(index.built_at)
        for found in objects:
            hits = lookup.hits(found.name_in(index, self.reader))
            if hits is not None:
                read = hits.found or self._needs_a_look(found)
                self.indexed.note(found.stored, None if read else FileMatch())

    def _needs_a_look(self, found: StoredObject) -> bool:
        """Whether it takes more than the values in its columns to say what becomes of an object:
        its names may be those of a partition, of the person, or of what holds nobody's rows."""
        return is_unrelated((*found.paths, found.stored), self.unrelated) or any(
            map(self.names.names_person, found.paths)
        )

    def is_ruled_out(self, stored: str) -> bool:
        """Whether the index says that the object holds nobody who is looked for."""
        return stored in self.indexed.matches

    def match(self, stored: str, path: str) -> FileMatch | None:
        """What the object holds as rows, read as the file it is at this path; None when it holds
        none. Raises StoreError."""
        staged = self.staged.path(stored, path)
        with self.staged.opened(staged) as location:
            if format_of(path, location) is None:
                return None
        if is_unrelated((path, stored), self.unrelated):
            return None
        shown = f"{stored} ({self.names.shown(path)})"
        return match_in(self.reader, staged, self.person, shown)

    def best_match(self, stored: str, paths: Iterable[str]) -> FileMatch | None:
        """The same by all of its paths: that in which most rows are the person's. Nobody in what
        the index rules out."""
        if self.is_ruled_out(stored):
            return self.indexed.matches[stored]
        found = [self.match(stored, path) for path in _ways_to_read(paths)]
        matches = [match for match in found if match is not None]
        return max(matches, key=lambda m: m.person) if matches else None

    def seen_in(self, location: Path, called: str, stored: str) -> tuple[bool, bool]:
        """Of what holds no rows, searched as the scan will read it: (whether it names the person,
        whether all of it could be read)."""
        record = Record(self.person.names)
        fine = True
        try:
            scan_content(location.read_bytes(), called, record)
        except UnknownFormatError:
            fine = is_unrelated((called, stored), self.unrelated)
        # Whatever damage raises, a panic inside polars too: what was not read is not clean.
        except (Exception, pl.exceptions.PanicException):  # noqa: BLE001
            fine = False
        return bool(record.counts), fine and not record.unreadable

    def is_all_theirs(self, stored: str, path: str) -> bool:
        """Whether a file goes as a whole: named after the person, with nobody else in it."""
        if not self.names.may_name_person(path):
            return False
        match = self.match(stored, path)
        return match is not None and match.person == match.rows


def named_by_content(stored: str, location: Path, columns: Sequence[str]) -> str:
    """A name for an object that nothing gives one: a file with a header of these columns is CSV."""
    with location.open("rb") as file:
        first = file.read(_SAMPLE).lower().split(b"\n")[0]
    header = not first.lstrip().startswith(b"{")
    named = header and any(c.lower().encode() in first for c in columns)
    return f"{stored}.csv" if named else stored


def _ways_to_read(paths: Iterable[str]) -> Iterator[str]:
    """Paths under which an object holds rows: one, unless partition keys make a difference."""
    seen = set()
    for path in paths:
        folders = path.rpartition("/")[0] if "=" in path else ""
        if folders not in seen:
            seen.add(folders)
            yield path
