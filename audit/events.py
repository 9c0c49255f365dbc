"""Which events there are. Each app declares its own in its events.py; nobody else may write them.

An event's open facts hold ids, counts and digests, never personal data: the log cannot be edited
later. What is personal travels in `sealed`, under the key of the person it speaks of.
"""

import re
from dataclasses import dataclass

from audit.ledger.heads import HEADS_TYPE

GUIDE_TYPES = frozenset({"CREATE", "READ", "UPDATE", "DELETE", "TRANSFORM"})
MAX_TYPE_CHARACTERS = 128
# Whoever declares them, and also when nobody does any more.
PERMANENT = (
    *("log.pruned", "log.pruning_", "log.retention_", "log.hold_", "log.key."),
    *("kek.", "certificate."),
)

_DOTTED = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+", re.ASCII)


class EventTypeError(ValueError):
    """An event type is declared twice with different facts, or has a name that none may have."""


class UnknownEventTypeError(ValueError):
    """Nobody declared this event type."""


class UndeclaredFactError(ValueError):
    """The event carries an open fact that its type does not declare."""


class ReservedEventTypeError(ValueError):
    """Only Vestige itself writes events of this type."""


@dataclass(frozen=True, slots=True)
class EventType:
    """A type, in the past tense (`request.filed`), and the open facts that it may carry.

    Entries of a `permanent` type are never pruned, whatever the policies say.
    """

    name: str
    facts: frozenset[str]
    permanent: bool = False


_declared: dict[str, EventType] = {}


def define(name: str, *facts: str, permanent: bool = False) -> EventType:
    """Declare an event type. Raises EventTypeError for a malformed name or a second meaning.

    What commits to a statement is permanent by itself: documents are verified against it.
    """
    if not _DOTTED.fullmatch(name) or len(name) > MAX_TYPE_CHARACTERS:
        raise EventTypeError(f"{name!r}: a type is dotted lower case, as in request.filed.")
    made = EventType(name, frozenset(facts), permanent or "statement_sha256" in facts)
    if _declared.setdefault(name, made) != made:
        raise EventTypeError(f"{name} is declared already, with other facts.")
    return _declared[name]


def declared_types() -> list[str]:
    return sorted(_declared)


def is_permanent(name: str) -> bool:
    """Whether entries of this type are kept for ever: the log, or a document, rests on them."""
    declared = _declared.get(name)
    return name.startswith(PERMANENT) or (declared is not None and declared.permanent)


def permanent_classes() -> list[str]:
    """Of what no entry is ever pruned: prefixes with a star, and declared types beyond them."""
    prefixes = tuple(prefix for prefix in PERMANENT if prefix.endswith("."))
    kept = filter(is_permanent, _declared)
    return sorted(
        [f"{prefix}*" for prefix in prefixes]
        + [name for name in kept if not name.startswith(prefixes)]
    )


def require_declared(event: EventType, facts: frozenset[str]) -> None:
    """Raises UnknownEventTypeError or UndeclaredFactError unless this may be recorded."""
    name = getattr(event, "name", event)
    if not isinstance(event, EventType) or _declared.get(event.name) != event:
        raise UnknownEventTypeError(
            f"Nobody declared the event type {name!r}. Define it in the app's events.py."
        )
    undeclared = sorted(facts - event.facts)
    if undeclared:
        raise UndeclaredFactError(
            f"{event.name} does not declare the fact {', '.join(undeclared)}. Declare it if it is"
            " an id, a count or a digest; seal it if it is personal."
        )


def require_outside(name: str) -> None:
    """Raises UnknownEventTypeError or ReservedEventTypeError unless outsiders may send it."""
    if name in GUIDE_TYPES:
        return
    if not _DOTTED.fullmatch(name) or len(name) > MAX_TYPE_CHARACTERS:
        raise UnknownEventTypeError(
            f"{name[:MAX_TYPE_CHARACTERS]!r} is no event type. Use one of"
            f" {', '.join(sorted(GUIDE_TYPES))}, or a type of your own in dotted lower case,"
            " such as pipeline.finished."
        )
    if name in _declared:
        raise ReservedEventTypeError(
            f"{name} is written by Vestige alone. Give your event another type."
        )


LOG_EXPORTED = define("log.exported", "format", "filters", "entries", "size", "pruned")
LOG_VERIFIED = define("log.verified", "size", "entries", "outcome", "first_bad", "root", "faults")
LOG_VERIFICATION_FAILED = define("log.verification_failed", "first_bad", "faults")
LOG_REFUSED = define("log.refused", "event_id", "digest", "entry")
LOG_HEADS = define(HEADS_TYPE, "size", "root", "resources")
# What the main log, as their parent, says of the logs of units.
LOG_CREATED = define("log.created", "log", "origin", "vkey", permanent=True)
LOG_CHECKPOINT = define("log.checkpoint", "log", "origin", "size", "root", "note_sha256")
LOG_KEY_ROTATED = define(
    "log.key.rotated", "old_key_id", "new_key_id", "old_vkey", "new_vkey", "overlap_until", "size"
)
LOG_KEY_RETIRED = define("log.key.retired", "key_id", "vkey", "size")
KEYS_CREATED = define("subject.keys_created", "keys", permanent=True)
SUBJECT_ERASED = define(
    "subject.erased", "pseudonym", "commitment", "sealed_entries", "epoch", permanent=True
)
SUBJECT_ERASURE_REPLAYED = define(
    "subject.erasure_replayed", "pseudonym", "commitment", "epoch", "entry", permanent=True
)
ERASURE_RECEIPTED = define("subject.erasure_receipted", "pseudonym", "statement_sha256")
KEYS_LOST = define("subject.keys_lost", "keys", "epoch", permanent=True)
KEK_CREATED = define("kek.epoch.created", "epoch", "commitment")
KEK_DESTROYED = define("kek.epoch.destroyed", "epoch", "commitment", "rewrapped", "erased")
KEK_DESTRUCTION_REPLAYED = define("kek.epoch.destruction_replayed", "epoch", "commitment", "entry")
LOG_RETENTION_SET = define(
    "log.retention_set", "policy", "event_class", "days", "ground", "shorter_because", "was"
)
LOG_RETENTION_ENDED = define("log.retention_ended", "policy", "event_class", "days")
LOG_HOLD_PLACED = define(
    "log.hold_placed", "hold", "resource", "subject", "start", "stop", "reason_sha256"
)
LOG_HOLD_RELEASED = define("log.hold_released", "hold")
LOG_PRUNING_STARTED = define(
    "log.pruning_started", "plan_hash", "as_of", "entries", "tiles", "planned_by"
)
# `ranges`: [{"start", "stop", "oldest", "newest", "root_before", "root_after"}], the roots being
# those of the trees of `start` and `stop` entries; `tiles`: [{"tile", "root", "newest"}].
LOG_PRUNED = define("log.pruned", "plan_hash", "entries", "types", "policies", "ranges", "tiles")
LOG_PRUNING_WITHHELD = define("log.pruning_withheld", "plan_hash", "pruned_id", "ranges")
