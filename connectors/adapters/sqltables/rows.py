"""Reading rows, and a digest of many that does not depend on their order."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from connectors.adapters.sqltables.table import TableShape

T = TypeVar("T")
Place = tuple[Any, ...]

CHUNK = 500  # bound values in a statement
_FETCH = 2000
_MODULUS = 1 << 512


@dataclass
class Bag:
    """How many rows, and the sum of their SHA-512.

    The sum is the same in whatever order rows come, so it needs neither a primary key nor a sort;
    and everybody else's is that of all less that of the person's.
    """

    count: int = 0
    bytes: int = 0
    total: int = field(default=0, repr=False)

    def add(self, row: Iterable[object]) -> None:
        body = _encoded(row)
        self.count += 1
        self.bytes += len(body)
        number = int.from_bytes(hashlib.sha512(body).digest(), "big")
        self.total = (self.total + number) % _MODULUS

    def without(self, other: "Bag") -> "Bag":
        left = (self.total - other.total) % _MODULUS
        return Bag(self.count - other.count, self.bytes - other.bytes, left)

    def joined(self, other: "Bag") -> "Bag":
        total = (self.total + other.total) % _MODULUS
        return Bag(self.count + other.count, self.bytes + other.bytes, total)

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.count}:{self.total:x}".encode()).hexdigest()


def _encoded(row: Iterable[object]) -> bytes:
    """Unambiguous: each value's type, length and text."""
    parts = []
    for value in row:
        if isinstance(value, bytes | bytearray | memoryview):
            kind, body = b"bytes", bytes(value)
        elif isinstance(value, str):
            kind, body = b"text", value.encode("utf-8", "surrogateescape")
        else:
            kind, body = type(value).__name__.encode(), repr(value).encode()
        parts.append(b"%s %d:%s" % (kind, len(body), body))
    return b"".join(parts)


def whole_row(shape: TableShape) -> list[sa.ColumnElement[Any]]:
    """The columns as they are digested. PostgreSQL writes every type as text, and some values
    (an infinite date) can be read in no other way."""
    if shape.dialect == "postgresql":
        return [sa.cast(c, sa.Text) for c in shape.table.c]
    return list(shape.table.c)


def select_rows(
    connection: Connection, columns: Sequence[Any], shape: TableShape, where: Any = None
) -> Iterator[Row[Any]]:
    statement = sa.select(*columns).select_from(shape.table)
    if where is not None:
        statement = statement.where(where)
    with connection.execute(statement, execution_options={"yield_per": _FETCH}) as result:
        yield from result


def bag_of(connection: Connection, shape: TableShape) -> Bag:
    """Every row of the table, read once."""
    bag = Bag()
    for row in select_rows(connection, whole_row(shape), shape):
        bag.add(row)
    return bag


def located(shape: TableShape, places: Sequence[Place]) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that are true for the rows at these places, each for a chunk of them."""
    for chunk in chunks(places):
        yield among(shape.locator, chunk)


def among(columns: Sequence[Any], values: Sequence[Place]) -> sa.ColumnElement[bool]:
    """Whether the columns together have one of the values. Bound, never written into the SQL."""
    if len(columns) == 1:
        return sa.ColumnElement.in_(columns[0], [value[0] for value in values])
    return sa.tuple_(*columns).in_(list(values))


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
