"""Events and lineage for tests, through the same doors and actions as the application."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import transaction

from accounts.models import User
from lineage.actions import receive
from lineage.intake.openlineage import decode
from lineage.models import Dataset, Edge, Job, Run, Version

DATA = Path(__file__).parent / "data"
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def dataset(name: str, version: str = "", *, model: bool = False, **facets: Any) -> dict[str, Any]:
    """An OpenLineage dataset; `facets` by name, inputFacets and outputFacets included."""
    found: dict[str, Any] = {"namespace": "models" if model else "s3://lake", "name": name}
    for key in ("inputFacets", "outputFacets"):
        if key in facets:
            found[key] = facets.pop(key)
    found["facets"] = dict(facets)
    if version:
        found["facets"]["version"] = {"datasetVersion": version}
    if model:
        found["facets"]["datasetType"] = {"datasetType": "MODEL"}
    return found


def run_event(
    job: str,
    run_id: str,
    *,
    kind: str = "COMPLETE",
    minutes: float = 0,
    inputs: Iterable[Mapping[str, Any]] = (),
    outputs: Iterable[Mapping[str, Any]] = (),
    run_facets: Mapping[str, Any] | None = None,
    job_facets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": at(minutes),
        "producer": "https://northgate.example/pipelines",
        "run": {"runId": run_id, "facets": dict(run_facets or {})},
        "job": {"namespace": "shop", "name": job, "facets": dict(job_facets or {})},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def take_in(event: Mapping[str, Any], by: User) -> None:
    body = json.dumps(event).encode()
    receive(body, decode(body), protocol="openlineage", by=by)


def official(name: str) -> list[dict[str, Any]]:
    """Events of one file in data/; recorded requests give their bodies, batches their events."""
    found: list[dict[str, Any]] = []
    for line in (DATA / f"{name}.ndjson").read_text().splitlines():
        said = json.loads(line)
        body = said["body"] if "path" in said else said
        found += [e for e in body if "eventTime" in e] if isinstance(body, list) else [body]
    return found


def graph_state() -> dict[str, Any]:
    """Everything the graph holds, without row ids and times of recording, to compare outcomes."""
    live = Version.objects.filter(superseded_by=None).select_related("dataset", "produced_by")
    return {
        "datasets": sorted(
            (d.kind, d.namespace, d.name, d.node, d.personal_data, d.description, _text(d.facts))
            for d in Dataset.objects.all()
        ),
        "jobs": sorted((j.node, _text(j.facts)) for j in Job.objects.all()),
        "runs": sorted(
            (
                r.job.node, r.run_id, r.state, str(r.started_at), str(r.ended_at),
                str(r.first_event_at), r.parent.run_id if r.parent else "",
            )
            for r in Run.objects.select_related("job", "parent")
        ),
        "versions": sorted(
            (
                v.node, v.known_by, str(v.created_at), v.dated_by,
                v.produced_by.run_id if v.produced_by else "", str(v.rows), str(v.bytes),
                v.keeps_older, _text(v.schema), _text(v.metrics), _text(v.facts),
            )
            for v in live
        ),
        "edges": sorted(
            (e.source.node, e.target.node, e.kind, e.run.run_id if e.run else "", str(e.created_at))
            for e in Edge.objects.select_related("source__dataset", "target__dataset", "run")
        ),
    }  # fmt: skip


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def edges() -> set[tuple[str, str, str]]:
    return {(s, t, kind) for s, t, kind, *_ in graph_state()["edges"]}


class _UndoneError(Exception):
    pass


def outcomes(
    events: list[dict[str, Any]], orders: Iterable[Iterable[int]], by: User
) -> Iterator[Any]:
    """What the graph holds after the events in each of the orders, each from nothing."""
    for order in orders:
        state = None
        try:
            with transaction.atomic():
                for index in order:
                    take_in(events[index], by)
                state = graph_state()
                raise _UndoneError
        except _UndoneError:
            yield state
