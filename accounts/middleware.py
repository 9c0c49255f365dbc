"""One place where API keys are checked, for both kinds of doors."""

import base64
import binascii
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.queries import live_key
from audit.problems import problem

GetResponse = Callable[[HttpRequest], HttpResponse]


def _key_in(header: str) -> str | None:
    """The key in `Bearer <key>` or `Basic <anything>:<key>`; None when it is neither."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(rest.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return decoded.partition(":")[2]
    return None


class ApiKeyMiddleware:
    """A request with an Authorization header acts as that key's user, or is refused.

    Such a request carries its own proof, so CSRF checks do not apply to it; and a key that is
    wrong is refused even where a browser session would have been enough.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        header = request.META.get("HTTP_AUTHORIZATION")  # `headers` copies all of them
        if header is None:
            return self.get_response(request)
        text = _key_in(header)
        key = live_key(text) if text else None
        if key is None:
            response = problem(
                401,
                "Unauthorized",
                "The API key is unknown, expired or revoked. Send `Authorization: Bearer <key>`.",
            )
            response["WWW-Authenticate"] = 'Bearer realm="Vestige"'
            return response
        key.user.bound_log = key.log
        request.user = key.user
        request.api_key = key  # type: ignore[attr-defined]
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
        return self.get_response(request)
