"""The OpenLineage doors: what clients send, again, gzipped, malformed, and by whom."""

import gzip
import json
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.test import Client

from accounts.models import User
from lineage.models import Dataset, Intake, Run, Version
from tests.builders import Api, sequenced
from tests.lineage.builders import DATA, dataset, run_event

EVENT = run_event("clean", "r1", inputs=[dataset("raw", "1")], outputs=[dataset("clean", "2")])


def post(client: Client, body: Any, path: str = "/api/v1/lineage", **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, raw, content_type="application/json", headers=headers)


@pytest.mark.parametrize("path", ["/api/v1/lineage", "/api/v1/lineage/"])
def test_an_event_is_created_with_either_spelling_of_the_address(
    pipeline: User, api: Api, path: str
) -> None:
    answer = post(api(pipeline), EVENT, path)

    assert answer.status_code == 201
    assert answer.json()["repeated"] is False
    assert Version.objects.count() == 2
    assert answer.json()["id"] in {e.event_id for e in sequenced()}


def test_the_same_event_again_is_created_once(pipeline: User, api: Api) -> None:
    first, second = post(api(pipeline), EVENT), post(api(pipeline), EVENT)

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == {"id": first.json()["id"], "repeated": True}
    assert sum(e.type == "lineage.received" for e in sequenced()) == 1


def test_a_gzipped_event_is_the_same_event(pipeline: User, api: Api) -> None:
    zipped = gzip.compress(json.dumps(EVENT).encode())
    answer = post(api(pipeline), zipped, **{"Content-Encoding": "gzip"})

    assert answer.status_code == 201
    assert post(api(pipeline), EVENT).json()["repeated"] is True


@pytest.mark.parametrize("name", ["openlineage_v1", "openlineage_v2", "dbt_ol"])
def test_everything_that_real_clients_sent_is_taken(pipeline: User, api: Api, name: str) -> None:
    client = api(pipeline)
    for line in (DATA / f"{name}.ndjson").read_text().splitlines():
        sent = json.loads(line)
        answer = post(client, sent["body"], sent["path"])
        assert answer.status_code in (200, 201), answer.content

    assert Run.objects.filter(state=Run.State.COMPLETE).exists()


def test_a_batch_takes_what_it_can_and_names_the_rest(pipeline: User, api: Api) -> None:
    other = run_event("clean", "r2", outputs=[dataset("clean", "3")])

    answer = post(api(pipeline), [EVENT, {"bad": 1}, other, EVENT], "/api/v1/lineage/batch")

    assert answer.status_code == 200
    assert answer.json()["status"] == "partial_success"
    assert answer.json()["summary"] == {
        "received": 4, "successful": 3, "failed": 1, "retriable": 0, "non_retriable": 1,
    }  # fmt: skip
    assert [f["index"] for f in answer.json()["failed_events"]] == [1]
    assert Intake.objects.count() == 2
    assert post(api(pipeline), [], "/api/v1/lineage/batch/").json()["status"] == "success"
    assert post(api(pipeline), {}, "/api/v1/lineage/batch").status_code == 400


def without(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, "body"),
        (b"", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[" * 200_000, 422, "body"),
        ([], 422, "body"),
        ({}, 422, "eventTime"),
        (EVENT | {"eventTime": "yesterday"}, 422, "eventTime"),
        (EVENT | {"eventTime": 12}, 422, "eventTime"),
        (EVENT | {"eventType": "BANANA"}, 422, "eventType"),
        (without(without(EVENT, "run"), "job"), 422, "run"),
        (without(EVENT, "job"), 422, "job"),
        (EVENT | {"run": {"runId": ""}}, 422, "run.runId"),
        (EVENT | {"run": {"runId": "x" * 201}}, 422, "run.runId"),
        (EVENT | {"run": {}}, 422, "run.runId"),
        (EVENT | {"job": {"namespace": "", "name": "x"}}, 422, "job.namespace"),
        (EVENT | {"inputs": [{"namespace": "x"}]}, 422, "inputs[0].name"),
        (EVENT | {"inputs": [dataset("a\x07b")]}, 422, "inputs[0].name"),
        (EVENT | {"inputs": [dataset("a\x00b")]}, 422, "body"),
        (EVENT | {"outputs": [dataset("x", "v" * 257)]}, 422,
         "outputs[0].facets.version.datasetVersion"),
        (EVENT | {"outputs": [dataset("x", "1", schema={"fields": "all"})]}, 422,
         "outputs[0].facets.schema.fields"),
        (EVENT | {"outputs": [dataset("x", "1", outputFacets={
            "outputStatistics": {"rowCount": -1}})]}, 422,
         "outputs[0].outputFacets.outputStatistics.rowCount"),
        (EVENT | {"outputs": [dataset("x", "1", model=True, vestige_metrics={"auc": "high"})]}, 422,
         "outputs[0].vestige_metrics.auc"),
    ],
)  # fmt: skip
def test_a_malformed_event_is_refused_by_field_and_leaves_nothing(
    pipeline: User, api: Api, body: Any, status: int, field: str
) -> None:
    answer = post(api(pipeline), body)

    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field
    assert not Intake.objects.exists()
    assert not Dataset.objects.exists()
    assert not [e for e in sequenced() if e.type.startswith(("lineage", "dataset"))]


def test_an_event_that_fails_half_way_leaves_nothing(pipeline: User, api: Api) -> None:
    with (
        patch("lineage.actions.projection.derive_edges", side_effect=OperationalError("busy")),
    ):
        answer = post(api(pipeline), EVENT)

    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert not Version.objects.exists()
    assert not [e for e in sequenced() if e.type == "lineage.received"]
    assert post(api(pipeline), EVENT).json()["repeated"] is False


def test_only_pipelines_may_send_lineage(auditor: User, api: Api, client: Client) -> None:
    assert post(client, EVENT).status_code == 401
    assert post(api(auditor), EVENT).status_code == 403
    assert post(Client(headers={"Authorization": "Bearer wrong"}), EVENT).status_code == 401
    assert not Dataset.objects.exists()


def test_other_methods_are_refused(pipeline: User, api: Api) -> None:
    assert api(pipeline).put("/api/v1/lineage").status_code == 405
    assert api(pipeline).get("/api/v1/lineage/batch").status_code == 405


def test_a_body_that_is_no_gzip_is_refused(pipeline: User, api: Api) -> None:
    answer = post(api(pipeline), b"plain", **{"Content-Encoding": "gzip"})
    assert answer.status_code == 400
