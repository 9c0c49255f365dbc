"""What a catalog says of a table, read without Iceberg's own library.

The verification starts from here, so that an error in that library cannot hide anything.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from connectors.adapters.base import OptionError, StoreError, StoreNotFoundError
from connectors.adapters.iceberg.location import Place, Reach
from connectors.references import Role, credential, prefix_for, secret
from connectors.storage import Folder

CONNECT_SECONDS = 10
_GZIP = b"\x1f\x8b"
_ANSWER_SECONDS = 60
_TOKEN = ("token_env", "token_file")
_TABLES, _PROPERTIES = "iceberg_tables", "iceberg_namespace_properties"
_TABLE = sa.table(
    _TABLES,
    *(sa.column(n) for n in ("catalog_name", "table_namespace", "table_name", "metadata_location")),
)


@dataclass(frozen=True)
class Entry:
    """`texts`: (where, value) of whatever the catalog itself keeps about the table."""

    folder: Folder
    metadata: Mapping[str, Any]
    texts: Sequence[tuple[str, str]]


def read_entry(place: Place, options: Mapping[str, Any], role: Role, reach: Reach) -> Entry:
    """Raises StoreError in words that hold nothing of what the catalog answered."""
    if place.kind == "rest":
        return _rest_entry(place, options, role, reach)
    with engine(place, options, role, writable=False) as opened, opened.connect() as connection:
        _, location = _row(connection, place, options)
        texts = list(_rows(connection))
    parent, _, name = location.rpartition("/")
    metadata = _read_metadata(reach.folder(parent), name)
    return Entry(_folder(metadata, reach), metadata, texts)


def catalog_name(place: Place, options: Mapping[str, Any], role: Role) -> str:
    """The name of the catalog in the database that has the table. Raises StoreError."""
    with engine(place, options, role, writable=False) as opened, opened.connect() as connection:
        name, _ = _row(connection, place, options)
    return name


def _read_metadata(folder: Folder, name: str) -> Mapping[str, Any]:
    """A metadata file's JSON, plain or packed with gzip. Raises StoreError."""
    try:
        body = folder.read(name)
        metadata = json.loads(gzip.decompress(body) if body.startswith(_GZIP) else body)
    except (OSError, EOFError, ValueError, zlib.error) as exc:
        raise StoreError(
            f"The table's current metadata file {name} cannot be read: it is damaged or was "
            f"removed ({type(exc).__name__})."
        ) from None
    if not isinstance(metadata, dict):
        raise StoreError(f"The table's current metadata file {name} is damaged.")
    return metadata


def _folder(metadata: Mapping[str, Any], reach: Reach) -> Folder:
    location = metadata.get("location")
    if not isinstance(location, str):
        raise StoreError("The table's metadata names no location, so it is damaged.")
    return reach.folder(location)


# SQL catalogs


@contextmanager
def engine(
    place: Place, options: Mapping[str, Any], role: Role, *, writable: bool
) -> Iterator[sa.Engine]:
    """Raises StoreError for whatever the database refuses."""
    try:
        yield sa.create_engine(
            engine_url(place, options, role, writable=writable),
            poolclass=NullPool,
            hide_parameters=True,
        )
    except SQLAlchemyError as exc:
        raise catalog_fault(place, exc) from None


def engine_url(place: Place, options: Mapping[str, Any], role: Role, *, writable: bool) -> sa.URL:
    """Raises OptionError, StoreNotFoundError."""
    if place.kind == "sqlite":
        path = Path(place.base)
        if not path.is_file():
            raise StoreNotFoundError(f"There is no file at {path}. Give the path of a catalog.")
        mode = "rw" if writable else "ro"  # never "rwc": nothing is made by looking at it
        return sa.URL.create(
            "sqlite", database=f"file:{quote(place.base)}", query={"mode": mode, "uri": "true"}
        )
    who = credential(options, role)
    return sa.URL.create(
        "postgresql+psycopg",
        who.user or None,
        who.password or None,
        place.host or None,
        place.port or None,
        place.base,
        {"connect_timeout": str(CONNECT_SECONDS), "application_name": "vestige"}
        | ({"host": place.socket} if place.socket else {}),
    )


