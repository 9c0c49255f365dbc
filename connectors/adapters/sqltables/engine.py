"""Connections, and what databases' errors mean.

A database's own words are never passed on: they quote values ("Key (email)=(…) already exists").
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from connectors.adapters.base import OptionError, StoreError, StoreNotFoundError
from connectors.adapters.sqltables.address import Address
from connectors.references import HOW_TO_SIGN_IN, Credential

CONNECT_SECONDS = 10
WAIT_SECONDS = 30  # for another's lock
_UNREACHABLE = (2002, 2003, 2005)  # MySQL
# Texts are compared and digested: they must not depend on a role's or a server's settings.
_POSTGRESQL_SESSION = (
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'postgres'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",
    f"SET lock_timeout = '{WAIT_SECONDS}s'",
)


@contextmanager
def connected(address: Address, who: Credential, *, writable: bool) -> Iterator[Connection]:
    """A connection, whose transaction is rolled back at the end unless it was committed.

    Raises StoreError for whatever the database refuses.
    """
    with translated(address), _engine(address, who, writable=writable).connect() as connection:
        yield connection


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Raises StoreError in our words for what a database says in its own."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as exc:
        # "from None": the error's chain could bring the database's words into a log.
        raise fault(exc, address) from None


def _engine(address: Address, who: Credential, *, writable: bool) -> Engine:
    if address.dialect == "sqlite":
        return _sqlite(address, writable=writable)
    tls = {"sslmode": address.tls} if address.tls else {}
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    query: dict[str, str] = {}
    if address.dialect == "postgresql":
        query = tls | ({"host": address.socket} if address.socket else {})
        arguments["application_name"] = "vestige"
    else:
        arguments["charset"] = "utf8mb4"
        if address.socket:
            arguments["unix_socket"] = address.socket
        if tls:
            arguments["ssl"] = {"check_hostname": address.tls == "verify-full"}
    url = URL.create(
        {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}[address.dialect],
        who.user or None,
        who.password or None,
        address.host or None,
        address.port,
        address.database,
        query,
    )
    engine = create_engine(
        url,
        connect_args=arguments,
        poolclass=NullPool,
        hide_parameters=True,
        # What one transaction sees does not change under it, so that counts and digests hold.
        isolation_level="REPEATABLE READ",
    )
    if address.dialect == "postgresql":
        event.listen(engine, "connect", _settle_writer if writable else _settle_reader)
    return engine


def _settle_writer(connection: Any, _record: object) -> None:
    for statement in _POSTGRESQL_SESSION:
        connection.execute(statement)
    connection.commit()


def _settle_reader(connection: Any, record: object) -> None:
    connection.execute("SET default_transaction_read_only = on")
    _settle_writer(connection, record)


def sqlite_connection(address: Address, *, writable: bool) -> sqlite3.Connection:
    """SQLite's own driver, without transactions of its own. Raises StoreNotFoundError."""
    path = Path(address.database)
    if not path.is_file():
        raise StoreNotFoundError(f"There is no file at {path}. Give the path of a SQLite database.")
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'rw' if writable else 'ro'}",
        uri=True,
        timeout=WAIT_SECONDS,
        isolation_level=None,
    )
    # SQLite keeps whatever it was given; text that is not valid UTF-8 is still somebody's.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    if writable:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
    return connection


def _sqlite(address: Address, *, writable: bool) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite_connection(address, writable=writable),
        poolclass=NullPool,
        hide_parameters=True,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: nobody writes between its reading and its deleting.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine


def fault(exc: Exception, address: Address) -> StoreError:
    """The error in our words."""
    original: BaseException = (exc.orig or exc) if isinstance(exc, DBAPIError) else exc
    words = str(original).lower()
    if isinstance(original, sqlite3.Error):
        return _sqlite_fault(words, address)
    code = original.args[0] if original.args and isinstance(original.args[0], int) else None
    if code is not None and code not in _UNREACHABLE:
        return _code_fault(code, address)
    if code is None and (state := getattr(original, "sqlstate", None)):
        return _state_fault(str(state), address)
    if "authentication" in words or "password" in words or 'role "' in words:
        return _refused(address)
    if 'database "' in words and "not exist" in words:
        return StoreNotFoundError(f"There is no such database: {address.shown}.")
    if isinstance(exc, DBAPIError):
        return StoreError(
            f"Nothing answers for {address.shown}. Check the address, and that this machine may "
            "reach it."
        )
    return StoreError(f"{_capital(address.shown)} cannot be used ({type(exc).__name__}).")


def _code_fault(code: int, address: Address) -> StoreError:
    """MySQL's numbers."""
    if code in (1044, 1045, 1698):
        return _refused(address)
    if code == 1049:
        return StoreNotFoundError(f"There is no such database: {address.shown}.")
    if code in (1205, 1213):
        return StoreError(f"Others keep {address.shown_table} locked. Try again later.")
    if code in (1142, 1143, 1227):
        return _not_permitted(address)
    return StoreError(f"{_capital(address.shown)} refused a statement (error {code}).")


def _sqlite_fault(words: str, address: Address) -> StoreError:
    if "locked" in words or "busy" in words:
        return StoreError(
            f"Another program keeps {address.shown} locked. Try again when it is not in use."
        )
    if "not a database" in words or "malformed" in words:
        return StoreError(f"{_capital(address.shown)} is no SQLite database, or it is damaged.")
    if "readonly" in words or "unable to open" in words:
        return StoreError(
            f"{_capital(address.shown)} may not be opened or written by this process."
        )
    if "disk is full" in words:
        return StoreError(f"There is no space left beside {address.shown}. Nothing was changed.")
    if "constraint" in words:
        return StoreError(
            f"A constraint in {address.shown} stands against the change. Nothing was changed."
        )
    return StoreError(f"{_capital(address.shown)} cannot be read or written.")


def _state_fault(state: str, address: Address) -> StoreError:
    if state.startswith("28"):
        return _refused(address)
    if state == "3D000":
        return StoreNotFoundError(f"There is no such database: {address.shown}.")
    if state == "42501":
        return _not_permitted(address)
    if state == "55P03":
        return StoreError(
            f"Others kept the table {address.shown_table} locked for {WAIT_SECONDS} seconds. "
            "Try again later."
        )
    if state.startswith("40"):
        return StoreError(
            f"Another writer changed rows of the table {address.shown_table} at the same moment. "
            "Nothing was changed: try again."
        )
    if state.startswith("23"):
        return StoreError(
            f"A constraint of the table {address.shown_table} stands against the change "
            f"(SQLSTATE {state}). Nothing was changed."
        )
    return StoreError(f"{_capital(address.shown)} refused a statement (SQLSTATE {state}).")


def _refused(address: Address) -> OptionError:
    return OptionError(
        f"{_capital(address.shown)} refused the user or the password. {HOW_TO_SIGN_IN}"
    )


def _not_permitted(address: Address) -> OptionError:
    return OptionError(
        f"The user may not do this with the table {address.shown_table} in {address.shown}. "
        "Grant the privilege, or name another user in the options."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
