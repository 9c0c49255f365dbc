"""Reading accounts."""

import hashlib
import json

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import ApiKey, User


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


def live_key(key: str) -> ApiKey | None:
    """The key that this text is, if it may be used now."""
    usable = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return (
        ApiKey.objects.select_related("user")
        .filter(usable, digest=key_digest(key), revoked_at=None, user__is_active=True)
        .first()
    )


def sample_sign_ins() -> list[tuple[str, str, str]]:
    """(role, username, password) of the sample company's people; empty without a sample."""
    path = settings.VESTIGE_KEYS / "sample-sign-ins.json"
    if not settings.VESTIGE_SAMPLE or not path.exists():
        return []
    return [(s["role"], s["username"], s["password"]) for s in json.loads(path.read_text())]
