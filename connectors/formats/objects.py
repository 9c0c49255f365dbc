"""Searching objects that are stored under other names than the files they are."""

import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from connectors.formats.delimited import Dialect
from connectors.formats.formats import format_of
from connectors.formats.person import Columns, FileMatch, Person
from connectors.formats.reading import Names, Reader, match_in
from connectors.formats.staging import Staging


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

    def match(self, stored: str, path: str) -> FileMatch | None:
        """What the object holds as rows, read as the file it is at this path; None when it holds
        none. Raises StoreError."""
        staged = self.staged.path(stored, path)
        if format_of(path, self.staged.locate(staged)) is None:
            return None
        if is_unrelated((path, stored), self.unrelated):
            return None
        shown = f"{stored} ({self.names.shown(path)})"
        return match_in(self.reader, staged, self.person, shown)

    def best_match(self, stored: str, paths: Iterable[str]) -> FileMatch | None:
        """The same by all of its paths: that in which most rows are the person's."""
        found = [self.match(stored, path) for path in _ways_to_read(paths)]
        matches = [match for match in found if match is not None]
        return max(matches, key=lambda m: m.person) if matches else None

    def is_all_theirs(self, stored: str, path: str) -> bool:
        """Whether a file goes as a whole: named after the person, with nobody else in it."""
        if not self.names.may_name_person(path):
            return False
        match = self.match(stored, path)
        return match is not None and match.person == match.rows


def _ways_to_read(paths: Iterable[str]) -> Iterator[str]:
    """Paths under which an object holds rows: one, unless partition keys make a difference."""
    seen = set()
    for path in paths:
        folders = path.rpartition("/")[0] if "=" in path else ""
        if folders not in seen:
            seen.add(folders)
            yield path
