"""A subject index of objects that hold rows in any format: in which of them the person cannot be.

It rules objects out, and counts nothing: in files of text, a row may name the person in several
spellings, or be somebody else's that looks alike. What free text says stands in no index, so a
store with columns of free text is searched without.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import polars as pl

from connectors.adapters.base import StoreError
from connectors.formats.formats import format_in, suffix_of
from connectors.formats.reading import Reader, columns_of
from connectors.formats.staging import Staging
from connectors.index import SubjectIndex


@dataclass(frozen=True)
class StoredObject:
    """`stored`: where its bytes lie; `digest`: what they are, as its store says; `paths`: what it
    is called."""

    stored: str
    digest: str
    bytes: int
    paths: tuple[str, ...]

    def name_in(self, index: SubjectIndex, reader: Reader) -> str:
        """Its segment's: other bytes, and another way to read them, have another."""
        suffixes = sorted({suffix_of(path) for path in self.paths})
        facts = [self.stored, self.digest, self.bytes, suffixes, asdict(reader.dialect)]
        return index.named(facts, {column: [column] for column in reader.subject_columns})


@dataclass(frozen=True)
class ObjectSource:
    """An object to be hashed."""

    found: StoredObject
    staged: Staging
    reader: Reader

    @property
    def bytes(self) -> int:
        return self.found.bytes

    def hash_into(self, index: SubjectIndex, name: str) -> bool:
        """Nothing is kept of what holds no rows, and of rows in which no column names anybody."""
        if len({suffix_of(path) for path in self.found.paths}) > 1:
            return False  # by each it might hold other rows
        path = self.staged.path(self.found.stored, self.found.paths[0])
        try:
            if format_in(self.staged, path) is None:
                return False
            file = self.reader.open(path, shown=self.found.stored)
            if not columns_of(file, self.reader.subject_columns):
                return False
            index.write(name, file.terms(self.reader.subject_columns))
        except (
            OSError,
            StoreError,
            UnicodeEncodeError,  # JSON may hold what is no text
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
        ):
            return False
        return True


def sources_of(
    objects: Iterable[StoredObject], staged: Staging, reader: Reader, index: SubjectIndex
) -> dict[str, ObjectSource]:
    """What is to be hashed, by segments' names."""
    return {o.name_in(index, reader): ObjectSource(o, staged, reader) for o in objects}
