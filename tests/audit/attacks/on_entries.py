# ruff: noqa: S608  # SQL is what attacks are made of
"""Attacks on the entries: edited, moved, put in, taken out."""

from django.db import connection

from audit.models import Entry
from tests.audit.attacks import forging
from tests.audit.attacks.attack import NEITHER, POSTGRESQL, SQLITE, Attack, statement
from tests.audit.attacks.scene import (
    APPEND,
    COPY,
    MEMORY,
    OUTSIDE,
    RECEIPT,
    SIZE,
    TARGET,
    VERIFY,
    Scene,
)
from tests.audit.builders import sql

_PROJECTIONS = {
    "event_id": "'another'",
    "type": "'READ'",
    "actor": "'service:nobody'",
    "by": "'user:99'",
    "resource": "'dataset:shop:other'",
    "resource_version": "'7000'",
    "parent_id": "'run-2'",
    "subject": "'ffffffffffffffffffffffffffffffff'",
    "occurred_at": "'2025-01-01 00:00:00'",
    "recorded_at": "'2025-01-01 00:00:00'",
}


def _insert(seq: int, verb: str = "INSERT") -> str:
    """A copy of entry 7 under another number and event id."""
    names = [field.column for field in Entry._meta.concrete_fields if field.column]
    values = {name: f'"{name}"' for name in names} | {"seq": str(seq), "event_id": "'forged'"}
    columns = ", ".join(f'"{name}"' for name in names)
    return (
        f"{verb} INTO audit_entry ({columns}) SELECT {', '.join(values.values())}"
        " FROM audit_entry WHERE seq = 7"
    )


def one_byte(scene: Scene) -> None:
    leaf = forging.leaf_of(TARGET)
    forging.set_leaf(TARGET, leaf[:-9] + bytes([leaf[-9] ^ 1]) + leaf[-8:])


def leaf_and_hash(scene: Scene) -> None:
    leaf = forging.leaf_of(TARGET).replace(b'"rows":', b'"rowz":')
    forging.set_leaf(TARGET, leaf, with_hash=True)


def newest_with_everything_beside_it(scene: Scene) -> None:
    leaf = forging.leaf_of(SIZE - 1).replace(b'"rows":', b'"rowz":')
    forging.set_leaf(SIZE - 1, leaf, with_hash=True)
    forging.rebuild_tree()


def swapped(scene: Scene) -> None:
    for seq, other in ((TARGET, 10**6), (TARGET + 1, TARGET), (10**6, TARGET + 1)):
        sql("UPDATE audit_entry SET seq = %s WHERE seq = %s", other, seq)


def swapped_and_linked(scene: Scene) -> None:
    """The two leaves change places and are made to fit: number, chain, hashes, tiles, head."""
    swapped(scene)
    forging.reseal({seq: forging.event_of(seq) for seq in (TARGET, TARGET + 1)})


def emptied(scene: Scene) -> None:
    verb = "TRUNCATE" if connection.vendor == "postgresql" else "DELETE FROM"
    sql(f"{verb} audit_entry")


def emptied_with_everything(scene: Scene) -> None:
    for table in ("audit_entry", "audit_tile", "audit_checkpoint", "audit_log"):
        sql(f"{'TRUNCATE' if connection.vendor == 'postgresql' else 'DELETE FROM'} {table}")


def tail_cut(scene: Scene) -> None:
    sql("DELETE FROM audit_entry WHERE seq >= %s", SIZE - 10)


def tail_cut_and_head_turned_back(scene: Scene) -> None:
    tail_cut(scene)
    forging.rebuild_tree()


def tail_cut_to_an_older_checkpoint(scene: Scene) -> None:
    sql("DELETE FROM audit_entry WHERE seq >= %s", scene.backup["size"])
    sql("DELETE FROM audit_checkpoint WHERE size > %s", scene.backup["size"])
    sql('DELETE FROM audit_tile WHERE ("index" + 1) * 256 > %s', scene.backup["size"])
    forging.put_back_head(scene.backup)


def replica_role(scene: Scene) -> None:
    sql("SET LOCAL session_replication_role = replica")
    sql("DELETE FROM audit_entry WHERE seq = %s", TARGET)
    sql("SET LOCAL session_replication_role = origin")


