"""What a table is: its columns, how one row is told from another, and who refers to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table, inspect
from sqlalchemy.exc import CompileError, NoSuchTableError
from sqlalchemy.types import NullType, UserDefinedType

from connectors.adapters.base import StoreError, StoreNotFoundError

SYSTEM_SCHEMAS = ("information_schema", "pg_catalog", "pg_toast")
_ROWID_NAMES = ("rowid", "_rowid_", "oid")


class _Place(UserDefinedType[str]):
    """Where PostgreSQL keeps a row: block and number, "(0,7)"."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tid"


@dataclass(frozen=True)
class Reference:
    """A foreign key, of another table or of the same, that points to a table."""

    schema: str | None
    table: str
    columns: tuple[str, ...]
    target: tuple[str, ...]
    on_delete: str

    @property
    def shown(self) -> str:
        return f"{self.schema}.{self.table}" if self.schema else self.table


@dataclass(frozen=True)
class TableShape:
    """One table as the database describes it. `columns`: (name, SQL type)."""

    dialect: str
    table: Table
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]  # the primary key's columns
    oid: int = 0  # PostgreSQL's number of the table
    partitioned: bool = False
    rowid: str = ""  # what SQLite's row number is called here

    @property
    def shown(self) -> str:
        return f"{self.table.schema}.{self.table.name}" if self.table.schema else self.table.name

    @cached_property
    def locator(self) -> tuple[sa.ColumnElement[Any], ...]:
        """What tells one row from another within a transaction; empty where nothing does.

        The row's place where the database has one: it needs no primary key, and no thought about
        types and collations.
        """
        if self.dialect == "postgresql" and not self.partitioned:
            return (sa.literal_column("ctid", _Place()),)
        if self.rowid:
            return (sa.literal_column(self.rowid, NullType()),)
        return tuple(self.table.c[name] for name in self.key)

    def column(self, name: str) -> sa.Column[Any]:
        """Raises StoreError when there is no such column."""
        if name not in self.table.c:
            known = ", ".join(name for name, _ in self.columns)
            raise StoreError(f"The table {self.shown} has no column {name}. Its columns: {known}.")
        return self.table.c[name]


def read_shape(connection: Connection, schema: str | None, name: str) -> TableShape:
    """Raises StoreNotFoundError; StoreError for a view and whatever else holds no rows itself."""
    inspector = inspect(connection)
    try:
        columns = inspector.get_columns(name, schema)
    except NoSuchTableError:
        columns = []
    if not columns:
        shown = f"{schema}.{name}" if schema else name
        raise StoreNotFoundError(
            f"There is no table {shown} in the database, or the user may not see it."
        )
    key = tuple(inspector.get_pk_constraint(name, schema)["constrained_columns"])
    if connection.dialect.name == "sqlite":
        return _sqlite_shape(connection, name, key)
    made = [sa.Column(c["name"], c["type"]) for c in columns]
    types = tuple((c["name"], _spelled(c["type"], connection)) for c in columns)
    table = Table(name, sa.MetaData(), *made, schema=schema)
    if connection.dialect.name == "postgresql":
        return _postgresql_shape(connection, table, types, key)
    if name in inspector.get_view_names(schema):
        raise _no_table(name)
    return TableShape("mysql", table, types, key)


def _no_table(name: str) -> StoreError:
    return StoreError(
        f"{name} is no plain table (a view, a virtual or a foreign table). Connect the table that "
        "holds its rows."
    )


def _spelled(kind: Any, connection: Connection) -> str:
    try:
        return str(kind.compile(connection.dialect))
    except CompileError:  # a type that SQLAlchemy does not know
        return "unknown"


def _sqlite_shape(connection: Connection, name: str, key: tuple[str, ...]) -> TableShape:
    """A column's declared type binds no value in SQLite, so values are taken as they are."""
    described = connection.execute(
        sa.text("SELECT name, type FROM pragma_table_xinfo(:name) WHERE hidden <> 1"),
        {"name": name},
    ).all()
    kind, without_rowid = connection.execute(
        sa.text("SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = :name"),
        {"name": name},
    ).one()
    if kind != "table":
        raise _no_table(name)
    taken = {column.lower() for column, _ in described}
    free = "" if without_rowid else next((n for n in _ROWID_NAMES if n not in taken), "")
    table = Table(name, sa.MetaData(), *(sa.Column(c, NullType()) for c, _ in described))
    types = tuple((column, kind or "any") for column, kind in described)
    return TableShape("sqlite", table, types, key, rowid=free)


def _postgresql_shape(
    connection: Connection,
    table: Table,
    types: tuple[tuple[str, str], ...],
    key: tuple[str, ...],
) -> TableShape:
    found = connection.execute(
        sa.text(
            "SELECT CAST(c.relkind AS text), c.oid, "
            "EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = :name "
            "AND CASE WHEN CAST(:schema AS text) IS NULL THEN pg_table_is_visible(c.oid) "
            "ELSE n.nspname = :schema END"
        ),
        {"name": table.name, "schema": table.schema},
    ).first()
    if found is None or found[0] not in ("r", "p"):
        raise _no_table(table.name)
    return TableShape("postgresql", table, types, key, oid=found[1], partitioned=bool(found[2]))


def references_to(connection: Connection, shape: TableShape) -> list[Reference]:
    """Every foreign key in the database that points to the table."""
    if shape.dialect == "sqlite":
        return _sqlite_references(connection, shape)
    inspector = inspect(connection)
    default = inspector.default_schema_name
    home = shape.table.schema or default
    found = set()
    for schema in _schemas(inspector, shape.dialect):
        for (_, table), keys in inspector.get_multi_foreign_keys(schema).items():
            for key in keys:
                referred = key["referred_schema"] or default
                if key["referred_table"] != shape.table.name or referred != home:
                    continue
                found.add(
                    Reference(
                        None if schema == default and not shape.table.schema else schema,
                        str(table),
                        tuple(key["constrained_columns"]),
                        tuple(c for c in key["referred_columns"] if c) or shape.key,
                        str(key.get("options", {}).get("ondelete", "NO ACTION")).upper(),
                    )
                )
    return sorted(found, key=lambda r: (r.shown, r.columns))


def _schemas(inspector: sa.Inspector, dialect: str) -> Sequence[str | None]:
    if dialect != "postgresql":
        return [None]
    return [s for s in inspector.get_schema_names() if s not in SYSTEM_SCHEMAS]


def _sqlite_references(connection: Connection, shape: TableShape) -> list[Reference]:
    found: dict[tuple[str, int], list[tuple[str, str, str]]] = {}
    rows = connection.execute(
        sa.text(
            'SELECT m.name, f.id, f."from", f."to", f.on_delete FROM sqlite_master m, '
            "pragma_foreign_key_list(m.name) f WHERE m.type = 'table' "
            'AND lower(f."table") = lower(:name) ORDER BY m.name, f.id, f.seq'
        ),
        {"name": shape.table.name},
    )
    for table, number, column, target, on_delete in rows:
        found.setdefault((table, number), []).append((column, target, on_delete))
    return [
        Reference(
            None,
            table,
            tuple(column for column, _, _ in parts),
            # A key that names no columns points to the primary key.
            tuple(target for _, target, _ in parts if target) or shape.key,
            parts[0][2].upper(),
        )
        for (table, _), parts in found.items()
    ]
