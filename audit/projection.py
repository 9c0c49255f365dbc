"""What an entry's columns must say, read from its leaf alone: the verifier's own derivation."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from audit.ledger.leaf import HEADER
from audit.stored import COLUMNS, Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 1


class _Event(msgspec.Struct, gc=False):
    """The members of an event that have columns; the rest is passed over."""

    v: int
    id: str
    type: str
    actor: str
    by: str
    resource: str = ""
    resource_version: str = ""
    parent_id: str = ""
    subject: str = ""
    occurred_at: str = ""


_decode = msgspec.json.Decoder(_Event).decode
_unpack = HEADER.unpack_from


def faults(rows: Iterable[Row], vendor: str) -> Iterator[tuple[int, str]]:
    """(seq, sentence) for each row whose columns do not say what its leaf says.

    The leaves must have been verified before: here their headers are trusted.
    """
    as_stored = _as_text if vendor == "sqlite" else _as_moment
    last_us, recorded_at = -1, None
    for row in rows:
        leaf = row[1]
        timestamp_us = _unpack(leaf)[2]
        if timestamp_us != last_us:  # a batch has one time
            last_us, recorded_at = timestamp_us, as_stored(_moment(timestamp_us))
        try:
            event = _decode(leaf[HEADER.size :])
            occurred_at = _parsed(event.occurred_at, as_stored) if event.occurred_at else None
        except (msgspec.DecodeError, ValueError) as exc:
            yield row[0], f"its leaf holds no event: {exc}."
            continue
        said = (
            event.id,
            event.type,
            event.actor,
            event.by,
            event.resource,
            event.resource_version,
            event.parent_id,
            event.subject,
            occurred_at,
            recorded_at,
        )
        if said != row[3:]:
            yield row[0], _difference(said, row[3:])
        if event.v != _VERSION:
            yield row[0], f"its event has the version {event.v}, which this verifier cannot read."


def _difference(said: Row, found: Row) -> str:
    wrong = [name for name, one, other in zip(COLUMNS, said, found, strict=True) if one != other]
    return f"the column {', '.join(wrong)} does not say what its leaf says."


def _moment(timestamp_us: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=timestamp_us)
    except OverflowError:
        return None  # no column can hold it, so that the comparison fails


def _parsed(text: str, as_stored: Callable[[datetime | None], Any]) -> Any:
    return as_stored(datetime.fromisoformat(text).astimezone(UTC))


def _as_moment(moment: datetime | None) -> Any:
    return moment or ""


def _as_text(moment: datetime | None) -> Any:
    return str(moment.replace(tzinfo=None)) if moment else ""
