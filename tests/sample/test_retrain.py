"""Retraining when erased customers have come back into the tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sample.company import CUTOFFS, FEATURES, PURCHASES
from sample.rest import Vestige
from sample.retrain import BarredCustomerError, barred_customers, main, retrain
from sample.tables import build_features, read, versions
from sample.training import kept_models
from tests.sample import builders
from tests.sample.recorder import Answer, Received, Recorder, recording

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ERASED = "00111"


@pytest.fixture
def server() -> Iterator[Recorder]:
    """Says of one customer that they must not come in again."""

    def suppression(request: Received) -> Answer:
        assert request.path == "/api/v1/suppression/check"
        subjects = request.json["subjects"]
        return 200, {"results": [{"suppressed": s["value"] == ERASED} for s in subjects]}, {}

    with recording() as recorder:
        recorder.answer = suppression
        yield recorder


def test_an_erased_customer_whom_a_backup_brought_back_is_left_out(
    server: Recorder, tmp_path: Path
) -> None:
    store = builders.copied(tmp_path) / "store"
    with Vestige(server.url, "the-key") as vestige:
        barred = barred_customers(vestige, store, PURCHASES)

    version = build_features(store, CUTOFFS[1], without=barred)

    assert barred == {ERASED}
    assert ERASED in read(store, PURCHASES)["customer_id"]
    assert ERASED not in read(store, FEATURES, version)["customer_id"]
    assert read(store, FEATURES, version).height == 2349 - 1


def test_everybody_in_the_table_is_asked_about_and_nobody_stands_in_an_address(
    server: Recorder,
) -> None:
    with Vestige(server.url, "the-key") as vestige:
        barred_customers(vestige, builders.built() / "store", PURCHASES)

    asked = [s["value"] for request in server.received for s in request.json["subjects"]]
    customers = read(builders.built() / "store", PURCHASES)["customer_id"].unique()
    assert sorted(asked) == sorted(customers)
    assert {request.path for request in server.received} == {"/api/v1/suppression/check"}


def test_an_older_version_with_an_erased_customer_is_not_trained_on(
    server: Recorder, tmp_path: Path
) -> None:
    folder = builders.copied(tmp_path)
    before = len(versions(folder / "store", FEATURES))

    with (
        Vestige(server.url, "the-key") as vestige,
        pytest.raises(BarredCustomerError, match="version 1 holds 1 erased customer"),
    ):
        retrain(vestige, vestige, folder, features_version=1, say=lambda _: None)

    assert len(versions(folder / "store", FEATURES)) == before
    assert [model.version for model in kept_models(folder / "models")] == [1, 2]


def test_without_a_loaded_company_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(tmp_path)]) == 1

    assert "Load the sample company first" in capsys.readouterr().out
