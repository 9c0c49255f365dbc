"""SQL tables through the workflow: what may be connected, by whom, and an erasure to its end."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from compliance.actions.erasure import execute
from compliance.actions.plans import approve_plan
from compliance.queries import current_plan
from compliance.states import State
from connectors.adapters.base import StoreError
from connectors.models import Connector
from connectors.queries import open_store
from lineage.actions import sync_connector
from tests.builders import Api
from tests.compliance.builders import Team, erased, planned, search, team, work_off
from tests.connectors.sql_builders import run_sqlite

pytestmark = pytest.mark.django_db
SUBJECT_COLUMNS = {"customer_id": "customer", "email": "email"}


@pytest.fixture
def people() -> Team:
    return team()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    run_sqlite(
        path,
        "CREATE TABLE customers (customer_id TEXT PRIMARY KEY, email TEXT)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer TEXT REFERENCES customers)",
        "INSERT INTO customers VALUES ('00004', 'C00004@customers.example'), "
        "('00021', 'c00021@customers.example')",
        "INSERT INTO orders VALUES (1, '00004'), (2, '00021')",
    )
    return path


def wanted(shop: Path, **more: Any) -> dict[str, Any]:
    return {
        "kind": "sql",
        "location": f"sqlite:///{shop}#customers",
        "subject_columns": SUBJECT_COLUMNS,
        "options": {"child_tables": ["orders"]},
        **more,
    }


def post(api: Api, by: User, body: dict[str, Any]) -> Any:
    return api(by).post("/api/v1/connectors", body, content_type="application/json")


def test_a_table_is_connected_by_rest_and_named_after_itself(
    shop: Path, data_owner: User, api: Api
) -> None:
    answer = post(api, data_owner, wanted(shop))
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert made["location"] == f"sqlite:///{shop}#customers"
    assert made["dataset"]["name"] == "customers"
    assert made["options"] == {"child_tables": ["orders"]}
    again = post(
        api, data_owner, wanted(shop, location=f"sqlite:///{shop.parent}/./shop.db#customers")
    )
    assert "connected already" in again.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"location": "sqlite:////nowhere.db#t"}, "location", "There is no file at"),
        ({"location": "postgresql://u:s3cret@h/d#t"}, "location", "user name or a password"),
        ({"location": "postgresql://db.example/d#t"}, "location", "VESTIGE_STORE_HOSTS"),
        ({"location": "mysql://169.254.169.254/d#t"}, "location", "VESTIGE_STORE_HOSTS"),
        ({"options": {"password": "s3cret"}}, "options", "holds a password"),
        ({"options": {"password_file": "/etc/passwd"}}, "options", "not below /run/secrets"),
        ({"options": {"child_tables": 4}}, "options", "list of names"),
        ({"subject_columns": {"phone": "phone"}}, "subject_columns", "has no column phone"),
    ],
)  # fmt: skip
def test_what_cannot_be_connected_is_refused_by_field_and_without_the_secret(
    shop: Path, data_owner: User, api: Api, change: dict[str, Any], field: str, reason: str
) -> None:
    answer = post(api, data_owner, wanted(shop) | change)
    assert answer.status_code == 400
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert reason in answer.json()["detail"]
    assert "s3cret" not in answer.content.decode()
    assert not Connector.objects.exists()


def test_files_outside_the_allowed_folders_are_refused(
    shop: Path, tmp_path: Path, data_owner: User, api: Api, settings: Settings
) -> None:
    settings.VESTIGE_STORE_ROOTS = [tmp_path / "allowed"]
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "link.db").symlink_to(shop)
    for path in (shop, tmp_path / "allowed" / "link.db"):
        answer = post(api, data_owner, wanted(path))
        assert "outside the folders" in answer.json()["detail"]
    socket = post(api, data_owner, wanted(shop, location="postgresql:///d?host=/run/x#t"))
    assert "outside the folders" in socket.json()["detail"]


def test_an_allowed_host_is_tried_and_its_silence_is_said(
    shop: Path, data_owner: User, api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1:1"]
    monkeypatch.setenv("SHOP_DB_PASSWORD", "s3cret")
    signed_in = {"user": "shop", "password_env": "SHOP_DB_PASSWORD"}
    here = wanted(shop, location="postgresql://127.0.0.1:1/shop#public.t", options=signed_in)
    answer = post(api, data_owner, here)
    assert "Nothing answers for the database shop at 127.0.0.1" in answer.json()["detail"]
    assert "s3cret" not in answer.content.decode()
    other = post(api, data_owner, here | {"location": "postgresql://127.0.0.1:2/shop#public.t"})
    assert "VESTIGE_STORE_HOSTS" in other.json()["detail"]


def test_a_table_is_connected_by_form_with_its_options(
    shop: Path, data_owner: User, browser: Client
) -> None:
    browser.force_login(data_owner)
    form = {
        "kind": "sql",
        "location": f"sqlite:///{shop}#customers",
        "subject_columns": "customer_id = customer",
        "options": "child_tables = [orders]\n\nother_tables = [log, more]",
    }
    tested = browser.post("/stores/connect/", form | {"test": "1"})
    assert "It keeps 1 version and" in tested.content.decode()
    wrong = browser.post("/stores/connect/", form | {"options": "child_tables", "connect": "1"})
    assert "Line 1 is not" in " ".join(wrong.context["form"].errors["options"])
    browser.post("/stores/connect/", form | {"connect": "1"})
    made = Connector.objects.get()
    assert made.options == {"child_tables": ["orders"], "other_tables": ["log", "more"]}
    assert browser.get(f"/stores/{made.pk}/").status_code == 200


def test_an_erasure_goes_through_to_its_verification(
    shop: Path, data_owner: User, api: Api, people: Team
) -> None:
    connector = Connector.objects.get(pk=post(api, data_owner, wanted(shop)).json()["id"])
    sync_connector(connector, by=data_owner)
    request = erased(people)
    assert request.state in (State.RESPONDING, State.COMPLETED), request.reason
    assert run_sqlite(shop, "SELECT customer_id FROM customers") == [("00021",)]
    assert run_sqlite(shop, "SELECT buyer FROM orders") == [("00021",)]
    assert b"c00004@customers.example" not in shop.read_bytes().lower()
    (step,) = request.steps.all()
    assert step.rows_erased == 2
    assert step.report["control_found"]
    assert open_store(connector, role="reader").versions()[0].rows == 1


def test_a_purge_that_failed_is_planned_again_though_no_row_is_left(
    shop: Path, data_owner: User, api: Api, people: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(api, data_owner, wanted(shop))

    def busy(*_: object) -> None:
        raise StoreError("Another program keeps the file locked.")

    with monkeypatch.context() as patch:
        patch.setattr("connectors.adapters.sqltables.store.purge_sqlite", busy)
        request = erased(people)
    assert request.state == State.BLOCKED
    assert run_sqlite(shop, "SELECT customer_id FROM customers") == [("00021",)]
    search(request, by=people.analyst)
    plan = current_plan(request)
    assert plan
    (step,) = plan.body["steps"]
    assert (step["rows"], step["method"]) == (0, "erase and purge history")
    for approver in (people.dpo, people.data_owner):
        approve_plan(request, plan_hash=plan.hash, by=approver)
    execute(request, by=people.analyst)
    work_off(request)
    assert "purged" in request.steps.order_by("-pk")[0].result
    assert request.state in (State.RESPONDING, State.COMPLETED), request.reason


def test_a_plan_that_would_break_other_tables_says_so(
    shop: Path, data_owner: User, api: Api, people: Team
) -> None:
    post(api, data_owner, wanted(shop, options={}))
    request = planned(people.analyst)
    plan = request.plans.get()
    (blocker,) = plan.body["steps"][0]["blockers"]
    assert "1 rows of the table orders refer" in blocker
