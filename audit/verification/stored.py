"""Reads the log's tables as they lie in the database, for verification.

Plain SQL of its own, apart from the code that writes: a fault in one cannot hide in the other.
Values come back as the database holds them, whatever somebody has put there.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import DatabaseError, connection

from audit.verification.arrow import ArrowReader, ArrowReadError
from audit.verification.chunks import Chunk, chunk_of_rows
from audit.verification.layout import COLUMNS, TIMES

CHUNK = 4096
_ARROW_CHUNK = 4 * CHUNK
_READERS = 2  # connections: one asks and waits while the other's rows are made ready
_LEVEL_CHUNK = 512
_GROUPED = 50_000

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

    name: Any
    origin: Any
    size: Any
    last_hash: Any
    last_timestamp_us: Any
    frontier: Any
    note: Any
    note_size: Any


def head(log_id: int) -> Head | None:
    rows = _all(
        f"SELECT {_text('name')}, {_text('origin')}, size, last_hash, last_timestamp_us, frontier,"  # noqa: S608
        f" {_text('note')}, note_size FROM audit_log WHERE id = %s",
        [log_id],
    )
    if not rows:
        return None
    name, origin, size, last_hash, last_us, frontier, note, note_size = map(_plain, rows[0])
    name, origin, note = _read_text(name), _read_text(origin), _read_text(note)
    return Head(name, origin, size, last_hash, last_us, frontier, note, note_size)


def logs() -> list[Row]:
    """(id, name, origin, size) of every log."""
    rows = _all(
        f"SELECT id, {_text('name')}, {_text('origin')}, size FROM audit_log ORDER BY id",  # noqa: S608
        [],
    )
    return [
        (log_id, _read_text(_plain(name)), _read_text(_plain(origin)), size)
        for log_id, name, origin, size in rows
    ]


def entries(log_id: int, begin: int, end: int) -> Iterator[Chunk]:
    """The rows with begin <= seq < end in order. Raises UnreadableRowError after those before it.

    On PostgreSQL they come as Arrow tables over connections of their own, made in other threads
    while the caller looks at those before; inside a transaction, whose rows these connections would
    not see, and on SQLite they come row by row.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        for start in range(begin, end, CHUNK):
            yield from _rows(log_id, start, min(start + CHUNK, end))
        return
    with ArrowReader(_conninfo()) as reader, ThreadPoolExecutor(_READERS, "read-log") as ahead:
        coming = deque[tuple[int, int, Future[Chunk]]]()
        for start, stop in _growing(begin, end):
            coming.append((start, stop, ahead.submit(reader.chunk, _select(), log_id, start, stop)))
            if len(coming) > _READERS:
                yield from _read(log_id, *coming.popleft())
        while coming:
            yield from _read(log_id, *coming.popleft())


