"""One erasure by REST alone, on both databases, and the proof read byte by byte afterwards."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tests.journeys.conftest import ROOT, Installation, stores, wait_for

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]

CUSTOMER = "00111"
EMAIL = "c00111@customers.example"


@pytest.fixture(params=["installation", "server_installation"])
def running(request: pytest.FixtureRequest) -> Installation:
    found: Installation = request.getfixturevalue(request.param)
    return found


def state_of(client: httpx.Client, reference: str) -> str:
    return str(client.get(f"/api/v1/requests/{reference}").json()["state"])


def until(client: httpx.Client, reference: str, *states: str) -> dict[str, Any]:
    wait_for(
        lambda: state_of(client, reference) in (*states, "blocked"),
        seconds=120,
        message=f"for {reference} to be {states}",
    )
    found: dict[str, Any] = client.get(f"/api/v1/requests/{reference}").json()
    assert found["state"] in states, found["reason"]
    return found


def test_a_person_is_erased_and_the_proof_holds(running: Installation, tmp_path: Path) -> None:
    analyst, second_analyst = running.client("analyst"), running.client("analyst")
    dpo, owner = running.client("dpo"), running.client("data_owner")
    author_who_is_dpo_too = running.client("analyst", "dpo")
    tables = stores(running.home)
    assert {"purchases", "customer_features"} <= set(tables)
    before = {name: others(path) for name, path in tables.items()}

    filed = analyst.post(
        "/api/v1/requests",
        json={"rights": ["erasure"], "subject": {"type": "customer", "value": CUSTOMER}},
    )
    assert filed.status_code == 201
    reference = filed.json()["reference"]
    assert analyst.post(f"/api/v1/requests/{reference}/execute").status_code == 409
    analyst.post(f"/api/v1/requests/{reference}/verify", json={"method": "two held attributes"})

    # A plan by somebody who is a DPO as well: they may not approve it themselves.
    assert author_who_is_dpo_too.post(f"/api/v1/requests/{reference}/plan").status_code == 202
    case = until(analyst, reference, "review")
    refused = author_who_is_dpo_too.post(
        f"/api/v1/requests/{reference}/approve", json={"plan_hash": case["plan"]["hash"]}
    )
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    dpo.post(f"/api/v1/requests/{reference}/approve", json={"plan_hash": case["plan"]["hash"]})

    # A new plan voids that approval, and the old hash is stale.
    assert second_analyst.post(f"/api/v1/requests/{reference}/plan").status_code == 202
    stale = case["plan"]["hash"]
    case = until(analyst, reference, "review")
    assert case["approvals"] == []
    assert (
        dpo.post(f"/api/v1/requests/{reference}/approve", json={"plan_hash": stale}).status_code
        == 409
    )
    for approver in (dpo, owner):
        answer = approver.post(
            f"/api/v1/requests/{reference}/approve", json={"plan_hash": case["plan"]["hash"]}
        )
        assert answer.status_code == 200, answer.text

    steps = {step["dataset"].rpartition(":")[2]: step for step in case["plan"]["steps"]}
    assert steps["purchases"]["rows"] > 0
    assert len(steps["purchases"]["rows_by_version"]) >= 4
    models = {(m["model"], m["version"]) for m in case["plan"]["affected_models"]}
    assert len(models) == 2, "both versions of the model learned from the person"
    assert any(m["in_use"] for m in case["plan"]["affected_models"])
    assert all(len(m["path"]) >= 2 for m in case["plan"]["affected_models"])

    assert analyst.post(f"/api/v1/requests/{reference}/execute").status_code == 202
    done = until(analyst, reference, "completed")
    assert all(o["phase"] == "done" for o in done["outcomes"])
    assert all(o["scan"]["control_found"] for o in done["outcomes"])

    # grep-proof: every file that is left, decoded here with other code than the scanner's.
    for path in tables.values():
        assert traces(path, [CUSTOMER, EMAIL]) == []
    after = {name: others(path) for name, path in tables.items()}
    for name in tables:
        assert before[name].equals(after[name]), f"other people's rows changed in {name}"

    check_certificate(running, analyst, reference, tmp_path)
    answer = running.client("pipeline").post(
        "/api/v1/suppression/check",
        json={"subjects": [{"type": "customer", "value": CUSTOMER},
                           {"type": "customer", "value": "00021"}]},
    )  # fmt: skip
    assert [row["suppressed"] for row in answer.json()["results"]] == [True, False]
    assert running.manage("verify_log", "--full").returncode == 0


def others(table: Path) -> pl.DataFrame:
    """Everybody else's rows in the newest version, in an order that does not depend on files."""
    frame = pl.read_delta(str(table))
    rest = frame.filter(pl.col("customer_id").cast(pl.String) != CUSTOMER)
    return rest.sort(rest.columns)


def traces(table: Path, needles: list[str]) -> list[str]:
    """Files below the table that hold a needle: as text, or as a value of a decoded column."""
    found = []
    for path in sorted(p for p in table.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if any(n.encode() in data for n in needles if len(n) > 8) or any(
            n in path.name for n in needles if len(n) > 8
        ):
            found.append(f"{path}: raw bytes")
        if path.suffix == ".parquet":
            for column in pl.read_parquet(path, hive_partitioning=False).iter_columns():
                texts = json.dumps(column.to_list(), default=str)
                if any(f'"{n}"' in texts for n in needles):
                    found.append(f"{path}: column {column.name}")
        elif path.suffix == ".json" and any(f'"{n}"' in data.decode() for n in needles):
            found.append(f"{path}: JSON")
    return found


def verify(path: Path) -> subprocess.CompletedProcess[str]:
    """The offline verifier, with no server and no settings."""
    return subprocess.run(
        [sys.executable, "-m", "audit.ledger", "verify", str(path)],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def check_certificate(
    running: Installation, client: httpx.Client, reference: str, tmp_path: Path
) -> None:
    as_json = client.get(f"/api/v1/requests/{reference}/certificate")
    assert as_json.status_code == 200, as_json.text
    assert CUSTOMER not in as_json.text
    assert EMAIL not in as_json.text
    pdf = tmp_path / "certificate.pdf"
    answer = client.get(f"/api/v1/requests/{reference}/certificate.pdf")
    pdf.write_bytes(answer.content)
    valid = verify(pdf)
    assert valid.returncode == 0, valid.stdout + valid.stderr

    import pikepdf

    with pikepdf.open(pdf) as document:
        bundle = document.attachments["evidence.json"].get_file().read_bytes()
    (tmp_path / "evidence.json").write_bytes(bundle)
    assert verify(tmp_path / "evidence.json").returncode == 0
    spoiled = bundle.replace(reference.encode(), reference[:-1].encode() + b"x", 1)
    assert spoiled != bundle
    (tmp_path / "spoiled.json").write_bytes(spoiled)
    broken = verify(tmp_path / "spoiled.json")
    assert broken.returncode == 1
    assert broken.stdout + broken.stderr
