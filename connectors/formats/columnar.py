"""Parquet files, one row group at a time.

What the rewritten file must not carry over: dictionary pages (a filtered dictionary keeps every
value that it ever had), statistics and Bloom filters. What it must keep: the types as readers see
them, also Arrow's and pandas' own notes about them, row groups, codecs, and every other row.
"""

import base64
import binascii
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.adapters.base import ResidueError, StoreError
from connectors.formats.dictionaries import (
    dictionaries,
    is_in_a_dictionary,
    plain_schema,
    plain_type,
)
from connectors.formats.formats import Values
from connectors.formats.person import FileMatch, Person
from connectors.index import Terms
from connectors.index.terms import column_terms, spelled
from connectors.people import column_expression
from connectors.scan.parquet import leaves

_BATCH_ROWS = 131_072
_ARROW_NOTE = b"ARROW:schema"
_DAMAGE = (
    OSError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # of a type that polars does not know
)
_TYPES = {
    "int8": "byte",
    "int16": "short",
    "int32": "integer",
    "int64": "long",
    "large_string": "string",
    "string_view": "string",
}


class ParquetFile:
    """`name`: the file's path as messages may show it."""

    def __init__(self, location: Path, name: str) -> None:
        self.location = location
        self.name = name

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        """For reading: whatever goes wrong is the file's fault."""
        try:
            with pq.ParquetFile(self.location) as file:
                yield file
        except _DAMAGE as exc:
            raise StoreError(
                f"The file {self.name} cannot be read: it is damaged, encrypted, or was removed "
                f"({type(exc).__name__})."
            ) from exc

    def columns(self) -> Sequence[tuple[str, str]]:
        with self._open() as file:
            return [(f.name, _TYPES.get(str(f.type), str(f.type))) for f in file.schema_arrow]

    def count(self) -> int:
        with self._open() as file:
            return int(file.metadata.num_rows)

    def search(self, person: Person) -> FileMatch:
        """Reads only the columns that may name people."""
        match = FileMatch()
        with self._open() as file:
            match.rows = file.metadata.num_rows
            for frame in _frames(file, person.columns.searched):
                _note(match, person, frame)
            match.remnant = not match.person and is_in_a_dictionary(self.location, person.needles)
        return match

    def terms(self, columns: Sequence[str]) -> Iterator[Terms]:
        for column, values in dictionaries(self.location, columns):
            named = pl.LazyFrame({"v": values}).select(column_terms(pl.col("v"), values.dtype))
            yield column, spelled(values.dtype), named
        with self._open() as file:
            for frame in _frames(file, columns):
                schema = dict(frame.schema)
                found = {}
                for column in columns:
                    with suppress(KeyError):
                        found[column] = column_expression(column, schema)
                for column, (expression, kind) in found.items():
                    terms = frame.lazy().select(column_terms(expression, kind))
                    yield column, spelled(kind), terms

    def rows(self, columns: Sequence[str]) -> Iterator[Values]:
        with self._open() as file:
            if not _present(file, columns):
                yield from itertools.repeat(tuple(() for _ in columns), file.metadata.num_rows)
            for frame in _frames(file, columns):
                lists = [_values(frame, column) for column in columns]
                yield from zip(*lists, strict=True)

    def rewrite(self, target: Path, person: Person) -> FileMatch:
        """Raises StoreError, ResidueError, OSError, pyarrow's errors."""
        match = FileMatch()
        with _whole(self.location, "us") as source:
            match.rows = source.metadata.num_rows
            schema = plain_schema(source.schema_arrow)
            with _writer(source, target, schema, person) as writer:
                for rest in _others(source, person, match):
                    writer.write_table(rest, row_group_size=rest.num_rows)
        for unit in ("us", "ns") if _has_int96(self.location) else ("us",):
            self._check(target, person, unit)
        left = ParquetFile(target, self.name).search(person)
        if left.holds_person:
            raise ResidueError(f"{left.person} rows were still found after rewriting {self.name}.")
        return match

    def _check(self, target: Path, person: Person, unit: str) -> None:
        """Reads what was written beside the source: the same types, every other row, in order."""
        with _whole(self.location, unit) as source, _whole(target, unit) as written:
            if not written.schema_arrow.equals(source.schema_arrow) or _stored(written) != _stored(
                source
            ):
                raise self._unequal("its columns would have other types")
            pairs = itertools.zip_longest(_others(source, person, FileMatch()), _groups(written))
            if not all(old is not None and _same(old, new) for old, new in pairs):
                raise self._unequal("its other rows would not be what they were")

    def _unequal(self, why: str) -> StoreError:
        return StoreError(
            f"The file {self.name} cannot be rewritten: {why}. It was left as it is; erase in it "
            "with the engine that wrote it."
        )


