"""Reads the log's tables as they lie in the database, for verification.

Plain SQL of its own, apart from the code that writes: a fault in one cannot hide in the other.
Values come back as the database holds them, whatever somebody has put there.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import DatabaseError, connection

CHUNK = 4096
TEXTS = (
    "event_id", "type", "actor", "by", "resource", "resource_version", "parent_id", "subject",
)  # fmt: skip
TIMES = ("occurred_at", "recorded_at")
# Stands between the texts of a row, which are read as one: no event has this character in them.
SEPARATOR = "\x1f"
_LEVEL_CHUNK = 512

Row = tuple[Any, ...]
_UNREADABLE = (DatabaseError, psycopg.Error, ValueError, OverflowError)


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
    """The rows with begin <= seq < end in order, in chunks.

    A row is seq, leaf, leaf_hash, the TEXTS joined by SEPARATOR (None if one of them is null),
    and the TIMES: in UTC without a zone on PostgreSQL, as the text that is stored on SQLite.
    While one chunk is looked at, PostgreSQL prepares the next. Raises UnreadableRowError after
    the rows before it.
    """
    starts = range(begin, end, CHUNK)
    with ThreadPoolExecutor(1, "read-log") as ahead:
        fetch = _fetch(log_id, end)
        coming: Future[list[Row]] | None = None
        for start in starts:
            try:
                rows = coming.result() if coming else fetch(start)
            except _UNREADABLE:
                yield from _one_by_one(log_id, start, min(start + CHUNK, end))
                coming = None
                continue
            following = start + CHUNK
            reads_ahead = connection.vendor == "postgresql" and following < end
            coming = ahead.submit(fetch, following) if reads_ahead else None
            yield rows


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


def columns(log_id: int, seq: int) -> dict[str, Any]:
    """The search columns of one row, by name."""
    quoted = ", ".join([*(f'"{name}"' for name in TEXTS), *_times()])
    rows = _all(
        f"SELECT {quoted} FROM audit_entry WHERE log_id = %s AND seq = %s",  # noqa: S608
        [log_id, seq],
    )
    return dict(zip((*TEXTS, *TIMES), rows[0], strict=True)) if rows else {}


def _times() -> list[str]:
    if connection.vendor == "postgresql":
        return [f"{name} AT TIME ZONE 'UTC'" for name in TIMES]
    # SQLite keeps times as text, and the cast hands that text over as it is.
    return [f"CAST({name} AS TEXT)" for name in TIMES]


def _select() -> str:
    # Named with its schema: a database owner may have put another operator before it.
    join = " OPERATOR(pg_catalog.||) " if connection.vendor == "postgresql" else " || "
    texts = f"{join}'{SEPARATOR}'{join}".join(f'"{name}"' for name in TEXTS)
    return (
        f"SELECT seq, leaf, leaf_hash, {texts}, {', '.join(_times())} FROM audit_entry"  # noqa: S608
        " WHERE log_id = %s AND seq >= %s AND seq < %s ORDER BY seq"
    )


def _fetch(log_id: int, end: int) -> Callable[[int], list[Row]]:
    """Reads the chunk from a number on; usable in another thread, on this thread's connection."""
    if connection.vendor != "postgresql":
        return lambda start: _all(_select(), [log_id, start, min(start + CHUNK, end)])
    connection.ensure_connection()
    server = connection.connection
    statement = _select()

    def fetch(start: int) -> list[Row]:
        # The binary protocol: bytes arrive as bytes, not as hexadecimal text.
        with psycopg.Cursor(server) as cursor:
            cursor.execute(statement, [log_id, start, min(start + CHUNK, end)], binary=True)
            return cursor.fetchall()

    return fetch


def _one_by_one(log_id: int, start: int, stop: int) -> Iterator[list[Row]]:
    for seq in range(start, stop):
        try:
            yield _fetch(log_id, seq + 1)(seq)
        except _UNREADABLE as exc:
            raise UnreadableRowError(seq, str(exc).strip()) from exc


def _all(sql: str, parameters: list[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
        return rows


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
