"""Looking a person up in the segments of one index, and what that says of each file."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from connectors.adapters.base import Needles
from connectors.index.terms import is_exact
from connectors.storage import FileEntry

if TYPE_CHECKING:
    from connectors.index.index import SubjectIndex


class _OneFile(Protocol):
    @property
    def path(self) -> str: ...


class _Counted(Protocol):
    @property
    def rows(self) -> int: ...


Match = TypeVar("Match")
Target = TypeVar("Target", bound=_OneFile)
CountedMatch = TypeVar("CountedMatch", bound=_Counted)


@dataclass(frozen=True)
class Hits:
    """What the index says of one file. `columns`: those of the index that the file has; `found`:
    needle's column → in how many rows it names the person, where it does; `exact`: these numbers
    are what a search would count."""

    columns: frozenset[str]
    found: Mapping[str, int]
    exact: bool

    def rows(self, stated: Collection[str]) -> int | None:
        """In how many rows the person is named, where the index alone says it; None for a file that
        has to be read. `stated`: columns of which the file's partition says that they name the
        person, should the file lack them."""
        if not self.columns.issuperset(stated):
            return None
        if not self.found:
            return 0
        if not self.exact or len(self.columns) > 1:
            return None  # other columns of these rows may hold other identifiers
        return sum(self.found.values())


class Lookup:
    """One person, or many at once, in the segments of one index."""

    def __init__(self, index: "SubjectIndex", needles: Needles) -> None:
        self.index = index
        self.needles = {c: tuple(dict.fromkeys(v)) for c, v in needles.items() if v}
        self._wanted = cache(self._hashes)  # for a column has one type in nearly all files

    def hits(self, name: str) -> Hits | None:
        """What the segment of this name says; None where there is none."""
        with self.index.segment(name) as found:
            if found is None:
                return None
            counts = {
                column: found.rows_with(self._wanted(column, kind))
                for column, kind in found.columns.items()
                if column in self.needles
            }
        named = {column: rows for column, rows in counts.items() if rows}
        exact = all(is_exact(found.columns[c], self.needles[c]) for c in named)
        return Hits(frozenset(found.columns), named, exact)

    def _hashes(self, column: str, kind: str) -> frozenset[int]:
        return self.index.hashes(column, kind, self.needles[column])


class Indexed(Generic[Match]):
    """What one search learned from an index, and how it tells of it. `matches`: path → what is
    in the file, where the index alone says it."""

    def __init__(self, built_at: datetime | None = None) -> None:
        self.matches: dict[str, Match] = {}
        self._built_at = built_at
        self._known = 0
        self._counted = 0

    def note(self, path: str, match: Match | None, *, rows: int = 0) -> None:
        """`match`: None for a file that has to be read."""
        self._known += 1
        if match is not None:
            self.matches[path] = match
            self._counted += bool(rows)

    def how(self, files: int) -> str:
        """For the record; empty where the index was of no use. `files`: that were searched."""
        if not self._known:
            return ""
        built = f"built {self._built_at:%Y-%m-%d %H:%M} UTC" if self._built_at else "being built"
        named = self._known - len(self.matches)
        text = f"by index of {self._known} files {built}"
        if self._counted:
            text += f", by which rows were counted in {self._counted} files"
        if named or not self._counted:
            text += f", then rows counted in the {named} files it named"
        others = files - self._known
        return f"{text}; {others} files without an entry in it read once" if others else text


def look_up(
    index: "SubjectIndex | None",
    needles: Needles,
    columns: Mapping[str, Sequence[str]],
    targets: Sequence[Target],
    entries: Sequence[FileEntry],
    by_hits: Callable[[Target, Hits], CountedMatch | None],
) -> Indexed[CountedMatch]:
    """What the index says of each file of a table; nothing of columns that it does not cover.

    `columns`: as `SubjectIndex.name_of` takes them. `entries`: the files of `targets`, and others.
    `by_hits`: what is in a file, None where it has to be read.
    """
    if index is None or not needles.keys() <= columns.keys():
        return Indexed()
    present = {entry.path: entry for entry in entries}
    lookup = Lookup(index, needles)
    indexed = Indexed[CountedMatch](index.built_at)
    for target in targets:
        hits = lookup.hits(index.name_of(present[target.path], columns))
        if hits is not None:
            match = by_hits(target, hits)
            indexed.note(target.path, match, rows=match.rows if match else 0)
    return indexed
