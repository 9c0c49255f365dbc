"""People, services and their keys. A role is a row, so that "who may approve" is one query."""

from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models.functions import Now

from accounts.roles import WITHIN_A_LOG, Role, permissions_of


class UserManager(BaseUserManager["User"]):
    pass


class User(AbstractBaseUser):
    """An actor: a person who signs in, a service behind an API key, or a part of Vestige itself."""

    class Kind(models.TextChoices):
        PERSON = "person", "Person"
        SERVICE = "service", "Service"
        SYSTEM = "system", "Vestige"

    username = models.CharField(max_length=150, unique=True)
    name = models.CharField(max_length=150)
    email = models.EmailField(blank=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PERSON)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    objects: ClassVar[UserManager] = UserManager()
    bound_log = ""  # set for a request by a key that is bound to a log

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=["person", "service", "system"]), name="user_kind_known"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.username

    @property
    def actor(self) -> str:
        """How the log names this actor: an opaque string that outlives the row."""
        return f"user:{self.pk}"

    @cached_property
    def role_names(self) -> frozenset[str]:
        return frozenset(self.grants.values_list("role", flat=True))

    @property
    def role_labels(self) -> list[str]:
        return [Role(name).label for name in sorted(self.role_names)]

    @cached_property
    def _permissions(self) -> frozenset[str]:
        return permissions_of(self.role_names)

    def has_role(self, *roles: str) -> bool:
        return self.is_active and not self.role_names.isdisjoint(roles)

    def has_perm(self, permission: str, obj: Any = None) -> bool:
        if self.bound_log and permission not in WITHIN_A_LOG:
            return False
        return self.is_active and permission in self._permissions


class Grant(models.Model):
    """A role that a user holds."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="grants")
    role = models.CharField(max_length=20, choices=Role)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "role"], name="grant_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="grant_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.role}"


class ApiKey(models.Model):
    """A machine's key. Only its SHA-256 is kept: keys are 256 random bits, so no salt is needed.

    One that is bound to a log reads and writes that log, and does nothing else.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=150)
    prefix = models.CharField(max_length=12)  # shown in lists, to tell keys apart
    digest = models.CharField(max_length=64, unique=True)
    log = models.CharField(max_length=64, blank=True)  # the name of the log that it is bound to
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
