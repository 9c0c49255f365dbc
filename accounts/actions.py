"""Making and ending accounts and keys."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.utils import timezone

from accounts.events import (
    KEY_CREATED,
    KEY_REVOKED,
    USER_CREATED,
    USER_DISABLED,
    USER_SIGNED_IN,
)
from accounts.models import ApiKey, Grant, User
from accounts.queries import key_digest
from accounts.roles import WITHIN_A_LOG, Role, permissions_of
from audit.actions import record
from audit.logs import LogUnknownError, log_named


class AccountError(ValueError):
    """What was asked of an account cannot be done; `field` says which input is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def _check_roles(roles: Sequence[str]) -> list[str]:
    unknown = sorted(set(roles) - set(Role.values))
    if unknown:
        raise AccountError(
            "roles", f"Unknown role {', '.join(unknown)}. Known: {', '.join(Role.values)}."
        )
    if not roles:
        raise AccountError("roles", f"Name at least one role of: {', '.join(Role.values)}.")
    return sorted(set(roles))


def _check_log(log: str, roles: Sequence[str]) -> None:
    if not log:
        return
    try:
        log_named(log)
    except LogUnknownError as exc:
        raise AccountError("log", str(exc)) from exc
    if not WITHIN_A_LOG & permissions_of(frozenset(roles)):
        raise AccountError(
            "roles", "A key that is bound to a log needs a role that appends, reads or verifies."
        )


@transaction.atomic
def create_user(
    *,
    username: str,
    name: str,
    email: str = "",
    roles: Sequence[str],
    password: str | None,
    kind: str = User.Kind.PERSON,
    by: User,
) -> User:
    """A new actor. `password` None: cannot sign in (a service)."""
    granted = _check_roles(roles)
    if User.objects.filter(username=username).exists():
        raise AccountError("username", f"There is a user {username} already.")
    user = User(username=username, name=name, email=email, kind=kind)
    if password is None:
        user.set_unusable_password()
    else:
        validate_password(password, user)
        user.set_password(password)
    user.save()
    Grant.objects.bulk_create(Grant(user=user, role=role) for role in granted)
    record(USER_CREATED, by=by, resource=user.actor, details={"kind": kind, "roles": granted})
    return user


@transaction.atomic
def create_key(
    *,
    name: str,
    roles: Sequence[str],
    expires_at: datetime | None = None,
    log: str = "",
    by: User,
    key: str | None = None,
) -> tuple[ApiKey, str]:
    """A key with an actor of its own, so that four-eyes rules see two keys as two actors.

    `log` is the name of the log that it is bound to, if it is to be bound to one.
    Returns the row and the key's text, which is kept nowhere: it is shown once.
    """
    if expires_at is not None and expires_at <= timezone.now():
        raise AccountError("expires_at", "The key would have expired already. Give a later time.")
    _check_log(log, roles)
    text = key or f"vst_{secrets.token_urlsafe(32)}"
    user = create_user(
        username=f"key-{secrets.token_hex(6)}",
        name=name,
        roles=roles,
        password=None,
        kind=User.Kind.SERVICE,
        by=by,
    )
    row = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=text[:8],
        digest=key_digest(text),
        expires_at=expires_at,
        log=log,
    )
    record(
        KEY_CREATED,
        by=by,
        resource=user.actor,
        details={
            "key": row.pk,
            "roles": sorted(set(roles)),
            "expires_at": expires_at.isoformat() if expires_at else None,
        }
        | ({"log": log} if log else {}),
    )
    return row, text


@transaction.atomic
def revoke_key(key: ApiKey, *, by: User) -> None:
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        record(KEY_REVOKED, by=by, resource=key.user.actor, details={"key": key.pk})


@transaction.atomic
def disable_user(user: User, *, by: User) -> None:
    if user.pk == by.pk:
        raise AccountError("user", "You cannot disable yourself. Ask another administrator.")
    if User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
        record(USER_DISABLED, by=by, resource=user.actor)


@transaction.atomic
def note_sign_in(user: User) -> None:
    record(USER_SIGNED_IN, by=user, resource=user.actor)
