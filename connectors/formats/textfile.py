"""What CSV and JSON Lines share: rows that are ranges of bytes, and stay the bytes they are."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from connectors.adapters.base import ResidueError, StoreError
from connectors.formats.formats import UNPACKING_ERRORS, Values
from connectors.formats.lines import (
    Range,
    TextLines,
    add_range,
    content_digest,
    copy_without,
)
from connectors.formats.person import FileMatch, Person, Verdict
from connectors.index import Terms
from connectors.index.terms import MIXED, mixed_terms

_ROWS_AT_ONCE = 131_072


class TextFile(ABC):
    """`name`: the file's path as messages may show it."""

    def __init__(self, location: Path, name: str) -> None:
        self.location = location
        self.name = name

    @abstractmethod
    def columns(self) -> Sequence[tuple[str, str]]: ...

    @abstractmethod
    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[Range, Values]]:
        """The bytes of each row, and its values in these columns."""

    @abstractmethod
    def _at(self, location: Path) -> "TextFile":
        """The same kind of file, read in the same way, at another place."""

    def rows(self, columns: Sequence[str]) -> Iterator[Values]:
        with self._faults_named():
            for _, values in self._rows(columns):
                yield values

    def terms(self, columns: Sequence[str]) -> Iterator[Terms]:
        rows = self.rows(columns)
        while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            for column, found in zip(columns, zip(*some, strict=True), strict=True):
                terms = mixed_terms(value for values in found for value in values)
                yield column, MIXED, pl.LazyFrame({"term": list(terms)}, schema={"term": pl.String})

    def count(self) -> int:
        return sum(1 for _ in self.rows(()))

    def search(self, person: Person) -> FileMatch:
        return self._search(person, [])

    def _search(self, person: Person, ranges: list[Range]) -> FileMatch:
        match = FileMatch()
        searched = person.columns.searched
        # Subjects come first among the searched columns.
        subjects = person.columns.subject
        with self._faults_named():
            for (start, end), values in self._rows(searched):
                match.rows += 1
                if len(match.filled) < len(subjects):
                    match.filled.update(c for c, v in zip(subjects, values, strict=False) if v)
                verdict = person.verdict(values)
                if verdict is Verdict.NOBODY:
                    continue
                if verdict is Verdict.PERSON:
                    match.person += 1
                    add_range(ranges, start, end)
                    for column, found in zip(subjects, values, strict=False):
                        match.link(column, found)
                elif verdict is Verdict.MENTIONED:
                    match.mentions += 1
                else:
                    match.alike += 1
        return match

    def rewrite(self, target: Path, person: Person) -> FileMatch:
        """Copies the other rows as bytes, then reads what was written. Raises ResidueError."""
        ranges: list[Range] = []
        match = self._search(person, ranges)
        kept = copy_without(self.location, target, ranges)
        if content_digest(target) != kept:
            raise self._unequal("the disk does not hold what was written")
        left = self._at(target).search(person)
        if left.person:
            raise ResidueError(f"{left.person} rows were still found after rewriting {self.name}.")
        if left.rows != match.rows - match.person:
            raise self._unequal(f"{left.rows} rows instead of {match.rows - match.person}")
        return match

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as exc:
            raise StoreError(
                f"The file {self.name} is not text in the encoding {exc.encoding}. Name its "
                'encoding in the option "encoding".'
            ) from exc
        except UNPACKING_ERRORS as exc:
            raise StoreError(
                f"The file {self.name} cannot be read: it is damaged, or it was removed "
                f"({type(exc).__name__})."
            ) from exc

    def _unequal(self, why: str) -> StoreError:
        return StoreError(
            f"The file {self.name} could not be rewritten: {why}. It was left as it is. Check the "
            "disk, and whether somebody writes to the file."
        )

    def _broken(self, lines: TextLines, why: str) -> StoreError:
        return StoreError(
            f"The file {self.name} has a broken row at line {lines.number}: {why}. Nothing was "
            "skipped or changed: correct the file, or the options about its format."
        )