def _whole(location: Path, unit: str) -> pq.ParquetFile:
    """`unit`: in which INT96 times are read. Nanoseconds overflow in the year 2262, and some write
    the year 9999 for "never"; microseconds lose what some others write."""
    return pq.ParquetFile(location, coerce_int96_timestamp_unit=unit)


def _has_int96(location: Path) -> bool:
    with pq.ParquetFile(location) as file:
        return any(kind.startswith("INT96") for kind in _stored(file))


def _stored(file: pq.ParquetFile) -> list[str]:
    """The types in which the columns are kept, as Parquet calls them."""
    columns = [file.schema.column(i) for i in range(len(file.schema))]
    return [f"{column.physical_type} {column.logical_type}" for column in columns]


def _others(file: pq.ParquetFile, person: Person, match: FileMatch) -> Iterator[pa.Table]:
    """Each row group without the person's rows, where any are left."""
    wanted = _present(file, person.columns.searched)
    for table in _groups(file):
        rest = table
        if wanted:
            rest = table.filter((~_note(match, person, _frame(table.select(wanted)))).to_arrow())
        if rest.num_rows:
            yield rest


def _groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    # Plain first: not everything can be done with views and dictionaries.
    schema = plain_schema(file.schema_arrow)
    for number in range(file.num_row_groups):
        yield file.read_row_group(number).cast(schema)


