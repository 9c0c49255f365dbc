"""Errors as RFC 9457 problem details: what is wrong, which field, and what to do."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

CONTENT_TYPE = "application/problem+json"
FieldErrors = Sequence[Mapping[str, str]]


class ProblemError(Exception):
    """Raised anywhere behind a REST door to answer with this problem."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: FieldErrors = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.errors = status, title, detail, errors
        self.more = more or {}  # extension members (RFC 9457, section 3.2)


def body_of(status: int, title: str, detail: str, errors: FieldErrors = ()) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return body


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    errors: FieldErrors = (),
    more: Mapping[str, Any] | None = None,
) -> JsonResponse:
    """A problem as a plain Django answer; `errors` are {"field", "reason", "fix"}."""
    return JsonResponse(
        body_of(status, title, detail, errors) | dict(more or {}),
        status=status,
        content_type=CONTENT_TYPE,
    )


def _flatten(detail: Any, path: str = "") -> list[dict[str, str]]:
    if isinstance(detail, Mapping):
        return [
            e for k, v in detail.items() for e in _flatten(v, f"{path}.{k}" if path else str(k))
        ]
    if isinstance(detail, list | tuple):
        if all(isinstance(item, str) for item in detail):
            return [{"field": path or "body", "reason": str(item)} for item in detail]
        return [e for i, v in enumerate(detail) for e in _flatten(v, f"{path}[{i}]")]
    return [{"field": path or "body", "reason": str(detail)}]


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Django REST framework's hook: every refusal leaves as problem+json."""
    if isinstance(exc, ProblemError):
        return _response(exc.status, exc.title, exc.detail, exc.errors, exc.more)
    if isinstance(exc, Http404):
        exc = exceptions.NotFound("There is nothing here that you may see.")
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if not isinstance(exc, exceptions.APIException):
        return None
    if isinstance(exc, exceptions.ValidationError):
        errors = _flatten(exc.detail)
        detail = "; ".join(f"{e['field']}: {e['reason']}" for e in errors)
        return _response(400, "Invalid input", detail, errors)
    answer = _response(exc.status_code, HTTPStatus(exc.status_code).phrase, str(exc.detail), ())
    if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        answer["WWW-Authenticate"] = 'Bearer realm="Vestige"'
    if (wait := getattr(exc, "wait", None)) is not None:
        answer["Retry-After"] = str(int(wait) + 1)
    return answer


def _response(
    status: int,
    title: Any,
    detail: str,
    errors: FieldErrors,
    more: Mapping[str, Any] | None = None,
) -> Response:
    body = body_of(status, str(title), detail, errors) | dict(more or {})
    return Response(body, status=status, content_type=CONTENT_TYPE)
