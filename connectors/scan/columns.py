"""Identifiers in a column of values: a fast look at all, a slow look at what it leaves."""

from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from connectors.scan.identifiers import Identifiers, Path
from connectors.scan.record import Record
from connectors.scan.texts import scan_json

_TEMPORAL_OR_BOOLEAN = (pl.Date, pl.Time, pl.Boolean, pl.Null)


def scan_column(values: pa.Array, column: Path, path: str, where: str, record: Record) -> None:
    """Note the identifiers among the values of one flat column."""
    if not len(values):
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
    texts = series.str
    mask = pl.repeat(value=False, n=len(series), dtype=pl.Boolean, eager=True)
    if identifiers.fragments:
        mask |= texts.contains_any(identifiers.fragments, ascii_case_insensitive=True)
    if exact := identifiers.exact_texts(identity=identity):
        mask |= series.is_in(exact)
    names = sorted(identifiers.identity_names)
    if names:  # a document or an expression that names an identity column
        mask |= texts.contains_any(names, ascii_case_insensitive=True)
    if identifiers.cut_fragments:
        documents = texts.starts_with("{") | texts.starts_with("[")
        mask |= documents & texts.contains_any(
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
