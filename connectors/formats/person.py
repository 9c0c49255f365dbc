"""Whether a row is the person's: by its identifier columns, and by what its texts say.

A row whose free text names the person, and that names nobody else in an identifier column, is the
person's. If it names somebody else, it is *their* row: erasing it would erase the wrong person, so
it is counted as a mention, and a plan with mentions is blocked until somebody has looked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

import polars as pl

from connectors.adapters.base import Needles
from connectors.people import Wanted, as_integer, column_expression, identifier_text, person_rows
from connectors.scan.identifiers import Identifiers

NUMBER = int | float | Decimal
_DIGITS = frozenset("+-0123456789 ")  # with which texts of numbers begin


class Verdict(Enum):
    NOBODY = 0
    PERSON = 1
    MENTIONED = 2
    ALIKE = 3


Compare = Callable[[object], Verdict]


@dataclass
class FileMatch:
    """What one file holds. `rows`: all; `person`: theirs; `mentions`: others' that name them;
    `alike`: whose identifier is the same number in another spelling, as text ("4" for "00004");
    `remnant`: whether it names them where no row does, as somebody else's deletion leaves it."""

    rows: int = 0
    person: int = 0
    mentions: int = 0
    alike: int = 0
    remnant: bool = False
    linked: dict[str, set[str]] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)  # identifier columns with a value in some row

    @property
    def holds_person(self) -> bool:
        return bool(self.person or self.remnant)

    def link(self, column: str, values: Iterable[object]) -> None:
        """Note identifiers that stand in the person's rows."""
        texts = {text for v in values if v is not None and (text := identifier_text(v))}
        if texts:
            self.linked.setdefault(column, set()).update(texts)


def names_in(options: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """An option that is a list of names; empty without it. Raises ValueError."""
    given = options.get(name, ())
    if isinstance(given, str) or not all(isinstance(item, str) for item in given):
        raise ValueError(f'"{name}" is a list of names, for example ["{name.split("_")[0]}"]')
    return tuple(given)


@dataclass(frozen=True)
class Columns:
    """What the connector says about the columns of its files."""

    subject: tuple[str, ...]
    text: tuple[str, ...] = ()  # free text that may name people
    numbers: tuple[str, ...] = ()  # in CSV and JSON texts: "4" is "00004"

    @classmethod
    def of(cls, subject: tuple[str, ...], options: Mapping[str, Any]) -> "Columns":
        """By the options `text_columns` and `number_columns`. Raises ValueError."""
        return cls(
            subject,
            text=names_in(options, "text_columns"),
            numbers=names_in(options, "number_columns"),
        )

    @property
    def searched(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.subject, *self.text]))


class Person:
    """One person's identifiers, compared with the columns of any file."""

    def __init__(self, columns: Columns, needles: Needles) -> None:
        self.needles = {c: tuple(dict.fromkeys(v)) for c, v in needles.items() if v}
        self.columns = Columns(
            tuple(dict.fromkeys([*columns.subject, *self.needles])), columns.text, columns.numbers
        )
        self.values = tuple(dict.fromkeys(v for vs in self.needles.values() for v in vs))
        self.names = Identifiers(self.values, identity_columns=self.columns.subject)
        self._wanted = {c: Wanted(v) for c, v in self.needles.items()}
        place = {column: number for number, column in enumerate(self.columns.searched)}
        self._comparisons = [(place[c], self._compare(c)) for c in self._wanted]
        self._subject_places = [place[c] for c in self.columns.subject]
        self._text_places = [place[c] for c in self.columns.text]

    def __reduce__(self) -> tuple[Any, ...]:
        """The comparisons are built anew."""
        return Person, (self.columns, self.needles)

    def is_value(self, column: str, value: object) -> bool:
        """Whether a value of an identifier column, as a text format holds it, is the person."""
        return column in self._wanted and self._compare(column)(value) is Verdict.PERSON

    def _compare(self, column: str) -> Compare:
        """A test of one value of the column, built for millions of calls."""
        wanted = self._wanted[column]
        numbers, same_number = wanted.integers, Verdict.ALIKE
        if column in self.columns.numbers:
            same_number = Verdict.PERSON

        def compare(value: object) -> Verdict:
            if wanted.names(value):
                return Verdict.PERSON
            if not (numbers and isinstance(value, str)):
                return Verdict.NOBODY
            return (
                same_number
                if value[:1] in _DIGITS and as_integer(value) in numbers
                else Verdict.NOBODY
            )

        return compare

    def is_named_in(self, text: object) -> bool:
        return isinstance(text, str) and any(True for _ in self.names.within(text))

    def is_partition(self, values: Mapping[str, str | None]) -> bool:
        """Whether a partition's key says that every row in it is the person's."""
        return any(self.is_value(column, values.get(column)) for column in self.needles)

    def verdict(self, values: Sequence[Sequence[object]]) -> Verdict:
        """`values`: the row's, for each of `columns.searched`; several where a list holds them."""
        alike = False
        for place, compare in self._comparisons:
            for value in values[place]:
                found = compare(value)
                if found is Verdict.PERSON:
                    return found
                alike = alike or found is Verdict.ALIKE
        if alike:
            return Verdict.ALIKE
        if not self._text_places:
            return Verdict.NOBODY
        if not any(self.is_named_in(text) for place in self._text_places for text in values[place]):
            return Verdict.NOBODY
        others = any(value != "" for place in self._subject_places for value in values[place])
        return Verdict.MENTIONED if others else Verdict.PERSON

    def masks(
        self, frame: pl.DataFrame, schema: Mapping[str, pl.DataType]
    ) -> tuple[pl.Series, pl.Series, pl.Series]:
        """For each row of a frame: named by an identifier column; the person's; a mention."""
        nobody = pl.repeat(value=False, n=frame.height, dtype=pl.Boolean, eager=True)
        named, others = nobody, nobody
        for column in self.columns.subject:
            try:
                expression, kind = column_expression(column, schema)
            except KeyError:
                continue
            if column in self.needles:
                named = named | _mask(frame, person_rows(expression, kind, self.needles[column]))
            others = others | _mask(frame, expression.is_not_null())
        said = self._said(frame, schema)
        return named, named | (said & ~others), said & others & ~named

    def _said(self, frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.Series:
        said = [False] * frame.height
        fragments = self.names.fragments
        for column in self.columns.text if fragments else ():
            try:
                expression, kind = column_expression(column, schema)
            except KeyError:
                continue
            if kind != pl.String:
                continue
            texts = frame.select(expression.alias("v"))["v"]
            likely = texts.str.contains_any(fragments, ascii_case_insensitive=True)
            for row in likely.fill_null(value=False).arg_true().to_list():
                said[row] = said[row] or self.is_named_in(texts[row])
        return pl.Series(said, dtype=pl.Boolean)


def _mask(frame: pl.DataFrame, rows: pl.Expr) -> pl.Series:
    # As a column of the frame, a plain `false` becomes one for each row.
    return frame.with_columns(rows.fill_null(value=False).alias("_vestige"))["_vestige"]
