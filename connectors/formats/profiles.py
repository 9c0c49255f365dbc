"""What the files of a version hold as a whole: columns, counts, and whom they name."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.folders import hive_values
from connectors.formats.formats import RowFile
from connectors.formats.person import Person
from connectors.formats.reading import columns_of
from connectors.people import as_integer, identifier_text, same_identifier

_MOST_DISTINCT = 1_000_000  # values that a profile counts before it gives up


@dataclass(frozen=True)
class DataFile:
    """`path`: as the store calls it; its partition keys are columns. Methods raise StoreError."""

    path: str
    bytes: int
    file: RowFile

    def partition(self, column: str) -> str | None:
        return hive_values(self.path).get(column)

    def schema(self) -> "Schema":
        """The file's columns, and the partition keys that it has no column for."""
        columns = list(self.file.columns())
        known = {name for name, _ in columns}
        return columns + [(k, "string") for k in hive_values(self.path) if k not in known]

    def has(self, column: str) -> bool:
        return self.partition(column) is not None or bool(columns_of(self.file, [column]))

    def texts(self, column: str) -> Iterator[str]:
        """The identifiers in a column, as text, where there are any."""
        partition = self.partition(column)
        for (values,) in self.file.rows([column]):
            for value in values or ([partition] if partition else []):
                if text := identifier_text(value):
                    yield text


Schema = Sequence[tuple[str, str]]  # (column, type)


def schema_of(files: Iterable[DataFile]) -> list[tuple[str, str]]:
    """The union of the files' columns and partition keys; a column of several types lists them."""
    return union_of(data.schema() for data in files)


def union_of(schemas: Iterable[Schema]) -> list[tuple[str, str]]:
    kinds: dict[str, dict[str, None]] = {}
    for schema in schemas:
        for name, kind in schema:
            kinds.setdefault(name, {}).update(dict.fromkeys(kind.split("|")))
    for found in kinds.values():
        if len(found) > 1:
            found.pop("null", None)
    return [(name, "|".join(found)) for name, found in kinds.items()]


def profile_of(files: Sequence[DataFile]) -> dict[str, Any]:
    """Counts only, no values: rows, files, bytes, whole-row duplicates, and for each column its
    type, empty values and distinct values (None where there are too many to count)."""
    schema = schema_of(files)
    names = [name for name, _ in schema]
    filled: Counter[str] = Counter()
    distinct: dict[str, set[int] | None] = {name: set() for name in names}
    whole: set[int] | None = set()
    rows = 0
    for data in files:
        partition = hive_values(data.path)
        for values in data.file.rows(names):
            rows += 1
            found = {
                n: repr(list(v)) if v else repr([partition[n]])
                for n, v in zip(names, values, strict=True)
                if v or partition.get(n) is not None
            }
            filled.update(found.keys())
            for name, text in found.items():
                distinct[name] = _with(distinct[name], text)
            whole = _with(whole, repr(sorted(found.items())))
    return {
        "rows": rows,
        "files": len(files),
        "bytes": sum(data.bytes for data in files),
        "duplicates": rows - len(whole) if whole is not None else None,
        "columns": {
            name: {
                "type": kind,
                "nulls": rows - filled[name],
                "distinct": None if (seen := distinct[name]) is None else len(seen),
            }
            for name, kind in schema
        },
    }


def somebody_else(files: Iterable[DataFile], person: Person) -> tuple[str, str] | None:
    """(column, identifier) of another person; None when there is nobody else.

    It belongs in no log and no report.
    """
    for data in files:
        for column in person.columns.subject:
            for text in data.texts(column):
                if not _is_sought(text, person.values):
                    return column, text
    return None


def _is_sought(text: str, values: Iterable[str]) -> bool:
    number = as_integer(text)
    return any(
        same_identifier(text, value) or (number is not None and number == as_integer(value))
        for value in values
    )


def _with(seen: set[int] | None, text: str) -> set[int] | None:
    """The set with one more value's hash; None once it is too large."""
    if seen is None:
        return None
    seen.add(hash(text))
    return seen if len(seen) <= _MOST_DISTINCT else None
