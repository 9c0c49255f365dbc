"""Appending to PostgreSQL in its own binary forms: prepared statements with arrays, and COPY.

Written by hand, because psycopg's cursors and row writers take longer than all hashing. Integers
and times (microseconds since 2000) are big-endian; a value stands behind its length, -1 for null.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from itertools import count

from django.db import connection
from psycopg.copy import LibpqWriter

from audit.prepared import Statement, read, run, run_last
from audit.proofs import FullTile
from audit.rows import ENTRY_COLUMNS, Head, Row

# From this many rows on COPY costs less than arrays (measured, PostgreSQL 15).
COPY_FROM = 128
# Bytes of rows that are made before it is waited until PostgreSQL has taken them.
_AHEAD = 4 * 2**20
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"

_START = struct.Struct(">hihiqi")  # 16 columns, log_id, seq, then the leaf's length
_LENGTH = struct.Struct(">i")
_NUMBER = struct.Struct(">iq")
_NULL = _LENGTH.pack(-1)
_HASH = _LENGTH.pack(32)
_SMALL, _BIG = struct.Struct(">h"), struct.Struct(">q")
_ARRAY = struct.Struct(">iiiii")  # dimensions, nulls?, type of the items, how many, first index

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCHS_APART_US = 946_684_800_000_000  # between 1970 and 2000
_MICROSECOND = timedelta(microseconds=1)

_INT2, _INT8, _BYTEA, _TEXT, _TIMESTAMPTZ = 21, 20, 17, 25, 1184  # by their numbers in pg_type
_COLUMN_TYPES = (
    _INT8, _BYTEA, _BYTEA, *[_TEXT] * 6, _TIMESTAMPTZ, _TIMESTAMPTZ, _TEXT, _TEXT, _INT8, _INT8,
)  # fmt: skip
_TILE_TYPES = (_INT2, _INT8, _BYTEA, _BYTEA)
_NAMES = {
    _INT2: "smallint",
    _INT8: "bigint",
    _BYTEA: "bytea",
    _TEXT: "text",
    _TIMESTAMPTZ: "timestamptz",
}


_MOVED = (
    "WITH moved AS (UPDATE audit_log SET size = $1::bigint, last_hash = $2::bytea,"
    " last_timestamp_us = $3::bigint, frontier = $4::bytea,"
    " note = $5::text, note_size = $6::bigint, note_at = $7::timestamptz"
    " WHERE id = $8::smallint AND size = $9::bigint AND last_hash = $10::bytea"
    " AND ($11::text IS NULL OR note = $11::text AND refusal = '') RETURNING id)"
)
_FIRST = 12  # the first parameter behind those


@cache
def _append(*, fills: bool, takes: bool) -> Statement:
    """Moves the head and inserts entries; with full tiles, or with those taken from the queue."""
    numbers = count(_FIRST)

    def arrays(kinds: Iterable[int]) -> str:
        return ", ".join(f"${next(numbers)}::{_NAMES[kind]}[]" for kind in kinds)

    entries = (
        f" INSERT INTO audit_entry ({ENTRY_COLUMNS}) SELECT moved.id, entries.*"  # noqa: S608
        f" FROM moved, unnest({arrays(_COLUMN_TYPES)}) AS entries"
    )
    filled = (
        ', filled AS (INSERT INTO audit_tile (log_id, level, "index", hashes, root)'  # noqa: S608
        f" SELECT moved.id, tiles.* FROM moved, unnest({arrays(_TILE_TYPES)}) AS tiles)"
        if fills
        else ""
    )
    taken = (
        f", taken AS (DELETE FROM audit_pending USING moved WHERE log_id = moved.id"  # noqa: S608
        f" AND audit_pending.id = ANY ({arrays([_INT8])}))"
        if takes
        else ""
    )
    return Statement(f"vestige_append_{fills:d}{takes:d}", _MOVED + filled + taken + entries)


_STORE_NOTE = Statement(
    "vestige_store_note",
    # Not flushed to disk: see audit.storage.store_note.
    "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true))"
    " UPDATE audit_log SET note = $1::text, note_size = $2::bigint, note_at = $3::timestamptz,"
    " refusal = '' FROM relaxed"
    " WHERE id = $4::smallint AND note_size = $5::bigint AND size >= $2::bigint",
)
_PENDING = Statement(
    "vestige_pending",
    "SELECT id, event FROM audit_pending WHERE log_id = $1::smallint ORDER BY id LIMIT $2::bigint",
)
_INSERT_TILES = Statement(
    "vestige_insert_tiles",
    'INSERT INTO audit_tile (log_id, level, "index", hashes, root) SELECT $1::smallint, tiles.*'
    " FROM unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS tiles",
)
_WAIT = Statement(
    "vestige_wait",
    "INSERT INTO audit_pending (log_id, event_id, event, created_at)"
    " VALUES ($1::smallint, $2::text, $3::bytea, CURRENT_TIMESTAMP)",
)


def append_behind(
    head: Head,
    rows: Sequence[Row],
    tree: bytes,
    *,
    filled: Sequence[FullTile] = (),
    taken: Sequence[int] = (),
    stored_note: str | None = None,
    sent: Callable[[], None] | None = None,
) -> bool:
    """Append in a single statement, if the log still ends where `head` says; whether it did.

    With the tiles that are `filled`, and without the recorded events that are `taken` (their
    rows' ids). The note of `head` is stored. Unless the lock is held: only if the stored note is
    `stored_note` until then, and nothing is refused. `sent` is called when PostgreSQL is at work.
    Raises IntegrityError when an event id is taken.
    """
    last = rows[-1]
    parameters: list[bytes | None] = [
        _BIG.pack(last.seq + 1), last.leaf_hash, _BIG.pack(last.timestamp_us), tree,
        head.note.encode(), _BIG.pack(head.note_size),
        None if head.note_at is None else _BIG.pack(_time(head.note_at)),
        _SMALL.pack(head.log_id), _BIG.pack(head.size), head.last_hash,
        None if stored_note is None else stored_note.encode(),
        *_columns(rows),
    ]  # fmt: skip
    if filled:
        parameters += _tiles(filled)
    if taken:
        parameters.append(_array(_INT8, [_BIG.pack(row_id) for row_id in taken]))
    return run(_append(fills=bool(filled), takes=bool(taken)), parameters, sent) > 0


def store_note(head: Head, note: str, size: int, signed_at: datetime) -> bool:
    """Store the note in place of the one in `head`; False when another is there by now."""
    return run(
        _STORE_NOTE,
        [
            note.encode(), _BIG.pack(size), _BIG.pack(_time(signed_at)),
            _SMALL.pack(head.log_id), _BIG.pack(head.note_size),
        ],
    ) > 0  # fmt: skip


def pending(log_id: int, limit: int) -> list[tuple[int, bytes]]:
    rows = read(_PENDING, [_SMALL.pack(log_id), _BIG.pack(limit)])
    return [(_BIG.unpack(row_id)[0], event) for row_id, event in rows]


def insert_pending(log_id: int, event_id: str, event: bytes) -> None:
    run_last(_WAIT, [_SMALL.pack(log_id), event_id.encode(), event])


def copy_rows(
    log_id: int, chunks: Iterator[list[Row]], finish: Callable[[], bytes]
) -> tuple[Row, bytes]:
    """Insert rows by COPY while `chunks` makes them; the last row, and what `finish` gives."""
    statement = f"COPY audit_entry ({ENTRY_COLUMNS}) FROM STDIN (FORMAT BINARY)"
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(statement, writer=LibpqWriter(cursor.cursor, flush_threshold=_AHEAD)) as copy,
    ):
        copy.write(COPY_HEADER)
        rows: list[Row] = []
        for rows in chunks:  # the last one is needed
            copy.write(copied(log_id, rows))
        copy.write(COPY_TRAILER)
        return rows[-1], finish()


def insert_tiles(log_id: int, filled: Sequence[FullTile]) -> None:
    run(_INSERT_TILES, [_SMALL.pack(log_id), *_tiles(filled)])


def copied(log_id: int, rows: Sequence[Row]) -> bytes:
    """The rows as COPY reads them, between COPY_HEADER and COPY_TRAILER."""
    parts: list[bytes] = []
    add, length, repeated = parts.append, _LENGTH.pack, _counted
    for row in rows:
        event, leaf = row.prepared, row.leaf
        event_id, version = event.event_id.encode(), event.resource_version.encode()
        add(_START.pack(16, 2, log_id, 8, row.seq, len(leaf)))
        add(leaf)
        add(_HASH)
        add(row.leaf_hash)
        add(length(len(event_id)))
        add(event_id)
        add(repeated(event.type))
        add(repeated(event.actor))
        add(repeated(event.by))
        add(repeated(event.resource))
        add(length(len(version)))
        add(version)
        add(_NULL if event.occurred_at is None else _NUMBER.pack(8, _time(event.occurred_at)))
        add(_NUMBER.pack(8, row.timestamp_us - _EPOCHS_APART_US))
        add(repeated(event.parent_id))
        add(repeated(event.subject))
        add(_NUMBER.pack(8, row.nth))
        add(_NULL if row.previous is None else _NUMBER.pack(8, row.previous))
    return b"".join(parts)


def _columns(rows: Sequence[Row]) -> list[bytes]:
    """The columns of entries behind log_id, each as an array."""
    events = [row.prepared for row in rows]
    ids = [event.event_id.encode() for event in events]
    versions = [event.resource_version.encode() for event in events]
    length, number = _LENGTH.pack, _NUMBER.pack
    items: list[Iterable[bytes]] = [
        [number(8, row.seq) for row in rows],
        [length(len(row.leaf)) + row.leaf for row in rows],
        [_HASH + row.leaf_hash for row in rows],
        [length(len(text)) + text for text in ids],
        [_counted(event.type) for event in events],
        [_counted(event.actor) for event in events],
        [_counted(event.by) for event in events],
        [_counted(event.resource) for event in events],
        [length(len(text)) + text for text in versions],
        [
            _NULL if event.occurred_at is None else number(8, _time(event.occurred_at))
            for event in events
        ],
        [number(8, row.timestamp_us - _EPOCHS_APART_US) for row in rows],
        [_counted(event.parent_id) for event in events],
        [_counted(event.subject) for event in events],
        [number(8, row.nth) for row in rows],
        [_NULL if row.previous is None else number(8, row.previous) for row in rows],
    ]
    return [  # "1, 1": one dimension, which may hold nulls
        _ARRAY.pack(1, 1, kind, len(rows), 1) + b"".join(column)
        for kind, column in zip(_COLUMN_TYPES, items, strict=True)
    ]


def _tiles(filled: Sequence[FullTile]) -> list[bytes]:
    """The columns of tiles behind log_id, each as an array."""
    packed = [(_SMALL.pack(level), _BIG.pack(at), *hashes) for level, at, *hashes in filled]
    return list(map(_array, _TILE_TYPES, zip(*packed, strict=True)))


def _array(kind: int, items: Sequence[bytes | None]) -> bytes:
    parts = [_ARRAY.pack(1, None in items, kind, len(items), 1)]
    for item in items:
        parts += (_NULL,) if item is None else (_LENGTH.pack(len(item)), item)
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _counted(text: str) -> bytes:
    """A text that is likely to come again, behind its length."""
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def _time(value: datetime) -> int:
    return (value - _EPOCH) // _MICROSECOND
