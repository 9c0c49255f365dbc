"""What the main log, as their parent, tells of the logs of units, and whether it is so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from audit import proofs
from audit.events import LOG_CHECKPOINT, LOG_CREATED
from audit.ledger import canonical
from audit.ledger.leaf import LeafError, unpack
from audit.models import MAIN_LOG
from audit.verification import stored
from audit.verification.outcome import Finding

_AT_A_TIME = 500
_BEHIND_ALL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Told:
    """What an entry of the main log tells of a unit's log: the tree of so many entries."""

    entry: int
    size: int
    root: bytes
    note_sha256: str

    @property
    def where(self) -> str:
        return f"entry {self.entry} of the main log"


def told(name: str, start: int = 0) -> Iterator[Told]:
    """The checkpoints of a unit's log that the main log holds, down to this size, newest first.

    Each was true of the log when it was written, so that sizes fall with the numbers of entries.
    """
    before = _BEHIND_ALL
    while rows := stored.entries_about(
        MAIN_LOG, LOG_CHECKPOINT.name, f"log:{name}", before, _AT_A_TIME
    ):
        for seq, leaf in rows:
            found = _told(seq, leaf)
            if found is None:
                continue  # the check of the main log names it
            if found.size < start:
                return
            yield found
        before = rows[-1][0]


def findings() -> Iterator[Finding]:
    """Logs that are gone, that nobody tells of, or that do not hold what the parent has seen.

    Of each only the newest checkpoint is compared, with its tiles; the check of a unit's own log
    compares all of them, with the entries themselves.
    """
    # In this order: a log is made in one transaction with the event that tells of it.
    rows = {str(name): (log_id, origin, size) for log_id, name, origin, size in stored.logs()}
    waiting = {_details(event).get("log") for event in stored.waiting(MAIN_LOG)}
    made: dict[str, tuple[int, Any]] = {}
    for seq, leaf in stored.entries_of_type(MAIN_LOG, LOG_CREATED.name):
        details = _event_details(leaf)
        made[str(details.get("log"))] = (seq, details.get("origin"))
    for name, (log_id, _, _) in rows.items():
        if log_id != MAIN_LOG and name not in made and name not in waiting:
            yield Finding(None, f"no entry tells that the log {name} was made; somebody added it.")
    for name, (seq, origin) in made.items():
        if name not in rows:
            yield Finding(seq, f"it tells that the log {name} was made, and the log is gone.")
        elif rows[name][1] != origin:
            yield Finding(seq, f"the origin of the log {name} is not the one that it tells.")
        else:
            yield from _newest(name, *rows[name])


def _newest(name: str, log_id: int, _: str, size: int) -> Iterator[Finding]:
    newest = next(told(name), None)
    if newest is None or type(size) is not int:  # of which the check of that log tells
        return
    if newest.size > size:
        yield Finding(
            newest.entry,
            f"it tells of {newest.size} entries of the log {name}, which has {size}: entries were"
            " removed, or an old backup was restored.",
        )
        return
    try:
        root = proofs.root_at(log_id, newest.size)
    except proofs.DamagedLogError as exc:
        yield Finding(newest.entry, f"what it tells of the log {name} cannot be compared: {exc}")
        return
    if root != newest.root:
        yield Finding(
            newest.entry,
            f"it tells of another tree of {newest.size} entries of the log {name}: that log was"
            " changed since.",
        )


def _told(seq: int, leaf: bytes) -> Told | None:
    details = _event_details(leaf)
    try:
        size, root, note = details["size"], bytes.fromhex(details["root"]), details["note_sha256"]
    except (KeyError, TypeError, ValueError):
        return None
    return Told(seq, size, root, note) if type(size) is int and size >= 0 else None


def _event_details(leaf: bytes) -> dict[str, Any]:
    try:
        return _details(unpack(leaf).event)
    except (LeafError, TypeError):
        return {}


def _details(event: bytes) -> dict[str, Any]:
    try:
        details = canonical.decode(event).get("details")
    except (canonical.CanonicalError, AttributeError):
        return {}
    return details if isinstance(details, dict) else {}
