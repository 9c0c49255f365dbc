"""The columns of audit_entry as the verifier reads them, and its times as numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any

TEXTS = (
    "event_id", "type", "actor", "by", "resource", "resource_version", "parent_id", "subject",
)  # fmt: skip
TIMES = ("occurred_at", "recorded_at")
PLACES = ("nth", "previous")
COLUMNS = ("seq", "leaf", "leaf_hash", *TEXTS, *TIMES, *PLACES)

VERSION = 2  # of events; those of version 1 do not say which place they have within their resource

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(value: Any) -> Any:
    """Since 1970 UTC, from a datetime or from the text that SQLite stores for one.

    A text that is not exactly what is written for that time stays text and equals no number;
    so does every other value.
    """
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    if moment.tzinfo is not None or str(moment) != value:
        return value
    return microseconds(moment.replace(tzinfo=UTC))


def microseconds_of_event(text: str) -> int:
    """From a time in an event, which is in UTC. Raises ValueError."""
    if text[-1:] != "Z":
        raise ValueError(f"{text[:40]!r} is no time in UTC")
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
