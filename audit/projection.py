"""What an entry's columns must say, read from its leaf alone: the verifier's own derivation."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import astuple

from audit.ledger.leaf import HEADER
from audit.stored import COLUMNS, Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 1


class _Event(msgspec.Struct, gc=False):
    """The members of an event that have columns, in the order of the columns; no other is read."""

    id: str
    type: str
    actor: str
    by: str
    resource: str = ""
    resource_version: str = ""
    parent_id: str = ""
    subject: str = ""
    occurred_at: str = ""
    v: int = 0


_TEXTS = len(COLUMNS) - 2  # all but the two times, which stand last
_decode = msgspec.json.Decoder(_Event).decode
_unpack = HEADER.unpack_from
_EVENT = slice(HEADER.size, None)
_Stored = Callable[[datetime], Any]


def faults(rows: Iterable[Row], vendor: str) -> Iterator[tuple[int, str]]:
    """(seq, sentence) for each row whose columns do not say what its leaf says.

    The leaves must have been verified before: here their headers are trusted.
    """
    as_stored = _as_text if vendor == "sqlite" else _as_moment
    last_us, recorded_at = -1, None
    first, last = 3, 3 + _TEXTS
    for row in rows:
        leaf = row[1]
        timestamp_us = _unpack(leaf)[2]
        if timestamp_us != last_us:  # a batch has one time
            last_us, recorded_at = timestamp_us, _recorded_at(timestamp_us, as_stored)
        try:
            event = _decode(leaf[_EVENT])
            said = astuple(event)
            occurred_at = said[_TEXTS]
            occurred_at = as_stored(datetime.fromisoformat(occurred_at)) if occurred_at else None
        except (msgspec.DecodeError, ValueError, OverflowError) as exc:
            yield row[0], f"its leaf holds no event: {exc}."
            continue
        if (
            said[:_TEXTS] != row[first:last]
            or occurred_at != row[last]
            or recorded_at != row[last + 1]
        ):
            yield row[0], _difference((*said[:_TEXTS], occurred_at, recorded_at), row[first:])
        if event.v != _VERSION:
            yield row[0], f"its event has the version {event.v}, which this verifier cannot read."


def _difference(said: Row, found: Row) -> str:
    wrong = [name for name, one, other in zip(COLUMNS, said, found, strict=True) if one != other]
    return f"the column {', '.join(wrong)} does not say what its leaf says."


def _recorded_at(timestamp_us: int, as_stored: _Stored) -> Any:
    try:
        return as_stored(_EPOCH + timedelta(microseconds=timestamp_us))
    except OverflowError:
        return ""  # no column can hold it, so that the comparison fails


def _as_moment(moment: datetime) -> Any:
    return moment


def _as_text(moment: datetime) -> Any:
    return str(moment.astimezone(UTC).replace(tzinfo=None))
