"""SQL tables in SQLite files: found, erased, purged, and read again byte by byte."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connectors.adapters.base import OptionError, PlanOutdatedError, StoreError, StoreNotFoundError
from connectors.adapters.sqltables import SqlStore
from tests.connectors.sql_builders import (
    COLUMNS,
    EVERY_NEEDLE,
    PERSON,
    customers,
    erase,
    plan_of,
    run_sqlite,
    sqlite_shop,
    sqlite_store,
)

NAME = b"ann.archer@mail.example"


@pytest.fixture(params=[False, True], ids=["rollback journal", "write-ahead log"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return sqlite_shop(tmp_path / "shop.db", wal=request.param)


def left(path: Path) -> list[Any]:
    return run_sqlite(path, "SELECT * FROM customers ORDER BY 1")


def everything(path: Path) -> bytes:
    return b"".join(p.read_bytes() for p in path.parent.iterdir() if p.is_file()).lower()


def test_the_person_is_found_under_other_spellings(shop: Path) -> None:
    found = sqlite_store(shop).find_subject({"email": [" ANN.archer@mail.EXAMPLE"]})
    assert [(o.path, o.rows) for o in found.objects] == [("customers", 3)]
    assert found.linked == {"customer_id": ("c-000042",)}
    assert list(found.rows_by_version) == [sqlite_store(shop).versions()[0].id]


def test_the_version_changes_with_the_content_and_with_nothing_else(shop: Path) -> None:
    (before,) = sqlite_store(shop).versions()
    assert (before.rows, before.schema[0]) == (203, ("customer_id", "TEXT"))
    run_sqlite(shop, "VACUUM")
    assert sqlite_store(shop).versions()[0].id == before.id
    run_sqlite(shop, "UPDATE customers SET price = 1 WHERE customer_id = 'c-000150'")
    assert sqlite_store(shop).versions()[0].id != before.id
    assert sqlite_store(shop).versions(digests=False)[0].digest is None


def test_an_erasure_leaves_no_byte_and_changes_nobody_else(shop: Path) -> None:
    expected = [tuple(row) for row in customers(100, 300)]
    assert NAME in everything(shop)
    erase(sqlite_store(shop))
    assert left(shop) == expected
    assert NAME not in everything(shop)
    verifier = sqlite_store(shop, role="verifier")
    report = verifier.verify_erased(EVERY_NEEDLE, verifier.control_subject(PERSON))
    assert report.clean, report
    assert report.control_found
    assert "short" in report.method


def test_deleting_alone_leaves_traces_that_the_scan_finds(shop: Path) -> None:
    run_sqlite(
        shop,
        "PRAGMA secure_delete = OFF",
        "DELETE FROM customers WHERE customer_id = 'c-000042'",
    )
    assert NAME in everything(shop)
    report = sqlite_store(shop, role="verifier").verify_erased(EVERY_NEEDLE, None)
    assert {t.where for t in report.traces} == {"raw bytes"}


def test_pages_that_others_still_read_from_the_log_stop_the_purge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.adapters.sqltables.purge._PATIENCE_SECONDS", 0)
    monkeypatch.setattr("connectors.adapters.sqltables.engine.WAIT_SECONDS", 0.1)
    shop = sqlite_shop(tmp_path / "shop.db", wal=True)
    store = sqlite_store(shop)
    plan = plan_of(store)
    reader = sqlite3.connect(shop)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM customers").fetchone()
    store.erase(plan, PERSON)
    with pytest.raises(StoreError, match=r"reads an older state|not in use"):
        store.purge_history(plan)
    reader.close()
    store.purge_history(plan)
    assert NAME not in everything(shop)


def test_nobody_found_means_nothing_to_do(shop: Path) -> None:
    store = sqlite_store(shop)
    plan = erase(store, {"customer_id": ["c-999999"]})
    assert (plan.rows, plan.objects) == (0, ())
    assert store.versions()[0].rows == 203


def test_a_table_of_nobody_else_is_emptied(tmp_path: Path) -> None:
    shop = sqlite_shop(tmp_path / "shop.db", person=50, others=0)
    erase(sqlite_store(shop))
    assert left(shop) == []
    assert sqlite_store(shop).control_subject(PERSON) is None
    assert sqlite_store(shop).verify_erased(EVERY_NEEDLE, None).clean


@pytest.mark.parametrize(
    ("kind", "stored", "needle", "rows"),
    [
        ("INTEGER", [4, 40, None], "00004", 1),
        ("TEXT", ["00004", "4", None], "00004", 1),
        ("TEXT", ["4", "04"], "00004", 0),
        ("TEXT COLLATE NOCASE", ["Ab3x", "aB3x"], "Ab3x", 1),
        ("REAL", [4.0, 4.5], "4", 1),
        ("", [4, "4", b"4"], "4", 3),
        ("TEXT", ["6F9619FF8B86D011B42D00C04FC964FF"], "6f9619ff-8b86-d011-b42d-00c04fc964ff", 1),
        ("BLOB", [bytes.fromhex("6f9619ff8b86d011b42d00c04fc964ff")],
         "6f9619ff-8b86-d011-b42d-00c04fc964ff", 1),
    ],
)  # fmt: skip
def test_identifiers_match_by_the_rule_for_people(
    tmp_path: Path, kind: str, stored: list[Any], needle: str, rows: int
) -> None:
    path = tmp_path / "t.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f'CREATE TABLE "order" ("the ""id""" {kind})')
        connection.executemany('INSERT INTO "order" VALUES (?)', [(v,) for v in stored])
    connection.close()
    store = sqlite_store(path, ['the "id"'], table="order")
    plan = erase(store, {'the "id"': [needle]})
    assert plan.rows == rows
    assert store.versions()[0].rows == len(stored) - rows
    if rows:
        assert store.verify_erased([needle], None).clean


