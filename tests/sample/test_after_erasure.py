"""The sample's tables and models after one customer was erased for real, history and all."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from connectors.adapters.delta import DeltaStore
from sample.company import CUTOFFS, FEATURES, PREDICTIONS, PURCHASES, TABLES, email_of
from sample.runs import runs_of
from sample.tables import SampleTableError, build, build_features, now, read, versions
from sample.training import kept_models, predict, train
from tests.sample import builders

CUSTOMER = "00111"
UNPAID = "01101"  # one order, of amount zero: in the history only


def erase(folder: Path, customer: str) -> dict[str, Mapping[str, int]]:
    """Erases and purges; returns how many of the customer's rows each version had."""
    identifiers = {"customer": customer, "email": email_of(customer)}
    found = {}
    for table in TABLES:
        location, columns = str(folder / "store" / table.name), list(table.subject_columns)
        needles = {c: [identifiers[kind]] for c, kind in table.subject_columns.items()}
        store = DeltaStore(location, columns, {}, writable=True)
        findings = store.find_subject(needles)
        plan = store.plan_erase(findings, mode="purge")
        store.erase(plan, needles)
        store.purge_history(plan)
        report = DeltaStore(location, columns, {}, writable=False).verify_erased(
            list(identifiers.values()), store.control_subject(needles)
        )
        assert report.clean
        found[table.name] = findings.rows_by_version
    return found


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Mapping[str, int]]]:
    """The folder after the erasure, to copy, and how many rows each version had before."""
    folder = builders.copied(tmp_path_factory.mktemp("erased"))
    return folder, erase(folder, CUSTOMER)


@pytest.fixture
def folder(erased: tuple[Path, object], tmp_path: Path) -> Path:
    return Path(shutil.copytree(erased[0], tmp_path / "sample"))


def test_a_customer_stands_in_every_table_and_many_versions(
    erased: tuple[Path, dict[str, Mapping[str, int]]],
) -> None:
    rows = erased[1]

    assert len([v for v, count in rows["purchases"].items() if count]) >= 18
    assert set(rows["customer_features"].values()) == {1}
    assert rows["predictions"] == {"0": 1, "1": 2}


def test_a_customer_who_never_paid_stands_in_the_history_only(tmp_path: Path) -> None:
    rows = erase(builders.copied(tmp_path), UNPAID)

    assert rows["purchases"]["18"] == 1
    assert rows["purchases"].get("19", 0) == 0
    assert not any(rows["customer_features"].values())


def test_a_new_version_is_trained_without_the_customer_and_told_with_its_sources(
    folder: Path,
) -> None:
    began = now()
    store, models = folder / "store", folder / "models"

    learned, tested = (build_features(store, cutoff) for cutoff in CUTOFFS[1:])
    model = train(store, models, version=3, features_version=learned, test_version=tested)
    predict(store, models, model)

    assert CUSTOMER not in read(store, FEATURES, learned)["customer_id"]
    assert CUSTOMER not in read(store, PREDICTIONS)["customer_id"]
    assert model.rows == 2349 - 1
    told = {run.job.name: run for run in runs_of(store, models, since=began)}
    assert set(told) == {"build_features", "release", "train", "predict"}
    assert told["train"].reads[0].version == str(learned)
    assert all(run.started_at >= began for run in told.values())


def test_loading_again_neither_brings_the_customer_back_nor_scores_anew(folder: Path) -> None:
    store, models = folder / "store", folder / "models"
    before = {table.name: versions(store, table)[-1].version for table in TABLES}

    build(store)
    for model in kept_models(models):
        builders.trained(folder, model.version)
        predict(store, models, model)

    assert {table.name: versions(store, table)[-1].version for table in TABLES} == before
    for table in (PURCHASES, FEATURES, PREDICTIONS):
        assert CUSTOMER not in read(store, table)["customer_id"]


def test_purged_versions_are_not_there_to_train_on(folder: Path) -> None:

    with pytest.raises(SampleTableError, match="purge the history"):
        train(folder / "store", folder / "models", version=3, features_version=0, test_version=1)
