"""The sample company's API keys, made once by an administrator's key and kept in a private file."""

import json
from pathlib import Path
from typing import Any

from sample.rest import Vestige

# What each of the company's programs may do: none more than it needs.
PIPELINE = "Northgate pipelines"
DATA_OWNER = "Northgate data platform"
MODEL_OWNER = "Northgate model team"
ROLES = {PIPELINE: ["pipeline"], DATA_OWNER: ["data_owner"], MODEL_OWNER: ["model_owner"]}


class NoKeyError(Exception):
    """There is no working key and no administrator's key to make one; the message says so."""


def keys_of(home: Path, url: str, admin_token: str) -> dict[str, str]:
    """The keys by name; missing or dead ones are made anew and kept in `home`/keys.json (0600)."""
    path = home / "keys.json"
    kept = kept_keys(home)
    for name, roles in ROLES.items():
        if name in kept and _works(url, kept[name]):
            continue
        if not admin_token:
            raise NoKeyError(
                f"No key of {name!r} works at {url}. Give an administrator's key: --admin-token,"
                " or the environment variable VESTIGE_ADMIN_TOKEN."
            )
        kept[name] = _made(url, admin_token, name, roles)
        _keep(path, kept)
    return kept


def kept_keys(home: Path) -> dict[str, str]:
    path = home / "keys.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _works(url: str, key: str) -> bool:
    with Vestige(url, key) as vestige:
        return vestige.knows_the_key()


def _made(url: str, admin_token: str, name: str, roles: list[str]) -> str:
    with Vestige(url, admin_token) as vestige:
        made: dict[str, Any] = vestige.post("/api/v1/keys", {"name": name, "roles": roles})
        return str(made["key"])


def _keep(path: Path, keys: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(json.dumps(keys, indent=2))
    part.replace(path)
