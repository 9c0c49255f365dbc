"""A person's rows in one physical file of a table: which they are, how many, who else they name.

Only the identifier columns are read. Rows are counted where they physically are: a deletion vector
hides a row from readers, yet its bytes are there.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from connectors.adapters.base import Needles, StoreError
from connectors.adapters.delta.snapshot import Column, History
from connectors.folders import masked
from connectors.index import Hits
from connectors.people import (
    as_integer,
    column_expression,
    identifier_text,
    person_rows,
    same_identifier,
)
from connectors.scan.identifiers import Identifiers
from connectors.storage import Folder

_INTEGER_TYPES = {"byte", "short", "integer", "long"}


@dataclass(frozen=True)
class Target:
    """A physical file to search."""

    path: str
    kind: str  # data | change_data | orphan
    versions: tuple[str, ...]
    partition_values: Mapping[str, str | None]
    bytes: int


@dataclass(frozen=True)
class FileMatch:
    rows: int
    linked: Mapping[str, frozenset[str]]


class Search:
    """Looks for one set of identifiers in files of one table."""

    def __init__(
        self,
        folder: Folder,
        history: History,
        subject_columns: Iterable[str],
        needles: Needles,
    ) -> None:
        self.folder = folder
        self.needles = {c: tuple(dict.fromkeys(v)) for c, v in needles.items() if v}
        self.subject_columns = list(dict.fromkeys([*subject_columns, *self.needles]))
        # A column may have had other types or physical names in older versions: keep them all.
        self.columns: dict[str, set[Column]] = {}
        for snapshot in {id(s.metadata): s for s in history.snapshots}.values():
            for name in self.subject_columns:
                if column := snapshot.column(name):
                    self.columns.setdefault(name, set()).add(column)
        missing = sorted(set(self.needles) - set(self.columns))
        if missing:
            known = ", ".join(name for name, _ in history.head.schema)
            raise StoreError(
                f"The table {folder.root} has no column {', '.join(missing)} in any version. "
                f"Its columns are: {known}. Correct the connector's subject columns."
            )

    def names_of(self, subject_columns: Iterable[str]) -> dict[str, list[str]]:
        """Each of the columns with all names that it has in files, of whatever version."""
        return {c: sorted({n.physical for n in self.columns.get(c, ())}) for c in subject_columns}

    @property
    def top_level_columns(self) -> set[str]:
        """The columns, as files name them, that hold identifiers or the structs around them."""
        physical = {c.physical for spellings in self.columns.values() for c in spellings}
        return physical | {name.split(".")[0] for name in physical}

    @property
    def identifiers(self) -> Identifiers:
        """For what is searched as the final scan reads it."""
        values = [v for identifiers in self.needles.values() for v in identifiers]
        columns = {*self.subject_columns, *self.top_level_columns}
        return Identifiers(values, identity_columns=columns)

    def file(self, target: Target) -> FileMatch:
        """Count the person's rows in one file. Raises StoreError when it cannot be read."""
        try:
            with self.folder.opened(target.path) as location:
                found, columns, count = self._matched(location, target)
        except (OSError, pl.exceptions.PolarsError) as exc:
            raise StoreError(
                f"The file {masked(target.path, self.subject_columns)} of the table "
                f"{self.folder.root} cannot be read: it is damaged or was removed."
            ) from exc
        if not count:
            return FileMatch(0, {})
        return FileMatch(count, self._linked(found, columns, target.partition_values))

    def _matched(
        self, location: Path, target: Target
    ) -> tuple[pl.DataFrame, dict[str, tuple[pl.Expr, pl.DataType]], int]:
        """The identifiers in the person's rows, the columns they stand in, how many rows."""
        schema = dict(pl.read_parquet_schema(location))
        rows = self.rows(schema, target.partition_values)
        if rows is None:
            return pl.DataFrame(), {}, 0
        columns = self.readable(schema)
        frame = pl.scan_parquet(location, glob=False, hive_partitioning=False)
        matched = frame.filter(rows)
        found = matched.select(
            *(expression.alias(name) for name, (expression, _) in columns.items())
        ).collect()
        # Where only the partition names the person, the file has no such column to count by.
        count = found.height if columns else matched.select(pl.len()).collect().item()
        return found, columns, count

    def by_hits(self, target: Target, hits: Hits) -> FileMatch | None:
        """What `file` would find, by the index alone; None when it takes a look at the file."""
        values = target.partition_values
        rows = hits.rows(
            [c for c, i in self.needles.items() if self._partition_matches(c, i, values)]
        )
        if rows is None:
            return None
        return FileMatch(rows, self._linked(pl.DataFrame(), {}, values) if rows else {})

    def rows(
        self, schema: Mapping[str, pl.DataType], partition_values: Mapping[str, str | None]
    ) -> pl.Expr | None:
        """What is true for the person's rows in a file; None when no row can be theirs."""
        rows: pl.Expr | None = None
        columns = self.readable(schema)
        for name, identifiers in self.needles.items():
            if name in columns:
                expression, kind = columns[name]
                matched = person_rows(expression, kind, identifiers)
            elif self._partition_matches(name, identifiers, partition_values):
                matched = pl.lit(value=True)
            else:
                continue
            rows = matched if rows is None else rows | matched
        return rows

    def readable(self, schema: Mapping[str, pl.DataType]) -> dict[str, tuple[pl.Expr, pl.DataType]]:
        """The subject columns that a file with this schema has, and their types."""
        readable = {}
        for name, spellings in self.columns.items():
            for physical in sorted({c.physical for c in spellings}):
                try:
                    readable[name] = column_expression(physical, schema)
                except KeyError:
                    continue
        return readable

    def _partition_value(self, name: str, partition_values: Mapping[str, str | None]) -> str | None:
        for column in self.columns.get(name, ()):
            for key in (column.physical, column.path):
                if (value := partition_values.get(key)) is not None:
                    return value
        return None

    def _partition_matches(
        self, name: str, identifiers: Sequence[str], partition_values: Mapping[str, str | None]
    ) -> bool:
        value = self._partition_value(name, partition_values)
        if value is None:
            return False
        if {c.type for c in self.columns[name]} & _INTEGER_TYPES:
            return as_integer(value) in {as_integer(i) for i in identifiers} - {None}
        return any(same_identifier(value, identifier) for identifier in identifiers)

    def _linked(
        self,
        found: pl.DataFrame,
        columns: Mapping[str, tuple[pl.Expr, pl.DataType]],
        partition_values: Mapping[str, str | None],
    ) -> dict[str, frozenset[str]]:
        linked = {}
        for name in self.subject_columns:
            values: Iterable[object] = ()
            if name in columns:
                values = found[name].drop_nulls().unique().to_list()
            elif (value := self._partition_value(name, partition_values)) is not None:
                values = (value,)
            linked[name] = frozenset(text for v in values if (text := identifier_text(v)))
        return linked


@dataclass(frozen=True)
class Finding:
    """The task of searching one file. `spared`: the kinds of files whose result is None where they
    cannot be read."""

    search: Search
    spared: tuple[str, ...] = ()
    result: ClassVar[Any] = FileMatch | None
    # One keeps the disk or the network busy while another is decoded.
    at_once: ClassVar[int] = min(4, os.cpu_count() or 1)

    @property
    def folder(self) -> Folder:
        return self.search.folder

    def __call__(self, target: Target) -> FileMatch | None:
        try:
            return self.search.file(target)
        except StoreError:
            if target.kind not in self.spared:
                raise
            return None
