"""Which rows of a file are a person's: columns are found by their numbers, whatever their names.

Iceberg's files carry the number of each column; a name may have changed since. Files without
numbers (taken over from Hive) are read by every name that the column ever had. Where a file lacks
the column, its partition may state the value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.adapters.base import Needles, StoreError
from connectors.adapters.iceberg.table import TableView, schema_rows
from connectors.folders import masked
from connectors.formats.dictionaries import is_in_a_dictionary
from connectors.index import Columns, Hits
from connectors.people import Wanted, as_uuid, column_expression, identifier_text, person_rows

FIELD_ID = b"PARQUET:field_id"
# A panic of polars, on a type that it does not know, is no Exception.
DAMAGE = (OSError, pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException)
Constants = Mapping[int, Any]


@dataclass(frozen=True)
class FileMatch:
    """`remnant`: whether the file names the person where no row does."""

    rows: int
    linked: Mapping[str, frozenset[str]]
    remnant: bool = False

    @property
    def holds_person(self) -> bool:
        return bool(self.rows or self.remnant)


class Person:
    """One person's identifiers in the columns of one table. It can be pickled, as its folder can:
    of the table's catalog it keeps nothing."""

    def __init__(self, view: TableView, subject_columns: Iterable[str], needles: Needles) -> None:
        self.folder = view.folder
        self.table = view.name
        self.needles = {c: tuple(dict.fromkeys(v)) for c, v in needles.items() if v}
        self.columns = list(dict.fromkeys([*subject_columns, *self.needles]))
        self.ids = {column: view.field_ids(column) for column in self.columns}
        self.names = {column: sorted(view.column_names(ids)) for column, ids in self.ids.items()}
        self.hidden = view.hidden_names(self.columns)
        missing = sorted(c for c in self.needles if not self.ids[c])
        if missing:
            known = ", ".join(name for name, _ in schema_rows(view.metadata.schema()))
            raise StoreError(
                f"The table {view.name} has no column {', '.join(missing)} in any of its schemas. "
                f"Its columns are: {known}. Correct the connector's subject columns."
            )
        self._wanted = {column: Wanted(values) for column, values in self.needles.items()}

    def shown(self, path: str) -> str:
        return masked(path, self.hidden)

    def match(self, path: str, constants: Constants) -> FileMatch:
        """Count the person's rows in one of the table's Parquet files. Raises StoreError."""
        try:
            with self.folder.opened(path) as location:
                return self.match_in(location, path, constants)
        except OSError as exc:
            raise self.unreadable(path, exc) from None

    def match_in(self, location: Path, path: str, constants: Constants) -> FileMatch:
        """The same in a local file; `path`: what messages call it. Raises StoreError."""
        try:
            paths = self.paths(pq.read_schema(location))
            columns = located(paths, dict(pl.read_parquet_schema(location)))
            frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
            rows = self.rows(columns, constants)
            if rows is None:
                return FileMatch(0, {})
            sought = {path: self.needles.get(column, ()) for column, path in paths.items()}
            theirs = frame.filter(rows)
            found = theirs.select(
                pl.len().alias("_rows"), *(_listed(v, c) for c, (v, _) in columns.items())
            )
            (row,) = found.collect().to_dicts()
            count = int(row.pop("_rows"))
            if not count:
                return FileMatch(0, {}, is_in_a_dictionary(location, sought))
        except DAMAGE as exc:
            raise self.unreadable(path, exc) from None
        return FileMatch(count, self._linked(row, constants))

    def by_hits(self, hits: Hits, constants: Constants) -> FileMatch | None:
        """What `match` would find, by the index alone; None when it takes a look at the file."""
        rows = hits.rows([c for c in self.needles if self._is_constant(c, constants)])
        if rows is None:
            return None
        there = dict.fromkeys(hits.columns)  # with the person's own identifiers alone
        return FileMatch(rows, self._linked(there, constants) if rows else {})

    def unreadable(self, path: str, exc: BaseException) -> StoreError:
        return StoreError(
            f"The file {self.shown(path)} of the table {self.table} cannot be read: it is "
            f"damaged, encrypted, no Parquet file, or was removed ({type(exc).__name__}). Restore "
            "it, or repair the table."
        )

    def paths(self, schema: pa.Schema) -> dict[str, str]:
        """Subject column → where it is in a file with this schema, with dots into structs."""
        numbered, named = leaf_paths(schema)
        paths = {}
        for column, ids in self.ids.items():
            if numbered:
                found = [numbered[i] for i in sorted(ids) if i in numbered]
            else:
                found = [name for name in self.names[column] if name in named]
            if found:
                paths[column] = found[0]
        return paths

    def columns_in(self, location: Path) -> Columns:
        """The subject columns that a local file has, and their types. Raises `DAMAGE`."""
        paths = self.paths(pq.read_schema(location))
        return located(paths, dict(pl.read_parquet_schema(location)))

    def marks_of(self, subject_columns: Iterable[str]) -> dict[str, list[str]]:
        """Each of the columns with all by which it is found in files: numbers and names."""
        return {c: [*map(str, sorted(self.ids[c])), *self.names[c]] for c in subject_columns}

    def rows(self, columns: Columns, constants: Constants) -> pl.Expr | None:
        """What is true for the person's rows; None when no row of the file can be theirs."""
        rows: pl.Expr | None = None
        for column, identifiers in self.needles.items():
            if column in columns:
                expression, kind = columns[column]
                matched = person_rows(expression, kind, identifiers)
            elif self._is_constant(column, constants):
                matched = pl.lit(value=True)
            else:
                continue
            rows = matched if rows is None else rows | matched
        return rows

    def _is_constant(self, column: str, constants: Constants) -> bool:
        values = [constants[i] for i in self.ids[column] if constants.get(i) is not None]
        return any(self._wanted[column].names(value) for value in values)

    def _linked(self, row: Mapping[str, Any], constants: Constants) -> dict[str, frozenset[str]]:
        linked = {}
        for column in self.columns:
            values: Iterable[Any] = row.get(column) or ()
            if column not in row:
                values = [constants[i] for i in self.ids[column] if constants.get(i) is not None]
            linked[column] = frozenset(text for v in values if (text := shown_value(v)))
        return linked


def located(paths: Mapping[str, str], schema: Mapping[str, pl.DataType]) -> Columns:
    """Columns by where they are in a file or frame with this schema."""
    return {column: column_expression(path, schema) for column, path in paths.items()}


def _listed(expression: pl.Expr, name: str) -> pl.Expr:
    return expression.drop_nulls().unique().implode().alias(name)


def shown_value(value: Any) -> str:
    """An identifier as people write it; 16 bytes that are no text are a UUID."""
    text = identifier_text(value)
    found = as_uuid(text) if isinstance(value, bytes) and len(value) == 16 else None
    return str(found) if found else text


def leaf_paths(schema: pa.Schema) -> tuple[dict[int, str], set[str]]:
    """The columns of a file by their numbers, and by their names, structs' parts with dots."""
    numbered: dict[int, str] = {}
    named: set[str] = set()

    def walk(fields: Sequence[pa.Field], parents: tuple[str, ...]) -> None:
        for part in fields:
            path = (*parents, part.name)
            named.add(".".join(path))
            number = (part.metadata or {}).get(FIELD_ID)
            if number is not None:
                numbered[int(number)] = ".".join(path)
            if pa.types.is_struct(part.type):
                walk(list(part.type), path)

    walk(list(schema), ())
    return numbered, named
