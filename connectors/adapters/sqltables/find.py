"""Finding a person's rows: the database sieves, one rule decides.

The query leaves out what cannot be theirs (and uses an index where there is one); whether a row it
leaves is theirs is decided here, by the rule of `connectors.people`, because collations and column
types make databases disagree about equality. Rows are then spoken of by their place.
"""

import decimal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from connectors.adapters.base import Needles, StoreError
from connectors.adapters.sqltables.rows import (
    Bag,
    Place,
    among,
    chunks,
    located,
    select_rows,
    whole_row,
)
from connectors.adapters.sqltables.table import (
    Reference,
    TableShape,
    read_shape,
    references_to,
)
from connectors.people import Wanted, identifier_text
from connectors.scan.identifiers import Identifiers

_LARGEST = (1 << 63) - 1  # of SQLite's and PostgreSQL's widest whole number
_SHORTEST_PART = 4


@dataclass
class TheirRows:
    """The person's rows in one table."""

    shape: TableShape
    places: list[Place] = field(default_factory=list)
    bag: Bag = field(default_factory=Bag)


@dataclass
class Search:
    """Rows of one person. `children`: tables whose rows go with the rows that they refer to."""

    subject_columns: Sequence[str]
    needles: Needles
    text_columns: Sequence[str] = ()
    children: Sequence[str] = ()
    found: list[TheirRows] = field(default_factory=list)  # the table first, then its children
    linked: dict[str, set[str]] = field(default_factory=dict)
    blockers: list[str] = field(default_factory=list)

    def run(self, connection: Connection, schema: str | None, table: str) -> None:
        """Raises StoreError when the table or one of its columns is not there."""
        shape = read_shape(connection, schema, table)
        main = TheirRows(shape)
        self.found.append(main)
        for name in (*self.subject_columns, *self.needles, *self.text_columns):
            shape.column(name)
        if not shape.locator:
            self.blockers.append(
                f"The table {shape.shown} has no primary key, so its rows cannot be told apart. "
                "Give it one."
            )
        self._own_rows(connection, main)
        if main.places:
            self._follow(connection, main)

    @property
    def rows(self) -> int:
        return sum(their.bag.count for their in self.found)

    @property
    def digest(self) -> str:
        return " ".join(f"{their.shape.shown} {their.bag.digest}" for their in self.found)

    def _own_rows(self, connection: Connection, main: TheirRows) -> None:
        shape = main.shape
        wanted = {c: Wanted(v) for c, v in self.needles.items() if v}
        words = Identifiers([v for values in self.needles.values() for v in values])
        seen: set[Place] = set()
        names = list(dict.fromkeys([*self.subject_columns, *wanted, *self.text_columns]))
        width = len(shape.locator)
        for where in self._sieves(shape, words):
            columns = [*shape.locator, *(shape.table.c[n] for n in names), *whole_row(shape)]
            labelled = [c.label(f"vestige_{i}") for i, c in enumerate(columns)]
            for row in select_rows(connection, labelled, shape, where):
                place, values = tuple(row[:width]), dict(zip(names, row[width:], strict=False))
                if place in seen and width:
                    continue
                if not self._is_theirs(values, wanted, words):
                    continue
                seen.add(place)
                main.places.append(place)
                main.bag.add(row[width + len(names) :])
                for name in self.subject_columns:
                    if values[name] is not None and (text := identifier_text(values[name])):
                        self.linked.setdefault(name, set()).add(text)

    def _is_theirs(
        self, values: Mapping[str, Any], wanted: Mapping[str, Wanted], words: Identifiers
    ) -> bool:
        if any(person.names(values[name]) for name, person in wanted.items()):
            return True
        return any(
            next(words.within(str(values[name])), None) is not None
            for name in self.text_columns
            if values[name] is not None
        )

    def _sieves(self, shape: TableShape, words: Identifiers) -> Iterable[sa.ColumnElement[bool]]:
        """One condition a column and chunk of identifiers, true for all of the person's rows."""
        for name, identifiers in self.needles.items():
            for chunk in chunks(list(dict.fromkeys(identifiers))):
                parts = sieve(shape, shape.column(name), chunk)
                if parts:
                    yield sa.or_(*parts)
        for name in self.text_columns:
            for fragments in chunks(words.fragments):
                yield sa.or_(*(_holds(shape, shape.column(name), f) for f in fragments))

    def _follow(self, connection: Connection, their: TheirRows) -> None:
        """Rows of other tables that refer to these: taken along where the options say so."""
        for reference in references_to(connection, their.shape):
            rows = self._referring(connection, their, reference)
            if not rows.bag.count:
                continue
            if reference.shown not in self.children and reference.table not in self.children:
                self.blockers.append(_stands_in_the_way(reference, their.shape, rows.bag.count))
                continue
            if not rows.shape.locator:
                self.blockers.append(f"The table {reference.shown} has no primary key.")
                continue
            self._merge(rows)
            self._follow(connection, rows)

    def _referring(
        self, connection: Connection, their: TheirRows, reference: Reference
    ) -> TheirRows:
        shape = read_shape(connection, reference.schema, reference.table)
        targets = [their.shape.column(name) for name in reference.target]
        values = {
            tuple(row)
            for where in located(their.shape, their.places)
            for row in select_rows(connection, targets, their.shape, where)
            if None not in tuple(row)
        }
        known = {p for t in self.found if t.shape.shown == shape.shown for p in t.places}
        rows = TheirRows(shape)
        width = len(shape.locator)
        columns = [shape.column(name) for name in reference.columns]
        taken: set[Place] = set()
        for chunk in chunks(sorted(values, key=repr)):
            picked = [*shape.locator, *whole_row(shape)]
            labelled = [c.label(f"vestige_{i}") for i, c in enumerate(picked)]
            for row in select_rows(connection, labelled, shape, among(columns, chunk)):
                place = tuple(row[:width])
                if (place in known or place in taken) and width:
                    continue
                taken.add(place)
                rows.places.append(place)
                rows.bag.add(row[width:])
        return rows

    def _merge(self, rows: TheirRows) -> None:
        for their in self.found:
            if their.shape.shown == rows.shape.shown:
                their.places += rows.places
                their.bag = their.bag.joined(rows.bag)
                return
        self.found.append(rows)


