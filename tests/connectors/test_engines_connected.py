"""Stores whose files a cluster works on: connecting, testing, and what is shown of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from connectors.actions import ConnectorError, check_connector, create_connector
from connectors.engines import spark
from connectors.models import Connector
from connectors.queries import open_store
from tests.builders import Api
from tests.connectors.builders import PERSON, table_with_person
from tests.connectors.sail_server import SailServer, sail

pytestmark = pytest.mark.django_db
HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def allowed(settings: Settings) -> None:
    settings.VESTIGE_STORE_HOSTS = [HERE]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_with_person(tmp_path / "customers")


def given(table: Path, **options: Any) -> dict[str, Any]:
    return {
        "kind": "delta",
        "location": str(table),
        "subject_columns": {"customer_id": "customer", "email": "email"},
        "options": options,
    }


def refusal(by: User, wanted: dict[str, Any]) -> ConnectorError:
    with pytest.raises(ConnectorError) as refused:
        create_connector(**wanted, by=by)
    assert not Connector.objects.exists()
    return refused.value


def test_a_store_is_connected_to_a_cluster_and_shows_it(
    sail_server: SailServer, table: Path, data_owner: User, api: Api, browser: Client
) -> None:
    client = api(data_owner)
    made = client.post(
        "/api/v1/connectors", given(table, **sail_server.options), content_type="application/json"
    )
    assert made.status_code == 201, made.content
    assert made.json()["engine"] == "spark"
    assert made.json()["options"] == sail_server.options
    connector = Connector.objects.get()
    found = open_store(connector, role="reader").find_subject(PERSON)
    assert found.method.endswith(f"by tasks of the Spark cluster at {HERE}:{sail_server.port}")
    assert check_connector(connector, by=data_owner).reachable

    browser.force_login(data_owner)
    page = browser.get(f"/stores/{connector.pk}/").content.decode()
    assert f'the Spark cluster at <span class="mono">{sail_server.address}</span>' in page


def test_a_store_without_a_cluster_says_who_works_on_its_files(
    table: Path, data_owner: User, api: Api, browser: Client
) -> None:
    made = api(data_owner).post("/api/v1/connectors", given(table), content_type="application/json")
    assert made.json()["engine"] == "local"
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{made.json()['id']}/").content.decode()
    assert "the worker of the queue" in page


def test_the_form_tells_of_the_engine_and_shows_a_refusal_at_its_options(
    table: Path, data_owner: User, browser: Client
) -> None:
    browser.force_login(data_owner)
    assert "engine = spark" in browser.get("/stores/connect/").content.decode()
    answer = browser.post(
        "/stores/connect/",
        {
            "kind": "delta",
            "location": str(table),
            "subject_columns": "customer_id = customer",
            "options": "engine = spark\nengine_address = sc://elsewhere.example:15002",
        },
    ).content.decode()
    assert "may not connect to port 15002 of the host elsewhere.example" in answer
    assert not Connector.objects.exists()


def test_clusters_on_other_hosts_and_secrets_elsewhere_are_refused(
    settings: Settings, table: Path, data_owner: User, tmp_path: Path
) -> None:
    elsewhere = refusal(
        data_owner, given(table, engine="spark", engine_address="sc://10.0.0.1:15002")
    )
    assert elsewhere.field == "options"
    assert "engine_address" in str(elsewhere)
    assert "VESTIGE_STORE_HOSTS" in str(elsewhere)
    (tmp_path / "token").write_text("s3cret")
    here = {"engine": "spark", "engine_address": f"sc://{HERE}:1"}
    outside = refusal(data_owner, given(table, **here, engine_token_file=str(tmp_path / "token")))
    assert "is not below" in str(outside)
    assert "s3cret" not in str(outside)


def test_kinds_that_no_cluster_can_work_on_say_so(data_owner: User, tmp_path: Path) -> None:
    wanted = given(tmp_path, engine="spark", engine_address=f"sc://{HERE}:1") | {"kind": "dvc"}
    refused = refusal(data_owner, wanted)
    assert (refused.field, "one machine only" in str(refused)) == ("options", True)


def test_a_cluster_that_is_gone_fails_the_test_of_the_connection(
    table: Path, data_owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sail() as server:
        connector = create_connector(**given(table, **server.options), by=data_owner)
    monkeypatch.setattr(spark, "_CONNECT_SECONDS", 0.3)
    tested = check_connector(connector, by=data_owner)
    assert not tested.reachable
    assert f"No Spark-Connect server answers at {HERE}:{server.port}" in tested.reason


def test_a_table_that_is_gone_fails_the_test_before_any_task(
    sail_server: SailServer, table: Path, data_owner: User
) -> None:
    connector = create_connector(**given(table, **sail_server.options), by=data_owner)
    shutil.rmtree(table)
    tested = check_connector(connector, by=data_owner)
    assert not tested.reachable
    assert "cluster" not in tested.reason
