"""Lineage: taking events in beside keeping their bodies, and impact beside the bare recursion.

Intake is recorded, merged, sequenced and signed, one commit for each event and one for the log; the
peer inserts the same body into a table and commits. Impact answers which models descend from a
version and by which path; its limit is the recursion that only counts what is reached.
"""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.report import Line, best_rate, table

EVENTS = 300
LAYERS, WIDTH = 40, 250
_START = datetime(2026, 1, 1, tzinfo=UTC)


def run(database: str) -> None:
    """Prints both tables. Django must be set up on a scratch installation."""
    _intake(database)
    _impact(database)


def _event(number: int) -> bytes:
    def named(name: str, version: int) -> dict[str, Any]:
        facets = {"version": {"datasetVersion": str(version)}}
        return {"namespace": "s3://bench", "name": name, "facets": facets}

    return json.dumps({
        "eventType": "COMPLETE",
        "eventTime": (_START + timedelta(seconds=number)).isoformat(),
        "producer": "bench",
        "run": {"runId": f"run-{number}"},
        "job": {"namespace": "bench", "name": f"job-{number % 10}"},
        "inputs": [named("raw", number), named("labels", number // 100)],
        "outputs": [named("clean", number)],
    }).encode()  # fmt: skip


def _intake(database: str) -> None:
    from django.db import connection

    from accounts.queries import system_user
    from lineage.actions import receive
    from lineage.intake.openlineage import decode

    by = system_user("setup")
    numbers = itertools.count()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_body (id serial PRIMARY KEY, body text)")

    def take_in() -> None:
        for _ in range(EVENTS):
            body = _event(next(numbers))
            receive(body, decode(body), protocol="openlineage", by=by)

    def keep() -> None:
        for _ in range(EVENTS):
            with connection.cursor() as cursor:
                body = _event(next(numbers)).decode()
                cursor.execute("INSERT INTO bench_body (body) VALUES (%s)", [body])

    kept, taken = best_rate(EVENTS, keep), best_rate(EVENTS, take_in)
    peer = "bare INSERT of the body, a commit each"
    table(
        f"OpenLineage events on {database}",
        [Line(peer, kept), Line("recorded, merged, sequenced, signed", taken, peer, taken / kept)],
    )


def _impact(database: str) -> None:
    from django.db import connection

    from lineage.models import Dataset, Edge, Version
    from lineage.queries import downstream_models

    table_, model = (
        Dataset.objects.create(kind=kind, namespace="b", name=kind, node=f"{kind}:b:{kind}")
        for kind in ("dataset", "model")
    )
    versions = Version.objects.bulk_create(
        Version(
            dataset=model if layer == LAYERS - 1 else table_,
            version=f"{layer}.{number}",
            created_at=_START + timedelta(minutes=layer),
        )
        for layer in range(LAYERS)
        for number in range(WIDTH)
    )
    Edge.objects.bulk_create(
        Edge(
            source=versions[layer * WIDTH + number],
            target=versions[(layer + 1) * WIDTH + (number * 7 + shift) % WIDTH],
            kind=Edge.Kind.RUN,
            created_at=_START,
        )
        for layer in range(LAYERS - 1)
        for number in range(WIDTH)
        for shift in range(2)
    )
    first = versions[0].pk

    def bare() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH RECURSIVE r(id) AS (SELECT id FROM lineage_version WHERE id = %s UNION"
                " SELECT e.target_id FROM r JOIN lineage_edge e ON e.source_id = r.id)"
                " SELECT count(*) FROM r",
                [first],
            )
            return int(cursor.fetchone()[0])

    def answer() -> None:
        if len(downstream_models([first])) != WIDTH:
            raise RuntimeError("not every model was found")

    reached = bare()
    limit, answered = best_rate(reached, bare), best_rate(reached, answer)
    peer = "recursion that only counts"
    table(
        f"Impact over {reached:,} reached versions, {WIDTH} models, on {database}: versions",
        [
            Line(peer, limit),
            Line("all models, each with its shortest path", answered, peer, answered / limit),
        ],
    )