def _present(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """The top-level columns of the file that hold the columns."""
    names = set(file.schema_arrow.names)
    found = [c if c in names else c.split(".")[0] for c in columns]
    return [c for c in dict.fromkeys(found) if c in names]


def _frames(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """What the file has of the columns, some rows at a time; nothing where it has none."""
    if wanted := _present(file, columns):
        yield from map(_frame, file.iter_batches(_BATCH_ROWS, columns=wanted))


def _frame(data: "pa.Table | pa.RecordBatch") -> pl.DataFrame:
    table = pa.table(data) if isinstance(data, pa.RecordBatch) else data
    fields = [f.with_type(plain_type(_storage(f.type))) for f in table.schema]
    frame = pl.from_arrow(table.cast(pa.schema(fields)))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 (a table becomes a frame)
    return frame


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _note(match: FileMatch, person: Person, frame: pl.DataFrame) -> pl.Series:
    """Count the person's rows, and say which they are."""
    schema = dict(frame.schema)
    named, mine, mentions = person.masks(frame, schema)
    match.person += int(mine.sum())
    match.mentions += int(mentions.sum())
    if named.any():
        theirs = frame.filter(named)
        for column in person.columns.subject:
            match.link(column, (v for values in _values(theirs, column) for v in values))
    return mine


def _values(frame: pl.DataFrame, column: str) -> list[tuple[Any, ...]]:
    try:
        expression, _ = column_expression(column, dict(frame.schema))
    except KeyError:
        return [()] * frame.height
    values = frame.select(expression.alias("v"))["v"].to_list()
    return [() if v is None else (v,) for v in values]


@contextmanager
def _writer(
    source: pq.ParquetFile, target: Path, schema: pa.Schema, person: Person
) -> Iterator[pq.ParquetWriter]:
    with pq.ParquetWriter(target, schema, store_schema=False, **_settings(source)) as writer:
        yield writer
        # Arrow's note says how the plain types are to be read, as a pandas category for example.
        if notes := _notes(source, person):
            writer.add_key_value_metadata(notes)


def _notes(source: pq.ParquetFile, person: Person) -> dict[bytes, bytes]:
    """The notes in the footer, without those that name the person."""
    notes = {}
    for key, value in (source.metadata.metadata or {}).items():
        note = value
        if key == _ARROW_NOTE and person.is_named_in(_decoded(value)):
            # It repeats the other notes; what counts is the types.
            bare = [pa.field(f.name, f.type, f.nullable) for f in source.schema_arrow]
            note = base64.b64encode(pa.schema(bare).serialize())
        text = _decoded(note) if key == _ARROW_NOTE else note.decode("utf-8", "replace")
        if not person.is_named_in(text) and not person.is_named_in(key.decode("utf-8", "replace")):
            notes[key] = note
    return notes


def _decoded(note: bytes) -> str:
    try:
        return base64.b64decode(note).decode("latin-1")
    except (binascii.Error, ValueError):
        return ""


def _settings(source: pq.ParquetFile) -> Mapping[str, Any]:
    """How the source was written, as far as it can be seen."""
    physical = [source.schema.column(i) for i in range(len(source.schema))]
    paths = [column.path for column in physical]
    nanoseconds = any("nanoseconds" in str(c.logical_type) for c in physical)
    settings: dict[str, Any] = {
        # Version 1.0 knows no nanoseconds; some writers state it and write them all the same.
        "version": "1.0" if source.metadata.format_version == "1.0" and not nanoseconds else "2.6",
        "use_deprecated_int96_timestamps": any(c.physical_type == "INT96" for c in physical),
        "store_decimal_as_integer": any(
            c.logical_type.type == "DECIMAL" and c.physical_type in ("INT32", "INT64")
            for c in physical
        ),
        "use_compliant_nested_type": not any(p.endswith(".list.item") for p in paths),
    }
    if source.num_row_groups:
        chunks = [source.metadata.row_group(0).column(i) for i in range(len(paths))]
        codecs = [str(c.compression) for c in chunks]
        settings |= {
            "compression": {
                p: "NONE" if c == "UNCOMPRESSED" else c for p, c in zip(paths, codecs, strict=True)
            },
            "use_dictionary": [
                p for p, c in zip(paths, chunks, strict=True) if c.has_dictionary_page
            ],
            "write_statistics": [
                p for p, c in zip(paths, chunks, strict=True) if c.is_stats_set
            ],
            "write_page_index": any(c.has_column_index for c in chunks),
            "sorting_columns": source.metadata.row_group(0).sorting_columns or None,
        }  # fmt: skip
    return settings


def _same(left: pa.Table, right: "pa.Table | None") -> bool:
    """Equal values in equal places, where NaN is NaN."""
    if right is None or left.num_rows != right.num_rows:
        return False
    if left.equals(right):
        return True
    return all(
        _same_column(a, b, field)
        for a, b, field in zip(left.columns, right.columns, left.schema, strict=True)
    )


def _same_column(left: pa.ChunkedArray, right: pa.ChunkedArray, field: pa.Field) -> bool:
    kind = plain_type(field.type)
    first, second = left.cast(kind), right.cast(kind)
    if first.equals(second):
        return True
    pairs = itertools.zip_longest(
        leaves((field.name,), first.combine_chunks()),
        leaves((field.name,), second.combine_chunks()),
    )
    return first.is_null(nan_is_null=False).equals(second.is_null(nan_is_null=False)) and all(
        a is not None and b is not None and _bits(a.values).equals(_bits(b.values))
        for a, b in pairs
    )


def _bits(values: pa.Array) -> pa.Array:
    kinds = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}
    bits = kinds.get(values.type)
    return values.view(bits) if bits else values
