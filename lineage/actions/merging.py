"""Merging what reports say, so that the outcome is the same in any order and for any repetition.

Each field of a row remembers by how sure a source and when it was said (`told_at`). A surer or a
later word replaces it; at the same moment the greater value wins, so that two reports that
contradict each other end the same way whichever comes first.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from audit.intake import time_text
from audit.ledger import canonical
from lineage.models import Run, Version

READ, REPORTED, STORE, PERSON = 1, 2, 3, 4  # how sure a source is
NESTED = ("facts", "metrics")  # JSON columns that are merged key by key


class Described(Protocol):
    told_at: dict[str, str]


def merge(row: Described, said: Mapping[str, Any], *, rank: int, at: datetime) -> bool:
    """Take over what `said` knows better. Empty values say nothing. Does not save."""
    stamp = f"{rank} {time_text(at)}"
    return _merge(row, {path: (stamp, value) for path, value in _flat(said).items()})


def merge_rows(row: Described, other: Described) -> bool:
    """Take over what another row about the same thing knows better. Does not save."""
    said = {p: (stamp, _value(other, p)) for p, stamp in other.told_at.items()}
    return _merge(row, said)


def merge_date(
    version: Version, at: datetime, *, dated_by: int, run: Run | None = None
) -> datetime | None:
    """Date the version by the surest source, earliest of equals. Returns the old date if it moved.

    `run` wrote it; of several, the one that said so first stays as its producer.
    """
    if run is not None:
        word = f"{time_text(at)} {run.run_id}"
        if version.produced_by_id is None or word < version.told_at.get("produced_by", ""):
            version.produced_by = run
            version.told_at["produced_by"] = word
    better = dated_by > version.dated_by
    if better or (dated_by == version.dated_by and at < version.created_at):
        old, version.created_at, version.dated_by = version.created_at, at, dated_by
        return old
    return None


def _flat(said: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in said.items():
        if name in NESTED:
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif value not in (None, "", [], ()):
            flat[name] = value
    return flat


def _merge(row: Described, said: Mapping[str, tuple[str, Any]]) -> bool:
    changed = False
    for path, (stamp, value) in said.items():
        if path == "produced_by":  # merged with the date
            continue
        known = row.told_at.get(path, "")
        if stamp < known or (stamp == known and _order(value) <= _order(_value(row, path))):
            continue
        row.told_at[path] = stamp
        name, _, key = path.partition(".")
        if key:
            getattr(row, name)[key] = value
        else:
            setattr(row, name, value)
        changed = True
    return changed


def _value(row: Described, path: str) -> Any:
    name, _, key = path.partition(".")
    return getattr(row, name).get(key) if key else getattr(row, name)


def _order(value: Any) -> bytes:
    return canonical.encode(value)
