"""API keys, sign-in and what each role opens."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts.actions import create_key, create_user, disable_user, revoke_key
from accounts.models import ApiKey, User
from accounts.queries import system_user
from accounts.roles import PERMISSIONS, Role, permissions_of
from tests.builders import Api, key_for, sequenced, user

pytestmark = pytest.mark.django_db


def test_an_administrator_makes_a_key_that_works_and_is_shown_once(admin: User, api: Api) -> None:
    answer = api(admin).post(
        "/api/v1/keys", {"name": "etl", "roles": ["auditor"]}, content_type="application/json"
    )
    assert answer.status_code == 201
    key = answer.json()["key"]
    assert (
        Client(headers={"Authorization": f"Bearer {key}"}).get("/api/v1/events").status_code == 200
    )
    listed = api(admin).get("/api/v1/keys").content.decode()
    assert key not in listed
    assert key not in repr(list(ApiKey.objects.values()))


def test_basic_authentication_takes_the_key_as_password(auditor: User) -> None:
    import base64

    basic = base64.b64encode(f"svc:{key_for(auditor)}".encode()).decode()
    answer = Client(headers={"Authorization": f"Basic {basic}"}).get("/api/v1/events")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Basic !!!", "Bearer ", "Digest x", "Basic bm9jb2xvbg=="]
)
def test_a_wrong_key_is_refused_as_a_problem(header: str, db: None) -> None:
    answer = Client(headers={"Authorization": header}).get("/api/v1/events")
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert "WWW-Authenticate" in answer


def test_an_expired_a_revoked_and_a_disabled_users_key_are_refused(admin: User) -> None:
    def status(text: str) -> int:
        client = Client(headers={"Authorization": f"Bearer {text}"})
        return client.get("/api/v1/events").status_code

    expired, text = create_key(name="a", roles=[Role.AUDITOR], by=admin)
    assert status(text) == 200
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert status(text) == 401
    revoked, text = create_key(name="b", roles=[Role.AUDITOR], by=admin)
    revoke_key(revoked, by=admin)
    assert status(text) == 401
    disabled, text = create_key(name="c", roles=[Role.AUDITOR], by=admin)
    disable_user(disabled.user, by=admin)
    assert status(text) == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "roles": ["emperor"]}, "roles"),
        ({"name": "x", "roles": []}, "roles"),
        ({"roles": ["auditor"]}, "name"),
        ({"name": "x", "roles": ["auditor"], "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "roles": ["auditor"], "expires_at": "soon"}, "expires_at"),
    ],
)
def test_a_bad_key_request_names_the_field(
    admin: User, api: Api, body: dict[str, Any], field: str
) -> None:
    client = api(admin)
    before = ApiKey.objects.count()
    answer = client.post("/api/v1/keys", body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize("role", [r for r in Role if r != Role.ADMIN])
def test_nobody_but_an_administrator_makes_keys(role: Role, api: Api, db: None) -> None:
    answer = api(user(role)).post(
        "/api/v1/keys", {"name": "x", "roles": ["dpo"]}, content_type="application/json"
    )
    assert answer.status_code == 403
    assert answer.json()["title"] == "Forbidden"
    assert "accounts.manage" in answer.json()["detail"]


def test_an_administrator_reads_no_cases(admin: User, api: Api, browser: Client) -> None:
    assert api(admin).get("/api/v1/requests").status_code == 403
    browser.force_login(admin)
    assert browser.get("/requests/").status_code == 403


def test_no_role_both_plans_and_approves() -> None:
    for role in Role:
        held = permissions_of(frozenset({role}))
        assert not {"requests.plan", "requests.approve"} <= held


def test_an_auditor_can_change_nothing() -> None:
    writing = {p for p in PERMISSIONS if not p.endswith((".read", ".verify", ".evaluate"))}
    assert permissions_of(frozenset({Role.AUDITOR})) & writing == {"reports.create"}


def test_sign_in_is_recorded_and_a_wrong_password_is_explained(browser: Client, db: None) -> None:
    with transaction.atomic():
        create_user(
            username="ada", name="Ada", roles=[Role.AUDITOR], password="long enough for us",
            by=system_user("setup"),
        )  # fmt: skip
    wrong = browser.post("/sign-in/", {"username": "ada", "password": "wrong"})
    assert wrong.status_code == 200
    assert "correct username and password" in wrong.content.decode()
    right = browser.post("/sign-in/", {"username": "ada", "password": "long enough for us"})
    assert right.status_code == 302
    assert "user.signed_in" in {entry.type for entry in sequenced()}


def test_pages_send_strangers_to_the_sign_in(browser: Client, db: None) -> None:
    for path in ("/", "/log/", "/requests/", "/datasets/", "/notices/", "/stores/", "/keys/"):
        answer = browser.get(path)
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/sign-in/")


def test_the_log_does_not_hold_names_of_people(admin: User, db: None) -> None:
    with transaction.atomic():
        create_user(
            username="zoe", name="Zoe Unmistakable", email="zoe@northgate.example",
            roles=[Role.DPO], password=None, by=admin,
        )  # fmt: skip
    leaves = b"".join(bytes(entry.leaf) for entry in sequenced())
    assert b"Unmistakable" not in leaves
    assert b"zoe@" not in leaves
