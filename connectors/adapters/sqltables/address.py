"""Where a table is, without secrets.

    sqlite:////data/shop.db#customers
    postgresql://db.example:5432/shop#public.customers
    postgresql:///shop?host=/run/postgresql#customers      (a local socket)
    mysql://db.example/shop#customers

No sentence of this module quotes a location: a password that somebody wrote into one must not
reach a log.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from connectors.adapters.base import OptionError, StoreError
from connectors.references import HOW_TO_SIGN_IN

_DIALECTS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+psycopg": "postgresql",
    "mysql": "mysql",
    "mysql+pymysql": "mysql",
    "mariadb": "mysql",
    "mariadb+pymysql": "mysql",
}
_PORTS = {"postgresql": 5432, "mysql": 3306}
_SOCKETS = {"postgresql": "/var/run/postgresql", "mysql": "/run/mysqld/mysqld.sock"}
_SOCKET_PARAMETER = {"postgresql": "host", "mysql": "unix_socket"}
_TLS = ("prefer", "require", "verify-ca", "verify-full")
_NAME = re.compile(r'"(?:[^"]|"")+"|[^."]+')


@dataclass(frozen=True)
class Address:
    """One table in one database. `database` is a name or, for SQLite, the file's path."""

    dialect: str
    database: str
    table: str
    schema: str | None = None
    host: str = ""
    port: int | None = None
    socket: str = ""
    tls: str = ""

    @property
    def shown_table(self) -> str:
        return f"{self.schema}.{self.table}" if self.schema else self.table

    @property
    def shown(self) -> str:
        """For messages: what is opened, and where."""
        if self.dialect == "sqlite":
            return f"the file {self.database}"
        return f"the database {self.database} at {self.host or self.socket}"

    @property
    def location(self) -> str:
        """The one spelling of this address, by which a store is connected once."""
        if self.dialect == "sqlite":
            return f"sqlite:///{quote(self.database)}#{quote(self.table)}"
        names = ".".join(_written(n) for n in (self.schema, self.table) if n)
        place = f"{self.host}:{self.port}" if self.host else ""
        query = f"{_SOCKET_PARAMETER[self.dialect]}={quote(self.socket)}" if self.socket else ""
        if self.tls:
            query += ("&" if query else "") + f"sslmode={self.tls}"
        mark = "?" if query else ""
        return f"{self.dialect}://{place}/{quote(self.database)}{mark}{query}#{quote(names)}"


def _written(name: str) -> str:
    if "." not in name and '"' not in name:
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def parse_address(location: str, options: Mapping[str, Any]) -> Address:
    """Raises StoreError, OptionError."""
    if "@" in location and not location.strip().startswith("sqlite"):
        raise StoreError(f"The location holds a user name or a password. {HOW_TO_SIGN_IN}")
    try:
        parts = urlsplit(location.strip())
        port = parts.port
    except ValueError:
        raise StoreError(
            "The location is no address. Write it as in postgresql://host:5432/database#table."
        ) from None
    dialect = _DIALECTS.get(parts.scheme)
    if dialect is None:
        raise StoreError(
            "The location of an SQL table begins with sqlite://, postgresql:// or mysql://, as in "
            "sqlite:////data/shop.db#customers."
        )
    schema, table = _names(dialect, unquote(parts.fragment), options)
    if dialect == "sqlite":
        return Address(dialect, _sqlite_path(parts), table)
    return _server(dialect, parts, port, schema, table)


def _sqlite_path(parts: SplitResult) -> str:
    path = unquote(parts.path[1:])
    if parts.netloc or parts.query or not path.startswith("/") or "\x00" in path:
        raise StoreError(
            "Give the absolute path of the SQLite file after three slashes, as in "
            "sqlite:////data/shop.db#customers."
        )
    return os.path.normpath(path)


def _server(
    dialect: str, parts: SplitResult, port: int | None, schema: str | None, table: str
) -> Address:
    database = unquote(parts.path.strip("/"))
    if not database or "/" in database:
        raise StoreError("The location names no database. Write //host:port/database#table.")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    tls = query.pop("sslmode", "")
    socket = query.pop(_SOCKET_PARAMETER[dialect], "")
    if query:
        raise StoreError(
            "The location has a parameter that may not stand there; allowed are sslmode and "
            f"{_SOCKET_PARAMETER[dialect]}. {HOW_TO_SIGN_IN}"
        )
    if tls and tls not in _TLS:
        raise StoreError(f"sslmode is one of {', '.join(_TLS)}.")
    host = (parts.hostname or "").lower()
    if host and socket:
        raise StoreError("The location names a host and a socket. Give one of them.")
    if host:
        return Address(dialect, database, table, schema, host, port or _PORTS[dialect], "", tls)
    socket = socket or _SOCKETS[dialect]
    if not socket.startswith("/"):
        raise StoreError("A socket is named by its absolute path.")
    return Address(dialect, database, table, schema, "", None, socket, tls)


def _names(dialect: str, fragment: str, options: Mapping[str, Any]) -> tuple[str | None, str]:
    given = options.get("table", "")
    if not isinstance(given, str):
        raise OptionError('The option "table" is the name of one table.')
    if fragment and given and fragment != given:
        raise OptionError(
            'The location and the option "table" name different tables. Leave one of them out.'
        )
    text = fragment or given
    if not text:
        raise StoreError(
            "The location names no table. Append it, as in sqlite:////data/shop.db#customers."
        )
    return (None, text) if dialect == "sqlite" else split_name(text)


def split_name(text: str) -> tuple[str | None, str]:
    """Schema and table; a name with a dot in it stands in double quotes. Raises StoreError."""
    names = [n[1:-1].replace('""', '"') if n.startswith('"') else n for n in _NAME.findall(text)]
    if not 1 <= len(names) <= 2 or not all(n.strip() for n in names):
        raise StoreError('Name the table as "table" or "schema.table".')
    return (names[0], names[1]) if len(names) > 1 else (None, names[0])
