"""A SQLite file: every row of every table, and every byte of the file and of its logs."""

import mmap
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from connectors.adapters.sqltables.address import Address
from connectors.adapters.sqltables.engine import sqlite_connection, translated
from connectors.adapters.sqltables.purge import SQLITE_TAILS
from connectors.adapters.sqltables.verify import SHORT, Reading

_BESIDE = ("", "-wal", "-journal")


def read_sqlite(address: Address, reading: Reading, left_out: Sequence[str]) -> None:
    """Raises StoreError when the file cannot be opened as a database."""
    with translated(address):
        connection = sqlite_connection(address, writable=False)
        try:
            tables = [name for name in _tables(connection) if name not in left_out]
            for number, name in enumerate(tables):
                reading.progress("scan", number, len(tables) + 1, reading.bytes)
                reading.attempt(name, partial(_rows, connection, name, reading))
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        finally:
            connection.close()
    for suffix in _BESIDE:
        path = Path(f"{address.database}{suffix}")
        if path.exists() and not (left_out and not suffix):
            reading.attempt(path.name, partial(_bytes, path, reading))
    if free and not all(i.distinctive for i in reading.identifiers.sought if not i.control):
        reading.record.fail(
            Path(address.database).name,
            f"{free} free pages may hold deleted rows with short identifiers; purge again",
        )
    reading.progress("scan", len(tables) + 1, len(tables) + 1, reading.bytes)
    reading.method += [
        f"every row of {len(tables)} tables of the file read through SQLite's own driver",
        "the bytes of the file, of its write-ahead log and its journal searched as they are"
        if not left_out
        else f"left out by the options: {', '.join(left_out)}, and with them the file's bytes",
        SHORT,
        f"not reached: {', '.join(SQLITE_TAILS)}",
    ]


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Those of the user, of virtual tables (shadow tables hold their texts), and SQLite's own."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage")
    return [*sorted(name for (name,) in found), "sqlite_master"]


def _rows(connection: sqlite3.Connection, name: str, reading: Reading) -> None:
    quoted = name.replace('"', '""')
    # A name cannot be bound; it comes from the database itself and is quoted by SQL's own rule.
    cursor = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608
    columns = [described[0] for described in cursor.description]

    def rows() -> Iterator[Sequence[object]]:
        yield from cursor

    reading.rows(name, columns, rows())


def _bytes(path: Path, reading: Reading) -> None:
    with path.open("rb") as file:
        if path.stat().st_size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                reading.raw(path.name, data)
