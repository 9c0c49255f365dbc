"""Rewriting one Parquet file without a person's rows.

What the new file must not carry over: rows hidden by a deletion vector, dictionary pages (a
filtered dictionary column keeps every value it ever had), and statistics. What it must keep:
column types as the table's schema has them, nullability, field ids, the codec, and the time-zone
notes that Spark leaves in the footer.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_KEPT_NOTES = (
    b"org.apache.spark.version",
    b"org.apache.spark.legacy",
    b"org.apache.spark.timeZone",
)
_LONGEST_STATISTIC = 256
_EXACT_DIGITS = 15  # of a decimal that JSON readers with binary floats still read exactly
_ROW = "_vestige_row"

RowFilter = Callable[[Mapping[str, pl.DataType]], "pl.Expr | None"]


@dataclass(frozen=True)
class Rewritten:
    rows_kept: int
    rows_removed: int  # the person's, without rows that a deletion vector had hidden already
    stats: str  # for the `add` action


def rewrite_without(
    source: Path,
    target: Path,
    *,
    rows_of: RowFilter,
    identifier_columns: Collection[str],
    keep_mask: "pa.Array | None",
    indexed: int,
) -> Rewritten:
    """Write `source` without the rows that `rows_of` selects, one row group at a time.

    `identifier_columns`: the top-level columns that `rows_of` may want to look at. `keep_mask`:
    one boolean a row, False where a deletion vector hides it. `indexed`: for how many leading
    columns statistics are kept (delta.dataSkippingNumIndexedCols, -1 for all). When no row is
    left, no file is written and `rows_kept` is 0.
    """
    kept = removed = 0
    statistics = _Statistics(indexed)
    writer: pq.ParquetWriter | None = None
    with pq.ParquetFile(source, coerce_int96_timestamp_unit="us") as file:
        schema = _plain_schema(file)
        try:
            for table, visible in _row_groups(file, schema, keep_mask):
                person = _person_mask(table, rows_of, identifier_columns)
                keep = pc.and_(visible, pc.invert(person))
                removed += pc.sum(pc.and_(visible, person)).as_py() or 0
                rest = table.filter(keep)
                if not rest.num_rows:
                    continue
                if writer is None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    writer = pq.ParquetWriter(target, schema, compression=_codec(file))
                writer.write_table(rest)
                statistics.add(rest)
                kept += rest.num_rows
        finally:
            if writer is not None:
                writer.close()
    return Rewritten(kept, removed, statistics.text(kept))


def _row_groups(
    file: pq.ParquetFile, schema: pa.Schema, keep_mask: "pa.Array | None"
) -> Iterator[tuple[pa.Table, pa.Array]]:
    start = 0
    for number in range(file.num_row_groups):
        table = file.read_row_group(number).cast(schema)
        if keep_mask is None:
            visible = pa.repeat(True, table.num_rows)  # noqa: FBT003 (pyarrow's signature)
        else:
            visible = keep_mask.slice(start, table.num_rows)
            # A mask may end at the last hidden row: what follows is visible.
            missing = table.num_rows - len(visible)
            visible = pa.concat_arrays([visible, pa.repeat(True, missing)])  # noqa: FBT003
        start += table.num_rows
        yield table, visible


def _person_mask(
    table: pa.Table, rows_of: RowFilter, identifier_columns: Collection[str]
) -> pa.Array:
    present = [name for name in table.column_names if name in identifier_columns]
    # A column of row numbers gives the frame its height where no identifier column is present.
    rows = table.select(present).append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
    frame = pl.DataFrame(rows)
    expression = rows_of(dict(frame.schema))
    if expression is None:
        return pa.repeat(False, table.num_rows)  # noqa: FBT003 (pyarrow's signature)
    mask = frame.select(pl.when(pl.col(_ROW) >= 0).then(expression)).to_series()
    return mask.to_arrow()


def _codec(file: pq.ParquetFile) -> str:
    if not file.num_row_groups or not file.metadata.num_columns:
        return "snappy"
    codec = str(file.metadata.row_group(0).column(0).compression).lower()
    return "none" if codec == "uncompressed" else codec


def _plain_schema(file: pq.ParquetFile) -> pa.Schema:
    """The file's types without dictionaries and views, INT96 as the UTC microseconds it means."""
    int96 = {
        file.schema.column(i).path
        for i in range(len(file.schema))
        if file.schema.column(i).physical_type == "INT96"
    }
    fields = [_plain_field(f, f.name, int96) for f in file.schema_arrow]
    notes = {
        k: v for k, v in (file.schema_arrow.metadata or {}).items() if k.startswith(_KEPT_NOTES)
    }
    return pa.schema(fields, metadata=notes or None)


