"""How a request's actor is known: a password at the sign-in page, or an API key."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import ApiKey, User


def actor_of(request: HttpRequest | Request) -> User:
    """Who acts by this request. Behind a guarded door that is never an anonymous user."""
    if not isinstance(request.user, User):
        raise PermissionDenied("Sign in first.")
    return request.user


class RoleBackend(ModelBackend):
    """Passwords as Django keeps them; permissions come from roles, not from Django's tables."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return bool(user_obj.has_perm(perm))


class KeyAuthentication(BaseAuthentication):
    """Hands Django REST framework the key that the middleware has already checked."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        key: ApiKey | None = getattr(request._request, "api_key", None)
        return (key.user, key) if key else None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Vestige"'


class KeySchemes(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema speaks of keys: as a bearer token, or as a Basic password."""

    target_class = "accounts.auth.KeyAuthentication"
    name = ["bearerKey", "basicKey"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [{"type": "http", "scheme": "bearer"}, {"type": "http", "scheme": "basic"}]
