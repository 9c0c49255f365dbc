"""The statements that append to the log's tables. Raw SQL: this is the hot path.

Only the sequencer and the signer call these, inside a transaction that has locked the head.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from audit import postgresql
from audit.ledger.leaf import GENESIS
from audit.ledger.tree import Frontier
from audit.logs import LogUnknownError
from audit.models import MAIN_LOG, MAIN_NAME
from audit.rows import ENTRY_COLUMNS, Head, Known, Newest, Row, moment

_ENTRY_VALUES = f"({', '.join(['%s'] * 16)})"
_MOVE_HEAD = (
    "UPDATE audit_log SET size = %s, last_hash = %s, last_timestamp_us = %s, frontier = %s"
    " WHERE id = %s"
)


def lock_head(log_id: int = MAIN_LOG) -> Head:
    """The head of the log, locked until the transaction ends; the main log begins at first use.

    The one lock of appending and signing: a row lock on PostgreSQL; on SQLite the transaction
    holds the database's write lock from its start (IMMEDIATE).
    """
    head = _read_head(log_id)
    if head is None:
        if log_id != MAIN_LOG:
            raise LogUnknownError(f"There is no log {log_id}.")
        insert_log(MAIN_LOG, MAIN_NAME, settings.VESTIGE_ORIGIN)
        head = _read_head(log_id)
    assert head is not None  # noqa: S101  # just inserted
    return head


def append_rows(
    head: Head, count: int, chunks: Iterator[list[Row]], finish: Callable[[], bytes]
) -> None:
    """Insert the entries and move the head behind them.

    `chunks` makes the rows, `finish` then computes the stored form of the tree with them; both
    run while PostgreSQL takes in what was sent. Raises IntegrityError when an event id or a
    place is taken.
    """
    if connection.vendor == "postgresql" and count >= postgresql.COPY_FROM:
        last, tree = postgresql.copy_rows(head.log_id, chunks, finish)
        with connection.cursor() as cursor:
            cursor.execute(_MOVE_HEAD, _moved(head, last, tree))
        return
    rows = [row for chunk in chunks for row in chunk]
    tree = finish()
    if connection.vendor == "postgresql":
        # That the head is where it was read is certain under its lock.
        if not postgresql.append_behind(head, rows, tree):
            raise RuntimeError("The locked head of the log has moved.")
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO audit_entry ({ENTRY_COLUMNS}) VALUES {_ENTRY_VALUES}",  # noqa: S608
            [_values(head.log_id, row) for row in rows],
        )
        cursor.execute(_MOVE_HEAD, _moved(head, rows[-1], tree))


def _moved(head: Head, last: Row, tree: bytes) -> list[Any]:
    return [last.seq + 1, last.leaf_hash, last.timestamp_us, tree, head.log_id]


def store_note(head: Head, note: str, size: int, signed_at: datetime) -> bool:
    """Keep the newest note, unless another one than that in `head` is there by now.

    Not flushed to disk: losing the stored copy of a note in a crash is harmless, as what it
    covers is durable and the next one is checked against the note before it.
    """
    if connection.vendor == "postgresql":
        return postgresql.store_note(head, note, size, signed_at)
    statement = (
        "UPDATE audit_log SET note = %s, note_size = %s, note_at = %s, refusal = ''"
        " WHERE id = %s AND note_size = %s AND size >= %s"
    )
    values = [note, size, _time(signed_at), head.log_id, head.note_size, size]
    with connection.cursor() as cursor:
        if connection.in_atomic_block:  # SQLite has the choice between transactions only
            cursor.execute(statement, values)
            return bool(cursor.rowcount == 1)
        try:
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.execute(statement, values)
            return bool(cursor.rowcount == 1)
        finally:
            cursor.execute("PRAGMA synchronous = FULL")


def store_refusal(head: Head, reason: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_log SET refusal = %s WHERE id = %s", [reason, head.log_id])


def keep_checkpoint(head: Head, size: int, root: bytes, note: str, signed_at: datetime) -> None:
    """Put a checkpoint into the history, unless one of this size is there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_checkpoint (log_id, size, root, note, signed_at)"
            " SELECT %s, %s, %s, %s, %s WHERE NOT EXISTS"
            " (SELECT 1 FROM audit_checkpoint WHERE log_id = %s AND size = %s)",
            [head.log_id, size, root, note, _time(signed_at), head.log_id, size],
        )
        cursor.execute(
            "UPDATE audit_log SET kept_at = %s WHERE id = %s", [_time(signed_at), head.log_id]
        )


