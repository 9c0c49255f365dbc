"""A PostgreSQL database: every readable row, the statistics, and files where they can be read."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connectors.adapters.base import StoreError
from connectors.adapters.sqltables.address import Address
from connectors.adapters.sqltables.engine import CONNECT_SECONDS, WAIT_SECONDS, fault
from connectors.adapters.sqltables.verify import SHORT, Reading
from connectors.references import Credential

_TABLES = """
    SELECT n.nspname, c.relname, c.oid, has_table_privilege(c.oid, 'SELECT')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY 1, 2
"""
_COLUMNS = """
    SELECT a.attname, t.typcategory = 'N' OR t.typname = 'bytea'
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_STATISTICS = """
    SELECT schemaname, tablename, attname,
        coalesce(CAST(CAST(most_common_vals AS text) AS text[]), '{}')
        || coalesce(CAST(CAST(histogram_bounds AS text) AS text[]), '{}')
        || coalesce(CAST(CAST(most_common_elems AS text) AS text[]), '{}')
    FROM pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
# The tables' files, those of their long values and indexes, and the catalogs that keep samples.
_FILES = """
    WITH wanted AS (
        SELECT c.oid, c.reltoastrelid FROM pg_class c
        WHERE c.oid = ANY(%s) OR c.oid IN (CAST('pg_statistic' AS regclass),
            CAST('pg_statistic_ext_data' AS regclass))
    ), all_of_them AS (
        SELECT oid FROM wanted UNION SELECT reltoastrelid FROM wanted
        UNION SELECT i.indexrelid FROM pg_index i JOIN wanted w
        ON i.indrelid IN (w.oid, w.reltoastrelid)
    )
    SELECT DISTINCT pg_relation_filepath(oid) FROM all_of_them
    WHERE oid <> 0 AND pg_relation_filepath(oid) IS NOT NULL ORDER BY 1