def _plain_field(field: pa.Field, path: str, int96: set[str]) -> pa.Field:
    return field.with_type(_plain_type(field.type, path, int96))


def _plain_type(kind: pa.DataType, path: str, int96: set[str]) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type, path, int96)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind) and path in int96:
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(f, f"{path}.{f.name}", int96) for f in kind])
    if pa.types.is_map(kind):
        key = _plain_field(kind.key_field, f"{path}.key_value.key", int96)
        return pa.map_(key, _plain_field(kind.item_field, f"{path}.key_value.value", int96))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field, f"{path}.list.element", int96))
    return kind


class _Statistics:
    """Collects what an `add` action says of its file: rows, NULLs, lowest and highest values.

    Shape (PROTOCOL.md, "Per-file Statistics"): nested objects that follow the structs of the
    schema. Lists and maps have none.
    """

    def __init__(self, indexed: int) -> None:
        self.indexed = indexed
        self.nulls: dict[tuple[str, ...], int] = {}
        self.lowest: dict[tuple[str, ...], Any] = {}
        self.highest: dict[tuple[str, ...], Any] = {}
        self.unknown: set[tuple[str, ...]] = set()

    def add(self, table: pa.Table) -> None:
        leaves = [
            leaf for name in table.column_names for leaf in _leaves((name,), table.column(name))
        ]
        for path, column in leaves if self.indexed < 0 else leaves[: self.indexed]:
            self.nulls[path] = self.nulls.get(path, 0) + column.null_count
            if not _has_order(column.type) or path in self.unknown:
                continue
            try:
                bounds = pc.min_max(column).as_py()
            except (ValueError, OverflowError):  # a date that Python cannot hold
                self.unknown.add(path)
                continue
            low, high = bounds["min"], bounds["max"]
            if low is None:
                continue
            if _unusable(low, column) or _unusable(high, column):
                self.unknown.add(path)
                continue
            self.lowest[path] = min(low, self.lowest.get(path, low))
            self.highest[path] = max(high, self.highest.get(path, high))

    def text(self, rows: int) -> str:
        return json.dumps(
            {
                "numRecords": rows,
                "minValues": self._nested(self.lowest),
                "maxValues": self._nested(self.highest),
                "nullCount": _nest(self.nulls),
            }
        )

    def _nested(self, values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
        usable = {p: _statistic(v) for p, v in values.items() if p not in self.unknown}
        return _nest(usable)


def _leaves(
    path: tuple[str, ...], column: pa.ChunkedArray
) -> Iterator[tuple[tuple[str, ...], pa.ChunkedArray]]:
    if not pa.types.is_struct(column.type):
        yield path, column
        return
    for field in column.type:
        yield from _leaves((*path, field.name), pc.struct_field(column, field.name))


def _has_order(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def _unusable(value: Any, column: pa.ChunkedArray) -> bool:
    if isinstance(value, str):
        return len(value) > _LONGEST_STATISTIC
    if isinstance(value, Decimal):
        return len(value.as_tuple().digits) > _EXACT_DIGITS
    if isinstance(value, float):
        # Spark sorts NaN above every number, Arrow skips it: no bound is better than a wrong one.
        return not math.isfinite(value) or bool(pc.any(pc.is_nan(column)).as_py())
    return False


def _statistic(value: Any) -> Any:
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
        return f"{text}Z" if value.tzinfo else text
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _nest(flat: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return nested
