"""Stores in buckets as connectors: which hosts, buckets and keys an installation lets in."""

from typing import Any

import pytest

from accounts.models import User
from connectors.models import Connector
from tests.builders import Api
from tests.connectors.s3_builders import Bucket
from tests.connectors.s3_server import S3Server

pytestmark = [pytest.mark.django_db, pytest.mark.allow_hosts(["127.0.0.1"])]


@pytest.fixture
def bucket(s3_server: S3Server, settings: Any) -> Bucket:
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]
    made = Bucket.new(s3_server, versioned=True)
    made.put("shop/orders/a.csv", b"customer_id,email\nc-000042,\n")
    return made


def wanted(bucket: Bucket, **more: Any) -> dict[str, Any]:
    return {
        "kind": "files",
        "location": f"s3://{bucket.name}/shop/orders/",
        "subject_columns": {"customer_id": "customer"},
        "options": bucket.server.options,
        **more,
    }


def test_a_folder_in_a_bucket_is_connected_and_synced_by_rest(
    bucket: Bucket, data_owner: User, api: Api
) -> None:
    client = api(data_owner)
    made = client.post("/api/v1/connectors", wanted(bucket), content_type="application/json")
    assert made.status_code == 201, made.content
    assert made.json()["dataset"]["node"] == "dataset:stores:orders"
    assert Connector.objects.get().location == f"s3://{bucket.name}/shop/orders"
    synced = client.post(f"/api/v1/connectors/{made.json()['id']}/sync")
    assert synced.status_code in (200, 202), synced.content
    assert b"secret-of-tests" not in made.content + synced.content


@pytest.mark.parametrize(
    ("setting", "options", "field", "said"),
    [
        ({"VESTIGE_STORE_HOSTS": []}, {}, "location", "VESTIGE_STORE_HOSTS"),
        ({}, {"endpoint_url": "", "region": "eu-west-1"}, "location", "s3.eu-west-1.amazonaws.com"),
        ({"VESTIGE_STORE_BUCKETS": ["lake/shop"]}, {}, "location", "VESTIGE_STORE_BUCKETS"),
        ({}, {"secret_key_file": "/etc/passwd"}, "options", "VESTIGE_STORE_SECRETS"),
        ({}, {"writer_secret_key_file": "/etc/passwd"}, "options", "VESTIGE_STORE_SECRETS"),
        ({}, {"key_id_env": "HOME"}, "options", "ends with ACCESS_KEY_ID"),
    ],
)
def test_what_may_not_be_reached_is_not_connected(
    bucket: Bucket,
    data_owner: User,
    api: Api,
    settings: Any,
    setting: dict[str, Any],
    options: dict[str, str],
    field: str,
    said: str,
) -> None:
    for name, value in setting.items():
        setattr(settings, name, value)
    bucket.server.fault()
    answer = api(data_owner).post(
        "/api/v1/connectors",
        wanted(bucket, options=bucket.server.options | options),
        content_type="application/json",
    )
    assert answer.status_code == 400
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert said in answer.json()["detail"]
    assert bucket.server.calls() == [], "nothing was asked"


def test_a_bucket_below_an_allowed_prefix_is_connected(
    bucket: Bucket, data_owner: User, api: Api, settings: Any
) -> None:
    settings.VESTIGE_STORE_BUCKETS = ["elsewhere", f"{bucket.name}/shop"]
    made = api(data_owner).post(
        "/api/v1/connectors", wanted(bucket), content_type="application/json"
    )
    assert made.status_code == 201, made.content
