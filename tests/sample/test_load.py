"""The sample company loaded into the real application, over HTTP, from processes of its own."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from deltalake import DeltaTable

from sample.company import FEATURES, PURCHASES
from sample.load import main as load
from sample.tables import read
from sample.training import kept_models
from tests.sample.recorder import recording
from tests.sample.server import Server, serving

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

FIRST_CUSTOMER = "00004"  # of those that usage is sent for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Loaded after a first loader was killed while it sent data usage."""
    with serving(tmp_path_factory.mktemp("home")) as running:
        first = running.start("sample.load")
        try:
            with running.client("analyst") as analyst:
                while not uses_of(analyst, FIRST_CUSTOMER):
                    assert first.poll() is None
                    time.sleep(0.2)  # each question is recorded, and one database takes it all
        finally:
            first.kill()
            first.communicate()
        code, said = running.run("sample.load")
        assert code == 0, said
        assert "Northgate Records is loaded:" in said
        yield running


@pytest.fixture(scope="module")
def reader(server: Server) -> Iterator[httpx.Client]:
    with server.client("auditor", "analyst") as client:
        yield client


def uses_of(client: httpx.Client, customer: str) -> list[dict[str, Any]]:
    answer = client.post(
        "/api/v1/subjects/usage", json={"subject": {"type": "customer", "value": customer}}
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["usage"]
    return found


def log_size(client: httpx.Client) -> int:
    client.get("/api/v1/events").raise_for_status()  # who reads the log lets what waits be placed
    return int(client.get("/api/v1/log/checkpoint").text.splitlines()[1])


def results(client: httpx.Client, path: str, **query: str) -> list[dict[str, Any]]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_versions_of_the_store_and_of_the_lineage_are_the_same_rows(reader: httpx.Client) -> None:
    (purchases,) = results(reader, "/api/v1/datasets", namespace="northgate", name="purchases")

    versions = results(reader, f"/api/v1/datasets/{purchases['id']}/versions")

    assert sorted(int(v["version"]) for v in versions) == list(range(20))
    assert all(v["in_store"] and v["produced_by"] for v in versions)
    assert {v["version"]: v["rows"] for v in versions}["17"] == 6919
    assert purchases["personal_data"]


def test_both_model_versions_lead_back_to_the_published_purchases(reader: httpx.Client) -> None:
    for version in ("1", "2"):
        graph = reader.get(
            "/api/v1/lineage",
            params={
                "node": f"model:purchase-again@{version}", "direction": "upstream", "depth": "40",
            },
        ).json()  # fmt: skip

        nodes = {node["id"] for node in graph["nodes"]}
        assert {
            "dataset:northgate:purchases@0",
            "dataset:northgate:purchases@19",
            "dataset:cdnow:CDNOW_sample.txt@6fae10155c0b",
        } <= nodes


def test_the_newer_model_is_in_use_and_shows_its_metrics(
    server: Server, reader: httpx.Client
) -> None:
    (model,) = results(reader, "/api/v1/models", name="purchase-again")

    versions = {v["version"]: v for v in results(reader, f"/api/v1/models/{model['id']}/versions")}

    assert {name: v["in_use"] for name, v in versions.items()} == {"1": False, "2": True}
    for kept in kept_models(server.home / "sample" / "models"):
        assert versions[str(kept.version)]["metrics"] == kept.metrics


def test_a_customer_is_used_once_by_each_model_though_the_first_loader_was_killed(
    reader: httpx.Client,
) -> None:
    for customer in (FIRST_CUSTOMER, "12345", "23569"):
        uses = uses_of(reader, customer)

        assert sorted(use["model_version"] for use in uses) == ["1", "2"]
        assert len({use["prediction_id"] for use in uses}) == 2


def test_a_customer_who_never_paid_is_used_by_no_model(reader: httpx.Client) -> None:
    assert uses_of(reader, "01101") == []


def test_a_prediction_can_be_explained(reader: httpx.Client) -> None:
    prediction = uses_of(reader, "00021")[0]["prediction_id"]

    explained = reader.get(f"/api/v1/predictions/{prediction}/explanation").json()

    assert explained["model_used"] == "model:purchase-again"
    assert explained["data_sources"]


def test_the_log_tells_what_the_company_did_to_its_data(reader: httpx.Client) -> None:
    told = {
        kind: results(reader, "/api/v1/events", type=kind)
        for kind in ("CREATE", "READ", "TRANSFORM")
    }

    assert [len(told[kind]) for kind in ("CREATE", "READ", "TRANSFORM")] == [5, 2, 5]


def test_datasheet_and_model_card_have_the_companys_answers(reader: httpx.Client) -> None:
    (purchases,) = results(reader, "/api/v1/datasets", namespace="northgate", name="purchases")
    (model,) = results(reader, "/api/v1/models", name="purchase-again")

    sheet = reader.get(f"/api/v1/datasheets/{purchases['id']}", params={"as": "markdown"}).text
    card = reader.get(f"/api/v1/model-cards/{model['id']}", params={"as": "markdown"}).text

    assert "one-in-ten sample" in sheet
    assert "Synthetic" in sheet
    assert "next quarter" in card


def test_loading_again_changes_nothing(server: Server) -> None:
    with server.client("auditor") as auditor:
        before = log_size(auditor)
        code, said = server.run("sample.load")
        after = log_size(auditor)

    assert (code, said) == (0, "Northgate Records is loaded already.\n")
    assert before == after


def test_keys_are_kept_where_only_their_owner_reads(server: Server) -> None:
    path = server.home / "sample" / "keys.json"

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(set(json.loads(path.read_text()).values())) == 3


def test_a_database_that_was_made_anew_is_told_again_from_the_same_tables(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "sample").symlink_to(server.home / "sample")
    kept = json.loads((server.home / "sample" / "keys.json").read_text())
    tables = read(server.home / "sample" / "store", PURCHASES)
    try:
        with serving(tmp_path) as other:
            code, said = other.run("sample.load")

            assert code == 0, said
            with other.client("auditor") as auditor:
                assert len(results(auditor, "/api/v1/connectors")) == 3
    finally:
        (server.home / "sample" / "keys.json").write_text(json.dumps(kept))
    assert read(server.home / "sample" / "store", PURCHASES).equals(tables)


def test_retraining_replaces_the_versions_that_learned_from_an_erased_customer(
    server: Server,
) -> None:
    folder = server.home / "sample"
    DeltaTable(str(folder / "store" / "purchases")).delete("customer_id = '00004'")

    code, said = server.run("sample.retrain")

    assert code == 0, said
    with server.client("model_owner") as owner:
        (model,) = results(owner, "/api/v1/models", name="purchase-again")
        versions = {
            v["version"]: v for v in results(owner, f"/api/v1/models/{model['id']}/versions")
        }
    assert {name: v["in_use"] for name, v in versions.items()} == {
        "1": False, "2": False, "3": True,
    }  # fmt: skip
    assert versions["1"]["retired_at"]
    assert versions["2"]["retired_at"]
    assert versions["3"]["trained_on"] == ["dataset:northgate:customer_features@3"]
    assert "00004" not in read(folder / "store", FEATURES, 3)["customer_id"]
    assert sorted(p.name for p in (folder / "models").glob("*.joblib")) == [
        "purchase-again-3.joblib"
    ]


def test_retraining_on_a_version_that_is_not_there_says_so_and_changes_nothing(
    server: Server,
) -> None:
    before = kept_models(server.home / "sample" / "models")

    code, said = server.run("sample.retrain", "--dataset-version", "99")

    assert code == 1
    assert "customer_features has no version 99" in said
    assert kept_models(server.home / "sample" / "models") == before


def test_without_any_key_the_loader_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VESTIGE_ADMIN_TOKEN", raising=False)
    with recording() as nobody:
        assert load(["--url", nobody.url, "--home", str(tmp_path)]) == 1

    assert "--admin-token" in capsys.readouterr().out
    assert not (tmp_path / "sample" / "store").exists()
