"""The real OpenLineage client against our doors: only address and key are ours.

The client's own serialisation, headers, compression and error handling run as they are; its HTTP
adapter hands the finished request to Django instead of a socket.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.test import Client
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    DatasetEvent,
    InputDataset,
    Job,
    JobEvent,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
    StaticDataset,
)
from openlineage.client.facet_v2 import dataset_type_dataset, dataset_version_dataset
from openlineage.client.transport.http import (
    ApiKeyTokenProvider,
    HttpCompression,
    HttpConfig,
    HttpTransport,
)
from openlineage.client.uuid import generate_new_uuid
from requests.adapters import HTTPAdapter

from accounts.models import User
from lineage.models import Intake, Version
from lineage.queries import training_versions
from tests.builders import key_for

PRODUCER = "https://northgate.example/pipelines"


class DjangoAdapter(HTTPAdapter):
    """Carries a prepared request of `requests` into Django, bytes and headers as they are."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        sent = {k: str(v) for k, v in request.headers.items() if k.lower() != "content-length"}
        body = request.body or b""
        answer = Client().generic(
            str(request.method),
            urlsplit(str(request.url)).path,
            body.encode() if isinstance(body, str) else body,
            content_type=sent.pop("Content-Type"),
            headers=sent,
        )
        found = requests.Response()
        found.status_code, found.raw = answer.status_code, BytesIO(answer.content)
        found.headers.update(answer.headers)
        found.request, found.url = request, str(request.url)
        return found


def client_of(user: User, *, zipped: bool = False, key: str | None = None) -> OpenLineageClient:
    return OpenLineageClient(
        transport=HttpTransport(
            HttpConfig(
                url="http://testserver",
                auth=ApiKeyTokenProvider({"api_key": key or key_for(user)}),
                compression=HttpCompression.GZIP if zipped else None,
                adapter=DjangoAdapter(),
            )
        )
    )


def facets(version: str, kind: str = "TABLE") -> Mapping[str, Any]:
    return {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType=kind),
    }


@pytest.mark.parametrize("zipped", [False, True])
def test_a_training_told_by_the_client_is_lineage(pipeline: User, *, zipped: bool) -> None:
    client = client_of(pipeline, zipped=zipped)
    run = Run(runId=str(generate_new_uuid()))
    job = Job(namespace="ml", name="train")
    for state in (RunState.START, RunState.COMPLETE):
        client.emit(
            RunEvent(
                eventTime="2026-03-01T08:00:00Z",
                producer=PRODUCER,
                eventType=state,
                run=run,
                job=job,
                inputs=[InputDataset(namespace="s3://lake", name="t", facets=dict(facets("4")))],
                outputs=[
                    OutputDataset(
                        namespace="models", name="churn", facets=dict(facets("1", "MODEL"))
                    )
                ],
            )
        )
    client.emit(
        DatasetEvent(
            eventTime="2026-03-01T08:00:00Z",
            producer=PRODUCER,
            dataset=StaticDataset(namespace="s3://lake", name="t", facets=dict(facets("5"))),
        )
    )
    client.emit(JobEvent(eventTime="2026-03-01T08:00:00Z", producer=PRODUCER, job=job))

    model = Version.objects.get(dataset__kind="model")
    assert [v.node for v in training_versions(model)] == ["dataset:s3://lake:t@4"]
    assert Version.objects.filter(version="5").exists()
    assert Intake.objects.count() == 4


def test_a_wrong_key_is_an_error_that_the_client_raises(pipeline: User) -> None:
    client = client_of(pipeline, key="wrong")
    event = JobEvent(
        eventTime="2026-03-01T08:00:00Z", producer=PRODUCER, job=Job(namespace="ml", name="x")
    )

    with pytest.raises(requests.HTTPError, match="401"):
        client.emit(event)
