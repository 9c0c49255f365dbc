"""Shared by all tests. `tests/builders.py` makes the things that tests speak of."""

import pytest
from django.test import Client

from accounts.models import User
from accounts.roles import Role
from tests import builders


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
