"""Statements that a taken-over application could send: the database refuses each of them."""

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connection, transaction

from audit import guards
from audit.models import Checkpoint, Entry, Log, Tile
from tests.audit.builders import log_with, verified

pytestmark = pytest.mark.django_db
SIZE = 260
COPY = (
    '(log_id, seq, leaf, leaf_hash, event_id, type, actor, "by", resource, resource_version,'
    " occurred_at, recorded_at, parent_id, subject, nth, previous) SELECT log_id, {seq}, leaf,"
    ' leaf_hash, {event}, type, actor, "by", resource, resource_version, occurred_at, recorded_at,'
    " parent_id, subject, nth, previous"
    " FROM audit_entry WHERE seq = 7"
)

CHANGES = [
    "UPDATE audit_entry SET leaf = leaf WHERE seq = 3",
    "UPDATE audit_entry SET actor = 'nobody'",
    "UPDATE audit_entry SET log_id = 2 WHERE seq = 259",
    "DELETE FROM audit_entry WHERE seq = 259",
    "DELETE FROM audit_entry",
    "UPDATE audit_tile SET root = hashes",
    "DELETE FROM audit_tile",
    "UPDATE audit_checkpoint SET note = ''",
    "DELETE FROM audit_checkpoint",
    "UPDATE audit_log SET size = size - 1, note_size = note_size - 1",
    "UPDATE audit_log SET note_size = -1, note = ''",
    "UPDATE audit_log SET origin = 'another/log'",
    "DELETE FROM audit_log",
]
SQLITE = [
    f"INSERT OR REPLACE INTO audit_entry {COPY.format(seq=3, event='event_id')}",
    f"REPLACE INTO audit_entry {COPY.format(seq=3, event='event_id')}",
    # A new number, but the event id of an older entry: the collision would remove that one.
    f"INSERT OR REPLACE INTO audit_entry {COPY.format(seq=260, event='event_id')}",
    # A new number and id, but the rowid of an older entry.
    "INSERT OR REPLACE INTO audit_entry (rowid, log_id, seq, leaf, leaf_hash, event_id, type,"
    ' actor, "by", resource, resource_version, recorded_at, parent_id, subject, nth) SELECT'
    " (SELECT rowid FROM audit_entry WHERE seq = 5), 1, 260, x'00', x'00', 'new', '', '', '', '',"
    " '', '2026-01-01', '', '', 1",
    f"INSERT INTO audit_entry {COPY.format(seq=300, event=chr(39) + 'new' + chr(39))}",
    f"INSERT OR IGNORE INTO audit_entry {COPY.format(seq=-1, event=chr(39) + 'new' + chr(39))}",
    "UPDATE OR REPLACE audit_entry SET seq = 4 WHERE seq = 5",
    "INSERT OR REPLACE INTO audit_tile SELECT * FROM audit_tile WHERE level = 0",
    "INSERT OR REPLACE INTO audit_checkpoint SELECT * FROM audit_checkpoint",
    "INSERT INTO audit_entry SELECT * FROM audit_entry WHERE seq = 3"
    " ON CONFLICT (log_id, seq) DO UPDATE SET actor = 'nobody'",
]
POSTGRESQL = [
    "TRUNCATE audit_entry",
    "TRUNCATE audit_entry, audit_tile, audit_checkpoint",
    "TRUNCATE audit_log CASCADE",
    "SET LOCAL session_replication_role = replica; DELETE FROM audit_entry",
    "SET LOCAL session_replication_role = replica; UPDATE audit_entry SET actor = 'nobody'",
    "SET LOCAL session_replication_role = replica; TRUNCATE audit_tile",
    f"INSERT INTO audit_entry {COPY.format(seq=3, event='event_id')}"
    " ON CONFLICT (log_id, seq) DO UPDATE SET actor = 'nobody'",
    "MERGE INTO audit_entry e USING audit_tile t ON e.seq = 3 AND t.level = 0"
    " WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM audit_entry WHERE seq = 3 RETURNING *) SELECT count(*) FROM gone",
]


@pytest.fixture
def log() -> Iterator[None]:
    log_with(SIZE)
    rows = [list(model.objects.order_by("pk").values()) for model in (Entry, Tile, Checkpoint)]
    head = Log.objects.values().get()
    yield
    assert rows == [list(m.objects.order_by("pk").values()) for m in (Entry, Tile, Checkpoint)]
    assert Log.objects.values().get() == head
    assert verified().ok


def attack(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_a_change_of_the_log_is_refused(log: None, statement: str) -> None:
    with pytest.raises(DatabaseError, match=r"append-only|only grows"):
        attack(statement)


@pytest.mark.parametrize("statement", SQLITE)
def test_sqlite_refuses_to_replace_rows_of_the_log(log: None, statement: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQL of SQLite")
    with pytest.raises(DatabaseError, match="append-only"):
        attack(statement)


@pytest.mark.parametrize("statement", POSTGRESQL)
def test_postgresql_refuses_truncation_and_the_replica_role(log: None, statement: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQL of PostgreSQL")
    with pytest.raises(DatabaseError, match=r"append-only|only grows"):
        attack(statement)


def test_all_triggers_are_in_place_after_the_migrations() -> None:
    assert guards.failing_guards(connection) == []


def test_a_missing_trigger_is_named() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_no_change")
            assert guards.failing_guards(connection) == ["audit_entry_no_change"]
        else:
            cursor.execute("DROP TRIGGER audit_entry_no_update")
            assert guards.failing_guards(connection) == ["audit_entry_no_update"]
        transaction.set_rollback(True)


HOLLOW = {
    "postgresql": (
        (
            "audit_entry_only_pruned",
            "CREATE OR REPLACE FUNCTION audit_refuse_unpruned() RETURNS trigger LANGUAGE plpgsql"
            " SET search_path = pg_catalog, public, pg_temp AS $$ BEGIN RETURN OLD; END $$",
        ),
        (
            "audit_prunedrange_fits",
            "ALTER FUNCTION audit_refuse_range() SET search_path = pg_temp, public",
        ),
        (
            "audit_log_no_shrink",
            "CREATE OR REPLACE TRIGGER audit_log_no_shrink BEFORE UPDATE ON audit_log FOR EACH ROW"
            " WHEN (NEW.size < OLD.size AND NEW.origin <> OLD.origin)"
            " EXECUTE FUNCTION audit_refuse_shrinking()",
            "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_shrink",
        ),
        (
            "audit_tile_no_change",
            "CREATE OR REPLACE TRIGGER audit_tile_no_change BEFORE DELETE ON audit_tile"
            " FOR EACH ROW EXECUTE FUNCTION audit_refuse_change()",
            "ALTER TABLE audit_tile ENABLE ALWAYS TRIGGER audit_tile_no_change",
        ),
    ),
    "sqlite": (
        (
            "audit_tile_no_delete",
            "DROP TRIGGER audit_tile_no_delete",
            "CREATE TRIGGER audit_tile_no_delete BEFORE DELETE ON audit_tile BEGIN SELECT 1; END",
        ),
        (
            "audit_log_no_shrink",
            "DROP TRIGGER audit_log_no_shrink",
            "CREATE TRIGGER audit_log_no_shrink BEFORE UPDATE ON audit_log"
            " WHEN NEW.size < OLD.size"
            " BEGIN SELECT RAISE(ABORT, 'audit_log only grows: UPDATE refused'); END",
        ),
    ),
}


def test_triggers_that_were_made_hollow_are_named() -> None:
    for name, *statements in HOLLOW[connection.vendor]:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            assert guards.failing_guards(connection) == [name]
            transaction.set_rollback(True)
