"""What somebody can do who owns the database, and what only the holder of the key can."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connection

from audit import proofs, storage
from audit.keys import log_key
from audit.ledger.checkpoint import Checkpoint, sign
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import GENESIS, pack, unpack
from audit.ledger.tree import Frontier, root_of
from audit.models import MAIN_LOG, Entry, Log
from audit.models import Checkpoint as KeptCheckpoint
from audit.rows import moment
from tests.audit.builders import sql

Forged = dict[int, tuple[int, bytes]]  # seq → its new time and event


def leaf_of(seq: int, log_id: int = MAIN_LOG) -> bytes:
    return bytes(Entry.objects.get(log_id=log_id, seq=seq).leaf)


def hashes_of_all(log_id: int = MAIN_LOG) -> list[bytes]:
    rows = Entry.objects.filter(log_id=log_id).order_by("seq")
    return [bytes(digest) for digest in rows.values_list("leaf_hash", flat=True)]


def set_leaf(seq: int, leaf: bytes, *, with_hash: bool = False, log_id: int = MAIN_LOG) -> None:
    sql("UPDATE audit_entry SET leaf = %s WHERE log_id = %s AND seq = %s", leaf, log_id, seq)
    if with_hash:
        sql(
            "UPDATE audit_entry SET leaf_hash = %s WHERE log_id = %s AND seq = %s",
            leaf_hash(leaf), log_id, seq,
        )  # fmt: skip


def event_of(seq: int, log_id: int = MAIN_LOG) -> tuple[int, bytes]:
    """Time and event of an entry."""
    leaf = unpack(leaf_of(seq, log_id))
    return leaf.timestamp_us, leaf.event


def reseal(forged: Forged, log_id: int = MAIN_LOG) -> None:
    """Change these entries and seal everything from the first on again: leaves, tiles, head."""
    start = min(forged)
    rows = list(Entry.objects.filter(log_id=log_id, seq__gte=start).order_by("seq"))
    previous = leaf_hash(leaf_of(start - 1, log_id)) if start else GENESIS
    changed = []
    for row in rows:
        old = unpack(bytes(row.leaf))
        moment, event = forged.get(row.seq, (old.timestamp_us, old.event))
        leaf = pack(row.seq, moment, previous, event)
        previous = leaf_hash(leaf)
        changed.append((leaf, previous, log_id, row.seq))
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE audit_entry SET leaf = %s, leaf_hash = %s WHERE log_id = %s AND seq = %s",
            changed,
        )
    rebuild_tree(log_id)


def rebuild_tree(log_id: int = MAIN_LOG) -> None:
    """Tiles and head made to fit the entries that are there now."""
    hashes = hashes_of_all(log_id)
    frontier = Frontier()
    frontier.extend(hashes)
    sql("DELETE FROM audit_tile WHERE log_id = %s", log_id)
    storage.insert_tiles(log_id, proofs.grow(0, hashes, {}).filled)
    last = unpack(leaf_of(len(hashes) - 1, log_id))
    sql(
        "UPDATE audit_log SET size = %s, last_hash = %s, last_timestamp_us = %s, frontier = %s,"
        " note_size = CASE WHEN note_size > %s THEN %s ELSE note_size END WHERE id = %s",
        len(hashes), hashes[-1], last.timestamp_us, frontier.to_bytes(), len(hashes), len(hashes),
        log_id,
    )  # fmt: skip


def forget_signatures(log_id: int = MAIN_LOG) -> None:
    """Take away every checkpoint in the database, as if nothing had been signed yet."""
    sql("UPDATE audit_log SET note = '', note_size = -1 WHERE id = %s", log_id)
    sql("DELETE FROM audit_checkpoint WHERE log_id = %s", log_id)


def put_back_signature(head: dict[str, Any]) -> None:
    """As if nothing had been signed since the head was like this."""
    sql(
        "UPDATE audit_log SET note = %s, note_size = %s WHERE id = %s",
        head["note"], head["note_size"], head["id"],
    )  # fmt: skip
    sql("DELETE FROM audit_checkpoint WHERE log_id = %s AND size > %s", head["id"], head["size"])


def date_columns(log_id: int = MAIN_LOG) -> None:
    """The column recorded_at made to say what the leaves say."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE audit_entry SET recorded_at = %s WHERE log_id = %s AND seq = %s",
            [
                (storage._time(moment(event_of(seq, log_id)[0])), log_id, seq)
                for seq in Entry.objects.filter(log_id=log_id).values_list("seq", flat=True)
            ],
        )


def remember_newest(log_id: int = MAIN_LOG) -> None:
    """The note beside the key made the newest one in the database."""
    (settings.VESTIGE_KEYS / "log.signed").write_text(Log.objects.get(pk=log_id).note)


def sign_everything_again(log_id: int = MAIN_LOG, key: Ed25519PrivateKey | None = None) -> None:
    """With the log's own key: newest checkpoint, kept ones, and the memory beside the key."""
    with_key = key or log_key()
    hashes = hashes_of_all(log_id)
    origin = Log.objects.get(pk=log_id).origin

    def note_of(size: int) -> tuple[str, bytes]:
        root = root_of(hashes[:size])
        return sign(Checkpoint(origin, size, root), with_key), root

    sql("DELETE FROM audit_checkpoint WHERE log_id = %s AND size > %s", log_id, len(hashes))
    for kept in KeptCheckpoint.objects.filter(log_id=log_id):
        note, root = note_of(kept.size)
        sql("UPDATE audit_checkpoint SET note = %s, root = %s WHERE id = %s", note, root, kept.pk)
    note, _ = note_of(len(hashes))
    sql("UPDATE audit_log SET note = %s, note_size = %s WHERE id = %s", note, len(hashes), log_id)
    remember_newest(log_id)


def put_back_head(values: dict[str, Any]) -> None:
    """The head's row as it once was."""
    names = [name for name in values if name != "id"]
    assignments = ", ".join(f"{name} = %s" for name in names)
    moments = {"note_at", "kept_at"}
    given = [
        connection.ops.adapt_datetimefield_value(values[name]) if name in moments else values[name]
        for name in names
    ]
    sql(f"UPDATE audit_log SET {assignments} WHERE id = %s", *given, values["id"])  # noqa: S608
