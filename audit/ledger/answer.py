"""A saved answer of the log to events: their places, and the receipt for them.

    {"receipts": [{"id", "seq", "leaf_hash" (hex)}, …], "receipt": "<signed note>" or null,
     "log": <origin>, "vkey": … or null, "checkpoint": "<signed note>" or null}

That is the answer of `POST /api/v1/events` as it came; audit.ledger.receipt has the signed note,
audit.ledger.promise judges.
"""

from dataclasses import dataclass
from typing import Any

from audit.ledger.receipt import Accepted, require_event

_MEMBERS = {"receipts", "receipt", "log", "vkey", "checkpoint"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A saved answer of the right form, of which nothing has been verified."""

    events: tuple[Accepted, ...]
    receipt: str | None
    origin: str
    vkey: str
    checkpoint: str | None


class AnswerError(ValueError):
    """The data is no saved answer of the log."""


def is_answer(value: object) -> bool:
    """Whether a JSON value is meant as an answer of the log to events."""
    return isinstance(value, dict) and "receipts" in value


def parse_answer(value: object) -> Answer:
    """Check the form of a saved answer. Raises AnswerError."""
    value = _members(value)
    if not isinstance(value["receipts"], list) or not value["receipts"]:
        raise AnswerError("receipts must be a list with at least one event")
    if not isinstance(value["log"], str):
        raise AnswerError("log must be a text")
    for name in ("receipt", "vkey", "checkpoint"):
        if not isinstance(value[name], str | None):
            raise AnswerError(f"{name} must be a text or null")
    return Answer(
        events=tuple(_event(item, f"receipts[{at}]") for at, item in enumerate(value["receipts"])),
        receipt=value["receipt"],
        origin=value["log"],
        vkey=value["vkey"] or "",
        checkpoint=value["checkpoint"],
    )


def _members(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AnswerError("it must be a JSON object")
    missing, unknown = _MEMBERS - value.keys(), value.keys() - _MEMBERS
    if missing:
        raise AnswerError(f"it lacks {', '.join(sorted(missing))}")
    if unknown:
        # Whatever else stood there would be read as vouched for, and is not.
        listed = ", ".join(sorted(repr(name)[:40] for name in unknown)[:5])
        raise AnswerError(f"it has members that no answer has: {listed}")
    return value


def _event(value: Any, place: str) -> Accepted:
    if not isinstance(value, dict) or value.keys() != {"id", "seq", "leaf_hash"}:
        raise AnswerError(f"{place} must have id, seq and leaf_hash, and nothing else")
    name, seq, hashed = value["id"], value["seq"], value["leaf_hash"]
    if not isinstance(name, str) or type(seq) is not int or not isinstance(hashed, str):
        raise AnswerError(f"{place} must hold a text, a whole number and a hash")
    try:
        event = Accepted(name, seq, bytes.fromhex(hashed))
        require_event(event)
    except ValueError as error:
        raise AnswerError(f"{place}: {error}") from error
    if event.leaf_hash.hex() != hashed:
        raise AnswerError(f"{place}.leaf_hash must be in lower case")
    return event
