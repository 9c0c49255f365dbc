"""Statements that each connection to PostgreSQL prepares once, past Django's and psycopg's cursors.

For what every request waits for. A cursor takes several times as long as these statements do, and
psycopg forgets all that it has prepared at each rollback.
"""

import select
from collections.abc import Callable, Sequence
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


def run(
    statement: Statement,
    parameters: Sequence[bytes | None],
    sent: Callable[[], None] | None = None,
) -> int:
    """How many rows the statement touched, in the transaction that is open or in one of its own.

    The parameters are in PostgreSQL's binary forms. `sent` is called while PostgreSQL is at work.
    """
    return int(_done(statement, parameters, Format.BINARY, sent).command_tuples or 0)


def read(statement: Statement, parameters: Sequence[bytes | None]) -> list[tuple[bytes, ...]]:
    """The rows, all in PostgreSQL's binary forms; for columns that are never null."""
    return _rows(_done(statement, parameters, Format.BINARY))


def fetch(statement: Statement, parameters: Sequence[str]) -> list[tuple[str | None, ...]]:
    """The rows, every value as PostgreSQL writes it as text; the parameters are texts as well."""
    done = _done(statement, [text.encode() for text in parameters], Format.TEXT)
    return [
        tuple(None if value is None else value.decode() for value in row) for row in _rows(done)
    ]


def _rows(done: Any) -> list[tuple[Any, ...]]:
    columns = range(done.nfields)
    return [
        tuple([done.get_value(row, column) for column in columns]) for row in range(done.ntuples)
    ]


def _done(
    statement: Statement,
    parameters: Sequence[bytes | None],
    form: Format,
    sent: Callable[[], None] | None = None,
) -> Any:
    default = connections[DEFAULT_DB_ALIAS]  # Django's `connection` looks it up at each access
    default.ensure_connection()
    server: psycopg.Connection[Any] = default.connection
    pgconn = server.pgconn
    if not server.autocommit and server.info.transaction_status == TransactionStatus.IDLE:
        pgconn.exec_(b"BEGIN")  # which psycopg would send before the first of its own
    name, forms = statement.name.encode(), [form] * len(parameters)
    with default.wrap_database_errors:
        if not settings.VESTIGE_PREPARE_STATEMENTS:
            sql = statement.sql.encode()
            return _checked(server, pgconn.exec_params(sql, parameters, None, forms, form))
        known = _prepared.setdefault(server, set())
        if statement.name not in known:
            _checked(server, pgconn.prepare(name, statement.sql.encode()))
            known.add(statement.name)
        values: Any = parameters  # psycopg's stub forgets null
        if sent is None:
            return _checked(server, pgconn.exec_prepared(name, values, forms, form))
        pgconn.send_query_prepared(name, values, forms, form)
        _hand_over(pgconn)
        sent()
        return _checked(server, _awaited(pgconn))


def _hand_over(pgconn: Any) -> None:
    """All of what is to be sent, as psycopg's connections take only what goes at once."""
    while pgconn.flush():
        if _poll(pgconn, select.POLLIN | select.POLLOUT) & select.POLLIN:
            pgconn.consume_input()


def _awaited(pgconn: Any) -> Any:
    """The result of what was sent; other threads go on meanwhile."""
    while pgconn.is_busy():
        _poll(pgconn, select.POLLIN)
        pgconn.consume_input()
    found = pgconn.get_result()
    while pgconn.get_result() is not None:
        pass
    return found


def _poll(pgconn: Any, events: int) -> int:
    poll = select.poll()
    poll.register(pgconn.socket, events)
    return poll.poll()[0][1]


def _checked(server: psycopg.Connection[Any], done: Any) -> Any:
    if done.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if server.pgconn.status != ConnStatus.OK:  # libpq has no SQLSTATE for that
            raise psycopg.OperationalError("The connection to PostgreSQL is lost.")
        raise psycopg.errors.error_from_result(done, encoding=server.info.encoding)
    return done
