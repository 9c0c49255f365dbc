"""Identifiers in a column of values: a fast look at all, a slow look at what it leaves.

The fast look at texts is one search of the memory in which they lie side by side. What it finds may
lie across two of them; the slow look, at each value by itself, decides.
"""

import sys
from collections import Counter
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from connectors.scan.identifiers import Identifier, Identifiers, Path
from connectors.scan.record import Record
from connectors.scan.search import ByteSearch
from connectors.scan.texts import scan_json

_VIEW = (
    16  # bytes: https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout
)


def scan_column(values: pa.Array, column: Path, path: str, where: str, record: Record) -> None:
    """Note the identifiers among the values of one flat column. Raises ValueError for others."""
    if pa.types.is_dictionary(values.type):
        if not _likely(values.dictionary, column, record.identifiers):
            return
        values = values.dictionary_decode()
    for value, count in _likely(values, column, record.identifiers):
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            scan_json([value], tuple(column), path, record)
        else:
            found = _found(value, column, record.identifiers)
            record.hits(found, path, where, count=count, column=column)


def _likely(values: pa.Array, column: Path, identifiers: Identifiers) -> list[tuple[Any, int]]:
    """The values that may be or hold an identifier, and few others; how often each is there."""
    if not len(values):
        return []
    if pa.types.is_decimal256(values.type):  # which polars does not know
        return list(Counter(values.drop_null().to_pylist()).items())
    identity = identifiers.is_identity(column)
    if is_text(values.type):
        likely = _likely_texts(values, identifiers, identity=identity)
        # What a damaged file calls a text may be none.
        counts = likely.drop_nulls().cast(pl.Binary).value_counts().iter_rows()
        return [(text.decode("utf-8", "replace"), count) for text, count in counts]
    if _is_binary(values.type):
        likely = _likely_binaries(values, identifiers, identity=identity)
    else:
        others = pl.Series(values=values)
        if others.dtype.is_temporal() or others.dtype in (pl.Boolean, pl.Null):
            return []
        if not others.dtype.is_numeric():
            raise ValueError(f"a column of type {others.dtype} cannot be read")
        likely = _likely_numbers(others, identifiers.numbers(identity=identity))
    return list(likely.drop_nulls().value_counts().iter_rows())


def is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _may_hold(values: pa.Array, search: ByteSearch) -> bool:
    return any(map(search.found, _memory(values)))


def _memory(values: pa.Array) -> list[memoryview]:
    """Where the bytes of texts or binaries (at least one) lie, each value's in one piece."""
    kind = values.type
    first, last = values.offset, values.offset + len(values)
    if pa.types.is_fixed_size_binary(kind):
        data = memoryview(values.buffers()[1])
        return [data[first * kind.byte_width : last * kind.byte_width]]
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        # Short values lie among the views themselves; what other rows hold lies beside the rest.
        _, views, *others = values.buffers()
        inline = memoryview(views)[_VIEW * first : _VIEW * last]
        return [inline, *(memoryview(other) for other in others)]
    width = 8 if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else 4
    _, places, texts = values.buffers()
    start, end = (
        int.from_bytes(memoryview(places)[width * n : width * (n + 1)], sys.byteorder)
        for n in (first, last)
    )
    return [memoryview(texts or b"")[start:end]]


def _likely_texts(values: pa.Array, identifiers: Identifiers, *, identity: bool) -> pl.Series:
    exact = identifiers.exact_texts(identity=identity)
    inside = _may_hold(values, identifiers.in_texts)
    if not exact and not inside:
        return pl.Series(dtype=pl.String)
    texts = pl.Series(values=values)
    mask = texts.is_in(pl.Series(exact, dtype=pl.String).implode())
    if inside:
        mask |= texts.str.contains_any(identifiers.text_fragments, ascii_case_insensitive=True)
    return texts.filter(mask)


def _likely_binaries(values: pa.Array, identifiers: Identifiers, *, identity: bool) -> pl.Series:
    if _may_hold(values, identifiers.in_binaries):
        return pl.Series(values=values)
    exact = identifiers.exact_binaries(identity=identity)
    if not exact:
        return pl.Series(dtype=pl.Binary)
    binaries = pl.Series(values=values)
    return binaries.filter(binaries.is_in(pl.Series(exact, dtype=pl.Binary).implode()))


def _likely_numbers(numbers: pl.Series, wanted: list[int]) -> pl.Series:
    kind = numbers.dtype
    if not wanted:
        return numbers.clear()
    if kind.is_integer():
        fitting = pl.Series(wanted, dtype=pl.Int128).cast(kind, strict=False).drop_nulls()
        return numbers.filter(numbers.is_in(fitting.implode()))
    floats = pl.Series([float(n) for n in wanted])
    if kind.is_decimal():
        return numbers.filter(numbers.cast(pl.Float64).is_in(floats.implode()))
    return numbers.filter(numbers.is_in(floats.cast(kind).implode()))


def _found(value: Any, column: Path, identifiers: Identifiers) -> list[Identifier]:
    if isinstance(value, str):
        found = identifiers.of_text(value, column, declared=True)
        if not found:
            found = list(identifiers.within(value))
            found += [i for i in identifiers.tokens(value) if i not in found]
        return found
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.hex()
        found = identifiers.of_text(text, column, declared=True)
        return found or list(identifiers.within(value.decode("latin-1")))
    number = value if isinstance(value, int | float | Decimal) else int(value)
    return identifiers.of_number(number, column)


def shares_prefix(values: pa.Array, prefixes: set[str], identifiers: Identifiers) -> set[str]:
    """Those of the prefixes with which some whole value begins that is not itself sought."""
    if not prefixes or not len(values):
        return set()
    series = pl.Series(values=values)
    if series.dtype != pl.String:
        return set()
    used = set()
    for prefix in prefixes:
        for value in series.filter(series.str.starts_with(prefix).fill_null(value=False)).unique():
            if len(value) > len(prefix) and not identifiers.of_text(value, (), declared=True):
                used.add(prefix)
                break
    return used
