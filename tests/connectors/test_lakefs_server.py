"""The stand-in for a lakeFS server knows no path, method or status that the vendor's client does
not, and the client takes its answers."""

import inspect
import re

from lakefs_sdk.api import (
    branches_api,
    commits_api,
    objects_api,
    refs_api,
    repositories_api,
    tags_api,
)

from tests.connectors.lakefs_server import ROUTES

_APIS = (branches_api, commits_api, objects_api, refs_api, repositories_api, tags_api)
_CALL = re.compile(
    r"_response_types_map = \{(?P<statuses>[^}]*)\}\s+"
    r"return self\.api_client\.call_api\(\s+'(?P<path>[^']+)', '(?P<method>[A-Z]+)'"
)
# What the stand-in answers: a page, a made thing, nothing, a range, or a refusal.
_GIVEN = {
    ("GET", "objects"): {"200", "206", "401", "404", "410"},
    ("POST", "merge"): {"200", "400", "403", "404", "409", "412"},
    ("POST", "branches"): {"201", "400", "403", "409"},
    ("POST", "commits"): {"201", "400", "403", "412"},
    ("POST", "objects"): {"201", "400", "403"},
}


def vendor() -> dict[tuple[str, str], set[str]]:
    """(method, path) → the statuses that the vendor's client, made from its API description,
    knows an answer for."""
    found = {}
    for module in _APIS:
        for call in _CALL.finditer(inspect.getsource(module)):
            statuses = set(re.findall(r"'(\d{3})'", call["statuses"]))
            found[call["method"], call["path"]] = statuses
    return found


def test_the_stand_in_speaks_the_vendors_api_alone() -> None:
    known = vendor()
    assert len(known) > 40
    assert not ROUTES.keys() - known.keys()
    for (method, path), statuses in known.items():
        if (method, path) in ROUTES and (given := _GIVEN.get((method, path.rsplit("/", 1)[-1]))):
            assert given <= statuses, (method, path, given - statuses)
