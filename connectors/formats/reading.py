"""Opening a file of any format, and a person's traces in its name."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.folders import hive_values, masked
from connectors.formats.columnar import ParquetFile
from connectors.formats.delimited import DelimitedFile, Dialect
from connectors.formats.formats import Kind, Located, RowFile, Values, format_in
from connectors.formats.jsonlines import JsonLinesFile
from connectors.formats.person import FileMatch, Person
from connectors.index import Terms
from connectors.scan.content import scan_name
from connectors.scan.identifiers import MIN_WHOLE_TEXT
from connectors.scan.record import Record

_WORD = re.compile(r"[^\W_]+(?:[.@%+-][^\W_]+)*|[^\W_]+")


@dataclass(frozen=True)
class Reader:
    """Opens the files of one store as its connector describes them."""

    folder: Located
    dialect: Dialect
    subject_columns: tuple[str, ...]

    def open(self, path: str, *, shown: str = "") -> RowFile:
        """`shown`: how messages may call the file. Raises StoreError."""
        name = shown or masked(path, self.subject_columns)
        kind = format_in(self.folder, path)
        if kind is None:
            raise StoreError(f"The file {name} is in no format that rows can be read from.")
        return _InPlace(self, path, name, kind)

    def at(self, location: Path, name: str, kind: Kind) -> RowFile:
        if kind == "parquet":
            return ParquetFile(location, name)
        if kind == "csv":
            return DelimitedFile(location, name, self.dialect, self.subject_columns)
        return JsonLinesFile(location, name)


@dataclass
class _InPlace:
    """A file wherever it is, which is a local one only while it is read."""

    reader: Reader
    path: str
    name: str
    kind: Kind
    _last: "tuple[Path, RowFile] | None" = None

    @contextmanager
    def _opened(self) -> Iterator[RowFile]:
        with self.reader.folder.opened(self.path) as location:
            if self._last is None or self._last[0] != location:
                # What was found out about a file's form is worth keeping.
                self._last = location, self.reader.at(location, self.name, self.kind)
            yield self._last[1]

    @contextmanager
    def _readable(self) -> Iterator[RowFile]:
        try:
            with self._opened() as file:
                yield file
        except FileNotFoundError as exc:
            raise StoreError(
                f"The file {self.name} cannot be read: it was removed. Search again."
            ) from exc

    def columns(self) -> Sequence[tuple[str, str]]:
        with self._readable() as file:
            return file.columns()

    def count(self) -> int:
        with self._readable() as file:
            return file.count()

    def search(self, person: Person) -> FileMatch:
        with self._readable() as file:
            return file.search(person)

    def rewrite(self, target: Path, person: Person) -> FileMatch:
        with self._opened() as file:
            return file.rewrite(target, person)

    def terms(self, columns: Sequence[str]) -> Iterator[Terms]:
        with self._readable() as file:
            yield from file.terms(columns)

    def rows(self, columns: Sequence[str]) -> Iterator[Values]:
        with self._readable() as file:
            yield from file.rows(columns)


class Names:
    """What paths say about a person."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def shown(self, path: str) -> str:
        """The path without any identifier of the person, and without partitions of people."""
        parts = []
        for part in path.split("/"):
            record = Record(self.person.names)
            text = masked(record.shown(part), self.person.columns.subject)
            for word in self._words(part):
                text = text.replace(word, "*")
            parts.append(text)
        return masked("/".join(parts) + "/", self.person.columns.subject).removesuffix("/")

    def names_person(self, path: str) -> bool:
        """By the scanner's rule: what it would report as a trace."""
        record = Record(self.person.names)
        for part in path.split("/"):
            scan_name(part, record)
        return bool(record.counts)

    def may_name_person(self, path: str) -> bool:
        """Also by a word that is a short identifier, as in `orders-00004.csv`, which proves
        nothing by itself."""
        *folders, name = path.split("/")
        return (
            self.names_person(path)
            or bool(self._words(name))
            or any(folder in self.person.values for folder in folders)
        )

    def _words(self, part: str) -> list[str]:
        stem = re.split(r"\.(?:csv|tsv|parquet|parq|pq|jsonl|ndjson|json|gz)\b", part)[0]
        values = {v for v in self.person.values if len(v) >= MIN_WHOLE_TEXT}
        words = {stem, *re.split(r"[^0-9A-Za-z]+", stem), *_WORD.findall(stem)}
        return sorted(words & values, key=len, reverse=True)


def match_in(reader: Reader, path: str, person: Person, shown: str) -> FileMatch:
    """The person's rows in one file, by its columns or, where it lacks them, by its partition.

    Raises StoreError for a file that cannot be read, or where nobody could be found.
    """
    file = reader.open(path, shown=shown)
    match = file.search(person)
    subjects = person.columns.subject
    present = columns_of(file, subjects) | match.filled
    partition = {c: v for c, v in hive_values(path).items() if c in subjects and c not in present}
    if not present and not partition and match.rows:
        raise StoreError(_nobody(shown, subjects, file))
    if person.is_partition(partition):
        match.person, match.mentions, match.alike = match.rows, 0, 0
        for column in subjects:
            match.link(column, [partition.get(column)])
    return match


def columns_of(file: RowFile, subject_columns: Iterable[str]) -> set[str]:
    names = {name for name, _ in file.columns()}
    return {c for c in subject_columns if c in names or c.split(".")[0] in names}


def require_columns(file: RowFile, path: str, shown: str, columns: Iterable[str]) -> None:
    """Raises StoreError for a file that has no column, and no partition, that names people."""
    wanted = tuple(columns)
    if not columns_of(file, wanted) and not set(hive_values(path)) & set(wanted):
        raise StoreError(_nobody(shown, wanted, file))


def _nobody(shown: str, columns: Iterable[str], file: RowFile) -> str:
    known = ", ".join(name for name, _ in file.columns())
    return (
        f"The file {shown} has none of the columns {', '.join(columns)}, so nobody can be found in "
        f"it. Its columns are: {known}. Correct the subject columns or the CSV options, or name "
        'the file in the option "unrelated_files".'
    )