def _growing(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where chunks begin and end: small ones first, so that there soon is something to look at."""
    count = CHUNK // 4
    while begin < end:
        stop = min(begin + count, end)
        yield begin, stop
        begin, count = stop, min(2 * count, _ARROW_CHUNK)


def leaf(log_id: int, seq: int) -> tuple[bytes, bytes]:
    """The leaf of one entry and the hash beside it. Raises ValueError when there is none."""
    ((_, leaf, leaf_hash, *_),) = _fetch(log_id, seq, seq + 1)
    return bytes(leaf), bytes(leaf_hash)


def _read(log_id: int, start: int, stop: int, coming: "Future[Chunk]") -> Iterator[Chunk]:
    try:
        chunk = coming.result()
        chunk.stop = stop
        yield chunk
    except ArrowReadError:
        yield from _rows(log_id, start, stop)  # what row is it?


def _rows(log_id: int, start: int, stop: int) -> Iterator[Chunk]:
    try:
        yield _chunk(log_id, start, stop)
    except _UNREADABLE:
        for seq in range(start, stop):
            try:
                yield _chunk(log_id, seq, seq + 1)
            except _UNREADABLE as exc:
                raise UnreadableRowError(seq, str(exc).strip()) from exc


def _chunk(log_id: int, start: int, stop: int) -> Chunk:
    chunk = chunk_of_rows(_fetch(log_id, start, stop))
    chunk.stop = stop
    return chunk


def stray_entries(log_id: int) -> tuple[int | None, int | None, int]:
    """The lowest and the highest seq, and how many rows belong to no log at all."""
    low, high = _all("SELECT min(seq), max(seq) FROM audit_entry WHERE log_id = %s", [log_id])[0]
    # From one number of a log to the next by the index; to count all rows takes far longer, and so
    # does one statement for it all: PostgreSQL compiles it, for tables it never reads.
    known, strays = {found for found, *_ in logs()}, 0
    rows = _all("SELECT log_id FROM audit_entry ORDER BY log_id LIMIT 1", [])
    while rows:
        ((found,),) = rows
        if found not in known:
            strays += _all("SELECT count(*) FROM audit_entry WHERE log_id = %s", [found])[0][0]
        rows = _all(
            "SELECT log_id FROM audit_entry WHERE log_id > %s ORDER BY log_id LIMIT 1", [found]
        )
    return low, high, strays


def wrong_places(log_id: int, limit: int) -> list[Row]:
    """(seq, nth, previous) as counted, of entries whose own columns say otherwise.

    Where entries of the resource may be pruned in between, `previous` must be in a pruned range
    behind the entry before, and no more may be missing than were pruned there.
    """
    differs = "IS DISTINCT FROM" if connection.vendor == "postgresql" else "IS NOT"
    between = (
        "FROM audit_prunedrange AS gone WHERE gone.log_id = %s AND gone.stop <= placed.seq"
        " AND gone.start > coalesce(before, -1)"
    )
    return _all(
        "SELECT seq, counted + 1, before FROM (SELECT seq, nth, previous,"  # noqa: S608
        " coalesce(lag(nth) OVER place, 0) AS counted, lag(seq) OVER place AS before"
        " FROM audit_entry WHERE log_id = %s WINDOW place AS (PARTITION BY resource ORDER BY seq))"
        f" AS placed WHERE (nth <> counted + 1 OR previous {differs} before)"
        f" AND NOT (nth > counted + 1 AND previous > coalesce(before, -1)"
        f" AND EXISTS (SELECT 1 {between} AND previous >= gone.start AND previous < gone.stop)"
        f" AND nth - counted - 1 <= (SELECT sum(gone.stop - gone.start) {between}))"
        " ORDER BY seq LIMIT %s",
        [log_id, log_id, log_id, limit],
    )


def pruned_ranges(log_id: int) -> list[Row]:
    """(start, stop, entry, newest_us) of the ranges that were opened for deletion, in order."""
    return _all(
        "SELECT start, stop, entry, newest_us FROM audit_prunedrange WHERE log_id = %s"
        " ORDER BY start",
        [log_id],
    )


def tile(log_id: int, index: int) -> bytes:
    """The hashes of a full tile of level 0; empty when it is not there."""
    rows = _all(
        'SELECT hashes FROM audit_tile WHERE log_id = %s AND level = 0 AND "index" = %s',
        [log_id, index],
    )
    hashes = _plain(rows[0][0]) if rows else b""
    return hashes if type(hashes) is bytes else b""


def entries_of_type(log_id: int, kind: str) -> list[tuple[int, bytes]]:
    """(seq, leaf) of all entries of a type, in order."""
    rows = _all(
        "SELECT seq, leaf FROM audit_entry WHERE log_id = %s AND type = %s ORDER BY seq",
        [log_id, kind],
    )
    return [(seq, _plain(leaf)) for seq, leaf in rows]


def entries_about(
    log_id: int, kind: str, resource: str, before: int, limit: int
) -> list[tuple[int, bytes]]:
    """(seq, leaf) of the newest entries of a type and a resource below a number, newest first."""
    rows = _all(
        "SELECT seq, leaf FROM audit_entry WHERE log_id = %s AND type = %s AND resource = %s"
        " AND seq < %s ORDER BY seq DESC LIMIT %s",
        [log_id, kind, resource, before, limit],
    )
    return [(seq, _plain(leaf)) for seq, leaf in rows]


def waiting(log_id: int) -> list[bytes]:
    """The events that wait for their places."""
    rows = _all("SELECT event FROM audit_pending WHERE log_id = %s", [log_id])
    return [_plain(event) for (event,) in rows]


def heads_at(log_id: int, size: int) -> list[Row]:
    """(resource, nth, seq) of the newest of the first `size` entries of each resource.

    Some of these may be pruned, none behind them: the next entry of the resource names the one
    before it, and the places of resources that have none are kept.
    """
    left = (
        "SELECT resource, max(nth), max(seq) FROM audit_entry WHERE log_id = %s AND seq < %s"
        " GROUP BY resource"
    )
    behind = (
        "SELECT entry.resource, entry.nth - 1, entry.previous FROM audit_entry AS entry"
        " JOIN (SELECT min(seq) AS seq FROM audit_entry WHERE log_id = %s AND seq >= %s"
        " GROUP BY resource) AS first ON entry.log_id = %s AND entry.seq = first.seq"
        " WHERE entry.previous IS NOT NULL"
    )
    places = "SELECT resource, nth, seq FROM audit_prunedplace WHERE log_id = %s AND seq < %s"
    newest: dict[str, tuple[int, int]] = {}
    for statement, values in ((left, 2), (behind, 3), (places, 2)):
        for resource, nth, seq in _all(statement, [log_id, size, log_id][:values]):
            newest[resource] = max(newest.get(resource, (0, -1)), (nth, seq))
    return [(resource, *place) for resource, place in newest.items()]


def newest_by_resource(log_id: int, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    """(resource, how many entries, the last of them) of each resource in begin <= seq < end.

    A resource comes once for every stretch of the log that it stands in, in the log's order.
    """
    for start in range(begin, end, _GROUPED):
        yield from _all(
            "SELECT resource, count(*), max(seq) FROM audit_entry WHERE log_id = %s"
            " AND seq >= %s AND seq < %s GROUP BY resource",
            [log_id, start, min(start + _GROUPED, end)],
        )


def checkpoints(log_id: int) -> list[tuple[Any, Any, Any]]:
    """(size, root, note) of the history, by size."""
    rows = _all(
        f"SELECT size, root, {_text('note')} FROM audit_checkpoint"  # noqa: S608
        " WHERE log_id = %s ORDER BY size",
        [log_id],
    )
    return [(size, _plain(root), _read_text(_plain(note))) for size, root, note in rows]


def tiles(log_id: int, level: int, first: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """(index, hashes, root) of the tiles of a level in order, from tile `first` on.

    With `first` 0 also those with a number below, which no log has.
    """
    start = first - 1 if first else -(2**62)
    while True:
        rows = _bulk(
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
    """The COLUMNS of a log between two numbers; all three are to be filled in."""
    # SQLite keeps times as text, and the cast hands that text over as it is.
    time = 'CAST("{}" AS TEXT)' if connection.vendor == "sqlite" else '"{}"'
    columns = [(time if name in TIMES else '"{}"').format(name) for name in COLUMNS]
    return (
        f"SELECT {', '.join(columns)} FROM audit_entry"  # noqa: S608
        " WHERE log_id = {} AND seq >= {} AND seq < {} ORDER BY seq"
    )


def _fetch(log_id: int, start: int, stop: int) -> list[Row]:
    return _bulk(_select().format("%s", "%s", "%s"), [log_id, start, stop])


def _bulk(sql: str, parameters: list[int]) -> list[Row]:
    """As `_all`, for many bytes: where there is a binary protocol, not as hexadecimal text."""
    if connection.vendor != "postgresql":
        return _all(sql, parameters)
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(sql, parameters, binary=True)
        return cursor.fetchall()


def _conninfo() -> str:
    connection.ensure_connection()
    server = connection.connection.info
    return psycopg.conninfo.make_conninfo(server.dsn, password=server.password or None)


def _all(sql: str, parameters: list[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
        return rows


def _text(column: str) -> str:
    """A text column; SQLite keeps any bytes in one, and refuses to hand over what is no UTF-8."""
    return f"CAST({column} AS BLOB)" if connection.vendor == "sqlite" else column


def _read_text(value: Any) -> Any:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
