"""Tells a running Vestige what the sample company did: lineage, stores, events, data usage.

Everything can be sent again: runs and events keep their ids, stores are looked up before they are
connected, and usage goes by batches that are checked before.
"""

import uuid
from collections.abc import Iterable, Iterator
from http.client import NOT_FOUND
from pathlib import Path
from typing import Any

import polars as pl
import requests
from openlineage.client import OpenLineageClient, OpenLineageClientOptions
from openlineage.client.transport.http import HttpConfig, HttpTransport

from sample.company import (
    FEATURES,
    MODEL,
    PREDICTIONS,
    PRODUCER,
    PURCHASES,
    SUBJECT_TYPE,
    TABLES,
    Dataset,
)
from sample.events import events_of, run_id
from sample.rest import Vestige, VestigeRefusedError, trusts_environment
from sample.runs import Ran
from sample.tables import current_version, has_table, read
from sample.training import TOP_SHARE, TrainedModel, predictions_of

_BATCH = 500


class LineageDisabledError(Exception):
    """The environment switches OpenLineage off, so nothing would arrive."""


def send_lineage(url: str, key: str, runs: Iterable[Ran]) -> int:
    """Sends every run's START and COMPLETE with the OpenLineage client; returns how many events.

    Raises requests.RequestException when Vestige refuses an event or does not answer.
    """
    session = requests.Session()
    session.trust_env = trusts_environment(url)
    # The transport is made here: a client that is given only a URL lets an openlineage.yml or
    # OPENLINEAGE_* variable of the machine send the events elsewhere. 30 s: the client's own 5 s
    # are short for a first start on a busy machine, and it sends again what timed out.
    options = OpenLineageClientOptions(api_key=key, timeout=30)
    transport = HttpTransport(HttpConfig.from_options(url=url, options=options, session=session))
    client = OpenLineageClient(transport=transport)
    if client.transport is not transport:
        raise LineageDisabledError(
            "OPENLINEAGE_DISABLED is set, so no lineage would be sent. Unset it and start again."
        )
    sent = 0
    for event in events_of(runs):
        client.emit(event)
        sent += 1
    client.close()
    return sent


def connect_tables(vestige: Vestige, store: Path) -> dict[str, int]:
    """Connects the Delta tables, where they are not yet; returns connector ids by table name."""
    known = {
        (found["dataset"]["namespace"], found["dataset"]["name"]): found["id"]
        for found in vestige.listed("/api/v1/connectors")
        if not found["disabled_at"]
    }
    connected = {}
    for table in TABLES:
        if not has_table(store, table):
            continue
        found = known.get((table.namespace, table.name))
        connected[table.name] = (
            found
            or vestige.post(
                "/api/v1/connectors",
                {
                    "kind": "delta",
                    "name": table.title,
                    "location": str((store / table.name).resolve()),
                    "subject_columns": table.subject_columns,
                    "dataset": {"namespace": table.namespace, "name": table.name},
                },
            )["id"]
        )
    return connected


def sync_tables(vestige: Vestige, connectors: dict[str, int]) -> None:
    for connector in connectors.values():
        vestige.post(f"/api/v1/connectors/{connector}/sync")


def send_usage(vestige: Vestige, store: Path, model: TrainedModel) -> int:
    """One record per customer and model version: learned from, and scored. Returns how many."""
    records = [
        {
            "subject": {"type": SUBJECT_TYPE, "value": customer},
            "data_id": f"{resource_of(FEATURES)}@{model.features_version}",
            "model_id": f"{resource_of(MODEL)}@{model.version}",
            "prediction_id": prediction,
        }
        for customer, prediction in predictions_of(store, model)
        .select("customer_id", "prediction_id")
        .sort("customer_id")
        .iter_rows()
    ]
    sent = 0
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        # A batch is taken whole or not at all, so one record tells whether it arrived before.
        if not _knows_prediction(vestige, str(batch[-1]["prediction_id"])):
            vestige.post("/api/v1/usage", batch)
            sent += len(batch)
    return sent


def _knows_prediction(vestige: Vestige, prediction: str) -> bool:
    try:
        vestige.get(f"/api/v1/predictions/{prediction}/explanation")
    except VestigeRefusedError as exc:
        if exc.status != NOT_FOUND:
            raise
        return False
    return True


def send_events(vestige: Vestige, store: Path, runs: Iterable[Ran]) -> int:
    """What was done to data and models, in the guide's words (CREATE READ TRANSFORM)."""
    events = [*_events_of_jobs(runs), *_events_of_readers(store)]
    vestige.post("/api/v1/events", {"events": events})
    return len(events)


def _events_of_jobs(runs: Iterable[Ran]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for written in run.writes:
            # Seventeen more months would only repeat the first.
            if run.job.name == "load_month" and written.change != "CREATE":
                continue
            details: dict[str, Any] = {"job": run.job.name, "run_id": run_id(run)}
            if written.rows is not None:
                details["rows"] = written.rows
            if written.model is not None:
                details["sha256"] = written.model.sha256
            created = written.change == "CREATE" or written.model is not None
            yield _event(
                "CREATE" if created else "TRANSFORM",
                actor="service:pipelines",
                resource=resource_of(written.dataset),
                version=written.version,
                details=details,
                occurred_at=run.ended_at.isoformat(),
            )


def _events_of_readers(store: Path) -> Iterator[dict[str, Any]]:
    """Two programs of the company that read and write nothing. They really read, here."""
    sales = read(store, PURCHASES)
    months = sales["date"].dt.truncate("1mo").n_unique()
    yield _event(
        "READ",
        actor="service:sales-report",
        resource=resource_of(PURCHASES),
        version=str(current_version(store, PURCHASES)),
        details={"purpose": "sales by month", "rows": sales.height, "months": months},
    )
    scored = read(store, PREDICTIONS)
    newest = scored.filter(pl.col("as_of") == pl.col("as_of").max())
    yield _event(
        "READ",
        actor="service:offers",
        resource=resource_of(PREDICTIONS),
        version=str(current_version(store, PREDICTIONS)),
        details={"purpose": "offer to the highest tenth", "rows": newest.height // TOP_SHARE},
    )


def _event(
    kind: str,
    *,
    actor: str,
    resource: str,
    version: str,
    details: dict[str, Any],
    occurred_at: str = "",
) -> dict[str, Any]:
    event = {
        # From what it says: sent again, it is known as the same.
        "id": str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}/{kind}/{actor}/{resource}@{version}")
        ),
        "type": kind,
        "actor": actor,
        "resource": resource,
        "resource_version": version,
        "details": details,
    }
    return {**event, "occurred_at": occurred_at} if occurred_at else event


def resource_of(dataset: Dataset) -> str:
    """The name that Vestige's log gives it."""
    if dataset is MODEL:
        return f"model:{dataset.name}"
    return f"dataset:{dataset.namespace}:{dataset.name}"
