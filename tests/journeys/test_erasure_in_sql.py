"""A shop's database with real purchases: connected, a person erased, certified, all by REST."""

import sqlite3
from pathlib import Path

import pytest

from sample.tables import orders
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]

CUSTOMER = "00111"
EMAIL = b"c00111@customers.example"


def shop(path: Path) -> list[tuple[object, ...]]:
    """The published purchases as a shop's database has them; returns everybody else's rows."""
    rows = orders().select("customer_id", "email", "date", "cds", "amount")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE purchases (customer_id TEXT, email TEXT, date TEXT, cds INTEGER, "
            "amount REAL)"
        )
        connection.execute("CREATE INDEX by_customer ON purchases (customer_id)")
        connection.execute("CREATE INDEX by_email ON purchases (email)")
        values = [(*row[:2], str(row[2]), int(row[3]), float(row[4])) for row in rows.iter_rows()]
        connection.executemany("INSERT INTO purchases VALUES (?, ?, ?, ?, ?)", values)
    connection.close()
    assert EMAIL in path.read_bytes()
    return sorted(v for v in values if v[0] != CUSTOMER)


def everybody(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return sorted(connection.execute("SELECT * FROM purchases"))
    finally:
        connection.close()


def test_a_person_is_erased_from_a_shops_database(
    bare_installation: Installation, tmp_path: Path
) -> None:
    database = tmp_path / "shop.db"
    expected = shop(database)
    case = Erasure(bare_installation, CUSTOMER)
    step = case.planned(case.connect("sql", f"sqlite:///{database}#purchases", "orders"))
    assert (step["kind"], step["rows"]) == ("sql", len(everybody(database)) - len(expected))
    case.carry_out()

    assert everybody(database) == expected
    assert EMAIL not in b"".join(p.read_bytes() for p in tmp_path.glob("shop.db*"))
    case.certified(tmp_path)