def insert_tiles(log_id: int, tiles: Sequence[tuple[int, int, bytes, bytes]]) -> None:
    """`tiles` are (level, index, hashes, root) of full tiles; there may be none."""
    if not tiles:
        return
    if connection.vendor == "postgresql":
        postgresql.insert_tiles(log_id, tiles)
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO audit_tile (log_id, level, "index", hashes, root)'
            " VALUES (%s, %s, %s, %s, %s)",
            [(log_id, *tile) for tile in tiles],
        )


def known_entries(log_id: int, event_ids: Sequence[str]) -> dict[str, Known]:
    """The entries that bear one of these event ids."""
    found: dict[str, Known] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(event_ids), 500):
            some = event_ids[start : start + 500]
            places = ", ".join(["%s"] * len(some))
            cursor.execute(
                "SELECT event_id, seq, leaf_hash, leaf FROM audit_entry"  # noqa: S608
                f" WHERE log_id = %s AND event_id IN ({places})",
                [log_id, *some],
            )
            for event_id, seq, leaf_hash, leaf in cursor.fetchall():
                found[event_id] = Known(seq, bytes(leaf_hash), bytes(leaf)[52:])
    return found


def newest_of(log_id: int, resources: Sequence[str]) -> dict[str, Newest]:
    """The newest entry of each of these resources that has one; the head must be locked.

    Also one that is pruned: of those, the places are kept.
    """
    if connection.vendor == "postgresql":
        statement = (
            "SELECT wanted.resource, newest.seq, newest.nth FROM unnest(%s::varchar[])"
            " AS wanted (resource) CROSS JOIN LATERAL (SELECT seq, nth FROM audit_entry"
            " WHERE log_id = %s AND resource = wanted.resource ORDER BY seq DESC LIMIT 1) AS newest"
            " UNION ALL SELECT resource, seq, nth FROM audit_prunedplace"
            " WHERE log_id = %s AND resource = ANY (%s) ORDER BY seq"
        )
        names: Any = list(resources)
        parameters = [names, log_id, log_id, names]
    else:
        # CROSS: in this order, or SQLite looks through all entries for each of the resources.
        statement = (
            "SELECT entry.resource, entry.seq, entry.nth FROM json_each(%s) AS wanted"
            " CROSS JOIN audit_entry AS entry ON entry.log_id = %s AND entry.seq = (SELECT max(seq)"
            " FROM audit_entry WHERE log_id = %s AND resource = wanted.value)"
            " UNION ALL SELECT place.resource, place.seq, place.nth FROM json_each(%s) AS wanted"
            " JOIN audit_prunedplace AS place ON place.log_id = %s"
            " AND place.resource = wanted.value ORDER BY 2"
        )
        names = orjson.dumps(list(resources)).decode()
        parameters = [names, log_id, log_id, names, log_id]
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        # In the order of their numbers, so that the newest of two remains.
        return {resource: Newest(seq, nth) for resource, seq, nth in cursor.fetchall()}


