"""What the index keeps of a value: its term. Values that the search takes for the same have equal
terms.

Both sides are made here, from what `connectors.people` compares: the terms of a column, and those
of the values that the same column would equal if it named a person. For texts a term is the value
itself, or, where another spelling is the same person (e-mail addresses, UUIDs), one spelling for
all of them.
"""

import re
from collections.abc import Iterable, Sequence

import polars as pl

from connectors.people import (
    as_integer,
    comparable,
    folded_spellings,
    folded_text,
    identifier_text,
    is_text,
    sought_values,
)

_UUID = r"^(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"
_IS_UUID = re.compile(_UUID).match
_DECIMAL = "Decimal:"
_AS_TEXT = "Text"  # of another type, but compared as a text
MIXED = "Mixed"  # of a format without types: texts, numbers, or both in one column


def column_terms(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """The terms of a column's values, String or Binary; NULL where the value is NULL."""
    return _terms(comparable(column, kind), kind).alias("term")


def sought_terms(kind: pl.DataType, identifiers: Sequence[str]) -> set[bytes]:
    """The terms of everything in a column of this type that `people.person_rows` matches."""
    values = sought_values(kind, identifiers)
    if is_text(kind):
        folded = pl.Series(sorted(folded_spellings(identifiers)), dtype=pl.String)
        values = pl.concat([values, folded])
    return set(as_bytes(pl.select(_terms(pl.lit(values), kind).alias("term"))["term"]))


def mixed_terms(values: Iterable[object]) -> set[str]:
    """The terms of values of a MIXED column, as `people.Wanted` compares them.

    A text that looks like a number has that number's term as well: who searches for "00004" is told
    of "4". So a value may have two terms, and how many there are of one says nothing.
    """
    return _mixed(identifier_text(v) for v in values if v is not None and not isinstance(v, bool))


def sought_in(kind: str, identifiers: Sequence[str]) -> set[bytes]:
    """As `sought_terms`, of a type as `spelled` spells it, or of MIXED values."""
    if kind != MIXED:
        return sought_terms(kind_of(kind), identifiers)
    return {t.encode() for t in _mixed({*identifiers, *folded_spellings(identifiers)})}


def _mixed(texts: Iterable[str]) -> set[str]:
    terms = set()
    for text in set(texts):
        folded = text.strip().lower()  # as `Wanted` does, which is not quite as polars does
        if _IS_UUID(folded):
            terms.add(folded.replace("-", ""))
        else:
            terms.add(folded if "@" in folded else text)
        if (number := as_integer(text)) is not None:
            terms.add(str(number))
    return terms


def _terms(values: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind == pl.Binary:
        return values
    if kind.is_float():
        # -0.0 equals 0.0; adding 0.0, which would make it that, is optimised away.
        return pl.when(values == 0).then(0.0).otherwise(values).cast(kind).cast(pl.String)
    if not is_text(kind):
        return values.cast(pl.String)
    folded = folded_text(values)
    return (
        pl.when(folded.str.contains(_UUID))
        .then(folded.str.replace_all("-", "", literal=True))
        .when(folded.str.contains("@", literal=True))
        .then(folded)
        .otherwise(values)
    )


def as_bytes(terms: pl.Series) -> list[bytes]:
    return terms.cast(pl.Binary).to_list()


def is_exact(kind: str, identifiers: Sequence[str]) -> bool:
    """Whether equal terms mean for certain that the search would match, and would find no other
    spelling worth telling: then rows can be counted by the index alone.

    Not so for letters outside ASCII, whose cases Python and polars may see differently, nor for
    numbers that floats round.
    """
    if kind != "String":
        return kind.startswith(("Int", "UInt"))
    return all(text.isascii() and text.isprintable() for text in identifiers)


def spelled(kind: pl.DataType) -> str:
    """A column's type, as far as it decides how values are compared."""
    if isinstance(kind, pl.Decimal):
        return f"{_DECIMAL}{kind.scale}"
    if kind.is_numeric() or kind in (pl.Binary, pl.String):
        return kind.base_type().__name__
    return _AS_TEXT


def kind_of(name: str) -> pl.DataType:
    """The type that `spelled` spelled."""
    if name.startswith(_DECIMAL):
        return pl.Decimal(38, int(name.removeprefix(_DECIMAL)))
    if name == _AS_TEXT:
        return pl.String()
    kind: type[pl.DataType] = getattr(pl, name)
    return kind()
