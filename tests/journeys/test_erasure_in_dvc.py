"""A DVC repository of real purchases, erased in by REST alone, and every byte read afterwards."""

import csv
import io
from pathlib import Path

import pytest

from tests.connectors.dvc_builders import Workshop, begun, objects
from tests.journeys.conftest import Installation
from tests.journeys.test_erasure_by_rest import running, until, verify
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]
__all__ = ["running"]  # the fixture: both installations


def repository(folder: Path) -> Workshop:
    """Purchases of two years in three commits: half of 1997, 1997, and 1997 with 1998; a branch
    that splits them by year; everything pushed."""
    shop = begun(folder)
    # The workers are to find what DVC keeps elsewhere, and have another environment than we.
    config = shop.root / ".dvc" / "config"
    site = f"[core]\n    site_cache_dir = {shop.site}\n"
    config.write_text(config.read_text().replace("[core]\n", site))
    everything = purchases().sort("bought_on", maintain_order=True)
    for end, name in (("19970630", "half"), ("19971231", "1997"), ("19981231", "1998")):
        until_then = everything.filter(everything["bought_on"] <= end)
        until_then.write_csv(shop.root / "purchases.csv", separator=";")
        shop.dvc("add", "-q", "purchases.csv")
        shop.commit(name)
        shop.dvc("push", "-q")
    shop.git("tag", "released")
    shop.git("checkout", "-q", "-b", "by-year")
    (shop.root / "years").mkdir()
    for (year,), rows in everything.group_by(everything["bought_on"].str.head(4)):
        rows.write_parquet(shop.root / "years" / f"{year}.parquet")
    shop.dvc("add", "-q", "years")
    shop.commit("by year")
    shop.dvc("push", "-q")
    shop.git("checkout", "-q", "main")
    shop.dvc("checkout", "-q")
    return shop


def test_a_person_is_erased_in_a_dvc_repository(running: Installation, tmp_path: Path) -> None:
    shop = repository(tmp_path / f"shop-{running.url.rpartition(':')[2]}")
    text = (shop.root / "purchases.csv").read_text()
    theirs = [line for line in text.splitlines() if line.startswith(CUSTOMER)]
    assert theirs
    before = objects(shop.remote)

    owner, dpo, analyst = (running.client(r) for r in ("data_owner", "dpo", "analyst"))
    made = owner.post(
        "/api/v1/connectors",
        json={
            "kind": "dvc",
            "location": str(shop.root),
            "subject_columns": {"customer_id": "customer", "email": "email"},
            "dataset": {"namespace": "shop", "name": shop.folder.name},
        },
    )
    assert made.status_code == 201, made.text
    node = made.json()["dataset"]["node"]
    synced = owner.post(f"/api/v1/connectors/{made.json()['id']}/sync")
    assert synced.status_code == 200, synced.text

    filed = analyst.post(
        "/api/v1/requests",
        json={
            "rights": ["erasure"],
            "subject": {"type": "customer", "value": CUSTOMER},
            "scope": [node],
        },
    )
    assert filed.status_code == 201, filed.text
    reference = filed.json()["reference"]
    analyst.post(f"/api/v1/requests/{reference}/verify", json={"method": "two held attributes"})
    assert analyst.post(f"/api/v1/requests/{reference}/plan").status_code == 202
    plan = until(analyst, reference, "review")["plan"]
    (step,) = plan["steps"]
    assert step["rows_by_version"][shop.git("rev-parse", "main")] == len(theirs)
    assert len(step["versions_lost"]) == 4
    assert not step["blockers"]
    for approver in (dpo, owner):
        answer = approver.post(
            f"/api/v1/requests/{reference}/approve", json={"plan_hash": plan["hash"]}
        )
        assert answer.status_code == 200, answer.text
    assert analyst.post(f"/api/v1/requests/{reference}/execute").status_code == 202
    done = until(analyst, reference, "completed")
    assert [o["phase"] for o in done["outcomes"]] == ["done"]
    assert all(o["scan"]["control_found"] for o in done["outcomes"])

    # Read with other code than the scanner's: nothing of theirs, and all else as it was.
    for path in [p for p in shop.folder.rglob("*") if p.is_file() and ".git/" not in str(p)]:
        assert EMAIL.encode() not in path.read_bytes().lower(), path
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith(CUSTOMER)]
    assert (shop.root / "purchases.csv").read_text() == "".join(kept)
    rows = list(csv.reader(io.StringIO("".join(kept)), delimiter=";"))
    assert len(rows) - 1 == purchases().height - len(theirs)
    gone = set(before) - set(objects(shop.remote))
    assert gone == {o["path"].partition(" ")[0] for o in step["objects"] if o["kind"] == "data"}
    assert "up to date" in shop.dvc("status")

    # A colleague's clone gets the branches without the person.
    clone = Workshop(shop.folder / "clone")
    clone.folder.mkdir()
    clone.run("git", "clone", "-q", "-b", "by-year", str(shop.root), str(clone.root), cwd=tmp_path)
    clone.dvc("remote", "add", "-q", "-f", "--local", "store", str(shop.remote))
    clone.dvc("pull", "-q")
    assert (clone.root / "purchases.csv").read_text() == "".join(kept)

    certificate = analyst.get(f"/api/v1/requests/{reference}/certificate.pdf")
    assert certificate.status_code == 200, certificate.text
    (tmp_path / "certificate.pdf").write_bytes(certificate.content)
    valid = verify(tmp_path / "certificate.pdf")
    assert valid.returncode == 0, valid.stdout + valid.stderr
