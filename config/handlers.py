"""Two ways through Django: one for browsers, a shorter one for requests that carry an API key.

A pipeline's request brings its own proof, and what surrounds a browser (sessions, CSRF, messages,
static files, a policy for scripts) would take longer than its event.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, get_script_name
from django.db import close_old_connections
from django.http import HttpRequest
from django.urls import ResolverMatch, get_resolver, set_script_prefix
from django.utils.module_loading import import_string


def is_for_machines(path: str) -> bool:
    """All doors for machines are below /api/, and no page but the API's own description."""
    return path.startswith("/api/")


class KeyedHandler(WSGIHandler):
    """As Django's own, through `KEYED_MIDDLEWARE`: sync middlewares that only wrap the answer."""

    def load_middleware(self, *_: Any, **__: Any) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        handler = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        for path in reversed(settings.KEYED_MIDDLEWARE):
            handler = convert_exception_to_response(import_string(path)(handler))
        self._middleware_chain = handler

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Without Django's signals: of what they lead to, a pipeline's request needs one thing.

        A streamed answer is not made yet when this returns, and signals its end itself.
        """
        set_script_prefix(get_script_name(environ))
        response: Any = self.get_response(self.request_class(environ))
        start_response(f"{response.status_code} {response.reason_phrase}", [*response.items()])
        if response.streaming:
            return response
        for close in response._resource_closers:
            close()
        close_old_connections()
        return [response.content]

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        request.resolver_match = _resolved(request.path_info)
        return request.resolver_match


class Handler:
    """The WSGI application: what comes to /api/ with an Authorization header goes the short way."""

    def __init__(self) -> None:
        self._browsers, self._keyed = WSGIHandler(), KeyedHandler()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        keyed = "HTTP_AUTHORIZATION" in environ and is_for_machines(environ["PATH_INFO"])
        return (self._keyed if keyed else self._browsers)(environ, start_response)


@lru_cache(maxsize=512)
def _resolved(path: str) -> ResolverMatch:
    """An address always means the same view, and pipelines ask for the same few."""
    return get_resolver().resolve(path)
