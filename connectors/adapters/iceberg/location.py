"""Where a table's catalog is, without secrets, and which files a table may have.

    sqlite:////data/catalog.db#shop.orders
    postgresql://db.example:5432/catalog#shop.orders
    postgresql:///catalog?host=/run/postgresql#shop.orders      (a local socket)
    https://catalog.example/iceberg#shop.orders      (the Iceberg REST protocol)

A catalog says where a table's files are; `Reach` says which places those may be. No sentence of
this module quotes a location: a password that somebody wrote into one must not reach a log.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from connectors.adapters.base import StoreError
from connectors.addresses import PORTS, web_base
from connectors.folders import LocalFolder
from connectors.references import HOW_TO_SIGN_IN
from connectors.storage import Folder

_KINDS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "https": "rest",
    "http": "rest",
}
_PORTS = {"postgresql": 5432, **PORTS}
_EXAMPLE = "sqlite:////data/catalog.db#shop.orders or https://host/iceberg#shop.orders"
_LOCAL = re.compile(r"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)


class Reach(Protocol):
    """Where a table's files may be. Methods raise StoreError for any other place."""

    def spelled(self, location: str) -> str:
        """The one spelling of a place that a catalog or a manifest names."""
        ...

    def folder(self, location: str) -> Folder:
        """The folder there; its root is called as `spelled` does."""
        ...


@dataclass(frozen=True)
class Place:
    """A table in a catalog. `base`: the database's name, the SQLite file, or the REST address."""

    kind: str  # sqlite | postgresql | rest
    base: str
    namespace: tuple[str, ...]
    table: str
    host: str = ""
    port: int = 0
    socket: str = ""

    @property
    def shown_table(self) -> str:
        return ".".join((*self.namespace, self.table))

    @property
    def shown(self) -> str:
        """For messages: the catalog."""
        if self.kind == "sqlite":
            return f"the catalog {self.base}"
        return f"the catalog at {self.socket or f'{self.host}:{self.port}'}"

    @property
    def location(self) -> str:
        """The one spelling of this place, by which a store is connected once."""
        table = quote(self.shown_table)
        if self.kind == "sqlite":
            return f"sqlite:///{quote(self.base)}#{table}"
        if self.kind == "postgresql":
            place = "" if self.socket else f"{self.host}:{self.port}"
            query = f"?host={quote(self.socket)}" if self.socket else ""
            return f"postgresql://{place}/{quote(self.base)}{query}#{table}"
        return f"{self.base}#{table}"


def parse_place(location: str) -> Place:
    """Raises StoreError with a sentence that says how to write it."""
    text = location.strip()
    if "@" in text and not text.startswith("sqlite"):
        raise StoreError(
            "The location holds a user name or a password. For a REST catalog name the variable "
            f'that holds its token in the option "token_env". {HOW_TO_SIGN_IN}'
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise StoreError(f"The location is no address. Write it as in {_EXAMPLE}.") from None
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise StoreError(
            "The location of an Iceberg table begins with its catalog: sqlite://, postgresql:// "
            f"or https://, as in {_EXAMPLE}."
        )
    names = tuple(unquote(parts.fragment).split("."))
    if len(names) < 2 or not all(n.strip() for n in names):
        raise StoreError(f"The location names no table. Append #namespace.table, as in {_EXAMPLE}.")
    *namespace, table = names
    if kind == "sqlite":
        return Place(kind, _sqlite_path(parts), tuple(namespace), table)
    host = (parts.hostname or "").lower()
    if socket := _socket(kind, parts, host):
        return Place(kind, _base(kind, parts, "", 0), tuple(namespace), table, socket=socket)
    if not host:
        raise StoreError(f"The location names no host. Write it as in {_EXAMPLE}.")
    port = port or _PORTS["postgresql" if kind == "postgresql" else parts.scheme]
    base = _base(kind, parts, host, port)
    return Place(kind, base, tuple(namespace), table, host, port)


def _socket(kind: str, parts: SplitResult, host: str) -> str:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket = query.pop("host", "") if kind == "postgresql" else ""
    if query:
        raise StoreError(
            "The location has a parameter that may not stand there; allowed is host, the folder of "
            "a PostgreSQL server's socket."
        )
    if socket and (host or not socket.startswith("/")):
        raise StoreError("A socket is named by its absolute path, and beside no host.")
    return socket


def _base(kind: str, parts: SplitResult, host: str, port: int) -> str:
    path = parts.path.strip("/")
    if kind == "postgresql":
        if not path or "/" in path:
            raise StoreError(
                "The location names no database. Write //host:port/database#namespace.table."
            )
        return unquote(path)
    return web_base(parts, host, port, what="A catalog")


def _sqlite_path(parts: SplitResult) -> str:
    path = unquote(parts.path[1:])
    if parts.netloc or parts.query or not path.startswith("/") or "\x00" in path:
        raise StoreError(
            "Give the absolute path of the SQLite file after three slashes, as in "
            "sqlite:////data/catalog.db#shop.orders."
        )
    return os.path.normpath(path)


def local_file(location: str) -> str:
    """The path of a file of this machine that a catalog or a manifest names.

    Iceberg does not encode paths: what stands behind "file:" is the path as it is. Raises
    StoreError for other systems.
    """
    text = _LOCAL.sub("", location, count=1)
    if not text.startswith("/") or "\x00" in text:
        scheme = text.partition(":")[0] if "://" in text else "a relative path"
        raise StoreError(
            f"The table's files are neither on this machine nor in S3 ({scheme}). Only tables in "
            "a folder that this process can reach by its path, or in a bucket, can be connected."
        )
    return os.path.normpath(text)


def _anywhere(path: str) -> Path:
    return Path(path).resolve()


class ThisMachine:
    """`allow` gives the resolved path, or raises StoreError when this process may not use it."""

    def __init__(self, allow: Callable[[str], Path] = _anywhere) -> None:
        self._allow = allow

    def spelled(self, location: str) -> str:
        return str(self._allow(local_file(location)))

    def folder(self, location: str) -> Folder:
        return LocalFolder(self._allow(local_file(location)))
