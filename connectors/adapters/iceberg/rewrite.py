"""Rewriting one Parquet file without a person's rows, and proving that all others are in it.

What the new file must not carry over: dictionary pages (a filtered dictionary keeps every value
that it ever had), statistics and Bloom filters. What it must keep: columns with their numbers and
stored types, the codec, row groups, and every other row in its order.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.adapters.base import ResidueError, StoreError
from connectors.adapters.iceberg.person import DAMAGE, Constants, Person, located
from connectors.formats.dictionaries import plain_type

_ROW = "_vestige_row"
_ARROW_NOTE = b"ARROW:schema"
_KEPT_NOTES = (b"iceberg.schema", b"org.apache.spark.")


@dataclass(frozen=True)
class Rewritten:
    rows_kept: int
    rows_removed: int


def rewrite_without(
    source: Path, target: Path, path: str, person: Person, constants: Constants
) -> Rewritten:
    """Write `source` without the person's rows to `target`; nothing when no row is left.

    `path`: the file's, for messages. Raises StoreError and ResidueError; then there is no target.
    """
    try:
        rewritten = _write(source, target, path, person, constants)
        if rewritten.rows_kept:
            _prove(source, target, path, person, constants)
    except DAMAGE as exc:
        target.unlink(missing_ok=True)
        raise StoreError(
            f"The file {person.shown(path)} of the table {person.table} could not be "
            f"rewritten: {type(exc).__name__}. Check free space and the file."
        ) from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return rewritten


def _write(
    source: Path, target: Path, path: str, person: Person, constants: Constants
) -> Rewritten:
    kept = removed = 0
    with pq.ParquetFile(source) as file, _writer(file, target) as writer:
        for table, rest in _others(file, person, constants):
            removed += table.num_rows - rest.num_rows
            kept += rest.num_rows
            if rest.num_rows:
                writer.write_table(rest, row_group_size=rest.num_rows)
    if not kept:
        target.unlink()
    return Rewritten(kept, removed)


def _schema(file: pq.ParquetFile) -> pa.Schema:
    """Without notes, and without the dictionaries that Arrow's own note may ask for."""
    fields = [
        f.with_type(plain_type(f.type)) if "dictionary<" in str(f.type) else f
        for f in file.schema_arrow
    ]
    return pa.schema(fields)


def _others(
    file: pq.ParquetFile, person: Person, constants: Constants
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Each row group, whole and without the person's rows."""
    paths = person.paths(file.schema_arrow)
    tops = sorted({_top(path, file.schema_arrow.names) for path in paths.values()})
    schema = _schema(file)
    for number in range(file.num_row_groups):
        table = file.read_row_group(number)
        if not table.schema.equals(schema):
            table = table.cast(schema)
        # A column of row numbers gives the frame its height where no subject column is present.
        rows = table.select(tops).append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
        frame = pl.from_arrow(rows)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 (a table becomes a frame)
        theirs = person.rows(located(paths, dict(frame.schema)), constants)
        if theirs is None:
            yield table, table
            continue
        mask = frame.select(pl.when(pl.col(_ROW) >= 0).then(~theirs)).to_series()
        yield table, table.filter(mask.to_arrow())


def _top(path: str, names: list[str]) -> str:
    return path if path in names else path.split(".")[0]


@contextmanager
def _writer(file: pq.ParquetFile, target: Path) -> Iterator[pq.ParquetWriter]:
    notes = file.metadata.metadata or {}
    with pq.ParquetWriter(
        target, _schema(file), store_schema=_ARROW_NOTE in notes, **_settings(file)
    ) as writer:
        yield writer
        if kept := {k: v for k, v in notes.items() if k.startswith(_KEPT_NOTES)}:
            writer.add_key_value_metadata(kept)


def _settings(file: pq.ParquetFile) -> dict[str, Any]:
    """How the source was written, as far as it can be seen."""
    physical = [file.schema.column(i) for i in range(len(file.schema))]
    settings: dict[str, Any] = {
        "use_deprecated_int96_timestamps": any(c.physical_type == "INT96" for c in physical),
        "store_decimal_as_integer": any(
            c.logical_type.type == "DECIMAL" and c.physical_type in ("INT32", "INT64")
            for c in physical
        ),
    }
    if file.num_row_groups:
        chunks = [file.metadata.row_group(0).column(i) for i in range(len(physical))]
        codecs = {c.path: str(k.compression) for c, k in zip(physical, chunks, strict=True)}
        plain = "UNCOMPRESSED"
        settings["compression"] = {p: "NONE" if c == plain else c for p, c in codecs.items()}
    return settings


def _prove(source: Path, target: Path, path: str, person: Person, constants: Constants) -> None:
    """Read what was written beside the source: the same columns, every other row, in order."""
    with pq.ParquetFile(source) as old, pq.ParquetFile(target) as new:
        same_columns = _stored(old) == _stored(new) and new.schema_arrow.equals(
            _schema(old), check_metadata=True
        )
        others = (rest for _, rest in _others(old, person, constants) if rest.num_rows)
        groups = (new.read_row_group(number) for number in range(new.num_row_groups))
        if not same_columns or not all(
            left is not None and right is not None and _same(left, right)
            for left, right in itertools.zip_longest(others, groups)
        ):
            raise StoreError(
                f"The file {person.shown(path)} of the table {person.table} cannot be "
                "rewritten: its columns or its other rows would not be what they were. Nothing "
                "was changed; erase in it with the engine that wrote it."
            )
    left = person.match_in(target, path, constants)
    if left.holds_person:
        raise ResidueError(
            f"{left.rows} rows were still found after rewriting {person.shown(path)}. Nothing was "
            "committed."
        )


def _stored(file: pq.ParquetFile) -> list[str]:
    columns = [file.schema.column(i) for i in range(len(file.schema))]
    return [f"{c.path} {c.physical_type} {c.logical_type}" for c in columns]


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Equal values in equal places, where NaN is NaN."""
    if left.equals(right):
        return True
    first, second = pl.from_arrow(left), pl.from_arrow(right)
    assert isinstance(first, pl.DataFrame)  # noqa: S101 (tables become frames)
    assert isinstance(second, pl.DataFrame)  # noqa: S101
    return first.equals(second, null_equal=True)
