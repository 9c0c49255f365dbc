"""The sample company's model: will a customer buy again within 90 days?

Trained for real on `customer_features`: version 1 of the model on version 0 of the table, tested
on version 1, the quarter that follows (out of time); version 2 of the model on version 1, tested
on version 2. Each scores every customer of its test quarter into the Delta table `predictions`.

A model is kept as `purchase-again-N.joblib` and `purchase-again-N.json` (what `TrainedModel` says).
The JSON is written last: without it the training did not happen.
"""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import polars as pl
import sklearn  # type: ignore[import-untyped, unused-ignore]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score  # type: ignore[import-untyped, unused-ignore]
from sklearn.pipeline import Pipeline, make_pipeline  # type: ignore[import-untyped, unused-ignore]
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # type: ignore[import-untyped, unused-ignore]

from sample.company import FEATURES, MODEL, PREDICTIONS
from sample.tables import current_version, has_table, now, read, versions, write

COLUMNS = ("recency_days", "frequency", "monetary", "tenure_days", "cds_mean")
LABEL = "bought_again"
# One in ten customers gets the offer that the model is for; so measure it there.
TOP_SHARE = 10


@dataclass(frozen=True)
class TrainedModel:
    """One version of the model. `metrics` are of the test quarter; times RFC 3339, sha256 hex."""

    version: int
    features_version: int
    test_version: int
    rows: int
    sha256: str
    bytes: int
    algorithm: str
    metrics: dict[str, float]
    started_at: str
    trained_at: str

    @property
    def file_name(self) -> str:
        return f"{MODEL.name}-{self.version}.joblib"


class ModelMissingError(Exception):
    """No such version of the model in the folder; the message names it."""


def train(
    store: Path, models: Path, *, version: int, features_version: int, test_version: int
) -> TrainedModel:
    """Trains one version of the model, tests it on another quarter, keeps it in `models`.

    A version that was kept before is returned as it is: its training data may be purged by now.
    """
    if (kept := _card(models, version)).exists():
        return _from_card(kept)
    started = now()
    known, later = read(store, FEATURES, features_version), read(store, FEATURES, test_version)
    pipeline = make_pipeline(
        FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression(max_iter=1000)
    )
    pipeline.fit(_inputs(known), known[LABEL].to_numpy())
    models.mkdir(parents=True, exist_ok=True)
    artefact = models / f"{MODEL.name}-{version}.joblib"
    joblib.dump(pipeline, artefact)
    raw = artefact.read_bytes()
    model = TrainedModel(
        version=version,
        features_version=features_version,
        test_version=test_version,
        rows=known.height,
        sha256=hashlib.sha256(raw).hexdigest(),
        bytes=len(raw),
        algorithm=f"LogisticRegression, scikit-learn {sklearn.__version__}",
        metrics=_metrics(later[LABEL], _scores(pipeline, later)),
        started_at=started.isoformat(),
        trained_at=now().isoformat(),
    )
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(asdict(model), indent=2))
    part.replace(kept)
    return model


def kept_models(models: Path) -> list[TrainedModel]:
    """Every version that was ever trained here, also where its artefact is gone; oldest first."""
    found = [_from_card(path) for path in models.glob(f"{MODEL.name}-*.json")]
    return sorted(found, key=lambda model: model.version)


def remove_artefact(models: Path, model: TrainedModel) -> bool:
    """Deletes the model file and keeps its card. True if there was a file to delete."""
    path = models / model.file_name
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def predict(store: Path, models: Path, model: TrainedModel) -> int:
    """Appends the model's scores of its test quarter to `predictions`; returns the version.

    Scores that are there already stay as they are: their identifiers are known elsewhere.
    Identifiers are random on purpose: one made from the customer number could be guessed back,
    and it stays in logs and addresses after the customer is erased.
    """
    if (written := _predictions_version(store, model)) is not None:
        return written
    started = now()
    pipeline = _artefact(models, model)
    quarter = read(store, FEATURES, model.test_version)
    frame = quarter.select(
        pl.Series("prediction_id", [str(uuid.uuid4()) for _ in range(quarter.height)]),
        "customer_id",
        pl.lit(str(model.version)).alias("model_version"),
        "as_of",
        pl.Series("probability", _scores(pipeline, quarter)).round(6),
    )
    facts = {
        "job": "predict",
        "started_at": started.isoformat(),
        "model_version": str(model.version),
        "features_version": str(model.test_version),
    }
    return write(store, PREDICTIONS, frame, mode="append", facts=facts)


def predictions_of(store: Path, model: TrainedModel) -> pl.DataFrame:
    return read(store, PREDICTIONS).filter(pl.col("model_version") == str(model.version))


def _predictions_version(store: Path, model: TrainedModel) -> int | None:
    """The version that brought the model's scores; the current one if its log entry is purged."""
    if not has_table(store, PREDICTIONS) or predictions_of(store, model).is_empty():
        return None
    for written in versions(store, PREDICTIONS):
        if written.facts.get("model_version") == str(model.version):
            return written.version
    return current_version(store, PREDICTIONS)


def _inputs(quarter: pl.DataFrame) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    return quarter.select(pl.col(COLUMNS).cast(pl.Float64)).to_numpy()


def _scores(pipeline: Pipeline, quarter: pl.DataFrame) -> pl.Series:
    return pl.Series(pipeline.predict_proba(_inputs(quarter))[:, 1])


def _metrics(bought: pl.Series, scores: pl.Series) -> dict[str, float]:
    """Of the test quarter: ranking (AUC, average precision), calibration (Brier), and the tenth
    of the customers with the highest scores: how many of them bought, against all customers."""
    top_rows = bought.len() // TOP_SHARE
    top = pl.DataFrame({"bought": bought, "score": scores}).top_k(top_rows, by="score")
    base_rate, top_rate = np.mean(bought.to_numpy()), np.mean(top["bought"].to_numpy())
    found = {
        "roc_auc": roc_auc_score(bought.to_numpy(), scores.to_numpy()),
        "average_precision": average_precision_score(bought.to_numpy(), scores.to_numpy()),
        "brier_score": brier_score_loss(bought.to_numpy(), scores.to_numpy()),
        "base_rate": base_rate,
        "top_tenth_rate": top_rate,
        "top_tenth_lift": top_rate / base_rate,
        "test_rows": float(bought.len()),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def _artefact(models: Path, model: TrainedModel) -> Pipeline:
    """Loads the model's file after comparing its digest: a pickle runs what stands in it."""
    path = models / model.file_name
    if not path.exists():
        raise ModelMissingError(f"{path} is gone: version {model.version} was retired.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != model.sha256:
        raise ModelMissingError(f"{path} is not the file that was trained: its SHA-256 differs.")
    return joblib.load(path)


def _card(models: Path, version: int) -> Path:
    return models / f"{MODEL.name}-{version}.json"


def _from_card(path: Path) -> TrainedModel:
    return TrainedModel(**json.loads(path.read_text()))
