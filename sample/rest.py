"""A running Vestige, spoken to by REST as any customer's program speaks to it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRIES = 8
JSON = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class VestigeRefusedError(Exception):
    """Vestige answered with a problem (RFC 9457), or not at all; the message says which."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def trusts_environment(url: str) -> bool:
    """Whether a proxy of the environment may stand between; to this machine none may."""
    return urlsplit(url).hostname not in _LOOPBACK


class Vestige:
    """One key's view of a running Vestige. Waits and tries again where it is asked to (503)."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
            trust_env=trusts_environment(url),
        )

    def __enter__(self) -> "Vestige":
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str) -> Any:
        return self._call("GET", path, query=query)

    def post(self, path: str, body: JSON | None = None) -> Any:
        return self._call("POST", path, body={} if body is None else body)

    def put(self, path: str, body: JSON) -> Any:
        return self._call("PUT", path, body=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def listed(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Every result of a list, over all of its cursor pages."""
        page = self.get(path, **query)
        while True:
            yield from page["results"]
            if not page.get("next"):
                return
            page = self.get(page["next"])

    def entry(self, registry: str, namespace: str, name: str) -> dict[str, Any]:
        """The dataset or model ("datasets", "models") of this name. Raises VestigeRefusedError."""
        for found in self.listed(f"/api/v1/{registry}", namespace=namespace, name=name):
            return found
        raise VestigeRefusedError(f"{self.url} knows no {namespace}:{name} in its {registry}.")

    def knows_the_key(self) -> bool:
        """False if nobody signs in with this key (any more)."""
        try:
            self.get("/api/v1/datasets")
        except VestigeRefusedError as exc:
            if exc.status == httpx.codes.UNAUTHORIZED:
                return False
            if exc.status != httpx.codes.FORBIDDEN:
                raise
        return True

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: JSON | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        what = f"{method} {path}"
        for left in reversed(range(_TRIES)):
            try:
                answer = self._http.request(method, path, json=body, params=query or None)
            except httpx.TransportError as exc:
                raise VestigeRefusedError(f"{what}: {self.url} does not answer ({exc})") from exc
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or not left:
                break
            time.sleep(min(float(answer.headers.get("Retry-After", "0.5")), 5))
        if answer.is_success:
            return answer.json() if answer.content else None
        raise VestigeRefusedError(f"{what}: {_problem(answer)}", answer.status_code)


def _problem(answer: httpx.Response) -> str:
    """What a problem+json says, with the faults of single fields."""
    text = f"{answer.status_code} {answer.reason_phrase}"
    try:
        problem = answer.json()
    except ValueError:
        return text  # a page for people
    if not isinstance(problem, dict):
        return text
    faults = [
        f"{fault.get('field')}: {fault.get('reason')}" for fault in problem.get("errors") or []
    ]
    return " ".join([f"{text}: {problem.get('detail') or problem.get('title')}", *faults])