def keep_places(log_id: int, ranges: Sequence[Sequence[int]]) -> None:
    """Remember the places of resources whose newest entry is in one of these ranges.

    Their entries are about to go; the head must be locked.
    """
    last: dict[str, Newest] = {}
    with connection.cursor() as cursor:
        for start, stop in ranges:
            cursor.execute(
                "SELECT resource, max(seq), max(nth) FROM audit_entry"
                " WHERE log_id = %s AND seq >= %s AND seq < %s GROUP BY resource",
                [log_id, start, stop],
            )
            last |= {resource: Newest(seq, nth) for resource, seq, nth in cursor.fetchall()}
        newest = newest_of(log_id, list(last)) if last else {}
        places = [
            (place.seq, place.nth, log_id, resource)
            for resource, place in last.items()
            if newest.get(resource, place).seq == place.seq
        ]
        if not places:
            return
        cursor.executemany(
            "UPDATE audit_prunedplace SET seq = %s, nth = %s WHERE log_id = %s AND resource = %s",
            places,
        )
        cursor.executemany(
            "INSERT INTO audit_prunedplace (seq, nth, log_id, resource) SELECT %s, %s, %s, %s"
            " WHERE NOT EXISTS (SELECT 1 FROM audit_prunedplace"
            " WHERE log_id = %s AND resource = %s)",
            [(*place, *place[2:]) for place in places],
        )


def delete_entries(log_id: int, start: int, stop: int) -> None:
    """Only within a pruned range: everywhere else the database refuses."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM audit_entry WHERE log_id = %s AND seq >= %s AND seq < %s",
            [log_id, start, stop],
        )


def pending(log_id: int, limit: int) -> list[tuple[int, bytes]]:
    """The oldest events that wait, as (row id, canonical bytes)."""
    if connection.vendor == "postgresql":
        return postgresql.pending(log_id, limit)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, event FROM audit_pending WHERE log_id = %s ORDER BY id LIMIT %s",
            [log_id, limit],
        )
        return [(row_id, bytes(event)) for row_id, event in cursor.fetchall()]


def insert_pending(log_id: int, event_id: str, event: bytes) -> None:
    if connection.vendor == "postgresql":
        postgresql.insert_pending(log_id, event_id, event)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_pending (log_id, event_id, event, created_at)"
            " VALUES (%s, %s, %s, CURRENT_TIMESTAMP)",
            [log_id, event_id, event],
        )


def delete_pending(row_ids: Sequence[int]) -> None:
    places = ", ".join(["%s"] * len(row_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM audit_pending WHERE id IN ({places})",  # noqa: S608
            list(row_ids),
        )


def _read_head(log_id: int) -> Head | None:
    lock = " FOR UPDATE" if connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, origin, size, last_hash, last_timestamp_us, frontier, note,"  # noqa: S608
            f" note_size, note_at, kept_at, refusal FROM audit_log WHERE id = %s{lock}",
            [log_id],
        )
        found = cursor.fetchone()
    if found is None:
        return None
    name, origin, size, last_hash, last_us, frontier, note, note_size, *rest = found
    note_at, kept_at, refusal = rest
    return Head(
        log_id,
        name,
        origin,
        size,
        bytes(last_hash),
        last_us,
        Frontier.from_bytes(bytes(frontier)),
        note,
        note_size,
        _aware(note_at),
        _aware(kept_at),
        refusal,
    )


def _aware(value: datetime | str | None) -> datetime | None:
    """A moment as raw SQL returns it: SQLite keeps text without a zone, which is UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def insert_log(log_id: int, name: str, origin: str, title: str = "") -> None:
    """An empty log, unless it is there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_log (id, name, title, origin, size, last_hash, last_timestamp_us,"
            " frontier, note, note_size, refusal)"
            " VALUES (%s, %s, %s, %s, 0, %s, 0, %s, '', -1, '') ON CONFLICT DO NOTHING",
            [log_id, name, title, origin, GENESIS, Frontier().to_bytes()],
        )


def _time(value: datetime | None) -> Any:
    """A moment as this database takes it in raw SQL."""
    return connection.ops.adapt_datetimefield_value(value) if value else None


def _values(log_id: int, row: Row) -> tuple[Any, ...]:
    event = row.prepared
    return (
        log_id,
        row.seq,
        row.leaf,
        row.leaf_hash,
        event.event_id,
        event.type,
        event.actor,
        event.by,
        event.resource,
        event.resource_version,
        _time(event.occurred_at),
        _time(moment(row.timestamp_us)),
        event.parent_id,
        event.subject,
        row.nth,
        row.previous,
    )
