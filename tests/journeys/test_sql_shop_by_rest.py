"""A shop's database with real purchases: connected, a person erased, certified, all by REST."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sample.tables import orders
from tests.journeys.conftest import Installation, start, wait_for
from tests.journeys.test_erasure_by_rest import until, verify

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]

CUSTOMER = "00111"
EMAIL = b"c00111@customers.example"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    found = start(tmp_path / "home", VESTIGE_SAMPLE="0", VESTIGE_COOLING_OFF_HOURS="0")
    yield found
    found.stop()


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


def connect(client: httpx.Client, path: Path) -> None:
    body = {
        "kind": "sql",
        "location": f"sqlite:///{path}#purchases",
        "subject_columns": {"customer_id": "customer", "email": "email"},
        "dataset": {"namespace": "shop", "name": "purchases"},
    }
    made = client.post("/api/v1/connectors", json=body)
    assert made.status_code == 201, made.text
    synced = client.post(f"/api/v1/connectors/{made.json()['id']}/sync")
    assert synced.status_code in (200, 202), synced.text


def test_a_person_is_erased_from_a_shops_database(running: Installation, tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    expected = shop(database)
    analyst, dpo, owner = (running.client(r) for r in ("analyst", "dpo", "data_owner"))
    connect(owner, database)
    filed = analyst.post(
        "/api/v1/requests",
        json={"rights": ["erasure"], "subject": {"type": "customer", "value": CUSTOMER}},
    )
    reference = filed.json()["reference"]
    analyst.post(f"/api/v1/requests/{reference}/verify", json={"method": "two held attributes"})
    assert analyst.post(f"/api/v1/requests/{reference}/plan").status_code == 202
    case = until(analyst, reference, "review")
    (step,) = case["plan"]["steps"]
    rows = len(everybody(database)) - len(expected)
    assert (step["kind"], step["rows"]) == ("sql", rows)
    for approver in (dpo, owner):
        answer = approver.post(
            f"/api/v1/requests/{reference}/approve", json={"plan_hash": case["plan"]["hash"]}
        )
        assert answer.status_code == 200, answer.text
    assert analyst.post(f"/api/v1/requests/{reference}/execute").status_code == 202
    done = until(analyst, reference, "completed")
    assert [(o["phase"], o["scan"]["control_found"]) for o in done["outcomes"]] == [("done", True)]

    assert everybody(database) == expected
    assert EMAIL not in b"".join(p.read_bytes() for p in tmp_path.glob("shop.db*"))
    certificate = wait_for(lambda: analyst.get(f"/api/v1/requests/{reference}/certificate.pdf"))
    assert certificate.status_code == 200
    (tmp_path / "certificate.pdf").write_bytes(certificate.content)
    valid = verify(tmp_path / "certificate.pdf")
    assert valid.returncode == 0, valid.stdout + valid.stderr
