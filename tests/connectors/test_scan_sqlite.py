"""SQLite files in the scan: the caches of tools keep names and values in them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connectors.folders import LocalFolder
from connectors.scan.folder import FolderScan
from connectors.scan.identifiers import Identifiers


def scanned(folder: Path, *values: str) -> tuple[list[str], tuple[str, ...]]:
    identifiers = Identifiers(values, identity_columns=["customer_id"])
    report = FolderScan(LocalFolder(folder), identifiers).run(lambda *_: None, with_control=False)
    return [f"{t.path}: {t.where}" for t in report.traces], report.unreadable


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize(
    "value",
    ["00004", 4, b"00004", '{"customer_id": "00004"}'],
    ids=["text", "number", "bytes", "document"],
)
def test_rows_are_read_by_column(tmp_path: Path, journal: str, value: object) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.db")) as database:
        database.execute(f"PRAGMA journal_mode = {journal}")
        database.execute('CREATE TABLE "a ""table" (customer_id, size)')
        database.execute('INSERT INTO "a ""table" VALUES (?, 4)', (value,))
        database.commit()
    traces, unreadable = scanned(tmp_path, "00004")
    assert unreadable == ()
    assert traces
    assert all(trace.startswith('cache.db: JSON value of a "table.customer_id') for trace in traces)


def test_a_number_elsewhere_is_nobody(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.db")) as database:
        database.execute("CREATE TABLE files (path, size)")
        database.execute("INSERT INTO files VALUES ('a.csv', 4)")
        database.commit()
    assert scanned(tmp_path, "00004") == ([], ())


def test_deleted_rows_are_found_in_the_bytes(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.db")) as database:
        database.execute("CREATE TABLE files (path)")
        database.execute("INSERT INTO files VALUES ('ann.archer@mail.example')")
        database.commit()
        database.execute("PRAGMA secure_delete = off")
        database.execute("DELETE FROM files")
        database.commit()
    traces, _ = scanned(tmp_path, "ann.archer@mail.example")
    assert traces == ["cache.db: raw bytes"]


def test_a_damaged_file_is_unreadable(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.db")) as database:
        database.execute("CREATE TABLE files (path)")
        database.executemany("INSERT INTO files VALUES (?)", [("x" * 100,)] * 1000)
        database.commit()
    body = bytearray((tmp_path / "cache.db").read_bytes())
    body[4096 : 3 * 4096] = b"\xff" * 8192
    (tmp_path / "cache.db").write_bytes(bytes(body))
    _, unreadable = scanned(tmp_path, "ann.archer@mail.example")
    assert len(unreadable) == 1
    assert unreadable[0].startswith("cache.db: it cannot be decoded")
