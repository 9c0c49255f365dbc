"""The triggers that make the database refuse changes to the log.

They stop an application that misbehaves or is taken over, and every statement of SQL below the
rank of a database owner. An owner can drop or hollow them out; `verify_log` finds what was done
then, and audit.guards that they are not what they were.

PostgreSQL: row triggers on UPDATE and DELETE and a statement trigger on TRUNCATE, ENABLE ALWAYS,
so that session_replication_role = replica does not pass them by.
SQLite: triggers on UPDATE and DELETE, and one on INSERT, because INSERT OR REPLACE removes the
rows that it collides with without firing DELETE triggers. The collision may be by primary key, by
event id or by rowid.

The one door: entries may be deleted where a row of audit_prunedrange covers them. Such a row never
changes, covers whole full tiles that no other covers, names an entry of type log.pruned behind
them, and covers none that the log itself needs. Whether that entry says the same is for
`verify_log` to find out.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

_FROZEN = ("audit_entry", "audit_tile", "audit_checkpoint", "audit_prunedrange")
_RANGES, _PLACES = "audit_prunedrange", "audit_prunedplace"

# What a row of audit_prunedrange must not be. The types are those of the log's own that
# `audit.events` declares permanent; the other apps' are respected by the action alone.
_NO_RANGE = """
    NEW.start < 0 OR NEW.stop <= NEW.start OR NEW.start % 256 <> 0 OR NEW.stop % 256 <> 0
    OR NEW.entry < NEW.stop
    OR (NEW.stop - NEW.start) / 256 <> (SELECT count(*) FROM audit_tile AS t WHERE
        t.log_id = NEW.log_id AND t.level = 0
        AND t."index" >= NEW.start / 256 AND t."index" < NEW.stop / 256)
    OR EXISTS (SELECT 1 FROM audit_prunedrange AS r WHERE
        r.log_id = NEW.log_id AND r.start < NEW.stop AND r.stop > NEW.start)
    OR NOT EXISTS (SELECT 1 FROM audit_entry AS e WHERE
        e.log_id = NEW.log_id AND e.seq = NEW.entry AND e.type = 'log.pruned')
    OR EXISTS (SELECT 1 FROM audit_entry AS e WHERE
        e.log_id = NEW.log_id AND e.seq >= NEW.start AND e.seq < NEW.stop
        AND (substr(e.type, 1, 4) = 'kek.' OR substr(e.type, 1, 8) = 'log.key.'
             OR substr(e.type, 1, 9) = 'log.hold_' OR substr(e.type, 1, 10) = 'log.pruned'
             OR substr(e.type, 1, 12) IN ('log.pruning_', 'certificate.')
             OR substr(e.type, 1, 14) = 'log.retention_'
             OR e.type IN ('log.created', 'subject.keys_created', 'subject.keys_lost',
                           'subject.erased', 'subject.erasure_replayed',
                           'subject.erasure_receipted')))
"""
_PRUNED = """
    SELECT r.stop > OLD.seq FROM audit_prunedrange AS r
    WHERE r.log_id = OLD.log_id AND r.start <= OLD.seq ORDER BY r.start DESC LIMIT 1
"""

_POSTGRESQL_FUNCTION = """
CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$
"""
_POSTGRESQL_TABLE = """
CREATE TRIGGER {table}_no_change BEFORE DELETE OR UPDATE ON {table}
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
          OR NEW.origin <> OLD.origin OR NEW.name <> OLD.name)
    EXECUTE FUNCTION audit_refuse_shrinking();
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_shrinking();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_shrinking();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_shrink;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_delete;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_truncate
"""
# With the search path fixed: no table of the session can stand in for the log's.
_POSTGRESQL_DOOR = """
CREATE OR REPLACE FUNCTION audit_refuse_unpruned() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
    IF ({pruned}) IS NOT TRUE THEN
        RAISE EXCEPTION 'audit_entry is append-only: DELETE refused'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;
CREATE OR REPLACE FUNCTION audit_refuse_range() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
    IF ({no_range}) IS NOT FALSE THEN
        RAISE EXCEPTION 'audit_entry is append-only: this range cannot be pruned'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION audit_refuse_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_prunedplace only grows: % refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
DROP TRIGGER audit_entry_no_change ON audit_entry;
CREATE TRIGGER audit_entry_no_change BEFORE UPDATE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_entry_only_pruned BEFORE DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_unpruned();
CREATE TRIGGER audit_prunedrange_fits BEFORE INSERT ON audit_prunedrange
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_range();
CREATE TRIGGER audit_prunedplace_no_shrink BEFORE UPDATE ON audit_prunedplace FOR EACH ROW
    WHEN (NEW.seq <= OLD.seq OR NEW.nth <= OLD.nth OR NEW.log_id <> OLD.log_id
          OR NEW.resource <> OLD.resource)
    EXECUTE FUNCTION audit_refuse_place();
