"""What a resource string of the log is called, and where its page is.

The log keeps opaque strings that outlive what they name. Apps above register how theirs are
looked up: `resolve("dataset", dataset_names)` in the app's `ready`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from django.urls import NoReverseMatch, reverse

from audit.queries import actor_names

# Whose page can be addressed by what the string says already.
_PAGES = {
    "request": "compliance:request",
    "notice": "compliance:notice",
    "connector": "connectors:store",
    "report": "reports:report",
}


class Named(NamedTuple):
    """How people call it, and its page if it has one."""

    label: str
    url: str = ""


Resolver = Callable[[Sequence[str]], Mapping[str, Named]]


def _users(resources: Sequence[str]) -> dict[str, Named]:
    return {resource: Named(name) for resource, name in actor_names(resources).items()}


def _nobody(resources: Sequence[str]) -> dict[str, Named]:
    return {}


_resolvers: dict[str, Resolver] = {"user": _users}


def resolve(kind: str, resolver: Resolver) -> None:
    """Resources "<kind>:…" are named by this function from now on."""
    _resolvers[kind] = resolver


def names_of(resources: Iterable[str]) -> dict[str, Named]:
    """A name for every one of these resources; what is gone keeps the words of its string."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for resource in set(resources):
        by_kind[resource.partition(":")[0]].append(resource)
    named: dict[str, Named] = {}
    for kind, some in by_kind.items():
        known = _resolvers.get(kind, _nobody)(some)
        for resource in some:
            named[resource] = known.get(resource) or _spelled(kind, resource)
    return named


def _spelled(kind: str, resource: str) -> Named:
    rest = resource[len(kind) + 1 :]
    if not rest:
        return Named(resource)
    try:
        url = reverse(_PAGES[kind], args=[rest]) if kind in _PAGES else ""
    except NoReverseMatch:
        url = ""
    # A bare number, or a log's name, does not say what it is of.
    label = f"{kind} {rest}" if rest.isdigit() or kind == "log" else rest.replace(":", " / ")
    return Named(label, url)
