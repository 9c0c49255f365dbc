"""The triggers that make the database refuse changes to the log.

They stop an application that misbehaves or is taken over, and every statement of SQL below the
rank of a database owner. An owner can drop them; `verify_log` finds what was done then, and that
they are missing.

PostgreSQL: row triggers on UPDATE and DELETE and a statement trigger on TRUNCATE, ENABLE ALWAYS,
so that session_replication_role = replica does not pass them by.
SQLite: triggers on UPDATE and DELETE, and one on INSERT, because INSERT OR REPLACE removes the
rows that it collides with without firing DELETE triggers. The collision may be by primary key, by
event id or by rowid.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

_FROZEN = ("audit_entry", "audit_tile", "audit_checkpoint")

_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
"""
_POSTGRESQL_TABLE = """
CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change;
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate
"""
_POSTGRESQL_HEAD = """
CREATE OR REPLACE FUNCTION audit_refuse_shrinking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log only grows: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_log_no_shrink BEFORE UPDATE ON audit_log FOR EACH ROW
    WHEN (NEW.size < OLD.size OR NEW.note_size < OLD.note_size OR NEW.id <> OLD.id
          OR NEW.origin <> OLD.origin)
    EXECUTE FUNCTION audit_refuse_shrinking();
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_shrinking();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_shrinking();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_shrink;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_delete;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_truncate
"""
_POSTGRESQL_NAMES = {
    **{table: (f"{table}_no_change", f"{table}_no_truncate") for table in _FROZEN},
    "audit_log": ("audit_log_no_shrink", "audit_log_no_delete", "audit_log_no_truncate"),
}

_SQLITE = {
    **{
        f"{table}_no_{change.lower()}": f"""
CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only: {change} refused'); END
"""
        for table in _FROZEN
        for change in ("UPDATE", "DELETE")
    },
    "audit_entry_no_replace": """
CREATE TRIGGER audit_entry_no_replace BEFORE INSERT ON audit_entry
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM audit_entry WHERE log_id = NEW.log_id)
    OR EXISTS (SELECT 1 FROM audit_entry WHERE log_id = NEW.log_id AND event_id = NEW.event_id)
    OR EXISTS (SELECT 1 FROM audit_entry WHERE rowid = NEW.rowid)
BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only: only the next entry may be added'); END
""",
    "audit_tile_no_replace": """
CREATE TRIGGER audit_tile_no_replace BEFORE INSERT ON audit_tile
WHEN EXISTS (SELECT 1 FROM audit_tile
             WHERE log_id = NEW.log_id AND level = NEW.level AND "index" = NEW."index")
    OR EXISTS (SELECT 1 FROM audit_tile WHERE rowid = NEW.rowid)
BEGIN SELECT RAISE(ABORT, 'audit_tile is append-only: this tile is there'); END
""",
    "audit_checkpoint_no_replace": """
CREATE TRIGGER audit_checkpoint_no_replace BEFORE INSERT ON audit_checkpoint
WHEN EXISTS (SELECT 1 FROM audit_checkpoint
             WHERE (log_id = NEW.log_id AND size = NEW.size) OR id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_checkpoint is append-only: this checkpoint is there'); END
""",
    "audit_log_no_shrink": """
CREATE TRIGGER audit_log_no_shrink BEFORE UPDATE ON audit_log
WHEN NEW.size < OLD.size OR NEW.note_size < OLD.note_size OR NEW.id <> OLD.id
    OR NEW.origin <> OLD.origin
BEGIN SELECT RAISE(ABORT, 'audit_log only grows: UPDATE refused'); END
""",
    "audit_log_no_delete": """
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log only grows: DELETE refused'); END
""",
    "audit_log_no_replace": """
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id OR name = NEW.name)
BEGIN SELECT RAISE(IGNORE); END
""",
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Create all triggers; to be repeated by a migration that rebuilds one of the tables."""
    uninstall(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRESQL_FUNCTION)
            for table in _FROZEN:
                cursor.execute(_POSTGRESQL_TABLE.format(table=table))
            cursor.execute(_POSTGRESQL_HEAD)
        else:
            for statement in _SQLITE.values():
                cursor.execute(statement)


def uninstall(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table, names in _POSTGRESQL_NAMES.items():
                for name in names:
                    cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
        else:
            for name in _SQLITE:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def missing_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that are not there, or on PostgreSQL not always enabled, by name."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgenabled = 'A'")
            wanted = {name for names in _POSTGRESQL_NAMES.values() for name in names}
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            wanted = set(_SQLITE)
        return sorted(wanted - {row[0] for row in cursor.fetchall()})
