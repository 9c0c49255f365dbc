"""Reading accounts."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import ApiKey, User
from audit.prepared import Statement, fetch


def system_user(name: str) -> User:
    """The part of Vestige that acts by itself; made by the first migration."""
    return User.objects.get(username=f"vestige-{name}", kind=User.Kind.SYSTEM)


def users_with_role(*roles: str) -> QuerySet[User]:
    return User.objects.filter(grants__role__in=roles, is_active=True).distinct()


def users() -> QuerySet[User]:
    return User.objects.exclude(kind=User.Kind.SYSTEM).prefetch_related("grants").order_by("name")


def api_keys() -> QuerySet[ApiKey]:
    return ApiKey.objects.select_related("user").order_by("-created_at", "-pk")


def key_digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


# What a request by a key needs of the key, its user and the roles, in one statement by hand: every
# event that a pipeline sends waits for it, and to have it compiled takes longer than to run it.
_KEY, _USER = ("id", "user_id", "log"), ("id", "username", "name", "kind", "is_active")
_LIVE_KEY = (
    f"SELECT {', '.join(f'k.{name}' for name in _KEY)}, {', '.join(f'u.{name}' for name in _USER)},"  # noqa: S608  # names as above
    " g.role FROM accounts_apikey AS k JOIN accounts_user AS u ON u.id = k.user_id"
    " LEFT JOIN accounts_grant AS g ON g.user_id = u.id WHERE k.digest = {digest}"
    " AND k.revoked_at IS NULL AND u.is_active AND (k.expires_at IS NULL OR k.expires_at > {now})"
)
_PREPARED = Statement("live_key", _LIVE_KEY.format(digest="$1::text", now="$2::timestamptz"))


def live_key(key: str) -> ApiKey | None:
    """The key that this text is, if it may be used now, with its user and their roles.

    Other members of both are read when they are asked for.
    """
    rows = _live_rows(key_digest(key))
    if not rows:
        return None
    pk, user_id, log, _, *who, _ = rows[0]
    found = ApiKey.from_db(connection.alias, _KEY, [int(pk), int(user_id), log])
    found.user = User.from_db(connection.alias, _USER, [int(user_id), *who])
    found.user.role_names = frozenset(role for *_, role in rows if role is not None)
    return found


def _live_rows(digest: str) -> Sequence[tuple[Any, ...]]:
    if connection.vendor != "postgresql":
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        with connection.cursor() as cursor:
            cursor.execute(_LIVE_KEY.format(digest="%s", now="%s"), [digest, now])
            rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
            return rows
    parameters = [digest, timezone.now().isoformat()]
    try:
        return fetch(_PREPARED, parameters)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()  # the server was started anew, say: the first to ask notices
        return fetch(_PREPARED, parameters)


def sample_sign_ins() -> list[tuple[str, str, str]]:
    """(role, username, password) of the sample company's people; empty without a sample."""
    path = settings.VESTIGE_KEYS / "sample-sign-ins.json"
    if not settings.VESTIGE_SAMPLE or not path.exists():
        return []
    return [(s["role"], s["username"], s["password"]) for s in json.loads(path.read_text())]
