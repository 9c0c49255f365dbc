"""Shared by all tests. `tests/builders.py` makes the things that tests speak of."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client
from pytest_django import DjangoDbBlocker

from accounts.models import User
from accounts.roles import Role
from connectors.adapters.delta import purge
from tests import builders

PATIENCE = purge._TICK_SECONDS

# Code that knows no Django: where its tests use no database, one run of them is enough.
PURE = (
    "audit/ledger/",
    "audit/fuzzing/",
    *(
        f"connectors/test_{kind}"
        for kind in ("delta", "dvc", "engines", "files", "iceberg", "lakefs", "s3", "scan")
    ),
    "connectors/test_sql_sqlite",
)

# What takes long because of its stores or documents, and asks the database nothing of its own:
# one run, on the database that production has.
ONCE = (
    *(
        f"connectors/test_{kind}_connected"
        for kind in ("dvc", "engines", "files", "iceberg", "index", "lakefs", "s3")
    ),
    "audit/test_browser",
    "compliance/test_guide_examples",
    "compliance/test_merge_gate",
    "datasheets/test_rendering",
    "reports/test_certificate",
    "reports/test_compliance_report",
    "reports/test_tails",
    "sample/test_after_erasure",
    "sample/test_load",
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of Delta's purge for the clock, shortened: one of milliseconds needs no second."""
    monkeypatch.setattr(purge, "_TICK_SECONDS", 0.02)


@pytest.fixture
def patient(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits as they are in use."""
    monkeypatch.setattr(purge, "_TICK_SECONDS", PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that uses the database may use both: subjects' keys have one of their own."""
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        marker = item.get_closest_marker("django_db")
        if marker or {"db", "transactional_db"} & set(getattr(item, "fixturenames", ())):
            given = dict(marker.kwargs) if marker else {}
            both = pytest.mark.django_db(**{**given, "databases": "__all__"})
            item.add_marker(both, append=False)
        elif path.startswith(PURE):
            if item.get_closest_marker("once"):
                raise pytest.UsageError(f"{item.nodeid} is pure and once, so that nothing runs it.")
            item.add_marker("pure")
            continue
        if path.startswith(ONCE):
            item.add_marker("once")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Where both names mean one database, it cannot be dropped while the second is connected."""
    yield
    with django_db_blocker.unblock():
        connections["keys"].close()


@pytest.fixture
def analyst(db: None) -> User:
    return builders.user(Role.ANALYST)


@pytest.fixture
def dpo(db: None) -> User:
    return builders.user(Role.DPO)


@pytest.fixture
def data_owner(db: None) -> User:
    return builders.user(Role.DATA_OWNER)


@pytest.fixture
def model_owner(db: None) -> User:
    return builders.user(Role.MODEL_OWNER)


@pytest.fixture
def auditor(db: None) -> User:
    return builders.user(Role.AUDITOR)


@pytest.fixture
def admin(db: None) -> User:
    return builders.user(Role.ADMIN)


@pytest.fixture
def pipeline(db: None) -> User:
    return builders.user(Role.PIPELINE)


@pytest.fixture
def api() -> builders.Api:
    """`api(user)` is a client that sends that user's API key."""
    return builders.api


@pytest.fixture
def browser() -> Client:
    """Django's test client with CSRF checks off; sign in with `browser.force_login(user)`."""
    return Client()
