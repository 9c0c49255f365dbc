"""What an entry's columns must say, read from its leaf alone: the verifier's own derivation."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
_unpack = HEADER.unpack_from
_EVENT = slice(HEADER.size, None)
_TIME = slice(12, 20)  # of the header: see audit.ledger.leaf
_TEXTS = slice(0, len(TEXTS))
_join = SEPARATOR.join
_Stored = Callable[[datetime], Any]


def faults(rows: Iterable[Row], log_id: int, vendor: str) -> Iterator[tuple[int, str]]:
    """(seq, sentence) for each row whose columns do not say what its leaf says.

    The leaves must have been verified before: here their headers are trusted.
    """
    as_stored = str if vendor == "sqlite" else _as_moment
    last_time, recorded_at = b"", None
    for seq, leaf, _, texts, occurred, recorded in rows:
        time = leaf[_TIME]
        if time != last_time:  # a batch has one time
            last_time, recorded_at = time, _recorded_at(time, as_stored)
        try:
            event = _decode(leaf[_EVENT])
            said = astuple(event)
            happened = event.occurred_at
            occurred_at = as_stored(_parsed(happened)) if happened else None
        except (msgspec.DecodeError, ValueError, OverflowError) as exc:
            yield seq, f"its leaf holds no event: {exc}."
            continue
        joined = _join(said[_TEXTS])
        if joined != texts or occurred_at != occurred or recorded_at != recorded:
            yield seq, _difference(said, occurred_at, recorded_at, stored.columns(log_id, seq))
        if joined.count(SEPARATOR) != len(TEXTS) - 1 or event.v != _VERSION:
            yield seq, f"its event is none that this verifier can read (version {event.v})."


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
