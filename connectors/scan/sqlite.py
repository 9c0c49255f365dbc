"""SQLite files: the caches of tools keep names and values in them."""

import mmap
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from connectors.scan.record import Record
from connectors.scan.texts import scan_json

_MAGIC = b"SQLite format 3\x00"


def is_sqlite(head: bytes) -> bool:
    return head.startswith(_MAGIC)


def scan_sqlite(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note every identifier in the rows of every table; rows that were deleted and whose bytes are
    still there are found by the search of the raw bytes. Raises sqlite3.Error, ValueError."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(_without_log(bytes(data)))
        for table, column, value in _values(database):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            scan_json({column: text}, (table,), path, record)


def _without_log(data: bytes) -> bytes:
    """The same pages, said to be used without a write-ahead log, which memory cannot have."""
    return data[:18] + b"\x01\x01" + data[20:]


def _values(database: sqlite3.Connection) -> Iterator[tuple[str, str, object]]:
    named = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    for (table,) in database.execute(named).fetchall():
        quoted = table.replace('"', '""')
        rows = database.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 (a quoted name)
        columns = [str(column[0]) for column in rows.description]
        for row in rows:
            for column, value in zip(columns, row, strict=True):
                if isinstance(value, str | bytes | int | float):
                    yield str(table), column, value
