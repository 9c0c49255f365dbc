"""What an entry's columns must say, read from its leaf alone: the verifier's own derivation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import astuple

from audit.ledger.leaf import HEADER
from audit.verification import stored
from audit.verification.stored import SEPARATOR, TEXTS, Row

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC without a zone, as the columns are read
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


_decode = msgspec.json.Decoder(_Event).decode
_decode_all = msgspec.json.Decoder(list[_Event]).decode
_EVENT = slice(HEADER.size, None)
_TIME = slice(12, 20)  # of the header: see audit.ledger.leaf
_TEXTS = slice(0, len(TEXTS))
_join = SEPARATOR.join  # no text of an event holds it: the doors let in visible characters only
_Stored = Callable[[datetime], Any]


def faults(rows: Sequence[Row], log_id: int, vendor: str) -> Iterator[tuple[int, str]]:
    """(seq, sentence) for each row whose columns do not say what its leaf says.

    The leaves must have been verified before: here their headers are trusted.
    """
    as_stored = str if vendor == "sqlite" else _as_moment
    if not _all_agree(rows, as_stored):
        for row in rows:
            yield from _faults_of(row, log_id, as_stored)


def _all_agree(rows: Sequence[Row], as_stored: _Stored) -> bool:
    """Whether all rows agree with their leaves, in few steps for all of them at once."""
    try:
        events = _decode_all(b"[%b]" % b",".join([row[1][_EVENT] for row in rows]))
        said = list(map(astuple, events))
        occurred = [as_stored(_parsed(event[-2])) if event[-2] else None for event in said]
    except (msgspec.DecodeError, ValueError, OverflowError):
        return False
    times = [row[1][_TIME] for row in rows]
    recorded = {time: _recorded_at(time, as_stored) for time in set(times)}  # a batch has one
    return (
        [_join(event[_TEXTS]) for event in said] == [row[3] for row in rows]
        and occurred == [row[4] for row in rows]
        and [recorded[time] for time in times] == [row[5] for row in rows]
        and all(event[-1] == _VERSION for event in said)
    )


def _faults_of(row: Row, log_id: int, as_stored: _Stored) -> Iterator[tuple[int, str]]:
    seq, leaf, _, texts, occurred, recorded = row
    try:
        event = _decode(leaf[_EVENT])
        occurred_at = as_stored(_parsed(event.occurred_at)) if event.occurred_at else None
    except (msgspec.DecodeError, ValueError, OverflowError) as exc:
        yield seq, f"its leaf holds no event: {exc}."
        return
    said = astuple(event)
    recorded_at = _recorded_at(leaf[_TIME], as_stored)
    if _join(said[_TEXTS]) != texts or occurred_at != occurred or recorded_at != recorded:
        yield seq, _difference(said, occurred_at, recorded_at, stored.columns(log_id, seq))
    if event.v != _VERSION:
        yield seq, f"its event has the version {event.v}, which this verifier cannot read."


def _difference(said: Row, occurred_at: Any, recorded_at: Any, found: Mapping[str, Any]) -> str:
    expected = dict(zip(TEXTS, said[_TEXTS], strict=True))
    expected |= {"occurred_at": occurred_at, "recorded_at": recorded_at}
    wrong = [name for name, value in expected.items() if found.get(name) != value]
    return f"the column {', '.join(wrong)} does not say what its leaf says."


def _recorded_at(time: bytes, as_stored: _Stored) -> Any:
    try:
        return as_stored(_EPOCH + timedelta(microseconds=int.from_bytes(time, "big")))
    except OverflowError:
        return ""  # no column can hold it, so that the comparison fails


def _parsed(text: str) -> datetime:
    """The event's time in UTC, without the zone. Raises ValueError."""
    if text[-1:] != "Z":
        raise ValueError(f"{text[:40]!r} is no time in UTC")
    return datetime.fromisoformat(text[:-1])


def _as_moment(moment: datetime) -> Any:
    return moment