ATTACKS = [
    Attack(
        "a byte of a leaf",
        one_byte,
        (VERIFY, RECEIPT),
        "Entry 700: its leaf and the hash beside it",
    ),
    Attack(
        "a leaf, and the hash beside it",
        leaf_and_hash,
        (VERIFY, RECEIPT),
        "Entry 700: it is not the entry that entry 701 was chained to",
    ),
    Attack(
        "the newest leaf, with hash, tiles and head made to fit",
        newest_with_everything_beside_it,
        (VERIFY, APPEND, RECEIPT, COPY),
        "The newest checkpoint covers another tree",
    ),
    statement(
        "the hash beside a leaf",
        f"UPDATE audit_entry SET leaf_hash = (SELECT leaf_hash FROM audit_entry WHERE seq = 7)"
        f" WHERE seq = {TARGET}",
        caught=(VERIFY,),
        says="Entry 700: its leaf and the hash beside it",
    ),
    *(
        statement(
            f"the column `{name}`",
            f'UPDATE audit_entry SET "{name}" = {value} WHERE seq = {TARGET}',
            caught=(VERIFY,),
            says=f"Entry {TARGET}: the column {name} does not say what its leaf says.",
        )
        for name, value in _PROJECTIONS.items()
    ),
    statement(
        "an entry deleted",
        f"DELETE FROM audit_entry WHERE seq = {TARGET}",
        caught=(VERIFY, RECEIPT),
        says="Entry 700: it is missing",
    ),
    statement(
        "the newest entry deleted",
        f"DELETE FROM audit_entry WHERE seq = {SIZE - 1}",
        caught=(VERIFY, *OUTSIDE),
        says="Entry 1499: it is missing",
        only_sqlite=(APPEND,),
    ),
    Attack(
        "the newest ten deleted",
        tail_cut,
        (VERIFY, *OUTSIDE),
        "Entry 1490: it is missing",
        only_sqlite=(APPEND,),
    ),
    Attack(
        "the newest ten deleted, tiles and head turned back",
        tail_cut_and_head_turned_back,
        (VERIFY, APPEND, *OUTSIDE),
        "the checkpoint kept for 1500 entries covers 1500 entries, and the log has 1490",
    ),
    Attack(
        "everything turned back to an older signed checkpoint",
        tail_cut_to_an_older_checkpoint,
        (MEMORY, APPEND, *OUTSIDE),
        "the checkpoint remembered beside the key covers 1500 entries, and the log has 600",
    ),
    Attack(
        "the table of entries emptied",
        emptied,
        (VERIFY, *OUTSIDE),
        "Entry 0: it is missing",
        only_sqlite=(APPEND,),
    ),
    Attack(
        "all tables of the log emptied",
        emptied_with_everything,
        (MEMORY, APPEND, *OUTSIDE),
        "The head of the log is missing, and there was a log",
    ),
    Attack(
        "two entries change places",
        swapped,
        (VERIFY, RECEIPT),
        "Entry 700: the leaf at this position says that it is number 701",
    ),
    Attack(
        "two entries change places, all sealed again",
        swapped_and_linked,
        (VERIFY, APPEND, RECEIPT, COPY),
        "The newest checkpoint covers another tree",
    ),
    statement(
        "an entry renumbered",
        f"UPDATE audit_entry SET seq = {SIZE + 5} WHERE seq = {TARGET}",
        caught=(VERIFY, RECEIPT),
        says="Entry 700: it is missing",
        only_sqlite=(APPEND,),
    ),
    statement(
        "an entry moved to another log",
        f"UPDATE audit_entry SET log_id = 9 WHERE seq = {TARGET}",
        caught=(VERIFY, RECEIPT),
        says="Entry 700: it is missing",
    ),
    statement(
        "an entry put in far behind the head",
        _insert(SIZE + 100),
        caught=(VERIFY,),
        says="Entry 1600: it lies behind the head",
        only_sqlite=(APPEND,),
        refused=SQLITE,
    ),
    statement(
        "an entry put in at the next place",
        _insert(SIZE),
        caught=(VERIFY, APPEND),
        says="Entry 1500: it lies behind the head",
        refused=NEITHER,
    ),
    statement(
        "an entry put in before the first",
        _insert(-1),
        caught=(VERIFY,),
        says="A row has -1 for its number",
        refused=SQLITE,
    ),
    statement(
        "`INSERT OR REPLACE` of an entry",
        _insert(TARGET, verb="INSERT OR REPLACE"),
        caught=(VERIFY, RECEIPT),
        says="Entry 700: the leaf at this position says that it is number 7.",
        refused=SQLITE,
        vendors=SQLITE,
    ),
    statement(
        "`INSERT … ON CONFLICT DO UPDATE`",
        f"INSERT INTO audit_entry SELECT * FROM audit_entry WHERE seq = {TARGET}"
        " ON CONFLICT (log_id, seq) DO UPDATE SET actor = 'nobody'",
        caught=(VERIFY,),
        says="Entry 700: the column actor",
    ),
    Attack(
        "`session_replication_role = replica`, then an entry deleted",
        replica_role,
        (VERIFY, RECEIPT),
        "Entry 700: it is missing",
        POSTGRESQL,
        POSTGRESQL,
    ),
]
