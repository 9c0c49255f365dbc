"""Requests with an API key go past what surrounds browsers, and get the same answers."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, connections

from accounts.models import User
from accounts.queries import live_key
from audit.models import Entry
from config.wsgi import application
from tests.builders import key_for

EVENT = {"type": "READ", "actor": "etl", "resource": "dataset:a", "id": "e-1"}


class Answer:
    """What the web server gets from the application."""

    def __init__(self, method: str, path: str, body: bytes = b"", **headers: Any) -> None:
        address, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": address,
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "HTTP_HOST": "localhost",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            **headers,
        }
        with _one_transaction():
            found: Any = application(environ, self._start)
            self.body = b"".join(found)
            if hasattr(found, "close"):
                found.close()

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = int(status[:3]), dict(headers)


@contextmanager
def _one_transaction() -> Iterator[None]:
    """A request closes connections that are inside of a transaction, as a test's are."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        with patch("config.handlers.close_old_connections"):
            yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


def keyed(user: User) -> dict[str, Any]:
    return {"HTTP_AUTHORIZATION": f"Bearer {key_for(user)}"}


@pytest.mark.django_db
def test_an_event_by_key_is_taken_and_answered_without_session_or_cookie(pipeline: User) -> None:
    answer = Answer("POST", "/api/v1/events", json.dumps(EVENT).encode(), **keyed(pipeline))
    assert answer.status == 201
    assert Entry.objects.filter(event_id="e-1").exists()
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert not {"Set-Cookie", "Vary"} & answer.headers.keys()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/events",
        "/api/v1/events?resource=dataset:a",
        "/api/v1/events?since=no-time",
        "/api/v1/log/checkpoint",
        "/api/v1/datasets",
        "/api/v1/requests",
        "/api/v1/nothing-here",
    ],
)
def test_answers_are_those_of_the_long_way(
    path: str, auditor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyed(auditor)
    short = Answer("GET", path, **key)
    monkeypatch.setattr(application, "_keyed", application._browsers)
    long = Answer("GET", path, **key)
    assert (short.status, short.body) == (long.status, long.body)
    assert short.headers["Content-Type"] == long.headers["Content-Type"]
    assert short.headers.items() <= long.headers.items()


@pytest.mark.django_db
def test_a_wrong_key_is_refused_with_a_session_or_without(auditor: User) -> None:
    answer = Answer("GET", "/api/v1/events", HTTP_AUTHORIZATION="Bearer wrong")
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
def test_a_host_that_is_not_ours_is_refused(auditor: User) -> None:
    assert Answer("GET", "/api/v1/events", HTTP_HOST="evil.example", **keyed(auditor)).status == 400


@pytest.mark.django_db
def test_a_page_that_is_asked_for_with_a_key_keeps_its_policy_for_scripts(auditor: User) -> None:
    answer = Answer("GET", "/log/", **keyed(auditor))
    assert answer.status == 200
    assert "script-src" in answer.headers["Content-Security-Policy"]


@pytest.mark.django_db
def test_without_a_key_nothing_is_let_in(db: None) -> None:
    assert Answer("POST", "/api/v1/events", json.dumps(EVENT).encode()).status == 401


def test_every_middleware_of_the_short_way_is_one_of_the_long(db: None) -> None:
    assert [name for name in settings.MIDDLEWARE if name in settings.KEYED_MIDDLEWARE] == (
        settings.KEYED_MIDDLEWARE
    )


@pytest.mark.django_db
def test_an_unknown_address_of_the_api_is_answered_as_a_problem(auditor: User) -> None:
    for headers in [keyed(auditor), {}]:
        answer = Answer("GET", "/api/v1/nothing-here", **headers)
        assert answer.status == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "/api/docs/" in json.loads(answer.body)["detail"]
    assert b"<html" in Answer("GET", "/nothing-here").body


@pytest.mark.django_db
def test_a_fault_of_ours_is_answered_as_a_problem_that_tells_nothing_of_it(
    auditor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("at the table of secrets")

    monkeypatch.setattr("accounts.middleware.live_key", fail)
    answer = Answer("GET", "/api/v1/events", **keyed(auditor))
    assert answer.status == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert b"secrets" not in answer.body


@pytest.mark.django_db
def test_a_key_is_looked_up_again_after_the_database_has_closed_the_connection() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connections that break")

    def look_up() -> bool:
        """In a thread, which has a connection of its own and no transaction."""
        assert live_key("vst_nobodys") is None
        mine = connection.connection.info.backend_pid
        other = connections.create_connection("default")
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [mine])
        other.close()
        assert live_key("vst_nobodys") is None
        is_another = connection.connection.info.backend_pid != mine
        connection.close()
        return bool(is_another)

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(look_up).result()
