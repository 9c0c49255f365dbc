import re
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped, unused-ignore]

from sample.company import FEATURES, PREDICTIONS
from sample.tables import build, read
from sample.training import (
    ModelMissingError,
    kept_models,
    predict,
    predictions_of,
    remove_artefact,
)
from tests.sample import builders


def test_both_versions_tell_who_buys_again_in_a_quarter_they_have_not_seen() -> None:
    for model in kept_models(builders.built() / "models"):
        assert model.test_version == model.features_version + 1
        assert model.metrics["roc_auc"] > 0.78
        assert model.metrics["top_tenth_lift"] > 3


def test_the_stated_auc_is_that_of_the_written_predictions() -> None:
    folder = builders.built()
    for model in kept_models(folder / "models"):
        scored = predictions_of(folder / "store", model)
        bought = builders.labels(folder, model.test_version)

        auc = roc_auc_score([bought[c] for c in scored["customer_id"]], scored["probability"])

        assert model.metrics["roc_auc"] == pytest.approx(auc, abs=1e-4)


def test_the_versions_learned_different_things_from_different_quarters() -> None:
    first, second = kept_models(builders.built() / "models")

    assert first.sha256 != second.sha256
    assert (first.features_version, second.features_version) == (0, 1)


def test_trained_again_on_the_same_rows_the_model_is_the_same(tmp_path: Path) -> None:
    build(tmp_path / "store")

    again = builders.trained(tmp_path, 1)

    assert again.sha256 == kept_models(builders.built() / "models")[0].sha256


def test_every_customer_of_the_quarter_is_scored_once_by_each_version() -> None:
    folder = builders.built()
    for model in kept_models(folder / "models"):
        scored = predictions_of(folder / "store", model)

        quarter = read(folder / "store", FEATURES, model.test_version)
        assert sorted(scored["customer_id"]) == sorted(quarter["customer_id"])
        assert scored["probability"].is_between(0, 1).all()


def test_a_prediction_id_cannot_be_computed_from_the_customer_number(tmp_path: Path) -> None:
    build(tmp_path / "store")
    predict(tmp_path / "store", tmp_path / "models", builders.trained(tmp_path, 1))

    here = read(tmp_path / "store", PREDICTIONS)
    elsewhere = read(builders.built() / "store", PREDICTIONS)

    assert not set(here["prediction_id"]) & set(elsewhere["prediction_id"])
    assert all(re.fullmatch(r"[0-9a-f-]{36}", made) for made in here["prediction_id"])
    assert here["prediction_id"].n_unique() == here.height


def test_predicting_again_keeps_the_predictions_that_are_known(tmp_path: Path) -> None:
    folder = builders.copied(tmp_path)
    before = read(folder / "store", PREDICTIONS)

    for model in kept_models(folder / "models"):
        assert predict(folder / "store", folder / "models", model) == model.version - 1

    assert read(folder / "store", PREDICTIONS).equals(before)


def test_a_kept_version_is_not_trained_again_when_its_data_is_purged(tmp_path: Path) -> None:
    folder = builders.copied(tmp_path)
    kept = kept_models(folder / "models")[0]
    table = DeltaTable(str(folder / "store" / FEATURES.name))
    table.vacuum(0, enforce_retention_duration=False, dry_run=False)

    assert builders.trained(folder, 1) == kept


def test_a_model_file_that_was_exchanged_is_not_loaded(tmp_path: Path) -> None:
    folder = builders.copied(tmp_path)
    first, second = kept_models(folder / "models")
    other = (folder / "models" / second.file_name).read_bytes()
    (folder / "models" / first.file_name).write_bytes(other)
    DeltaTable(str(folder / "store" / PREDICTIONS.name)).delete("model_version = '1'")

    with pytest.raises(ModelMissingError, match="SHA-256 differs"):
        predict(folder / "store", folder / "models", first)


def test_a_retired_version_keeps_its_card_and_loses_its_file(tmp_path: Path) -> None:
    folder = builders.copied(tmp_path)
    first, second = kept_models(folder / "models")

    assert remove_artefact(folder / "models", first)
    assert not remove_artefact(folder / "models", first)

    assert [m.version for m in kept_models(folder / "models")] == [1, 2]
    assert not (folder / "models" / first.file_name).exists()
    assert (folder / "models" / second.file_name).exists()
    rest = read(folder / "store", PREDICTIONS).filter(pl.col("model_version") == "1")
    assert not rest.is_empty()
