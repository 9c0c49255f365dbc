"""What a commit says, amended so that it names the files without a person instead of theirs.

The commits of a log are replaced one by one while others read them, and a version is what *all* its
commits say. So each is replaced twice. In between it holds for the old file and for the new one:
whichever other commits are amended already, no version reads both, and none reads neither.

| the commit said | in between | in the end |
|---|---|---|
| add old | add new, remove old | add new |
| remove old | remove old, remove new | remove new |

Removing a file that a version does not have changes nothing (PROTOCOL.md, "Action Reconciliation").
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.adapters.delta.commit import log_path
from connectors.adapters.delta.log import path_of

REPLACED = "vestigeReplaced"  # in the commit of our erasure: its amendments
# Of a commit's notes what readers of other versions need; the rest may quote a query.
_KEPT_NOTES = (
    "timestamp", "inCommitTimestamp", "operation", "operationMetrics", "readVersion",
    "isolationLevel", "isBlindAppend", "engineInfo", "txnId", REPLACED,
)  # fmt: skip

Action = dict[str, Any]


@dataclass(frozen=True)
class Amendment:
    """A file that held the person, and the one without them."""

    path: str  # relative to the table, decoded
    new: str | None  # the same; None: no row was left
    bytes: int = 0
    stats: str = ""

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """An action's body for the new file; what the commit says beside is as it was."""
        amended = {**body, "path": log_path(self.new or "")}
        if "size" in body:
            amended["size"] = self.bytes
        if "stats" in body:
            amended["stats"] = self.stats
        return amended


class Amender:
    """Amends commits; of several amendments of one file the first holds. `mark`: the application id
    by which the commit of the erasure itself is known."""

    def __init__(self, amendments: Iterable[Amendment], mark: str = "") -> None:
        self.mark = mark
        self.by_path: dict[str, Amendment] = {}
        for amendment in amendments:
            self.by_path.setdefault(amendment.path, amendment)
        self.new = {a.new for a in self.by_path.values() if a.new}

    def between(self, actions: Sequence[Action]) -> list[Action]:
        """See above. Amending what is amended already changes nothing."""
        added = {path_of(a["add"]) for a in actions if "add" in a}
        added |= {a.new for path in added if (a := self.by_path.get(path)) and a.new}
        removed = {path_of(a["remove"]) for a in actions if "remove" in a}
        amended = []
        for action in actions:
            kind, body = next(iter(action.items()))
            known = kind in ("add", "remove", "cdc") and self.by_path.get(path_of(body))
            if not known:
                amended.append(action)
                continue
            if kind == "remove":
                amended.append(action)
                if known.new and known.new not in added | removed:
                    amended.append({"remove": known.applied(body)})
                continue
            if known.new:
                amended.append({kind: known.applied(body)})
            if kind == "add" and known.path not in removed:
                amended.append(_removal(body))
        return amended

    def final(self, actions: Sequence[Action]) -> list[Action]:
        """See above. Of our erasure's own commit no change of files is left: the version before it
        reads the same ones by now."""
        ours = any(a.get("txn", {}).get("appId") == self.mark for a in actions)
        amended = []
        for action in self.between(actions):
            if "remove" in action and path_of(action["remove"]) in self.by_path:
                continue
            if ours and "add" in action and path_of(action["add"]) in self.new:
                continue
            if ours and "commitInfo" in action:
                notes = {k: v for k, v in action["commitInfo"].items() if k != REPLACED}
                amended.append({"commitInfo": notes})
                continue
            amended.append(action)
        return amended


def _removal(add: Mapping[str, Any]) -> Action:
    return {
        "remove": {
            "path": add["path"],
            "deletionTimestamp": add.get("modificationTime") or 0,
            "dataChange": False,
            "extendedFileMetadata": True,
            "partitionValues": dict(add.get("partitionValues") or {}),
            "size": add.get("size") or 0,
        }
    }


def cleaned(action: Action, names_person: Callable[[Action], bool]) -> Action:
    """The action without what names the person beside rows: the query of a commit, or bounds that
    are older than the file's rows. One of another kind is returned as it is."""
    kind, body = next(iter(action.items()))
    if kind not in ("commitInfo", "add", "remove") or not names_person(action):
        return action
    if kind != "commitInfo":
        kept = {k: v for k, v in body.items() if k not in ("stats", "tags")}
        return {kind: kept}
    notes = {**body, "operationParameters": {}}
    if REPLACED in notes:
        notes[REPLACED] = []  # the journal has them
    if names_person({kind: notes}):
        notes = {k: v for k, v in notes.items() if k in _KEPT_NOTES}
    return {kind: notes}


def is_metadata(action: Action) -> bool:
    """Whether it is of the kinds that `cleaned` leaves alone and that name no file."""
    return not action.keys() & {"commitInfo", "add", "remove", "cdc"}
