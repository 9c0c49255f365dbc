"""Which rows are a person's: identifiers given as text, compared with columns of any type.

The rule, for every adapter:

- Text columns: equal character by character. E-mail addresses (the identifier holds an "@") also
  match in any case and with blanks around them, and UUIDs in any case, with or without hyphens:
  for these two, another spelling is the same person. For other identifiers it may be somebody
  else ("Ab3" and "aB3"), and erasing the wrong person cannot be undone.
- Number columns: equal as numbers. "00004" is 4 in an integer column, and 4.0 in a float column
  (pandas makes floats of integers beside NULLs).
- Binary columns: the identifier's UTF-8 bytes, or the 16 bytes of a UUID.
- A NULL is nobody.

Comparing a text column with a number ("4" for "00004") is not done: the zeros belong to the name.
"""

import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import polars as pl
from polars.datatypes import DataTypeClass

_INTEGER = re.compile(r"[+-]?\d{1,38}")


def is_email(value: str) -> bool:
    return "@" in value


def as_uuid(value: str) -> uuid.UUID | None:
    text = value.strip()
    if len(text) not in (32, 36):
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def as_integer(value: str) -> int | None:
    text = value.strip()
    return int(text) if _INTEGER.fullmatch(text) else None


def column_expression(path: str, schema: Mapping[str, pl.DataType]) -> tuple[pl.Expr, pl.DataType]:
    """The column that a path names ("email", or "account.email" inside a struct) and its type.

    Raises KeyError when there is no such column.
    """
    if path in schema:
        return pl.col(path), schema[path]
    first, *rest = path.split(".")
    expression, kind = pl.col(first), schema[first]
    for name in rest:
        if not isinstance(kind, pl.Struct):
            raise KeyError(path)
        inner = {f.name: f.dtype for f in kind.fields}
        expression, kind = expression.struct.field(name), _instance(inner[name])
    return expression, kind


def _instance(kind: pl.DataType | DataTypeClass) -> pl.DataType:
    return kind if isinstance(kind, pl.DataType) else kind()


def person_rows(column: pl.Expr, kind: pl.DataType, identifiers: Sequence[str]) -> pl.Expr:
    """An expression that is true for the rows whose column names one of the identifiers."""
    rows = _in(comparable(column, kind), sought_values(kind, identifiers))
    if is_text(kind) and (folded := folded_spellings(identifiers)):
        spelled = folded_text(comparable(column, kind))
        rows |= _in(spelled, pl.Series(sorted(folded), dtype=pl.String))
    return rows


def is_text(kind: pl.DataType) -> bool:
    """Whether values of the type are compared as texts: where they are no numbers and no bytes."""
    return not (kind.is_numeric() or kind == pl.Binary)


def comparable(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """The column as `sought_values` are: numbers and bytes as they are, all else as text."""
    if kind == pl.String or not (is_text(kind) or kind.is_decimal()):
        return column
    return column.cast(pl.String)


def sought_values(kind: pl.DataType, identifiers: Sequence[str]) -> pl.Series:
    """What a column of the type equals where it names one of the identifiers. Other spellings of
    texts (`folded_spellings`) come on top."""
    if kind.is_integer():
        return pl.Series(_whole_numbers(identifiers, kind), dtype=kind)
    if kind.is_float():
        numbers = [float(n) for v in identifiers if (n := as_integer(v)) is not None]
        return pl.Series(numbers, dtype=kind)
    if kind.is_decimal():
        return pl.Series(_decimal_texts(identifiers, kind), dtype=pl.String)
    if kind == pl.Binary:
        raw = [v.encode() for v in identifiers]
        raw += [u.bytes for v in identifiers if (u := as_uuid(v)) is not None]
        return pl.Series(raw, dtype=pl.Binary)
    return pl.Series(list(identifiers), dtype=pl.String)


def folded_text(text: pl.Expr) -> pl.Expr:
    """A text column as it is compared with `folded_spellings`."""
    return text.str.strip_chars().str.to_lowercase()


def _in(column: pl.Expr, values: pl.Series) -> pl.Expr:
    if values.is_empty():
        return pl.lit(value=False)
    return column.is_in(values.implode()).fill_null(value=False)


def folded_spellings(identifiers: Iterable[str]) -> set[str]:
    """E-mail addresses and UUIDs as other spellings are compared with them: without blanks around
    them and in lower case."""
    folded = {v.strip().lower() for v in identifiers if is_email(v)}
    for value in identifiers:
        if found := as_uuid(value):
            folded |= {str(found), found.hex}
    return folded


class Wanted:
    """The same rule for single values, of whatever type a database gives them."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        self.texts = frozenset(identifiers)
        self.folded = frozenset(folded_spellings(self.texts))
        self.integers = frozenset(n for v in self.texts if (n := as_integer(v)) is not None)
        self.uuids = frozenset(u for v in self.texts if (u := as_uuid(v)) is not None)
        self.raw = frozenset(v.encode() for v in self.texts) | {u.bytes for u in self.uuids}

    def names(self, value: object) -> bool:
        """Whether a column's value names the person."""
        if isinstance(value, str):
            return self._names_text(value)
        if value is None or isinstance(value, bool):
            return False
        if isinstance(value, int | float | Decimal):
            return value in self.integers  # 4, 4.0 and Decimal(4) are equal, and hash alike
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value) in self.raw
        return self._names_text(str(value))

    def _names_text(self, text: str) -> bool:
        return text in self.texts or (bool(self.folded) and text.strip().lower() in self.folded)


def identifier_text(value: object) -> str:
    """An identifier as people write it: 4.0 from a float column is the number 4."""
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return str(value)
    if isinstance(value, float | Decimal) and value == int(value):
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)


def _whole_numbers(identifiers: Sequence[str], kind: pl.DataType) -> list[int]:
    lowest, highest = _integer_range(kind)
    numbers = {n for v in identifiers if (n := as_integer(v)) is not None}
    return sorted(n for n in numbers if lowest <= n <= highest)


def _integer_range(kind: pl.DataType) -> tuple[int, int]:
    bits = int("".join(c for c in str(kind) if c.isdigit()))
    if kind.is_unsigned_integer():
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _decimal_texts(identifiers: Sequence[str], kind: pl.DataType) -> list[str]:
    scale = getattr(kind, "scale", 0) or 0
    zeros = f".{'0' * scale}" if scale else ""
    return [f"{n}{zeros}" for v in identifiers if (n := as_integer(v)) is not None]


def same_identifier(left: str, right: str) -> bool:
    """Whether two spellings name the same person, by the rule of text columns."""
    if left == right:
        return True
    if is_email(left) and is_email(right):
        return left.strip().lower() == right.strip().lower()
    first, second = as_uuid(left), as_uuid(right)
    return first is not None and first == second


def other_identifiers(
    linked: Mapping[str, set[str]], needles: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """What the rows say beyond what was asked for."""
    found = {}
    for name, values in linked.items():
        asked = needles.get(name, ())
        numbers = {as_integer(a) for a in asked} - {None}
        new = {
            v
            for v in values
            if not any(same_identifier(v, a) for a in asked) and as_integer(v) not in numbers
        }
        if new:
            found[name] = tuple(sorted(new))
    return found


def names_one_of(text: str, needles: Mapping[str, Sequence[str]]) -> bool:
    """Whether it is one of these identifiers, whatever their columns are."""
    return any(same_identifier(text, needle) for values in needles.values() for needle in values)
