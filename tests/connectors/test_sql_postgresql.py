"""SQL tables in PostgreSQL: rows, the server's files, and what it keeps in statistics."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection as under_test

from connectors.adapters.base import OptionError, PlanOutdatedError, StoreError, StoreNotFoundError
from connectors.adapters.sqltables import SqlStore
from tests.audit.installations import own_database
from tests.connectors.sql_builders import (
    EVERY_NEEDLE,
    PERSON,
    customers,
    erase,
    plan_of,
    postgresql_shop,
    postgresql_store,
    run_postgresql,
)

pytestmark = pytest.mark.skipif(
    under_test.vendor != "postgresql", reason="DATABASE_URL names no PostgreSQL"
)
NAME = b"ann.archer@mail.example"


@pytest.fixture
def url() -> Iterator[str]:
    with own_database() as found:
        yield found


@pytest.fixture
def shop(url: str) -> str:
    return postgresql_shop(url)


@pytest.fixture
def role(url: str) -> Iterator[str]:
    """A role that may sign in and nothing else."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    run_postgresql(url, f"CREATE ROLE {name} LOGIN")
    yield name
    run_postgresql(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def data_directory(url: str) -> Path:
    path = Path(run_postgresql(url, "SHOW data_directory")[0][0])
    if not os.access(path, os.R_OK):
        pytest.skip("the server's data directory cannot be read from here")
    return path


def left(url: str) -> list[Any]:
    rows = run_postgresql(url, "SELECT * FROM customers ORDER BY 1")
    return [(a, b, float(c)) for a, b, c in rows]


def test_an_erasure_leaves_nothing_in_rows_statistics_and_files(shop: str) -> None:
    expected = customers(100, 300)
    directory = str(data_directory(shop))
    erase(postgresql_store(shop))
    assert left(shop) == expected
    verifier = postgresql_store(shop, role="verifier", data_directory=directory)
    report = verifier.verify_erased(EVERY_NEEDLE, verifier.control_subject(PERSON))
    assert report.clean, report
    assert report.control_found
    assert "after a checkpoint" in report.method
    assert "write-ahead log" in report.method


def test_deleting_and_vacuuming_leave_traces_that_the_scan_finds(shop: str) -> None:
    directory = str(data_directory(shop))
    store = postgresql_store(shop, role="verifier", data_directory=directory)
    # The server's own housekeeping might replace the samples meanwhile.
    run_postgresql(shop, "ALTER TABLE customers SET (autovacuum_enabled = false)")
    run_postgresql(shop, "DELETE FROM customers WHERE customer_id = 'c-000042'")
    report = store.verify_erased(EVERY_NEEDLE, None)
    places = {(t.path, t.where) for t in report.traces}
    assert ("pg_stats of public.customers", "statistics of column email") in places
    assert "raw bytes" in {where for _, where in places}
    # Even with statistics made anew and the table rewritten, the catalog keeps the freed rows.
    run_postgresql(shop, "VACUUM (FULL, ANALYZE) customers")
    report = store.verify_erased(EVERY_NEEDLE, None)
    assert {t.where for t in report.traces} == {"raw bytes"}
    for _ in range(60):  # other tests' transactions may still see them
        run_postgresql(shop, "VACUUM FULL customers", "VACUUM FULL pg_statistic")
        if (report := store.verify_erased(EVERY_NEEDLE, None)).clean:
            break
        time.sleep(1)
    assert report.clean


def test_the_report_says_when_bytes_could_not_be_read(shop: str) -> None:
    erase(postgresql_store(shop))
    report = postgresql_store(shop, role="verifier").verify_erased(EVERY_NEEDLE, None)
    assert report.clean
    assert "the bytes on disk were not read" in report.method
    assert "for want of one for the verifier" in report.method


def test_statistics_of_a_table_that_became_empty_are_forgotten(url: str) -> None:
    postgresql_shop(url, person=50, others=0)
    assert run_postgresql(url, "SELECT count(*) FROM pg_stats WHERE tablename = 'customers'") != [
        (0,)
    ]
    erase(postgresql_store(url))
    assert left(url) == []
    assert run_postgresql(url, "SELECT count(*) FROM pg_stats WHERE tablename = 'customers'") == [
        (0,)
    ]
    assert postgresql_store(url).verify_erased(EVERY_NEEDLE, None).clean


@pytest.mark.parametrize(
    ("kind", "stored", "needle", "rows"),
    [
        ("integer", ["4", "40", None], "00004", 1),
        ("smallint", ["4"], "99999999999", 0),
        ("numeric(10,2)", ["4", "4.5"], "4", 1),
        ("double precision", ["4", "NaN"], "4", 1),
        ("varchar(9)", ["00004", "4", None], "00004", 1),
        ("text", ["Ab3x", "aB3x"], "Ab3x", 1),
        ("char(8)", ["Ab3x"], "Ab3x", 0),
        ("uuid", ["6f9619ff-8b86-d011-b42d-00c04fc964ff"], "6F9619FF8B86D011B42D00C04FC964FF", 1),
        ("text", ["6F9619FF8B86D011B42D00C04FC964FF"], "6f9619ff-8b86-d011-b42d-00c04fc964ff", 1),
        ("bytea", ["\\x632d303030303432"], "c-000042", 1),
    ],
)
def test_identifiers_match_by_the_rule_for_people(
    url: str, kind: str, stored: list[str | None], needle: str, rows: int
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "My Shop"')
        created = f'("the ""id""" {kind}, at timestamptz, n jsonb)'
        connection.execute(f'CREATE TABLE "My Shop"."Order" {created}'.encode())
        for value in stored:
            connection.execute(
                "INSERT INTO \"My Shop\".\"Order\" VALUES (%s, 'infinity', '{}')", [value]
            )
    store = postgresql_store(url, ['the "id"'], table="My%20Shop.Order")
    plan = erase(store, {'the "id"': [needle]})
    assert plan.rows == rows
    assert store.versions()[0].rows == len(stored) - rows
    if rows:
        assert store.verify_erased([needle], None).clean


def test_referring_rows_stand_in_the_way_or_are_erased_along(url: str) -> None:
    run_postgresql(
        url,
        "CREATE TABLE customers (shop int, customer_id text, email text, "
        "PRIMARY KEY (shop, customer_id))",
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.orders (id int PRIMARY KEY, shop int, buyer text, "
        "FOREIGN KEY (shop, buyer) REFERENCES customers ON DELETE CASCADE)",
        "INSERT INTO customers VALUES (1, 'c-000042', NULL), (2, 'c-000042', NULL), "
        "(1, 'c-000043', NULL)",
        "INSERT INTO sales.orders VALUES (1, 1, 'c-000042'), (2, 1, 'c-000043')",
    )
    (blocker,) = plan_of(postgresql_store(url)).blockers
    assert "1 rows of the table sales.orders" in blocker
    assert "CASCADE" in blocker
    store = postgresql_store(url, child_tables=["sales.orders"])
    assert erase(store).rows == 3
    assert run_postgresql(url, "SELECT id FROM sales.orders") == [(2,)]
    assert store.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000043")).clean


def test_triggers_and_materialised_views_are_named(shop: str) -> None:
    run_postgresql(
        shop,
        "CREATE TABLE history AS SELECT * FROM customers WHERE false",
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO history SELECT old.*; RETURN old; END $$",
        "CREATE TRIGGER keep_deleted AFTER DELETE ON customers FOR EACH ROW "
        "EXECUTE FUNCTION keep()",
        "CREATE MATERIALIZED VIEW buyers AS SELECT email FROM customers",
    )
    blockers = plan_of(postgresql_store(shop)).blockers
    assert any('"keep_deleted"' in b and "writes to history" in b for b in blockers)
    assert any('"buyers"' in b for b in blockers)


def test_a_role_without_rights_is_a_blocker_before_anything_is_approved(
    shop: str, role: str
) -> None:
    run_postgresql(shop, f"GRANT SELECT ON customers TO {role}")
    blockers = plan_of(postgresql_store(shop, user=role)).blockers
    assert any("privilege DELETE" in b for b in blockers)
    assert any("does not own" in b for b in blockers)
    assert not plan_of(postgresql_store(shop, user=role, writer_user="vestige")).blockers


def test_a_table_that_the_verifier_may_not_read_fails_the_scan(shop: str, role: str) -> None:
    erase(postgresql_store(shop))
    store = postgresql_store(shop, role="verifier", verifier_user=role)
    report = store.verify_erased(EVERY_NEEDLE, None)
    assert not report.clean
    assert report.unreadable == ("public.customers: it cannot be read (InsufficientPrivilege)",), (
        report.unreadable
    )
    run_postgresql(shop, f"GRANT SELECT ON customers TO {role}")
    report = store.verify_erased(EVERY_NEEDLE, None)
    assert report.clean
    assert "verifier's own credential" in report.method


def test_rows_that_a_policy_hides_fail_the_scan(shop: str, role: str) -> None:
    run_postgresql(
        shop,
        f"GRANT SELECT ON customers TO {role}",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON customers USING (price > 1000000)",
    )
    store = postgresql_store(shop, role="verifier", verifier_user=role)
    assert "public.customers" in store.verify_erased(EVERY_NEEDLE, None).unreadable[0]


def test_a_writer_between_plan_and_erasure_outdates_the_plan(shop: str) -> None:
    store = postgresql_store(shop)
    plan = plan_of(store)
    run_postgresql(shop, "UPDATE customers SET price = 2 WHERE customer_id = 'c-000042'")
    with pytest.raises(PlanOutdatedError, match="changed since the plan"):
        store.erase(plan, PERSON)
    assert len(left(shop)) == 203


@pytest.mark.parametrize("place", ["the same database", "another database"])
def test_an_open_transaction_that_sees_the_rows_stops_the_purge(
    shop: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = postgresql_store(shop)
    plan = plan_of(store)
    with (
        own_database() as other,
        psycopg.connect(shop if place == "the same database" else other) as open_,
    ):
        open_.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if place == "the same database":
            open_.execute("SELECT 1 FROM pg_class LIMIT 1")
        else:  # what reads there does not matter, what writes does
            open_.execute("CREATE TABLE notes (id int)")
        store.erase(plan, PERSON)
        with monkeypatch.context() as at_once:
            at_once.setattr("connectors.adapters.sqltables.purge._PATIENCE_SECONDS", 0)
            with pytest.raises(StoreError, match="still sees the deleted rows"):
                store.purge_history(plan)
        open_.rollback()
    store.purge_history(plan)
    directory = str(data_directory(shop))
    verifier = postgresql_store(shop, role="verifier", data_directory=directory)
    assert verifier.verify_erased(EVERY_NEEDLE, None).clean


_CHILD = """
import os, sys
from connectors.adapters.sqltables import erase as erasing, purge
from tests.connectors.sql_builders import PERSON, plan_of, postgresql_store
where = sys.argv[2]
def die(*a, **k): os.kill(os.getpid(), 9)
store = postgresql_store(sys.argv[1])
plan = plan_of(store)
if where == "before the commit":
    delete = erasing._delete
    erasing._delete = lambda *a: (delete(*a), die())
store.erase(plan, PERSON)
if where == "after the commit": die()
seen = []
store.purge_history(plan, lambda *a: seen.append(1) or (die() if len(seen) > 1 else None))
"""


@pytest.mark.parametrize(
    ("where", "rows"),
    [("before the commit", 203), ("after the commit", 200), ("in the purge", 200)],
)
def test_a_worker_killed_by_the_system_is_resumed(shop: str, where: str, rows: int) -> None:
    store = postgresql_store(shop)
    plan = plan_of(store)
    died = subprocess.run([sys.executable, "-c", _CHILD, shop, where], check=False, timeout=60)
    assert died.returncode == -9
    assert len(left(shop)) == rows
    assert store.erase(plan, PERSON).rows == rows - 200
    store.purge_history(plan)
    assert left(shop) == customers(100, 300)
    assert store.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean


def test_wrong_names_are_said_in_our_words(
    shop: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB_PASSWORD", "s3cret")
    with pytest.raises(StoreNotFoundError, match="no table clients"):
        postgresql_store(shop, table="clients").schema()
    with pytest.raises(OptionError, match="refused the user") as refused:
        postgresql_store(shop, user="nobody", password_env="SHOP_DB_PASSWORD").schema()
    assert "s3cret" not in str(refused.value)
    with pytest.raises(StoreError, match="has no column phone"):
        postgresql_store(shop, ["phone"]).find_subject({"phone": ["1"]})
    with pytest.raises(OptionError, match="may not do this"):
        postgresql_store(shop, user=role).versions()
    run_postgresql(shop, "CREATE VIEW v AS SELECT * FROM customers")
    with pytest.raises(StoreError, match="no plain table"):
        postgresql_store(shop, table="v").schema()
    with pytest.raises(StoreError, match="Nothing answers"):
        SqlStore("postgresql:///d?host=/nowhere#t", ["a"]).schema()
