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

_LOST = "The connection to PostgreSQL is lost."
# The statements that each connection has prepared.
_prepared: WeakKeyDictionary[psycopg.Connection[Any], set[str]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with the parameters $1, $2, …"""

    name: str
    sql: str


Held = tuple[Statement, Sequence[bytes | None]]


def run(
    statement: Statement,
    parameters: Sequence[bytes | None],
    sent: Callable[[], None] | None = None,
) -> int:
    """How many rows the statement touched, in the transaction that is open or in one of its own.

    The parameters are in PostgreSQL's binary forms. `sent` is called while PostgreSQL is at work.
    """
    return int(_done(statement, parameters, Format.BINARY, sent).command_tuples or 0)


def run_last(statement: Statement, parameters: Sequence[bytes | None]) -> None:
    """Run in the transaction that is open, and in one message with its COMMIT if that comes next.

    For what nothing in the transaction waits for: most of the time of a short statement is the way
    there and back. Only what is done next on the connection, or the COMMIT, tells that it failed.
    """
    default: Any = connections[DEFAULT_DB_ALIAS]
    server: psycopg.Connection[Any] | None = default.connection
    if server and server.info.transaction_status == TransactionStatus.INTRANS:
        default.hold(statement, parameters)
    else:
        run(statement, parameters)


def commit_with(server: psycopg.Connection[Any], held: Sequence[Held]) -> None:
    """Run these statements in the transaction that is open, and commit it, in one message."""
    for statement, _ in held:
        _prepare(server, statement)
    pgconn = server.pgconn
    try:
        pgconn.enter_pipeline_mode()
        for statement, parameters in held:
            _send(pgconn, statement, parameters, Format.BINARY)
        pgconn.send_query_params(b"COMMIT", None)
        pgconn.pipeline_sync()
        _hand_over(pgconn)
        results = _piped(pgconn)
        pgconn.exit_pipeline_mode()
    except BaseException:
        server.close()  # nobody is to go on in the middle of it
        raise
    for done in results:
        _checked(server, done)


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
    default: Any = connections[DEFAULT_DB_ALIAS]  # Django's `connection` looks it up at each access
    default.ensure_connection()
    if default.held:
        default.send_held()
    server: psycopg.Connection[Any] = default.connection
    with default.wrap_database_errors:
        return _done_on(server, statement, parameters, form, sent)


def run_on(
    server: psycopg.Connection[Any], statement: Statement, parameters: Sequence[bytes | None]
) -> None:
    """As `run`, on this connection."""
    _done_on(server, statement, parameters, Format.BINARY)


def _done_on(
    server: psycopg.Connection[Any],
    statement: Statement,
    parameters: Sequence[bytes | None],
    form: Format,
    sent: Callable[[], None] | None = None,
) -> Any:
    pgconn = server.pgconn
    if not server.autocommit and server.info.transaction_status == TransactionStatus.IDLE:
        pgconn.exec_(b"BEGIN")  # which psycopg would send before the first of its own
    _prepare(server, statement)
    if sent is None and settings.VESTIGE_PREPARE_STATEMENTS:  # the shortest way of libpq
        values: Any = parameters  # psycopg's stub forgets null
        name, forms = statement.name.encode(), [form] * len(parameters)
        return _checked(server, pgconn.exec_prepared(name, values, forms, form))
    _send(pgconn, statement, parameters, form)
    _hand_over(pgconn)
    if sent is not None:
        sent()
    return _checked(server, _awaited(pgconn))


def _prepare(server: psycopg.Connection[Any], statement: Statement) -> None:
    known = _prepared.setdefault(server, set())
    if settings.VESTIGE_PREPARE_STATEMENTS and statement.name not in known:
        _checked(server, server.pgconn.prepare(statement.name.encode(), statement.sql.encode()))
        known.add(statement.name)


def _send(
    pgconn: Any, statement: Statement, parameters: Sequence[bytes | None], form: Format
) -> None:
    forms = [form] * len(parameters)
    if settings.VESTIGE_PREPARE_STATEMENTS:
        pgconn.send_query_prepared(statement.name.encode(), parameters, forms, form)
    else:
        pgconn.send_query_params(statement.sql.encode(), parameters, None, forms, form)


def _hand_over(pgconn: Any) -> None:
    """All of what is to be sent, as psycopg's connections take only what goes at once."""
    while pgconn.flush():
        if _poll(pgconn, select.POLLIN | select.POLLOUT) & select.POLLIN:
            pgconn.consume_input()


def _awaited(pgconn: Any) -> Any:
    """The result of the one statement that was sent."""
    found = _result(pgconn)
    while pgconn.get_result() is not None:
        pass
    return found


def _piped(pgconn: Any) -> list[Any]:
    """The results of all that was sent before the last `pipeline_sync`, good or bad."""
    found: list[Any] = []
    while True:
        done = _result(pgconn)
        if done is None:  # the end of one statement's results, or of the connection
            if pgconn.status != ConnStatus.OK:
                raise psycopg.OperationalError(_LOST)
        elif done.status == ExecStatus.PIPELINE_SYNC:
            return found
        else:
            found.append(done)


def _result(pgconn: Any) -> Any:
    """The next result, None between those of two statements; other threads go on meanwhile."""
    while pgconn.is_busy():
        _poll(pgconn, select.POLLIN)
        pgconn.consume_input()
    return pgconn.get_result()


def _poll(pgconn: Any, events: int) -> int:
    poll = select.poll()
    poll.register(pgconn.socket, events)
    return poll.poll()[0][1]


def _checked(server: psycopg.Connection[Any], done: Any) -> Any:
    if done.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if server.pgconn.status != ConnStatus.OK:  # libpq has no SQLSTATE for that
            raise psycopg.OperationalError(_LOST)
        raise psycopg.errors.error_from_result(done, encoding=server.info.encoding)
    return done
