# ruff: noqa: S608  # SQL is what attacks are made of
"""Attacks on what stands above the entries: tiles, checkpoints, head, triggers, the queue."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connection, transaction

from audit import append_only, storage
from audit.actions import record
from audit.events import LOG_EXPORTED
from audit.ledger.checkpoint import Checkpoint, sign
from audit.models import MAIN_LOG, Log, Tile
from tests.audit.attacks.attack import NEITHER, Attack, statement
from tests.audit.attacks.scene import (
    APPEND,
    COPY,
    OUTSIDE,
    RECEIPT,
    SIZE,
    VERIFY,
    WARNING,
    Scene,
)
from tests.audit.builders import sql

_FOREIGN_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def tile_hash(scene: Scene) -> None:
    hashes = bytes(Tile.objects.get(level=0, index=2).hashes)
    sql('UPDATE audit_tile SET hashes = %s WHERE "index" = 2', bytes(32) + hashes[32:])


def tile_put_in(scene: Scene) -> None:
    storage.insert_tiles(MAIN_LOG, [(0, 5, bytes(256 * 32), bytes(32))])


def foreign_note(size: int) -> str:
    return sign(Checkpoint(settings.VESTIGE_ORIGIN, size, bytes(32)), _FOREIGN_KEY)


def note_forged(scene: Scene) -> None:
    sql("UPDATE audit_log SET note = %s", foreign_note(SIZE))


def note_older(scene: Scene) -> None:
    sql("UPDATE audit_log SET note = %s", scene.backup["note"])


def checkpoint_put_in(scene: Scene) -> None:
    sql(
        "INSERT INTO audit_checkpoint (log_id, size, root, note, signed_at)"
        " SELECT log_id, 1000, %s, %s, signed_at FROM audit_checkpoint WHERE size = %s",
        bytes(32), foreign_note(1000), SIZE,
    )  # fmt: skip


def checkpoint_edited(scene: Scene) -> None:
    sql("UPDATE audit_checkpoint SET note = %s WHERE size = %s", foreign_note(SIZE), SIZE)


def frontier(scene: Scene) -> None:
    tree = bytes(Log.objects.get(pk=MAIN_LOG).frontier)
    sql("UPDATE audit_log SET frontier = %s", tree[:-1] + bytes([tree[-1] ^ 1]))


def triggers_dropped(scene: Scene) -> None:
    append_only.uninstall(connection)


def hollow_triggers(scene: Scene) -> None:
    """Triggers of the right names that do nothing."""
    if connection.vendor == "postgresql":
        for name in ("audit_refuse_change", "audit_refuse_shrinking"):
            sql(
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RETURN NEW; END $$"
            )
        return
    sql("DROP TRIGGER IF EXISTS audit_entry_no_update")
    sql("CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry BEGIN SELECT 1; END")


def waiting_event_deleted(scene: Scene) -> None:
    with transaction.atomic():
        record(LOG_EXPORTED, by=scene.by, resource="log:main", details={"size": 1})
    sql("DELETE FROM audit_pending")


ATTACKS = [
    Attack(
        "a hash in a tile",
        tile_hash,
        (VERIFY, RECEIPT),
        "Entry 512: the hash tile holds another hash",
    ),
    statement(
        "the root beside a tile",
        'UPDATE audit_tile SET root = leaf_hash FROM audit_entry WHERE "index" = 2 AND seq = 7',
        caught=(VERIFY, RECEIPT, COPY),
        says="Entry 512: the root beside its hash tile",
    ),
    statement(
        "a tile deleted",
        'DELETE FROM audit_tile WHERE "index" = 1',
        caught=(VERIFY, *OUTSIDE),
        says="Entry 256: the hash tile from this entry on is missing",
    ),
    Attack(
        "a tile put in", tile_put_in, (VERIFY,), "There are more hash tiles of level 0", NEITHER
    ),
    Attack(
        "a kept checkpoint edited",
        checkpoint_edited,
        (VERIFY,),
        "The checkpoint kept for 1500 entries is not signed by this log",
    ),
    statement(
        "the root beside a kept checkpoint",
        "UPDATE audit_checkpoint SET root = leaf_hash FROM audit_entry WHERE seq = 7",
        caught=(VERIFY,),
        says="or its root is not the one beside it",
    ),
    Attack(
        "a checkpoint of another key put in",
        checkpoint_put_in,
        (VERIFY,),
        "The checkpoint kept for 1000 entries is not signed by this log",
        NEITHER,
    ),
    statement(
        "a kept checkpoint deleted",
        f"DELETE FROM audit_checkpoint WHERE size < {SIZE}",
        caught=(),
        says="",
    ),
    statement(
        "the head says less entries",
        "UPDATE audit_log SET size = size - 1, note_size = note_size - 1",
        caught=(VERIFY, APPEND),
        says="Entry 1498: it is not the entry whose hash stands in the head",
    ),
    statement(
        "the head says more entries",
        "UPDATE audit_log SET size = size + 1",
        caught=(VERIFY, APPEND),
        says="Entry 1500: it is missing",
        refused=NEITHER,
    ),
    statement(
        "the head says a million million more entries",
        "UPDATE audit_log SET size = size + 1000000000000",
        caught=(VERIFY, APPEND),
        says="Entry 1500: it is missing",
        refused=NEITHER,
    ),
    statement(
        "another last hash in the head",
        "UPDATE audit_log SET last_hash = (SELECT leaf_hash FROM audit_entry WHERE seq = 7)",
        caught=(VERIFY,),
        says="Entry 1499: it is not the entry whose hash stands in the head",
        refused=NEITHER,
    ),
    statement(
        "another last time in the head",
        "UPDATE audit_log SET last_timestamp_us = last_timestamp_us - 60000000",
        caught=(VERIFY,),
        says="The last time in the head is not that of the entries",
        refused=NEITHER,
    ),
    Attack(
        "another tree in the head",
        frontier,
        (VERIFY, APPEND),
        "The tree in the head is not that of the entries",
        NEITHER,
    ),
    statement(
        "another origin in the head",
        "UPDATE audit_log SET origin = 'another.example/log'",
        caught=(VERIFY, APPEND),
        says="The newest checkpoint is not signed by this log",
    ),
    Attack(
        "a checkpoint of another key in the head",
        note_forged,
        (VERIFY, APPEND, *OUTSIDE),
        "The newest checkpoint is not signed by this log",
        NEITHER,
    ),
    Attack(
        "an older checkpoint in the head",
        note_older,
        (VERIFY, APPEND, *OUTSIDE),
        "the checkpoint covers 600",
        NEITHER,
    ),
    statement(
        "the head deleted",
        "DELETE FROM audit_log",
        caught=(VERIFY, APPEND, *OUTSIDE),
        says="Entry 1499: it lies behind the head",
    ),
    Attack(
        "the triggers dropped",
        triggers_dropped,
        (WARNING,),
        "The database does not guard the log",
        None,
        rank="database owner",
        drops_triggers=False,
    ),
    Attack(
        "the triggers replaced by hollow ones of their names",
        hollow_triggers,
        (WARNING,),
        "The database does not guard the log",
        None,
        rank="database owner",
        drops_triggers=False,
    ),
    Attack(
        "an event deleted while it waits for its place",
        waiting_event_deleted,
        (),
        "",
        NEITHER,
    ),
]
