"""The steps of loading the sample company, in order; each one leaves done what is done."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from sample.answers import answer_datasheet, answer_model_card
from sample.company import FEATURES, MODEL, PURCHASES
from sample.keys import DATA_OWNER, MODEL_OWNER, PIPELINE
from sample.release import put_first_in_use
from sample.rest import Vestige
from sample.runs import runs_of
from sample.send import connect_tables, send_events, send_lineage, send_usage, sync_tables
from sample.tables import build, versions
from sample.training import TrainedModel, predict, train

Say = Callable[[str], None]


def load_all(url: str, folder: Path, keys: Mapping[str, str], say: Say) -> None:
    """Tables and models in `folder`, and everything about them in the Vestige at `url`."""
    step = _Steps(say)
    store, models = folder / "store", folder / "models"
    build(store)
    step.done(
        f"Delta tables: {len(versions(store, PURCHASES))} versions of {PURCHASES.name},"
        f" {len(versions(store, FEATURES))} of {FEATURES.name}"
    )
    trained = _train_two(store, models)
    aucs = ", ".join(f"{model.metrics['roc_auc']:.2f}" for model in trained)
    step.done(f"model {MODEL.name}: {len(trained)} versions, AUC {aucs} a quarter later")
    runs = runs_of(store, models)
    step.done(f"lineage: {send_lineage(url, keys[PIPELINE], runs)} OpenLineage events")
    with (
        Vestige(url, keys[PIPELINE]) as pipeline,
        Vestige(url, keys[DATA_OWNER]) as platform,
        Vestige(url, keys[MODEL_OWNER]) as team,
    ):
        connected = connect_tables(platform, store)
        sync_tables(pipeline, connected)
        step.done(f"stores: {len(connected)} connected and read")
        sent = sum(send_usage(pipeline, store, model) for model in trained)
        step.done(f"data usage: {sent:,} records")
        step.done(f"events: {send_events(pipeline, store, runs)}")
        put_first_in_use(team, str(trained[-1].version))
        answers = answer_datasheet(platform) + answer_model_card(team)
        step.done(f"documents: {answers} answers; version {trained[-1].version} in use")


def _train_two(store: Path, models: Path) -> list[TrainedModel]:
    """Version 1 learns from the first quarter of features, version 2 from the second."""
    trained = []
    for version in (1, 2):
        model = train(
            store, models, version=version, features_version=version - 1, test_version=version
        )
        predict(store, models, model)
        trained.append(model)
    return trained


class _Steps:
    """Says each step when it is done, with the seconds it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._since = monotonic()

    def done(self, what: str) -> None:
        took, self._since = monotonic() - self._since, monotonic()
        self._say(f"  {what} ({took:.1f} s)")