CREATE TRIGGER audit_prunedplace_no_delete BEFORE DELETE ON audit_prunedplace
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_place();
CREATE TRIGGER audit_prunedplace_no_truncate BEFORE TRUNCATE ON audit_prunedplace
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_place();
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_no_change;
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_only_pruned;
ALTER TABLE audit_prunedrange ENABLE ALWAYS TRIGGER audit_prunedrange_fits;
ALTER TABLE audit_prunedplace ENABLE ALWAYS TRIGGER audit_prunedplace_no_shrink;
ALTER TABLE audit_prunedplace ENABLE ALWAYS TRIGGER audit_prunedplace_no_delete;
ALTER TABLE audit_prunedplace ENABLE ALWAYS TRIGGER audit_prunedplace_no_truncate
"""
_POSTGRESQL_NAMES = {
    "audit_entry": (
        "audit_entry_no_change",
        "audit_entry_only_pruned",
        "audit_entry_no_truncate",
    ),
    **{table: (f"{table}_no_change", f"{table}_no_truncate") for table in _FROZEN[1:3]},
    _RANGES: (f"{_RANGES}_no_change", f"{_RANGES}_no_truncate", f"{_RANGES}_fits"),
    _PLACES: tuple(f"{_PLACES}_no_{change}" for change in ("shrink", "delete", "truncate")),
    "audit_log": ("audit_log_no_shrink", "audit_log_no_delete", "audit_log_no_truncate"),
}

_SQLITE_FROZEN = """
CREATE TRIGGER {name} BEFORE {change} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only: {change} refused'); END
"""
_SQLITE = {
    **{
        f"{table}_no_{change.lower()}": _SQLITE_FROZEN.format(
            name=f"{table}_no_{change.lower()}", table=table, change=change
        )
        for table in _FROZEN
        for change in ("UPDATE", "DELETE")
    },
    "audit_entry_no_delete": f"""
CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry
WHEN ({_PRUNED}) IS NOT 1
BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only: DELETE refused'); END
""",
    "audit_prunedrange_fits": f"""
CREATE TRIGGER audit_prunedrange_fits BEFORE INSERT ON audit_prunedrange
WHEN typeof(NEW.start) <> 'integer' OR typeof(NEW.stop) <> 'integer'
    OR typeof(NEW.entry) <> 'integer' OR ({_NO_RANGE}) IS NOT 0
    OR EXISTS (SELECT 1 FROM audit_prunedrange WHERE rowid = NEW.rowid)
BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only: this range cannot be pruned'); END
""",  # noqa: S608  # constants of this module
    "audit_prunedplace_no_shrink": """
CREATE TRIGGER audit_prunedplace_no_shrink BEFORE UPDATE ON audit_prunedplace
WHEN NEW.seq <= OLD.seq OR NEW.nth <= OLD.nth OR NEW.log_id <> OLD.log_id
    OR NEW.resource <> OLD.resource
BEGIN SELECT RAISE(ABORT, 'audit_prunedplace only grows: UPDATE refused'); END
""",
    "audit_prunedplace_no_delete": """
CREATE TRIGGER audit_prunedplace_no_delete BEFORE DELETE ON audit_prunedplace
BEGIN SELECT RAISE(ABORT, 'audit_prunedplace only grows: DELETE refused'); END
""",
    "audit_prunedplace_no_replace": """
CREATE TRIGGER audit_prunedplace_no_replace BEFORE INSERT ON audit_prunedplace
WHEN EXISTS (SELECT 1 FROM audit_prunedplace
             WHERE (log_id = NEW.log_id AND resource = NEW.resource) OR rowid = NEW.rowid)
BEGIN SELECT RAISE(ABORT, 'audit_prunedplace only grows: this resource is there'); END
""",
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
    OR NEW.origin <> OLD.origin OR NEW.name <> OLD.name
BEGIN SELECT RAISE(ABORT, 'audit_log only grows: UPDATE refused'); END
""",
    "audit_log_no_delete": """
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'audit_log only grows: DELETE refused'); END
""",
    "audit_log_no_replace": """
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log
             WHERE id = NEW.id OR name = NEW.name OR origin = NEW.origin)
BEGIN SELECT RAISE(IGNORE); END
""",
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Create all triggers; to be repeated by a migration that rebuilds one of the tables.

    Earlier migrations call it before there are tables of what is pruned: entries are not deleted
    then at all.
    """
    uninstall(connection)
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        prunes = _RANGES in tables
        if prunes:
            for statement in statements(connection):
                cursor.execute(statement)
        elif connection.vendor == "postgresql":
            cursor.execute(_POSTGRESQL_FUNCTION)
            for table in _FROZEN[:3]:
                cursor.execute(_POSTGRESQL_TABLE.format(table=table))
            cursor.execute(_POSTGRESQL_HEAD)
        else:
            for name, statement in _SQLITE.items():
                if not name.startswith((_RANGES, _PLACES, "audit_entry_no_delete")):
                    cursor.execute(statement)
            frozen = {"name": "audit_entry_no_delete", "table": "audit_entry"}
            cursor.execute(_SQLITE_FROZEN.format(**frozen, change="DELETE"))


def uninstall(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        if connection.vendor == "postgresql":
            for table, names in _POSTGRESQL_NAMES.items():
                for name in names if table in tables else ():
                    cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
        else:
            for name in _SQLITE:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def statements(connection: BaseDatabaseWrapper) -> list[str]:
    """What `install` executes once all tables are there, in its order."""
    if connection.vendor != "postgresql":
        return list(_SQLITE.values())
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema())")
        ((schema,),) = cursor.fetchall()
    return [
        _POSTGRESQL_FUNCTION,
        *(_POSTGRESQL_TABLE.format(table=table) for table in _FROZEN),
        _POSTGRESQL_HEAD,
        _POSTGRESQL_DOOR.format(schema=schema, pruned=_PRUNED, no_range=_NO_RANGE),
    ]
