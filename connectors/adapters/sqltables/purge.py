"""What databases keep of deleted rows, and how it is made to go.

Each step may be repeated, so a run that was killed is simply run again.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from connectors.adapters.base import Progress, StoreError
from connectors.adapters.sqltables.address import Address
from connectors.adapters.sqltables.engine import sqlite_connection, translated
from connectors.adapters.sqltables.table import TableShape

_PATIENCE_SECONDS = 60
_STATISTICS = ("pg_statistic", "pg_statistic_ext_data")


def purge_sqlite(address: Address, progress: Progress) -> dict[str, Any]:
    """Rewrite the file without its free pages, and empty the log beside it.

    Raises StoreError when another program keeps the file in use.
    """
    path = Path(address.database)
    before = path.stat().st_size if path.is_file() else 0
    with translated(address):
        connection = sqlite_connection(address, writable=True)
        try:
            progress("vacuum", 0, 3, 0)
            if connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'"
            ).fetchone():
                connection.execute("ANALYZE")  # its samples hold values
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode in ("persist", "truncate"):
                # Such a journal stays beside the file, with what pages held before.
                connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("VACUUM")
            progress("checkpoint", 1, 3, 0)
            _truncate_wal(connection, address)
            progress("checkpoint", 2, 3, 0)
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        finally:
            connection.close()
    progress("checkpoint", 3, 3, path.stat().st_size)
    return {
        "bytes_before": before,
        "bytes_after": path.stat().st_size,
        "free_pages": free,
        "tails": list(SQLITE_TAILS),
    }


def _truncate_wal(connection: Any, address: Address) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > end:
            raise StoreError(
                f"Another program still reads an older state of {address.shown}, so its log cannot "
                "be emptied. Close it, then purge again."
            )
        time.sleep(0.2)


SQLITE_TAILS = ("backups and copies of the file", "blocks that the file system has freed")


def purge_postgresql(
    connection: Connection, shapes: Sequence[TableShape], progress: Progress
) -> dict[str, Any]:
    """Write the tables and their indexes anew, and the statistics that hold values of them.

    `connection` commits each statement by itself. Raises StoreError when a transaction that still
    sees the deleted rows does not end.
    """
    _wait_for_old_snapshots(connection)
    quoted = connection.dialect.identifier_preparer.format_table
    total = len(shapes) + len(_STATISTICS)
    tails = postgresql_tails(connection)
    for number, shape in enumerate(shapes):
        progress("vacuum", number, total, 0)
        name = quoted(shape.table)
        connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {name}")
        if not connection.execute(sa.select(sa.exists().select_from(shape.table))).scalar():
            _forget_statistics(connection, shape)
    may = connection.execute(
        sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    ).scalar()
    if may:
        _wait_for_old_snapshots(connection)  # that see the samples which ANALYZE has replaced
    for number, catalog in enumerate(_STATISTICS):
        progress("vacuum", len(shapes) + number, total, 0)
        if may:
            connection.exec_driver_sql(f"VACUUM FULL {catalog}")
    if not may:
        tails.append(
            "freed rows of pg_statistic, which hold sample values, until a superuser runs "
            "VACUUM FULL pg_statistic in this database"
        )
    progress("vacuum", total, total, 0)
    return {"tails": tails}


def _forget_statistics(connection: Connection, shape: TableShape) -> None:
    """ANALYZE keeps the old figures of a table that has become empty; altering a column's type,
    even to what it is, drops them."""
    prepare = connection.dialect.identifier_preparer
    described = connection.execute(
        sa.text(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
            "JOIN pg_statistic s ON s.starelid = a.attrelid AND s.staattnum = a.attnum "
            "WHERE a.attrelid = :oid AND NOT a.attisdropped"
        ),
        {"oid": shape.oid},
    ).all()
    for name, kind in described:
        connection.exec_driver_sql(
            f"ALTER TABLE {prepare.format_table(shape.table)} "
            f"ALTER COLUMN {prepare.quote(name)} TYPE {kind}"
        )


def _wait_for_old_snapshots(connection: Connection) -> None:
    """VACUUM FULL keeps dead rows that some transaction can still see.

    Those are the snapshots that are held in this database, and its own: that one goes back to the
    oldest transaction that writes anywhere on the server, also in another database.
    """
    newest: int = connection.execute(
        sa.text("SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)")
    ).scalar_one()
    end = time.monotonic() + _PATIENCE_SECONDS
    while holder := _holder(connection, newest):
        if time.monotonic() > end:
            raise StoreError(
                f"A transaction ({holder}) still sees the deleted rows, so they cannot be removed. "
                "End it, then purge again."
            )
        time.sleep(0.2)
    prepared = connection.execute(
        sa.text("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()")
    ).scalar()
    if prepared:
        raise StoreError(
            f"{prepared} prepared transactions are open in this database and may still see the "
            "deleted rows. Commit or roll them back, then purge again."
        )


def _holder(connection: Connection, newest: int) -> str:
    """Whose transaction began before `newest` and is not over; empty if there is none."""
    found = connection.execute(
        sa.text(
            "SELECT pid, datname FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ("
            "datname = current_database() AND backend_xmin IS NOT NULL"
            " AND age(backend_xmin) > age(CAST(CAST(:newest AS text) AS xid))"
            " OR backend_xid IS NOT NULL"
            " AND age(backend_xid) > age(CAST(CAST(:newest AS text) AS xid))) LIMIT 1"
        ),
        {"newest": newest % (1 << 32)},
    ).one_or_none()
    if found is not None:
        return f"process {found.pid} in the database {found.datname}"
    # Of other users' transactions not everybody is told, but everybody's snapshot knows of them.
    oldest: int = connection.execute(
        sa.text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")
    ).scalar_one()
    return "of another user, or a prepared one" if oldest < newest else ""


def postgresql_tails(connection: Connection) -> list[str]:
    """Where PostgreSQL keeps what was deleted for a while, out of this store's reach."""
    tails = ["the write-ahead log (pg_wal) until its files are used again", "backups"]
    if connection.execute(sa.text("SELECT current_setting('archive_mode')")).scalar() != "off":
        tails.append("the archive of the write-ahead log")
    slots: Sequence[str] = (
        connection.execute(sa.text("SELECT slot_name FROM pg_replication_slots")).scalars().all()
    )
    tails += [f"what the replication slot {slot} has not delivered yet" for slot in slots]
    replicas = connection.execute(sa.text("SELECT count(*) FROM pg_stat_replication")).scalar()
    if replicas:
        tails.append(f"{replicas} replicas until they have followed")
    return tails


MYSQL_TAILS = (
    "the binary log until it expires",
    "the undo and redo logs until they are used again",
    "backups and replicas",
)


def purge_mysql(
    connection: Connection, shapes: Sequence[TableShape], progress: Progress
) -> dict[str, Any]:
    """Write the tables anew. Raises StoreError for what the server refuses."""
    for number, shape in enumerate(shapes):
        progress("vacuum", number, len(shapes), 0)
        name = connection.dialect.identifier_preparer.format_table(shape.table)
        connection.exec_driver_sql(f"ALTER TABLE {name} FORCE").close()
        connection.exec_driver_sql(f"ANALYZE TABLE {name}").close()
    progress("vacuum", len(shapes), len(shapes), 0)
    return {"tails": list(MYSQL_TAILS)}
