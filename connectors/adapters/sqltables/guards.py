"""What else keeps or changes rows when some are deleted: triggers, views, and missing rights."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from connectors.adapters.sqltables.address import Address
from connectors.adapters.sqltables.table import TableShape

_WRITES_TO = re.compile(r"\b(?:insert|replace)\s+into\s+([\w.\"`\[\]]+)", re.IGNORECASE)

_TRIGGERS = {
    "sqlite": "SELECT name, sql, CASE WHEN lower(sql) LIKE '%delete%on%' THEN 1 ELSE 0 END "
    "FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(:table)",
    "postgresql": "SELECT t.tgname, p.prosrc, CASE WHEN (t.tgtype & 8) > 0 THEN 1 ELSE 0 END "
    "FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
    "WHERE t.tgrelid = :oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'",
    "mysql": "SELECT trigger_name, action_statement, "
    "CASE WHEN event_manipulation = 'DELETE' THEN 1 ELSE 0 END FROM information_schema.triggers "
    "WHERE event_object_schema = database() AND event_object_table = :table",
}
_MATERIALIZED = """
    SELECT DISTINCT CAST(CAST(v.oid AS regclass) AS text) FROM pg_depend d
    JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = CAST('pg_rewrite' AS regclass)
    JOIN pg_class v ON v.oid = r.ev_class
    WHERE d.refobjid = :oid AND v.relkind = 'm'
"""
_RIGHTS = """
    SELECT has_table_privilege(who.name, c.oid, 'DELETE'),
        pg_has_role(who.name, c.relowner, 'USAGE'), row_security_active(c.oid)
    FROM pg_class c, (SELECT coalesce(CAST(:who AS name), current_user) AS name) who
    WHERE c.oid = :oid
"""


def blockers_of(
    connection: Connection, address: Address, shape: TableShape, known: Sequence[str], writer: str
) -> list[str]:
    """Why an erasure in this table would not be one; each a sentence with what to do.

    `known`: triggers and materialised views whose owner says that they keep nothing.
    """
    found = [b for b in _trigger_blockers(connection, shape) if not _names_one(b, known)]
    if shape.dialect == "postgresql":
        views: Iterable[str] = connection.execute(
            sa.text(_MATERIALIZED), {"oid": shape.oid}
        ).scalars()
        found += [
            f'The materialised view "{view}" holds rows of the table {shape.shown} and keeps them '
            "after the erasure. Drop it, and make it again afterwards."
            for view in views
            if view not in known
        ]
        found += _missing_rights(connection, shape, writer)
    if shape.dialect == "sqlite":
        path = Path(address.database)
        if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            found.append(
                f"The file {path} or its folder may not be written by this process. Grant it."
            )
    return found


def _trigger_blockers(connection: Connection, shape: TableShape) -> list[str]:
    statement = sa.text(_TRIGGERS[shape.dialect])
    wanted = {"oid": shape.oid} if shape.dialect == "postgresql" else {"table": shape.table.name}
    found = []
    for name, body, on_delete in connection.execute(statement, wanted):
        targets = sorted({t.strip('"`[]') for t in _WRITES_TO.findall(str(body))})
        if not (on_delete or targets):
            continue
        when = "when rows are deleted" if on_delete else "when rows are written"
        copies = f" and writes to {', '.join(targets)}" if targets else ""
        found.append(
            f'The trigger "{name}" of the table {shape.shown} runs {when}{copies}, so copies of '
            "the person's rows may be there or come to be. Erase there too and drop the trigger, "
            'or, if it copies no personal data, name it in the option "known_triggers".'
        )
    return found


def _names_one(blocker: str, known: Sequence[str]) -> bool:
    return any(f'"{name}"' in blocker.partition(" of the table")[0] for name in known)


def _missing_rights(connection: Connection, shape: TableShape, writer: str) -> list[str]:
    delete, owner, hidden = connection.execute(
        sa.text(_RIGHTS), {"who": writer or None, "oid": shape.oid}
    ).one()
    found = []
    if not delete:
        found.append(
            f"The user that erases lacks the privilege DELETE on {shape.shown}. Grant it, "
            'or name another in the option "writer_user".'
        )
    if not owner:
        found.append(
            f"The user that erases does not own the table {shape.shown}, so it could not rewrite "
            "it (VACUUM FULL) and the deleted rows' bytes would stay. Grant the owner's role to it."
        )
    if hidden:
        found.append(
            f"Row-level security hides rows of the table {shape.shown} from the reader. Give it a "
            "role with BYPASSRLS."
        )
    return found
