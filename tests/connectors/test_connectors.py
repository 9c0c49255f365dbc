"""Connecting stores: by REST, by page, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils.html import escape
from pytest_django import Settings

from accounts.models import User
from audit.queries import event_of
from connectors.actions import (
    ConnectorError,
    check_connector,
    create_connector,
    disable_connector,
)
from connectors.adapters.base import StoreError
from connectors.kinds import KINDS
from connectors.models import Connector
from connectors.queries import available_kinds, enabled_connectors, open_store
from tests.builders import Api, sequenced
from tests.connectors.builders import (
    COLUMNS,
    PERSON,
    append,
    customers,
    store,
    table_with_person,
)

pytestmark = pytest.mark.django_db
SUBJECT_COLUMNS = {"customer_id": "customer", "email": "email"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_with_person(tmp_path / "customers")


def wanted(table: Path, **more: Any) -> dict[str, Any]:
    return {
        "kind": "delta",
        "location": str(table),
        "subject_columns": SUBJECT_COLUMNS,
        "dataset": {"namespace": "shop", "name": "customers"},
        **more,
    }


def connected(table: Path, by: User, **more: Any) -> Connector:
    given = wanted(table, **more)
    return create_connector(**given, by=by)


def events(name: str) -> list[dict[str, Any]]:
    return [e for entry in sequenced() if (e := dict(event_of(entry)))["type"] == name]


def test_a_data_owner_connects_a_table_by_rest(table: Path, data_owner: User, api: Api) -> None:
    client = api(data_owner)
    answer = client.post("/api/v1/connectors", wanted(table), content_type="application/json")
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert made["kind"] == "delta"
    assert made["location"] == str(table)
    assert made["subject_columns"] == SUBJECT_COLUMNS
    assert made["dataset"] == {
        "namespace": "shop",
        "name": "customers",
        "node": "dataset:shop:customers",
    }
    assert made["created_at"]
    assert client.get(f"/api/v1/connectors/{made['id']}").json() == made
    listed = client.get("/api/v1/connectors").json()
    assert [c["id"] for c in listed["results"]] == [made["id"]]


def test_connecting_is_recorded_without_the_path(table: Path, data_owner: User) -> None:
    connector = connected(table, data_owner)
    (event,) = events("connector.created")
    assert event["resource"] == f"connector:{connector.pk}"
    assert event["actor"] == data_owner.actor
    assert event["details"]["dataset"] == "dataset:shop:customers"
    assert event["details"]["subject_columns"] == ["customer_id", "email"]
    assert str(table) not in json.dumps(event)


def test_the_dataset_and_the_name_follow_from_the_folder(table: Path, data_owner: User) -> None:
    connector = connected(table, data_owner, dataset=None)
    assert (connector.dataset_namespace, connector.dataset_name) == ("stores", "customers")
    assert connector.name == "customers"
    assert connector.owner == data_owner


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"kind": "oracle"}, "kind", 'There is no kind of store "oracle"'),
        ({"location": "/nowhere/at/all"}, "location", "There is no folder at /nowhere/at/all"),
        ({"location": "customers"}, "location", "is not an absolute path"),
        ({"location": "gs://bucket/t"}, "location", 'beginning with "gs://" cannot be opened yet'),
        ({"location": "s3://bucket/t"}, "options", 'in the option "region"'),
        ({"subject_columns": {"phone": "phone"}}, "subject_columns", "has no column phone"),
        ({"options": {"orphan_grace_minutes": "soon"}}, "options", "cannot be used"),
        ({"options": {"history": "kept"}}, "options", 'is "purge" or "keep", not "kept"'),
        ({"kind": "files", "options": {"history": "keep"}}, "options", "cannot keep older"),
    ],
)
def test_what_cannot_be_connected_is_refused_by_field(
    table: Path, data_owner: User, api: Api, change: dict[str, Any], field: str, reason: str
) -> None:
    answer = api(data_owner).post(
        "/api/v1/connectors", wanted(table) | change, content_type="application/json"
    )
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert reason in answer.json()["detail"]
    assert not Connector.objects.exists()
    assert not events("connector.created")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "delta"},
        {"kind": "delta", "location": "/x", "subject_columns": {}},
        {"kind": "delta", "location": "/x", "subject_columns": ["customer_id"]},
        {"kind": "delta", "location": "/x", "subject_columns": {"a": {"b": 1}}},
        {"kind": 7, "location": ["x"], "subject_columns": None},
    ],
)
def test_a_malformed_body_is_a_problem(data_owner: User, api: Api, body: dict[str, Any]) -> None:
    answer = api(data_owner).post("/api/v1/connectors", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_only_those_who_manage_stores_may_connect_one(
    table: Path, analyst: User, auditor: User, pipeline: User, api: Api
) -> None:
    for user in (analyst, auditor, pipeline):
        client = api(user)
        answer = client.post("/api/v1/connectors", wanted(table), content_type="application/json")
        assert answer.status_code == 403
        assert client.get("/api/v1/connectors").status_code == 200
    assert Client().get("/api/v1/connectors").status_code == 401


def test_a_store_is_connected_once(table: Path, data_owner: User, tmp_path: Path) -> None:
    connected(table, data_owner)
    with pytest.raises(ConnectorError, match="connected already") as refused:
        connected(table, data_owner, dataset={"name": "other"})
    assert refused.value.field == "location"
    append(tmp_path / "second", customers(0, 5))
    with pytest.raises(ConnectorError, match="held by the store") as refused:
        connected(tmp_path / "second", data_owner)
    assert refused.value.field == "dataset"


def test_a_link_to_a_connected_table_is_the_same_store(
    table: Path, data_owner: User, tmp_path: Path
) -> None:
    connected(table, data_owner)
    (tmp_path / "alias").symlink_to(table)
    with pytest.raises(ConnectorError, match="connected already"):
        connected(tmp_path / "alias", data_owner, dataset={"name": "other"})


def test_locations_outside_the_allowed_folders_are_refused(
    table: Path, data_owner: User, tmp_path: Path, settings: Settings
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    settings.VESTIGE_STORE_ROOTS = [allowed]
    (allowed / "link").symlink_to(table)
    for location in (table, allowed / ".." / "customers", allowed / "link", Path("/etc")):
        with pytest.raises(ConnectorError, match="outside the folders") as refused:
            connected(table, data_owner, location=str(location))
        assert refused.value.field == "location"
    append(allowed / "t", customers(0, 5))
    assert connected(allowed / "t", data_owner).pk


def test_a_folder_that_becomes_a_link_is_not_opened(
    tmp_path: Path, data_owner: User, settings: Settings
) -> None:
    settings.VESTIGE_STORE_ROOTS = [tmp_path / "allowed"]
    append(tmp_path / "allowed" / "t", customers(0, 5))
    connector = connected(tmp_path / "allowed" / "t", data_owner)
    (tmp_path / "allowed" / "t").rename(tmp_path / "elsewhere")
    (tmp_path / "allowed" / "t").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="outside the folders"):
        open_store(connector, role="reader")


def test_only_a_writer_erases(table: Path, data_owner: User) -> None:
    connector = connected(table, data_owner)
    reader = open_store(connector, role="verifier")
    plan = reader.plan_erase(reader.find_subject(PERSON), mode="purge")
    with pytest.raises(StoreError, match="reading only"):
        reader.erase(plan, PERSON)
    assert open_store(connector, role="writer").erase(plan, PERSON).rows == 2


def test_a_disabled_store_is_left_out_and_may_be_connected_again(
    table: Path, data_owner: User
) -> None:
    connector = connected(table, data_owner)
    disable_connector(connector, by=data_owner)
    disable_connector(connector, by=data_owner)
    assert connector.disabled_at
    assert not enabled_connectors().exists()
    assert len(events("connector.disabled")) == 1
    connected(table, data_owner)
    assert enabled_connectors().count() == 1


def test_a_test_of_the_connection_is_recorded_as_it_went(table: Path, data_owner: User) -> None:
    connector = connected(table, data_owner)
    assert check_connector(connector, by=data_owner).versions == 5
    table.rename(table.with_name("moved"))
    failed = check_connector(connector, by=data_owner)
    assert not failed.reachable
    assert "There is no folder at" in failed.reason
    assert [e["details"]["reachable"] for e in events("connector.tested")] == [True, False]


def test_the_database_refuses_an_unknown_kind_and_an_empty_location(data_owner: User) -> None:
    for fields in ({"kind": "oracle", "location": "/x"}, {"kind": "delta", "location": ""}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Connector.objects.create(
                name="x", dataset_name="x", subject_columns={}, owner=data_owner, **fields
            )


# Pages.


def test_the_list_shows_stores_to_readers_and_the_button_to_managers(
    table: Path, data_owner: User, auditor: User, browser: Client
) -> None:
    connected(table, data_owner, name="Customers of the shop")
    browser.force_login(auditor)
    page = browser.get("/stores/").content.decode()
    assert "Customers of the shop" in page
    assert "/stores/connect/" not in page
    browser.force_login(data_owner)
    assert "/stores/connect/" in browser.get("/stores/").content.decode()


def test_the_page_of_a_store_shows_its_versions(
    table: Path, data_owner: User, auditor: User, browser: Client
) -> None:
    connector = connected(table, data_owner)
    browser.force_login(auditor)
    page = browser.get(f"/stores/{connector.pk}/")
    assert page.status_code == 200
    text = page.content.decode()
    assert [step.version.id for step in page.context["steps"]] == ["4", "3", "2", "1", "0"]
    assert "UPDATE" in text
    assert ">202</td>" in text
    assert "Test the connection" not in text


def test_the_page_of_a_store_that_is_gone_says_so(
    table: Path, data_owner: User, browser: Client
) -> None:
    connector = connected(table, data_owner)
    table.rename(table.with_name("moved"))
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{connector.pk}/")
    assert page.status_code == 200
    assert "The store cannot be read." in page.content.decode()
    assert browser.get("/stores/999/").status_code == 404


def form(table: Path, **more: str) -> dict[str, str]:
    return {
        "kind": "delta",
        "location": str(table),
        "subject_columns": "customer_id = customer\n\n email=email ",
        "name": "Customers",
        "dataset_namespace": "shop",
        "dataset_name": "customers",
        **more,
    }


def test_a_store_is_tested_and_then_connected_by_form(
    table: Path, data_owner: User, browser: Client
) -> None:
    browser.force_login(data_owner)
    tested = browser.post("/stores/connect/", form(table, test="1"))
    assert "It keeps 5 versions" in tested.content.decode()
    assert "bought" in tested.content.decode()
    assert not Connector.objects.exists()
    answer = browser.post("/stores/connect/", form(table, connect="1"))
    made = Connector.objects.get()
    assert answer["Location"] == f"/stores/{made.pk}/"
    assert made.subject_columns == SUBJECT_COLUMNS


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"location": "/nowhere"}, "location", "There is no folder at /nowhere"),
        ({"subject_columns": "customer_id"}, "subject_columns", "Line 1 is not"),
        ({"subject_columns": "phone = phone"}, "subject_columns", "has no column phone"),
        ({"kind": "hudi"}, "kind", "hudi is not one of the available choices"),
    ],
)
def test_a_wrong_input_is_shown_at_its_field(
    table: Path,
    data_owner: User,
    browser: Client,
    change: dict[str, str],
    field: str,
    reason: str,
) -> None:
    browser.force_login(data_owner)
    page = browser.post("/stores/connect/", form(table, connect="1") | change)
    assert page.status_code == 200
    assert reason in " ".join(page.context["form"].errors[field])
    assert not Connector.objects.exists()


def test_a_taken_dataset_is_shown_at_the_dataset(
    table: Path, data_owner: User, browser: Client, tmp_path: Path
) -> None:
    connected(table, data_owner)
    append(tmp_path / "second", customers(0, 5))
    browser.force_login(data_owner)
    page = browser.post("/stores/connect/", form(tmp_path / "second", connect="1"))
    assert "is held by the store" in " ".join(page.context["form"].errors["dataset_name"])


def test_testing_and_disabling_by_page(table: Path, data_owner: User, browser: Client) -> None:
    connector = connected(table, data_owner)
    browser.force_login(data_owner)
    page = browser.post(f"/stores/{connector.pk}/test/", follow=True)
    assert "The store can be read: 5 versions." in page.content.decode()
    page = browser.post(f"/stores/{connector.pk}/disable/", follow=True)
    assert "is disabled" in page.content.decode()
    assert "Test the connection" not in page.content.decode()


@pytest.mark.parametrize("path", ["/stores/connect/", "/stores/1/test/", "/stores/1/disable/"])
def test_pages_that_change_something_are_for_managers(
    analyst: User, browser: Client, path: str
) -> None:
    browser.force_login(analyst)
    assert browser.post(path).status_code == 403
    assert Client().post(path).status_code == 302


def test_erasing_through_a_connector_needs_no_more_than_its_row(
    table: Path, data_owner: User
) -> None:
    connector = connected(table, data_owner)
    writer = open_store(connector, role="writer")
    plan = writer.plan_erase(writer.find_subject(PERSON), mode="purge")
    writer.erase(plan, PERSON)
    writer.purge_history(plan)
    verifier = open_store(connector, role="verifier")
    control = verifier.control_subject(PERSON)
    assert verifier.verify_erased([v for vs in PERSON.values() for v in vs], control).clean
    assert store(table, COLUMNS).versions()[-1].rows == 200


def test_every_kind_says_how_it_is_written(browser: Client, data_owner: User) -> None:
    assert set(KINDS) == set(available_kinds())
    browser.force_login(data_owner)
    page = browser.get("/stores/connect/").content.decode()
    for kind in KINDS.values():
        for location in kind.locations:
            assert location in page
        for option, _ in kind.options:
            assert escape(option) in page
