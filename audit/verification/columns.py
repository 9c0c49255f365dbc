"""What an entry's columns must say, read from its leaf alone: the verifier's own derivation."""

from collections.abc import Iterator
from typing import Any

import msgspec

from audit.ledger.leaf import HEADER
from audit.verification.chunks import Chunk, Values
from audit.verification.layout import PLACES, TEXTS, TIMES, VERSION, microseconds_of_event

_TIME = slice(12, 20)  # of the header: see audit.ledger.leaf


class _Within(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Which of its resource's entries it is, and the number of the one before."""

    nth: int
    previous: int | None = None


class _Event(msgspec.Struct, gc=False):
    """The members of an event that have columns; no other is read."""

    id: str
    type: str
    actor: str
    by: str
    v: int
    resource: str = ""
    resource_version: str = ""
    parent_id: str = ""
    subject: str = ""
    occurred_at: str = ""
    within: _Within | None = None


_decode = msgspec.json.Decoder(_Event).decode


def faults(chunk: Chunk, count: int) -> Iterator[tuple[int, str]]:
    """(seq, sentence) for each of the first `count` rows whose columns contradict its leaf.

    The leaves must have been verified before: here their headers are trusted.
    """
    for values in chunk.unconfirmed(count):
        sentence = _fault(values)
        if sentence:
            yield values["seq"], sentence


def _fault(values: Values) -> str:
    """What is wrong with the columns of one row; empty when nothing is."""
    leaf = values["leaf"]
    try:
        event = _decode(leaf[HEADER.size :])
        occurred = microseconds_of_event(event.occurred_at) if event.occurred_at else None
    except (msgspec.DecodeError, ValueError, OverflowError) as exc:
        return f"its leaf holds no event: {exc}."
    said: dict[str, Any] = {name: getattr(event, name) for name in TEXTS if name != "event_id"}
    said |= {"event_id": event.id, "occurred_at": occurred}
    said["recorded_at"] = int.from_bytes(leaf[_TIME], "big")
    if event.within is not None:
        said |= {"nth": event.within.nth, "previous": event.within.previous}
    wrong = [name for name in (*TEXTS, *TIMES, *PLACES) if _differ(said, values, name)]
    if wrong:
        return f"the column {', '.join(wrong)} does not say what its leaf says."
    if event.v != (VERSION if event.within else 1):
        return f"its event has the version {event.v}, which this verifier cannot read."
    return ""


def _differ(said: Values, found: Values, name: str) -> bool:
    return name in said and (said[name] != found[name] or type(said[name]) is not type(found[name]))
