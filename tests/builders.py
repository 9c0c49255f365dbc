"""Makes what tests speak of, through the same actions that the application uses."""

import itertools
import secrets
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.test import Client

from accounts.actions import create_user
from accounts.models import ApiKey, User
from accounts.queries import key_digest, system_user

_count = itertools.count(1)
Api = Callable[[User], Client]


def user(*roles: str, name: str = "", **fields: Any) -> User:
    """A person with these roles, signed in by nobody yet."""
    number = next(_count)
    with transaction.atomic():
        return create_user(
            username=f"{roles[0] if roles else 'user'}-{number}",
            name=name or f"Person {number}",
            email=f"person{number}@northgate.example",
            roles=roles,
            password=None,
            by=system_user("setup"),
            **fields,
        )


def key_for(user: User) -> str:
    text = f"test_{secrets.token_urlsafe(16)}"
    ApiKey.objects.create(user=user, name="test", prefix=text[:8], digest=key_digest(text))
    return text


def api(user: User) -> Client:
    return Client(headers={"Authorization": f"Bearer {key_for(user)}"})


def sequenced() -> list[Any]:
    """Everything recorded so far, in the log: wrapped test transactions never commit."""
    from audit.actions import sequence
    from audit.models import Entry

    sequence()
    return list(Entry.objects.order_by("seq"))
