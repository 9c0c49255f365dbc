"""Identifiers in a column of values: a fast look at all, a slow look at what it leaves."""

from collections import Counter
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from connectors.scan.identifiers import Identifiers, Path
from connectors.scan.raw import ByteSearch
from connectors.scan.record import Record
from connectors.scan.texts import scan_json

_TEMPORAL_OR_BOOLEAN = (pl.Date, pl.Time, pl.Boolean, pl.Null)


class ColumnScan:
    """The columns of one file. Values that arrive as a dictionary are looked at once each."""

    def __init__(self, path: str, record: Record) -> None:
        self.path = path
        self.record = record
        # Column → its dictionary and whether that holds anything. Keeping the dictionary itself
        # keeps its memory from being given to another one with the same address.
        self._seen: dict[Path, tuple[pa.Array, bool]] = {}

    def scan(self, values: pa.Array, column: tuple[str, ...]) -> None:
        if pa.types.is_dictionary(values.type):
            if not self._promising(values.dictionary, column):
                return
            values = values.dictionary_decode()
        scan_column(values, column, self.path, f"column {'.'.join(column)}", self.record)

    def _promising(self, dictionary: pa.Array, column: tuple[str, ...]) -> bool:
        texts = pl.Series(values=dictionary)
        if texts.dtype != pl.String:
            return True
        known = self._seen.get(column)
        if known is not None and _same_memory(known[0], dictionary):
            return known[1]
        identity = self.record.identifiers.is_identity(column)
        promising = _text_candidates(texts, self.record.identifiers, identity=identity).any()
        self._seen[column] = (dictionary, bool(promising))
        return bool(promising)


def _same_memory(left: pa.Array, right: pa.Array) -> bool:
    places = [
        [b.address if b else 0 for b in array.buffers()] + [len(array), array.offset]
        for array in (left, right)
    ]
    return places[0] == places[1]


def may_hold(data: bytes, column: Path, identifiers: Identifiers) -> bool:
    """Whether texts stored one after the other in these bytes can hold anything of interest."""
    identity = identifiers.is_identity(column)
    patterns = [*identifiers.text_patterns(identity=identity), *identifiers.cut_fragments]
    return ByteSearch(p.encode() for p in patterns).found(data)


def scan_column(values: pa.Array, column: Path, path: str, where: str, record: Record) -> None:
    """Note the identifiers among the values of one flat column."""
    if not len(values):
        return
    if pa.types.is_decimal256(values.type):  # which polars does not know
        for value, count in Counter(values.drop_null().to_pylist()).items():
            found = record.identifiers.of_number(value, column)
            record.hits(found, path, where, count=count, column=column)
        return
    series = pl.Series(values=values)
    kind = series.dtype
    if kind == pl.String:
        _scan_texts(series, column, path, where, record)
    elif kind.is_integer() or kind.is_float() or kind.is_decimal():
        _scan_numbers(series, column, path, where, record)
    elif kind == pl.Binary:
        _scan_binaries(series, column, path, where, record)
    elif kind not in _TEMPORAL_OR_BOOLEAN and not kind.is_temporal():
        raise ValueError(f"a column of type {kind} cannot be read")


def _counted(series: pl.Series) -> list[tuple[Any, int]]:
    counts = series.drop_nulls().value_counts()
    return list(counts.iter_rows())


def _scan_texts(series: pl.Series, column: Path, path: str, where: str, record: Record) -> None:
    identifiers = record.identifiers
    identity = identifiers.is_identity(column)
    for value, count in _counted(
        series.filter(_text_candidates(series, identifiers, identity=identity))
    ):
        if value.lstrip().startswith(("{", "[")):
            scan_json([value], tuple(column), path, record)
            continue
        found = identifiers.of_text(value, column, declared=True)
        if not found:
            found = list(identifiers.within(value))
            found += [i for i in identifiers.tokens(value) if i not in found]
        record.hits(found, path, where, count=count, column=column)


def _text_candidates(series: pl.Series, identifiers: Identifiers, *, identity: bool) -> pl.Series:
    """True for every text that may hold an identifier, and for few others."""
    mask = pl.repeat(value=False, n=len(series), dtype=pl.Boolean, eager=True)
    if patterns := identifiers.fragments_and_names:
        mask |= series.str.contains_any(patterns, ascii_case_insensitive=True)
    if exact := identifiers.exact_texts(identity=identity):
        mask |= series.is_in(exact)
    if identifiers.cut_fragments:
        documents = series.str.starts_with("{") | series.str.starts_with("[")
        if documents.any():
            mask |= documents & series.str.contains_any(
                identifiers.cut_fragments, ascii_case_insensitive=True
            )
    return mask.fill_null(value=False)


def _scan_numbers(series: pl.Series, column: Path, path: str, where: str, record: Record) -> None:
    identity = record.identifiers.is_identity(column)
    wanted = record.identifiers.numbers(identity=identity)
    if not wanted:
        return
    if series.dtype.is_decimal():
        candidates = series.cast(pl.Float64).is_in([float(n) for n in wanted])
    elif series.dtype.is_float():
        candidates = series.is_in(pl.Series([float(n) for n in wanted], dtype=series.dtype))
    else:
        numbers = pl.Series(wanted, dtype=pl.Int128)
        candidates = series.cast(pl.Int128).is_in(numbers.implode())
    for value, count in _counted(series.filter(candidates.fill_null(value=False))):
        number = value if isinstance(value, int | float | Decimal) else int(value)
        found = record.identifiers.of_number(number, column)
        record.hits(found, path, where, count=count, column=column)


def _scan_binaries(series: pl.Series, column: Path, path: str, where: str, record: Record) -> None:
    for value, count in _counted(series):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.hex()
        found = record.identifiers.of_text(text, column, declared=True)
        found = found or list(record.identifiers.within(value.decode("latin-1")))
        record.hits(found, path, where, count=count, column=column)


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