def test_tables_without_rowid_and_with_a_key_of_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    run_sqlite(
        path,
        "CREATE TABLE t (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "INSERT INTO t VALUES ('c-000042', 1), ('c-000042', 2), ('c-000043', 1)",
    )
    assert erase(sqlite_store(path, ["a"], table="t"), {"a": ["c-000042"]}).rows == 2
    assert run_sqlite(path, "SELECT * FROM t") == [("c-000043", 1)]


def test_many_identifiers_are_searched_in_chunks(shop: Path) -> None:
    many = [f"c-{n:06d}" for n in range(2000)]
    assert sqlite_store(shop).find_subject({"customer_id": many}).objects[0].rows == 203


def test_free_text_is_searched_where_the_options_say_so(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    run_sqlite(
        path,
        "CREATE TABLE notes (customer_id TEXT, note TEXT)",
        "INSERT INTO notes VALUES ('x-1', 'wrote to ANN.archer@mail.example twice'), "
        "('x-2', 'joann.archer@mail.example called'), ('x-3', NULL)",
    )
    plain = sqlite_store(path, ["customer_id"], table="notes")
    assert not plain.find_subject({"customer_id": EVERY_NEEDLE}).objects
    store = sqlite_store(path, ["customer_id"], table="notes", text_columns=["note"])
    needles = {"customer_id": EVERY_NEEDLE}
    assert erase(store, needles).rows == 1
    assert run_sqlite(path, "SELECT customer_id FROM notes") == [("x-2",), ("x-3",)]


SHOP_WITH_ORDERS = (
    "CREATE TABLE customers (customer_id TEXT PRIMARY KEY, email TEXT)",
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer TEXT REFERENCES customers "
    "ON DELETE CASCADE)",
    "CREATE TABLE lines (order_id INTEGER REFERENCES orders (id), cd TEXT)",
    "INSERT INTO customers VALUES ('c-000042', 'ann.archer@mail.example'), ('c-000043', NULL)",
    "INSERT INTO orders VALUES (1, 'c-000042'), (2, 'c-000043'), (3, 'c-000042')",
    "INSERT INTO lines VALUES (1, 'A'), (1, 'B'), (2, 'C')",
)


def test_rows_that_refer_to_the_person_stand_in_the_way_by_name(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    run_sqlite(path, *SHOP_WITH_ORDERS)
    store = sqlite_store(path)
    plan = plan_of(store)
    (blocker,) = plan.blockers
    assert "2 rows of the table orders" in blocker
    assert "ON DELETE CASCADE would remove them unseen" in blocker
    with pytest.raises(StoreError, match="cannot be carried out"):
        store.erase(plan, PERSON)
    (inner,) = plan_of(sqlite_store(path, child_tables=["orders"])).blockers
    assert "2 rows of the table lines" in inner


def test_child_tables_are_erased_along_in_the_right_order(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    run_sqlite(path, *SHOP_WITH_ORDERS)
    store = sqlite_store(path, child_tables=["orders", "lines"])
    plan = erase(store)
    assert (plan.rows, plan.objects) == (5, ("customers", "orders", "lines"))
    assert run_sqlite(path, "SELECT * FROM orders") == [(2, "c-000043")]
    assert run_sqlite(path, "SELECT * FROM lines") == [(2, "C")]
    assert store.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000043")).clean


def test_triggers_are_named_until_somebody_says_that_they_keep_nothing(shop: Path) -> None:
    run_sqlite(
        shop,
        "CREATE TABLE history (customer_id TEXT, email TEXT)",
        "CREATE TRIGGER keep AFTER DELETE ON customers BEGIN "
        "INSERT INTO history VALUES (old.customer_id, old.email); END",
    )
    (blocker,) = plan_of(sqlite_store(shop)).blockers
    assert '"keep"' in blocker
    assert "writes to history" in blocker
    told = sqlite_store(shop, known_triggers=["keep"])
    erase(told)
    report = told.verify_erased(EVERY_NEEDLE, None)
    assert ("history", "column customer_id") in {(t.path, t.where) for t in report.traces}


def test_rows_that_changed_since_the_plan_are_not_erased(shop: Path) -> None:
    store = sqlite_store(shop)
    plan = plan_of(store)
    run_sqlite(shop, "INSERT INTO customers VALUES ('c-000900', 'other@shop.example', 1)")
    run_sqlite(shop, "UPDATE customers SET price = 2 WHERE customer_id = 'c-000042'")
    before = left(shop)
    with pytest.raises(PlanOutdatedError, match="changed since the plan"):
        store.erase(plan, PERSON)
    assert left(shop) == before


def test_other_peoples_changes_do_not_outdate_a_plan(shop: Path) -> None:
    store = sqlite_store(shop)
    plan = plan_of(store)
    run_sqlite(shop, "INSERT INTO customers VALUES ('c-000900', 'other@shop.example', 1)")
    assert store.erase(plan, PERSON).rows == 3
    assert store.versions()[0].rows == 201


def test_a_trigger_that_changes_other_rows_undoes_the_erasure(shop: Path) -> None:
    run_sqlite(
        shop,
        "CREATE TRIGGER spoil AFTER DELETE ON customers BEGIN "
        "UPDATE customers SET price = 0 WHERE customer_id = 'c-000150'; END",
    )
    store = sqlite_store(shop, known_triggers=["spoil"])
    before = left(shop)
    with pytest.raises(StoreError, match="changed other people's rows"):
        store.erase(plan_of(store), PERSON)
    assert left(shop) == before


_CHILD = """
import os, sys
from connectors.adapters.sqltables import erase as erasing, purge
from connectors.adapters.sqltables import store as stores
from tests.connectors.sql_builders import PERSON, plan_of, sqlite_store
from pathlib import Path
where = sys.argv[2]
def die(*a, **k): os.kill(os.getpid(), 9)
store = sqlite_store(Path(sys.argv[1]))
plan = plan_of(store)
if where == "before the commit":
    seen = []
    bag_of = erasing.bag_of
    def counted(*a):
        seen.append(1)
        if len(seen) == 2: die()
        return bag_of(*a)
    erasing.bag_of = counted
store.erase(plan, PERSON)
if where == "after the commit": die()
if where == "in the purge":
    purge._truncate_wal = die
if where == "during the vacuum":
    import sqlite3
    connect = purge.sqlite_connection
    def watched(*a, **k):
        connection = connect(*a, **k)
        connection.set_progress_handler(die, 150)
        return connection
    purge.sqlite_connection = watched
store.purge_history(plan)
"""


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("before the commit", 203),
        ("after the commit", 200),
        ("during the vacuum", 200),
        ("in the purge", 200),
    ],
)
def test_a_worker_killed_by_the_system_is_resumed(shop: Path, where: str, rows: int) -> None:
    store = sqlite_store(shop)
    plan = plan_of(store)
    died = subprocess.run([sys.executable, "-c", _CHILD, str(shop), where], check=False, timeout=60)
    assert died.returncode == -9
    assert len(left(shop)) == rows
    again = store.erase(plan, PERSON)
    assert again.rows == rows - 200
    if not again.rows:
        assert "earlier attempt" in again.detail["note"]
    store.purge_history(plan)
    assert left(shop) == [tuple(row) for row in customers(100, 300)]
    assert NAME not in everything(shop)
    assert store.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean


def test_free_pages_fail_the_scan_where_an_identifier_is_too_short_for_bytes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.db"
    run_sqlite(
        path,
        "CREATE TABLE t (id INTEGER, v TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "
        "INSERT INTO t SELECT i, 'v' || i FROM n",
    )
    run_sqlite(path, "DELETE FROM t WHERE id > 3")
    report = sqlite_store(path, ["id"], table="t").verify_erased(["4"], None)
    assert "free pages may hold" in report.unreadable[0]


def test_keeping_history_is_refused(shop: Path) -> None:
    store = sqlite_store(shop)
    with pytest.raises(StoreError, match="keeps no older versions"):
        store.plan_erase(store.find_subject(PERSON), mode="keep_history")
    reader = sqlite_store(shop, role="reader")
    with pytest.raises(StoreError, match="reading only"):
        reader.erase(plan_of(reader), PERSON)


@pytest.mark.parametrize(
    ("location", "options", "error", "reason"),
    [
        ("sqlite:////nowhere/x.db#t", {}, StoreNotFoundError, "no file at /nowhere/x.db"),
        ("sqlite:///x.db#t", {}, StoreError, "absolute path"),
        ("sqlite:////x.db", {}, StoreError, "names no table"),
        ("oracle://h/d#t", {}, StoreError, "begins with sqlite"),
        ("postgresql://u:s3cret@h/d#t", {}, StoreError, "holds a user name or a password"),
        ("postgresql://u:s3#cret@h/d#t", {}, StoreError, "holds a user name or a password"),
        ("postgresql://h/d?password=s3cret#t", {}, StoreError, "may not stand there"),
        ("postgresql://h/d?hostaddr=10.0.0.1#t", {}, StoreError, "may not stand there"),
        ("postgresql://h/d#t", {"password": "s3cret"}, OptionError, "holds a password"),
        ("postgresql://h/d#t", {"password_env": "SECRET_KEY"}, OptionError, "ends with PASSWORD"),
        ("postgresql://h/d#t", {"password_env": "NO_SUCH_PASSWORD"}, OptionError, "is not set"),
        ("postgresql://h/d#t", {"tabel": "x"}, OptionError, 'no option "tabel"'),
        ("postgresql://h/d#t", {"child_tables": "x"}, OptionError, "list of names"),
    ],
)
def test_a_wrong_address_or_option_is_said_without_the_secret(
    location: str, options: dict[str, Any], error: type[StoreError], reason: str
) -> None:
    with pytest.raises(error, match=reason) as refused:
        SqlStore(location, COLUMNS, options).schema()
    assert "s3" not in str(refused.value)


def test_a_missing_table_a_view_and_a_missing_column_are_named(shop: Path) -> None:
    run_sqlite(shop, "CREATE VIEW v AS SELECT * FROM customers")
    with pytest.raises(StoreNotFoundError, match="no table clients"):
        sqlite_store(shop, table="clients").schema()
    with pytest.raises(StoreError, match="no plain table"):
        sqlite_store(shop, table="v").schema()
    with pytest.raises(StoreError, match="has no column phone"):
        sqlite_store(shop, ["phone"]).find_subject({"phone": ["1"]})
    (shop.parent / "text.db").write_text("no database, but long enough to be read as one" * 9)
    with pytest.raises(StoreError, match="no SQLite database"):
        sqlite_store(shop.parent / "text.db").schema()


def test_counts_and_identifiers_can_be_read(shop: Path) -> None:
    store = sqlite_store(shop)
    profile = store.profile()
    assert (profile["rows"], profile["columns"]["email"]["distinct"]) == (203, 201)
    version = store.versions()[0].id
    assert len(set(store.identifier_values("customer_id", version))) == 201
    assert os.access(shop, os.W_OK)
