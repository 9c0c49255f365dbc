"""The ways in: pages for people, plain doors for machines that pour, permissions for DRF."""

import functools
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from audit.logs import LogRef, LogUnknownError, log_visible_to
from audit.problems import ProblemError, problem

View = Callable[..., HttpResponse]
_LONGEST_LENGTH = 18  # digits of a Content-Length


@dataclass(frozen=True)
class _Described:
    path: str
    operations: Mapping[str, Any]
    schemas: Mapping[str, Any]


_described: dict[str, _Described] = {}


def describe_door(path: str, operations: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
    """States a plain door's OpenAPI operations: {"post": {…}} and the schemas they name."""
    _described[path] = _Described(path, operations, schemas)


def described_doors() -> Iterable[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    return [(d.path, d.operations, d.schemas) for _, d in sorted(_described.items())]


class Actor(Protocol):
    """Who acts: `user:7`, and whether they may."""

    @property
    def actor(self) -> str: ...


def actor_of(request: HttpRequest) -> Actor:
    """Who is behind a request that a door or page has let in."""
    return cast(Actor, request.user)


def log_asked(request: HttpRequest, name: str = "") -> LogRef:
    """The log that a request is about: `?log=`, or that of its key, or the main one.

    Raises ProblemError: to who may not see a log, it is not there.
    """
    key = getattr(request, "api_key", None)
    if not name and request.META.get("QUERY_STRING"):
        name = request.GET.get("log", "")
    try:
        # Only keys are bound. Asking for a session would keep public answers out of caches.
        return log_visible_to(key.user if key else None, name)
    except LogUnknownError as exc:
        raise ProblemError(
            404, "Not Found", str(exc), errors=[{"field": "log", "reason": str(exc)}]
        ) from exc


def page(permission: str | None = None) -> Callable[[View], View]:
    """A page for signed-in people who hold the permission; others sign in or see why not."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if permission and not request.user.has_perm(permission):
                raise PermissionDenied(
                    "Your role does not open this page. Ask an administrator for the role you need."
                )
            try:
                return view(request, *args, **kwargs)
            except ProblemError as exc:
                if exc.status == 404:
                    raise Http404(exc.detail) from exc
                raise

        return guarded

    return decorate


def _body(request: HttpRequest) -> bytes:
    """The body as sent or unzipped, never more than the door's limit (a zip bomb stops there)."""
    limit = settings.VESTIGE_MAX_BODY_BYTES
    too_large = ProblemError(
        413, "Content Too Large", f"The body is larger than {limit:,} bytes. Send it in parts."
    )
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdecimal()):
        raise ProblemError(400, "Bad Request", "Content-Length must be a whole number of bytes.")
    if len(length) > _LONGEST_LENGTH or int(length) > limit:
        raise too_large
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "identity").lower()
    if encoding not in ("identity", "gzip", ""):
        raise ProblemError(
            415, "Unsupported Media Type", f"Content-Encoding {encoding}: send gzip or none."
        )
    try:
        raw = request.read(limit + 1)
    except (OSError, UnreadablePostError, RawPostDataException) as exc:
        raise ProblemError(400, "Bad Request", "The body broke off. Send it again.") from exc
    if encoding == "gzip":
        try:
            with gzip.open(io.BytesIO(raw)) as unzipped:
                raw = unzipped.read(limit + 1)
        except (OSError, EOFError, zlib.error) as exc:
            raise ProblemError(400, "Bad Request", "The body is not valid gzip.") from exc
    if len(raw) > limit:
        raise too_large
    return raw


def _has_csrf_proof(request: HttpRequest) -> bool:
    from django.middleware.csrf import CsrfViewMiddleware

    refused = CsrfViewMiddleware(lambda _: HttpResponse()).process_view(
        request, lambda _: HttpResponse(), (), {}
    )
    return refused is None


def machine_door(
    permission: str, *, methods: tuple[str, ...] = ("POST",)
) -> Callable[[View], View]:
    """A plain view for pipelines: checks who and what, and puts the body on `request.door_body`.

    Problems raised inside leave as problem+json. Never redirects: a redirect loses a POST's body.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                _admit(request, permission, methods)
                if request.method not in ("GET", "HEAD"):
                    request.door_body = _body(request)  # type: ignore[attr-defined]
                return view(request, *args, **kwargs)
            except ProblemError as exc:
                answer = problem(
                    exc.status, exc.title, exc.detail, errors=exc.errors, more=exc.more
                )
                if exc.status == 401:
                    answer["WWW-Authenticate"] = 'Bearer realm="Vestige"'
                if exc.status == 405:
                    answer["Allow"] = ", ".join(methods)
                return answer

        return guarded

    return decorate


def _admit(request: HttpRequest, permission: str, methods: tuple[str, ...]) -> None:
    if request.method not in methods and not (request.method == "HEAD" and "GET" in methods):
        raise ProblemError(405, "Method Not Allowed", f"Use {' or '.join(methods)} here.")
    if not request.user.is_authenticated:
        raise ProblemError(401, "Unauthorized", "Send `Authorization: Bearer <key>`.")
    keyed = getattr(request, "api_key", None) is not None
    if not keyed and request.method not in ("GET", "HEAD") and not _has_csrf_proof(request):
        raise ProblemError(403, "Forbidden", "A browser session must send its CSRF token.")
    if not request.user.has_perm(permission):
        raise ProblemError(403, "Forbidden", f"This needs the permission {permission}.")


class HasPermission(BasePermission):
    """DRF: the view names `required_permission`, or `required_permissions` by method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        by_method: Mapping[str, str] = getattr(view, "required_permissions", {})
        method = "GET" if request.method in ("HEAD", "OPTIONS") else str(request.method)
        needed = by_method.get(method) or getattr(view, "required_permission", None)
        if needed is None:
            raise AssertionError(f"{type(view).__name__} names no permission for {method}")
        self.message = f"This needs the permission {needed}."
        return bool(request.user.has_perm(needed))