def catalog_fault(place: Place, exc: Exception) -> StoreError:
    """In our words: a database's own quote what it was asked."""
    return StoreError(
        f"{place.shown[0].upper()}{place.shown[1:]} cannot be read or written "
        f"({type(exc).__name__}). Check the address, who signs in, and that it is an Iceberg "
        "catalog which nobody else has locked."
    )


def _row(connection: sa.Connection, place: Place, options: Mapping[str, Any]) -> tuple[str, str]:
    """The catalog's name and where the table's current metadata is."""
    wanted = sa.select(_TABLE.c.catalog_name, _TABLE.c.metadata_location).where(
        _TABLE.c.table_namespace == ".".join(place.namespace), _TABLE.c.table_name == place.table
    )
    if name := options.get("catalog"):
        wanted = wanted.where(_TABLE.c.catalog_name == str(name))
    found = connection.execute(wanted).all()
    if not found:
        raise StoreNotFoundError(
            f"There is no table {place.shown_table} in {place.shown}. Check the namespace, the "
            'table and, if given, the option "catalog".'
        )
    if len(found) > 1:
        raise OptionError(
            f"{place.shown[0].upper()}{place.shown[1:]} holds several catalogs with a table "
            f'{place.shown_table}. Name one in the option "catalog".'
        )
    ((catalog, location),) = found
    return str(catalog), str(location)


def _rows(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Every value of the catalog's own tables."""
    present = sa.inspect(connection).get_table_names()
    for table in (_TABLES, _PROPERTIES):
        if table not in present:
            continue
        described = sa.Table(table, sa.MetaData(), autoload_with=connection)
        for row in connection.execute(sa.select(described)).mappings():
            yield from ((f"{table}.{name}", str(v)) for name, v in row.items() if v is not None)


# REST catalogs


def token(options: Mapping[str, Any], role: Role) -> str:
    """Raises OptionError, which never holds a secret."""
    prefix = prefix_for(options, role, _TOKEN)
    return secret(options, f"{prefix}token", example="CATALOG_TOKEN")


def _rest_entry(place: Place, options: Mapping[str, Any], role: Role, reach: Reach) -> Entry:
    given = token(options, role)
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    with httpx.Client(headers=headers, timeout=_ANSWER_SECONDS, follow_redirects=False) as client:
        warehouse = options.get("warehouse")
        config = _get(client, place, "config", {"warehouse": str(warehouse)} if warehouse else {})
        settings = {**config.get("defaults", {}), **config.get("overrides", {})}
        prefix = f"{settings['prefix'].strip('/')}/" if settings.get("prefix") else ""
        namespace = "%1F".join(quote(n, safe="") for n in place.namespace)
        path = f"{prefix}namespaces/{namespace}/tables/{quote(place.table, safe='')}"
        answer = _get(client, place, path, {})
    metadata = answer.get("metadata")
    if not isinstance(metadata, dict):
        raise StoreError(f"What {place.shown} answered describes no table.")
    texts = [("answer of the catalog", json.dumps(answer))]
    return Entry(_folder(metadata, reach), metadata, texts)


def _get(client: httpx.Client, place: Place, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    try:
        answer = client.get(f"{place.base}/v1/{path}", params=query)
    except httpx.HTTPError as exc:
        raise StoreError(
            f"Nothing that can be used answers for {place.shown} ({type(exc).__name__})."
        ) from None
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise StoreNotFoundError(f"There is no table {place.shown_table} in {place.shown}.")
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise StoreError(
            f"{place.shown[0].upper()}{place.shown[1:]} refused the token. Name the variable that "
            'holds a valid one in the option "token_env", or its file in "token_file".'
        )
    try:
        answer.raise_for_status()
        body = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise StoreError(
            f"What {place.shown} answered cannot be used ({answer.status_code}, "
            f"{type(exc).__name__})."
        ) from None
    return body if isinstance(body, dict) else {}
