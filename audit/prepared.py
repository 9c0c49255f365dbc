"""Statements that each connection to PostgreSQL prepares once, past Django's and psycopg's cursors.

For what every request waits for. A cursor takes several times as long as these statements do, and
psycopg forgets all that it has prepared at each rollback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus

# The statements that each connection has prepared.
_prepared: WeakKeyDictionary[psycopg.Connection[Any], set[str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with the parameters $1, $2, …"""

    name: str
    sql: str


def run(statement: Statement, parameters: Sequence[bytes | None]) -> int:
    """How many rows the statement touched, in the transaction that is open or in one of its own.

    The parameters are in PostgreSQL's binary forms.
    """
    return int(_done(statement, parameters, Format.BINARY).command_tuples or 0)


def fetch(statement: Statement, parameters: Sequence[str]) -> list[tuple[str | None, ...]]:
    """The rows, every value as PostgreSQL writes it as text; the parameters are texts as well."""
    done = _done(statement, [text.encode() for text in parameters], Format.TEXT)
    return [
        tuple(
            None if (value := done.get_value(row, column)) is None else value.decode()
            for column in range(done.nfields)
        )
        for row in range(done.ntuples)
    ]


def _done(statement: Statement, parameters: Sequence[bytes | None], form: Format) -> Any:
    default = connections[DEFAULT_DB_ALIAS]  # Django's `connection` looks it up at each access
    default.ensure_connection()
    server: psycopg.Connection[Any] = default.connection
    if not server.autocommit and server.info.transaction_status == TransactionStatus.IDLE:
        server.pgconn.exec_(b"BEGIN")  # which psycopg would send before the first of its own
    forms = [form] * len(parameters)
    with default.wrap_database_errors:
        if not settings.VESTIGE_PREPARE_STATEMENTS:
            return _checked(
                server,
                server.pgconn.exec_params(statement.sql.encode(), parameters, param_formats=forms),
            )
        known = _prepared.setdefault(server, set())
        if statement.name not in known:
            _checked(server, server.pgconn.prepare(statement.name.encode(), statement.sql.encode()))
            known.add(statement.name)
        return _checked(
            server,
            server.pgconn.exec_prepared(
                statement.name.encode(),
                parameters,  # type: ignore[arg-type]  # its stub forgets null
                param_formats=forms,
            ),
        )


def _checked(server: psycopg.Connection[Any], done: Any) -> Any:
    if done.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if server.pgconn.status != ConnStatus.OK:  # libpq has no SQLSTATE for that
            raise psycopg.OperationalError("The connection to PostgreSQL is lost.")
        raise psycopg.errors.error_from_result(done, encoding=server.info.encoding)
    return done