"""


def read_postgresql(
    address: Address,
    who: Credential,
    reading: Reading,
    left_out: Sequence[str],
    data_directory: str,
) -> None:
    """Raises StoreError when the verifier cannot sign in."""
    try:
        connection = psycopg.connect(
            host=address.host or address.socket or None,
            port=address.port,
            dbname=address.database,
            user=who.user or None,
            password=who.password or None,
            sslmode=address.tls or None,
            connect_timeout=CONNECT_SECONDS,
            application_name="vestige verifier",
        )
    except psycopg.Error as exc:
        raise _said(exc, address) from None
    try:
        with connection:
            # An error rather than rows that a policy hides.
            connection.execute("SET row_security = off")
            connection.execute("SET bytea_output = 'hex'")
            connection.execute(
                sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{WAIT_SECONDS}s"))
            )
            connection.commit()
            _read(connection, reading, left_out, data_directory, address)
    except psycopg.Error as exc:
        raise _said(exc, address) from None
    finally:
        connection.close()


def _said(exc: psycopg.Error, address: Address) -> StoreError:
    from sqlalchemy.exc import OperationalError

    return fault(OperationalError("", {}, exc), address)


def _read(
    connection: "psycopg.Connection[Any]",
    reading: Reading,
    left_out: Sequence[str],
    data_directory: str,
    address: Address,
) -> None:
    listed = connection.execute(_TABLES).fetchall()
    connection.commit()
    read: list[int] = []
    closed = 0
    for number, (schema, table, oid, may) in enumerate(listed):
        reading.progress("scan", number, len(listed) + 1, reading.bytes)
        name = f"{schema}.{table}"
        if name in left_out or table in left_out:
            continue
        if not may and name != reading.table:
            closed += 1
            continue
        read.append(oid)
        reading.attempt(name, partial(_rows, connection, reading, schema, table, oid))
        connection.rollback()
    if reading.table not in {f"{s}.{t}" for s, t, *_ in listed} and not _is_partitioned(
        connection, address
    ):
        reading.record.fail(reading.table, "there is no such table")
    reading.attempt("pg_stats", partial(_statistics, connection, reading, left_out))
    connection.rollback()
    reading.attempt("large objects", partial(_large_objects, connection, reading))
    connection.rollback()
    reading.method.append(f"every row of {len(read)} tables read through PostgreSQL's own driver")
    if closed:
        reading.method.append(f"{closed} other tables may not be read by the verifier and were not")
    if left_out:
        reading.method.append(f"left out by the options: {', '.join(left_out)}")
    reading.method.append("the samples in pg_stats and all large objects compared")
    reading.method.append(_files(connection, reading, read, data_directory))
    reading.method.append(SHORT)
    reading.method.append(
        "not reached: the write-ahead log and its archives, replicas, replication slots, backups"
    )
    reading.progress("scan", len(listed) + 1, len(listed) + 1, reading.bytes)


def _is_partitioned(connection: "psycopg.Connection[Any]", address: Address) -> bool:
    found = connection.execute(
        "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)",
        [sql.Identifier(*filter(None, (address.schema, address.table))).as_string(connection)],
    ).fetchone()
    return bool(found and found[0])


def _rows(
    connection: "psycopg.Connection[Any]", reading: Reading, schema: str, table: str, oid: int
) -> None:
    described = connection.execute(_COLUMNS, [oid]).fetchall()
    columns = [
        sql.Identifier(name) if native else sql.SQL("CAST({} AS text)").format(sql.Identifier(name))
        for name, native in described
    ]
    statement = sql.SQL("SELECT {} FROM ONLY {}").format(
        sql.SQL(", ").join(columns), sql.Identifier(schema, table)
    )

    def rows() -> Iterator[Sequence[Any]]:
        with connection.cursor("vestige_scan") as cursor:
            cursor.itersize = 5000
            cursor.execute(statement)
            yield from cursor

    reading.rows(f"{schema}.{table}", [name for name, _ in described], rows())


def _statistics(
    connection: "psycopg.Connection[Any]", reading: Reading, left_out: Sequence[str]
) -> None:
    for schema, table, column, values in connection.execute(_STATISTICS):
        if table not in left_out and f"{schema}.{table}" not in left_out:
            reading.samples(f"pg_stats of {schema}.{table}", column, values)


def _large_objects(connection: "psycopg.Connection[Any]", reading: Reading) -> None:
    oids = connection.execute("SELECT oid FROM pg_largeobject_metadata ORDER BY 1").fetchall()
    for (oid,) in oids:
        found = connection.execute("SELECT lo_get(%s)", [oid]).fetchone()
        reading.raw(f"large object {oid}", bytes(found[0]) if found else b"")


def _files(
    connection: "psycopg.Connection[Any]", reading: Reading, oids: list[int], data_directory: str
) -> str:
    """Searches the bytes on disk, and says what was searched or why nothing was."""
    paths = [path for (path,) in connection.execute(_FILES, [oids]).fetchall()]
    if not data_directory:
        return (
            "the bytes on disk were not read: the option data_directory does not name the "
            "server's data directory as this machine sees it"
        )
    settled = "after a checkpoint"
    connection.commit()
    connection.autocommit = True
    try:
        connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege:
        settled = "without a checkpoint, which the verifier may not order"
    finally:
        connection.autocommit = False
    root = Path(data_directory)
    searched = 0
    for path in paths:
        found = _segments(root / path)
        if not found:
            reading.record.fail(path, "the data directory has no such file")
        for file in found:
            reading.attempt(path, partial(_file, file, root, reading))
            searched += 1
    return (
        f"{searched} files of these tables, their indexes and pg_statistic searched as bytes "
        f"{settled}; long values may be compressed there and were compared through reading"
    )


def _segments(path: Path) -> list[Path]:
    """PostgreSQL splits files at 1 GB: "16384", "16384.1", …"""
    pattern = re.compile(re.escape(path.name) + r"(\.\d+)?")
    try:
        return sorted(p for p in path.parent.iterdir() if pattern.fullmatch(p.name))
    except OSError:
        return []


def _file(path: Path, root: Path, reading: Reading) -> None:
    reading.raw(path.relative_to(root).as_posix(), path.read_bytes())
