"""A lakeFS repository as a connected store: by REST, by page, and through the workflow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from compliance.actions.erasure import execute
from compliance.queries import current_plan
from compliance.states import State
from connectors.models import Connector
from connectors.queries import open_store
from lineage.models import Version
from tests.builders import Api
from tests.compliance.builders import approved, connected, purchases, team, tell_training, work_off
from tests.connectors.lakefs_builders import SECRET_VARIABLE, contents, opened_shop, options
from tests.connectors.lakefs_server import SECRET, LocalBlocks, Server, Shop, served

pytestmark = [pytest.mark.django_db, pytest.mark.enable_socket]
SUBJECT_COLUMNS = {"customer_id": "customer", "email": "email"}


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with opened_shop(tmp_path / "blocks") as running:
        yield running


def wanted(server: Server, **more: Any) -> dict[str, Any]:
    body = {
        "kind": "lakefs",
        "location": server.location,
        "subject_columns": SUBJECT_COLUMNS,
        "options": options(server),
    }
    return {**body, **more}


def post(api: Api, user: User, body: dict[str, Any]) -> Any:
    return api(user).post("/api/v1/connectors", body, content_type="application/json")


def test_a_repository_is_connected_and_synced_by_rest(
    server: Server, data_owner: User, api: Api, browser: Client
) -> None:
    answer = post(api, data_owner, wanted(server))
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["location"], made["dataset"]["node"]) == (server.location, "dataset:stores:shop")
    assert SECRET not in answer.content.decode()
    assert api(data_owner).post(f"/api/v1/connectors/{made['id']}/sync").status_code == 200
    versions = Version.objects.filter(dataset__name="shop")
    assert versions.count() == 4
    assert versions.get(version=server.shop.branches["main"].head).rows == 22
    part = post(api, data_owner, wanted(server, location=f"{server.location}/data/parts/"))
    assert part.json()["dataset"]["node"] == "dataset:stores:shop/data/parts"
    browser.force_login(data_owner)
    assert "lakeFS" in browser.get(f"/stores/{made['id']}/").content.decode()
    opened = open_store(Connector.objects.get(pk=made["id"]), role="verifier")
    assert opened.kind == "lakefs"


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"location": "https://lake.example#shop"}, "location", "VESTIGE_STORE_HOSTS"),
        ({"location": "https://u:s3cret@h#shop"}, "location", "user name or a password"),
        ({"location": "127.0.0.1#other"}, "location", "begins with its server"),
        ({"options": {}}, "options", "Name the access key"),
        ({"options": {"user": "A", "password_env": "UNSET_PASSWORD"}}, "options", "is not set"),
        ({"options": {"password_file": "/etc/passwd"}}, "options", "VESTIGE_STORE_SECRETS"),
        ({"subject_columns": {"phone": "phone"}}, "subject_columns", "has no column phone"),
    ],
)
def test_what_cannot_be_connected_is_refused_by_field(
    server: Server, data_owner: User, api: Api, change: dict[str, Any], field: str, reason: str
) -> None:
    answer = post(api, data_owner, wanted(server) | change)
    assert answer.status_code == 400, answer.content
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert reason in error["reason"]
    assert "s3cret" not in answer.content.decode()


def test_a_block_store_outside_the_allowed_folders_is_not_opened(
    server: Server, data_owner: User, api: Api, settings: Settings, tmp_path: Path
) -> None:
    settings.VESTIGE_STORE_ROOTS = [str(tmp_path / "other")]
    answer = post(api, data_owner, wanted(server))
    assert "is outside the folders that this installation may connect" in answer.json()["detail"]
    settings.VESTIGE_STORE_ROOTS = [str(tmp_path / "blocks")]
    assert post(api, data_owner, wanted(server)).status_code == 201


def test_a_connection_test_says_what_is_wrong(
    server: Server, data_owner: User, api: Api, browser: Client
) -> None:
    pk = post(api, data_owner, wanted(server)).json()["id"]
    server.shop.users.clear()
    browser.force_login(data_owner)
    page = browser.post(f"/stores/{pk}/test/", follow=True).content.decode()
    assert "does not accept the access key" in page


def test_a_person_is_erased_in_lakefs_by_the_workflow(tmp_path: Path) -> None:
    shop = Shop(LocalBlocks(tmp_path / "blocks"))
    commits = []
    for month in (1, 2):
        shop.put("main", "purchases.csv", purchases(month).write_csv().encode())
        commits.append(shop.commit("main", f"month {month}").id)
    with served(shop) as server:
        connected(server.location, kind="lakefs", options=options(server))
        people = team()
        tell_training("7", commits[0])
        request = approved(people)
        plan = current_plan(request)
        assert plan
        (step,) = plan.body["steps"]
        assert (step["kind"], step["rows_by_version"]) == ("lakefs", dict.fromkeys(commits, 1))
        assert step["versions_lost"] == commits
        assert [m["version"] for m in plan.body["affected_models"]] == ["7"]
        execute(request, by=people.analyst)
        done = work_off(request)
        assert done.state == State.RESPONDING, done.reason
    assert contents(shop, "main")["purchases.csv"].count(b"\n") == 3
    assert all(v.purged_at for v in Version.objects.filter(version__in=commits))
    after = Version.objects.get(dataset__name="purchases", purged_at=None)
    assert (after.version, after.rows) == (shop.branches["main"].head, 2)
