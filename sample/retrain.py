"""Answers a retraining notice: `python -m sample.retrain --url … --home …`.

What the model's owner runs after an erasure. It reads the tables as they are now, builds features
anew, trains the next version, scores with it, tells Vestige all of it, puts the new version in use
and retires the older ones, whose files it deletes.

Before that it asks Vestige which customers must not come in again, and leaves those out: a table
that was restored from a backup would bring erased people back into the model.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from sample.company import CUTOFFS, FEATURES, MODEL, PURCHASES, SUBJECT_TYPE, Dataset
from sample.keys import MODEL_OWNER, PIPELINE, kept_keys
from sample.release import replace_in_use
from sample.rest import Vestige, VestigeRefusedError
from sample.runs import runs_of
from sample.send import connect_tables, send_lineage, send_usage, sync_tables
from sample.tables import SampleTableError, build_features, now, read
from sample.training import TrainedModel, kept_models, predict, remove_artefact, train

Say = Callable[[str], None]
_BATCH = 1000


class BarredCustomerError(Exception):
    """The features to train on hold a customer who must not come in again."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def retrain(
    pipeline: Vestige, team: Vestige, folder: Path, *, features_version: int | None, say: Say
) -> TrainedModel:
    """Trains the next version, on `features_version` or on features that are built now.

    `pipeline` and `team` speak with the keys of the pipelines and of the model team. Returns the
    new version, which is in use. Raises SampleTableError for a version that is not there,
    BarredCustomerError, and VestigeRefusedError; after the last the new version is kept on disk,
    and running this again trains one more.
    """
    store, models = folder / "store", folder / "models"
    began = now()
    barred = barred_customers(pipeline, store, PURCHASES)
    say(f"  customers who must not come in again: {len(barred)}")
    if features_version is None:
        features_version = build_features(store, CUTOFFS[1], without=barred)
    elif held := barred_customers(pipeline, store, FEATURES, features_version):
        raise BarredCustomerError(
            f"{FEATURES.name} version {features_version} holds {len(held)} erased customer(s)."
            " Name another --dataset-version, or none to build the features anew."
        )
    test_version = build_features(store, CUTOFFS[2], without=barred)
    older = kept_models(models)
    model = train(
        store,
        models,
        version=older[-1].version + 1 if older else 1,
        features_version=features_version,
        test_version=test_version,
    )
    predict(store, models, model)
    say(
        f"  version {model.version} of {MODEL.name}: trained on {model.rows:,} customers of"
        f" {FEATURES.name} version {features_version}, AUC {model.metrics['roc_auc']:.2f} a"
        " quarter later"
    )
    sent = send_lineage(pipeline.url, pipeline.key, runs_of(store, models, since=began))
    sync_tables(pipeline, connect_tables(pipeline, store))
    say(f"  told Vestige: {sent} events, {send_usage(pipeline, store, model):,} uses of data")
    retired = replace_in_use(team, str(model.version))
    gone = [old.file_name for old in older if remove_artefact(models, old)]
    say(f"  in use: version {model.version}; retired: {', '.join(retired) or 'none'}")
    say(f"  deleted: {', '.join(gone) or 'no file'}")
    return model


def barred_customers(
    vestige: Vestige, store: Path, table: Dataset, version: int | None = None
) -> frozenset[str]:
    """Customers of the table who were erased before, as Vestige answers for each one."""
    customers = read(store, table, version)["customer_id"].unique().sort().to_list()
    barred = []
    for start in range(0, len(customers), _BATCH):
        batch = customers[start : start + _BATCH]
        subjects = [{"type": SUBJECT_TYPE, "value": customer} for customer in batch]
        answers = vestige.post("/api/v1/suppression/check", {"subjects": subjects})["results"]
        barred += [
            customer
            for customer, answer in zip(batch, answers, strict=True)
            if answer["suppressed"]
        ]
    return frozenset(barred)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sample.retrain", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running Vestige")
    parser.add_argument("--home", type=Path, default=Path("var"), help="its VESTIGE_HOME")
    parser.add_argument(
        "--key",
        default=os.environ.get("VESTIGE_KEY", ""),
        help="a key with the roles pipeline and model_owner; default: the sample company's own",
    )
    parser.add_argument(
        "--dataset-version",
        type=int,
        metavar="N",
        help=f"train on this version of {FEATURES.name}; default: build a new one",
    )
    given = parser.parse_args(arguments)
    folder = given.home / "sample"
    kept = kept_keys(folder)
    pipeline_key, team_key = (given.key or kept.get(name) for name in (PIPELINE, MODEL_OWNER))
    if not pipeline_key or not team_key:
        say(f"There is no key in {folder}. Load the sample company first, or give --key.")
        return 1
    try:
        with Vestige(given.url, pipeline_key) as pipeline, Vestige(given.url, team_key) as team:
            model = retrain(pipeline, team, folder, features_version=given.dataset_version, say=say)
    except (
        SampleTableError,
        BarredCustomerError,
        VestigeRefusedError,
        requests.RequestException,
    ) as exc:
        say(f"The model was not retrained. {exc}")
        return 1
    say(f"Answer the notice with version {model.version}: {given.url}/notices/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
