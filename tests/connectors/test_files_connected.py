"""A folder of files as a connected store: by REST, by page, and through the workflow."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.test import Client

from accounts.models import User
from compliance.actions.erasure import execute
from compliance.models import Request
from compliance.queries import current_plan
from compliance.states import State
from connectors.models import Connector
from connectors.queries import open_store
from lineage.actions import sync_connector
from lineage.models import Version
from tests.builders import Api
from tests.compliance.builders import (
    EMAIL,
    approved,
    connected,
    planned,
    purchases,
    team,
    tell_training,
    work_off,
)
from tests.connectors.folders import folder_with_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with_person(tmp_path / "lake")


def wanted(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "kind": "files",
        "location": str(folder),
        "subject_columns": {"customer_id": "customer", "email": "email"},
        **more,
    }


def test_a_folder_is_connected_and_synced_by_rest(folder: Path, data_owner: User, api: Api) -> None:
    client = api(data_owner)
    answer = client.post(
        "/api/v1/connectors",
        wanted(folder, options={"encoding": "utf-8"}),
        content_type="application/json",
    )
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["kind"], made["dataset"]["node"]) == ("files", "dataset:stores:lake")
    synced = client.post(f"/api/v1/connectors/{made['id']}/sync")
    assert synced.status_code in (200, 202), synced.content
    (version,) = Version.objects.filter(dataset__name="lake")
    assert version.version == open_store(Connector.objects.get(), role="reader").versions()[0].id
    assert version.rows == 38
    assert {"name": "customer_id", "type": "string"} in version.schema


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"options": {"delimiter": "::"}}, "options", "is one character"),
        ({"options": {"text_columns": "note"}}, "options", "is a list of names"),
        ({"subject_columns": {"phone": "phone"}}, "subject_columns", "has no column phone"),
        ({"location": "/nowhere/at/all"}, "location", "There is no folder at"),
    ],
)
def test_a_folder_that_cannot_be_searched_is_not_connected(
    folder: Path, data_owner: User, api: Api, change: dict[str, Any], field: str, reason: str
) -> None:
    answer = api(data_owner).post(
        "/api/v1/connectors", wanted(folder) | change, content_type="application/json"
    )
    assert answer.status_code == 400
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert reason in answer.json()["detail"]


def test_a_folder_is_tested_and_connected_by_form(
    tmp_path: Path, data_owner: User, browser: Client
) -> None:
    (tmp_path / "a.csv").write_text("customer_id^n\n00004^1\n")
    form = {
        "kind": "files",
        "location": str(tmp_path),
        "subject_columns": "customer_id = customer",
        "dataset_name": "orders",
        "options": "delimiter = ^",
    }
    browser.force_login(data_owner)
    assert "Files" in browser.get("/stores/connect/").content.decode()
    tested = browser.post("/stores/connect/", {**form, "test": "1"}).content.decode()
    assert "It keeps 1 version and has every column you named." in tested
    answer = browser.post("/stores/connect/", {**form, "connect": "1"})
    made = Connector.objects.get()
    assert answer["Location"] == f"/stores/{made.pk}/"
    assert made.options == {"delimiter": "^"}
    page = browser.get(f"/stores/{made.pk}/").content.decode()
    assert "files as they are" in page
    wrong = browser.post("/stores/connect/", {**form, "options": "delimiter", "connect": "1"})
    assert "options" in wrong.context["form"].errors


def shop(path: Path) -> Connector:
    """Purchases of three customers in a CSV file and a Parquet file."""
    path.mkdir()
    purchases(1).write_csv(path / "1.csv")
    purchases(2).write_parquet(path / "2.parquet")
    return connected(path, kind="files")


def test_a_person_is_erased_in_files_by_the_workflow(tmp_path: Path) -> None:
    connector = shop(tmp_path / "purchases")
    people = team()
    before = Version.objects.get(dataset__name="purchases")
    tell_training("7", before.version)
    request = approved(people)
    plan = current_plan(request)
    assert plan
    (step,) = plan.body["steps"]
    assert (step["kind"], step["rows"], step["rows_by_version"]) == (
        "files", 2, {before.version: 2},
    )  # fmt: skip
    assert [m["version"] for m in plan.body["affected_models"]] == ["7"]
    done = execute_and_work(request, people.analyst)
    assert done.state == State.RESPONDING, done.reason
    assert (tmp_path / "purchases" / "1.csv").read_text().count("\n") == 3
    assert pl.read_parquet(tmp_path / "purchases" / "2.parquet").height == 2
    before.refresh_from_db()
    assert before.purged_at
    after = Version.objects.get(dataset__name="purchases", purged_at=None)
    assert after.rows == 4
    assert after.version == open_store(connector, role="reader").versions()[0].id


def execute_and_work(request: Request, by: User) -> Request:
    execute(request, by=by)
    return work_off(request)


def test_files_with_more_of_the_person_than_was_approved_fail_the_step_visibly(
    tmp_path: Path,
) -> None:
    shop(tmp_path / "purchases")
    people = team()
    request = approved(people)
    with (tmp_path / "purchases" / "1.csv").open("a") as file:
        file.write("00004,new@customers.example,3,1.0\n")
    body = (tmp_path / "purchases" / "1.csv").read_bytes()
    failed = execute_and_work(request, people.analyst)
    assert failed.state == State.BLOCKED
    assert "3 rows of the person now, more than were approved" in failed.reason
    assert (tmp_path / "purchases" / "1.csv").read_bytes() == body


def test_what_others_wrote_to_files_after_the_approval_stays(tmp_path: Path) -> None:
    shop(tmp_path / "purchases")
    people = team()
    request = approved(people)
    with (tmp_path / "purchases" / "1.csv").open("a") as file:
        file.write("00077,new@customers.example,3,1.0\n")
    done = execute_and_work(request, people.analyst)
    assert done.state == State.RESPONDING, done.reason
    left = (tmp_path / "purchases" / "1.csv").read_text()
    assert "00077,new@customers.example,3,1.0\n" in left
    assert "00004" not in left


def test_what_blocks_is_told_before_anybody_approves(tmp_path: Path) -> None:
    shop(tmp_path / "purchases")
    (tmp_path / "purchases" / "letter.txt").write_text(f"Dear {EMAIL},\n")
    request = planned(team().analyst)
    plan = current_plan(request)
    assert plan
    (blocker,) = plan.body["steps"][0]["blockers"]
    assert blocker.startswith("letter.txt names the person")


def test_a_sync_without_a_change_adds_nothing(folder: Path, data_owner: User) -> None:
    connector = connected(folder, kind="files")
    again = sync_connector(connector, by=data_owner)
    assert (again.versions, again.added, again.purged, again.changed) == (1, (), (), ())