def _stands_in_the_way(reference: Reference, shape: TableShape, rows: int) -> str:
    effect = {
        "CASCADE": "ON DELETE CASCADE would remove them unseen",
        "SET NULL": "ON DELETE SET NULL would change them unseen",
        "SET DEFAULT": "ON DELETE SET DEFAULT would change them unseen",
    }.get(reference.on_delete, "the database would refuse to delete")
    return (
        f"{rows} rows of the table {reference.shown} refer to this person's rows in {shape.shown} "
        f"by a foreign key ({', '.join(reference.columns)}); {effect}. Erase them first, or name "
        f'{reference.shown} in the option "child_tables", and they are erased along with these.'
    )


def sieve(
    shape: TableShape, column: sa.Column[Any], identifiers: Sequence[str]
) -> list[sa.ColumnElement[bool]]:
    """Conditions one of which holds for each row whose column names one of the identifiers."""
    wanted = Wanted(identifiers)
    texts = sorted(t for t in wanted.texts if "\x00" not in t)
    integers = sorted(n for n in wanted.integers if abs(n) <= _LARGEST)
    folded = [_holds(shape, column, fragment) for fragment in sorted(wanted.folded)]
    if shape.dialect == "sqlite":
        # Any column may hold any type. A text in a numeric column and a number in a text column
        # are turned into each other by the comparison; the rule then looks at what they are.
        return [column.in_([*texts, *integers, *sorted(wanted.raw)]), *folded]
    if (numbers := _as_numbers(shape, column, integers)) is not None:
        return numbers
    kind = column.type
    if isinstance(kind, sa.Uuid):
        uuids = sorted(wanted.uuids)
        return [column.in_(uuids if kind.as_uuid else [str(u) for u in uuids])] if uuids else []
    if isinstance(kind, sa.LargeBinary):
        return [column.in_(sorted(wanted.raw))]
    if isinstance(kind, sa.ARRAY | sa.JSON):
        raise StoreError(
            f"The column {column.name} is of type {type(kind).__name__}, in which nobody can be "
            'matched. Name it in the option "text_columns" instead.'
        )
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
        return [column.in_(texts), *folded]
    # What has an equality of its own is compared as it is written.
    return [sa.cast(column, sa.Text).in_(texts), *folded]


def _as_numbers(
    shape: TableShape, column: sa.Column[Any], integers: Sequence[int]
) -> list[sa.ColumnElement[bool]] | None:
    """The condition for a column of numbers; none for any other column."""
    kind = column.type
    if isinstance(kind, sa.Integer):
        bits = 16 if isinstance(kind, sa.SmallInteger) else 32
        if isinstance(kind, sa.BigInteger) or shape.dialect == "mysql":
            bits = 64
        limit = 1 << (bits - 1)
        values: list[Any] = [n for n in integers if -limit <= n < limit]
    elif isinstance(kind, sa.Float):
        values = [float(n) for n in integers]
    elif isinstance(kind, sa.Numeric):
        values = [decimal.Decimal(n) for n in integers]
    else:
        return None
    return [column.in_(values)] if values else []


def _holds(
    shape: TableShape, column: sa.ColumnElement[Any], fragment: str
) -> sa.ColumnElement[bool]:
    """Whether the column's text holds the fragment, in any case of ASCII letters."""
    # The longest part without other letters: databases disagree about the case of those.
    parts = "".join(c if c.isascii() else "\x00" for c in fragment.lower()).split("\x00")
    part = max(parts, key=len)
    if len(part) < _SHORTEST_PART:
        return column.is_not(None)  # too short to sieve by; the rule decides
    if shape.dialect == "sqlite":
        text: Any = sa.func.lower(sa.cast(column, sa.Text))
    elif shape.dialect == "postgresql":
        text = sa.func.lower(sa.cast(column, sa.Text).collate("C"))
    else:
        text = sa.func.lower(column)
    return sa.type_coerce(text, sa.String()).contains(part, autoescape=True)
