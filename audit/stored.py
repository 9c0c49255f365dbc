"""Reads the log's tables as they lie in the database, for verification.

Plain SQL of its own, apart from the code that writes: a fault in one cannot hide in the other.
Values come back as the database holds them, whatever somebody has put there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import DatabaseError, connection

CHUNK = 4096
COLUMNS = (
    "event_id",
    "type",
    "actor",
    "by",
    "resource",
    "resource_version",
    "parent_id",
    "subject",
    "occurred_at",
    "recorded_at",
)
_TIMES = {"occurred_at", "recorded_at"}
_LEVEL_CHUNK = 512

Row = tuple[Any, ...]


class UnreadableRowError(ValueError):
    """The database itself cannot deliver the row of entry `seq`."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(reason)
        self.seq = seq


@dataclass(frozen=True, slots=True)
class Head:
    """The log row, unverified."""

    origin: Any
    size: Any
    last_hash: Any
    last_timestamp_us: Any
    frontier: Any
    note: Any
    note_size: Any


def head(log_id: int) -> Head | None:
    rows = _all(
        "SELECT origin, size, last_hash, last_timestamp_us, frontier, note, note_size"
        " FROM audit_log WHERE id = %s",
        [log_id],
    )
    return Head(*map(_plain, rows[0])) if rows else None


def entries(log_id: int, begin: int, end: int) -> Iterator[list[Row]]:
    """The rows with begin <= seq < end in order, in chunks: seq, leaf, leaf_hash, then COLUMNS.

    Raises UnreadableRowError after the rows before it.
    """
    for start in range(begin, end, CHUNK):
        stop = min(start + CHUNK, end)
        try:
            yield _chunk(log_id, start, stop)
        except (DatabaseError, psycopg.Error, ValueError, OverflowError):
            yield from _one_by_one(log_id, start, stop)


def stray_entries(log_id: int) -> tuple[int | None, int | None, int]:
    """The lowest and the highest seq, and how many rows belong to no log at all."""
    low, high = _all("SELECT min(seq), max(seq) FROM audit_entry WHERE log_id = %s", [log_id])[0]
    ((strays,),) = _all(
        "SELECT count(*) FROM audit_entry WHERE log_id NOT IN (SELECT id FROM audit_log)", []
    )
    return low, high, strays


def checkpoints(log_id: int) -> list[tuple[Any, Any, Any]]:
    """(size, root, note) of the history, by size."""
    rows = _all(
        "SELECT size, root, note FROM audit_checkpoint WHERE log_id = %s ORDER BY size", [log_id]
    )
    return [(size, _plain(root), note) for size, root, note in rows]


def tiles(log_id: int, level: int, first: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """(index, hashes, root) of the tiles of a level in order, from tile `first` on.

    With `first` 0 also those with a number below, which no log has.
    """
    start = first - 1 if first else -(2**62)
    while True:
        rows = _all(
            'SELECT "index", hashes, root FROM audit_tile WHERE log_id = %s AND level = %s'
            ' AND "index" > %s ORDER BY "index" LIMIT %s',
            [log_id, level, start, _LEVEL_CHUNK],
        )
        for index, hashes, root in rows:
            yield index, _plain(hashes), _plain(root)
        if len(rows) < _LEVEL_CHUNK:
            return
        start = rows[-1][0]


def tile_levels(log_id: int) -> list[int]:
    rows = _all("SELECT DISTINCT level FROM audit_tile WHERE log_id = %s", [log_id])
    return sorted(level for (level,) in rows)


def _select() -> str:
    # SQLite keeps times as text, and the cast hands that text over as it is.
    cast = connection.vendor == "sqlite"
    columns = [
        f"CAST({name} AS TEXT)" if cast and name in _TIMES else f'"{name}"' for name in COLUMNS
    ]
    return (
        f"SELECT seq, leaf, leaf_hash, {', '.join(columns)} FROM audit_entry"  # noqa: S608
        " WHERE log_id = %s AND seq >= %s AND seq < %s ORDER BY seq"
    )


def _chunk(log_id: int, start: int, stop: int) -> list[Row]:
    parameters = [log_id, start, stop]
    if connection.vendor != "postgresql":
        return _all(_select(), parameters)
    connection.ensure_connection()
    # The binary protocol: bytes arrive as bytes, not as hexadecimal text.
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(_select(), parameters, binary=True)
        return cursor.fetchall()


def _one_by_one(log_id: int, start: int, stop: int) -> Iterator[list[Row]]:
    for seq in range(start, stop):
        try:
            yield _chunk(log_id, seq, seq + 1)
        except (DatabaseError, psycopg.Error, ValueError, OverflowError) as exc:
            raise UnreadableRowError(seq, str(exc).strip()) from exc


def _all(sql: str, parameters: list[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
        return rows


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
