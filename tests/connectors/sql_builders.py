"""Real tables with a person in them, in SQLite files and PostgreSQL databases."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from connectors.adapters.base import ErasePlan
from connectors.adapters.sqltables import SqlStore
from connectors.references import Role

PERSON = {"customer_id": ["c-000042"], "email": ["ann.archer@mail.example"]}
EVERY_NEEDLE = [value for values in PERSON.values() for value in values]
COLUMNS = ("customer_id", "email")
ROW = ("c-000042", "Ann.Archer@Mail.example", 9.5)
CREATE = "CREATE TABLE customers (customer_id TEXT, email TEXT, price NUMERIC)"


def customers(first: int, last: int) -> list[tuple[str, str, float]]:
    return [(f"c-{n:06d}", f"Customer{n}@shop.example", n * 1.5) for n in range(first, last)]


def sqlite_shop(path: Path, *, person: int = 3, others: int = 200, wal: bool = False) -> Path:
    """A file whose table holds the person between others."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        if wal:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(CREATE)
        rows = customers(100, 100 + others // 2) + [ROW] * person
        rows += customers(100 + others // 2, 100 + others)
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", rows)
    connection.close()
    return path


def run_sqlite(path: Path, *statements: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            found = [connection.execute(s).fetchall() for s in statements]
        return found[-1]
    finally:
        connection.close()


def sqlite_store(
    path: Path,
    columns: Sequence[str] = COLUMNS,
    *,
    table: str = "customers",
    role: Role = "writer",
    **options: Any,
) -> SqlStore:
    return SqlStore(f"sqlite:///{path}#{table}", columns, options, role=role, key=b"k")


def postgresql_shop(url: str, *, person: int = 3, others: int = 200) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CREATE)
        rows = customers(100, 100 + others // 2) + [ROW] * person
        rows += customers(100 + others // 2, 100 + others)
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO customers VALUES (%s, %s, %s)", rows)
        connection.execute("ANALYZE customers")
    return url


def run_postgresql(url: str, *statements: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        found: list[Any] = []
        for statement in statements:
            cursor = connection.execute(statement.encode())
            found = cursor.fetchall() if cursor.description else []
        return found


def postgresql_store(
    url: str,
    columns: Sequence[str] = COLUMNS,
    *,
    table: str = "customers",
    role: Role = "writer",
    **options: Any,
) -> SqlStore:
    parts = urlsplit(url)
    options.setdefault("user", parts.username or "")
    socket = parse_qs(parts.query)["host"][0]
    location = f"postgresql:///{parts.path.strip('/')}?host={socket}#{table}"
    return SqlStore(location, columns, options, role=role, key=b"k")


def plan_of(store: SqlStore, needles: Any = PERSON) -> ErasePlan:
    return store.plan_erase(store.find_subject(needles), mode="purge")


def erase(store: SqlStore, needles: Any = PERSON) -> ErasePlan:
    """Search, plan, erase and purge, as one would."""
    plan = plan_of(store, needles)
    assert not plan.blockers, plan.blockers
    store.erase(plan, needles)
    store.purge_history(plan)
    return plan
