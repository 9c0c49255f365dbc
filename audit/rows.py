"""What becomes rows of the log's tables, and what the log is locked as."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from audit.intake import Prepared
from audit.ledger.tree import Frontier

ENTRY_COLUMNS = (
    'log_id, seq, leaf, leaf_hash, event_id, type, actor, "by", resource, resource_version,'
    " occurred_at, recorded_at, parent_id, subject, nth, previous"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(msgspec.Struct, frozen=True, gc=False):
    """An event with its place: what becomes an Entry."""

    seq: int
    timestamp_us: int
    leaf: bytes
    leaf_hash: bytes
    prepared: Prepared
    nth: int  # of the entries of its resource, counted from 1
    previous: int | None  # seq of the entry before it there


class Newest(msgspec.Struct, frozen=True, gc=False):
    """The newest entry of a resource: its place, and the how manieth it is."""

    seq: int
    nth: int


class Known(msgspec.Struct, frozen=True, gc=False):
    """An entry that bears an event id already."""

    seq: int
    leaf_hash: bytes
    event: bytes


@dataclass(slots=True)
class Head:
    """The log row as it was when it was locked."""

    log_id: int
    name: str
    origin: str
    size: int
    last_hash: bytes
    last_timestamp_us: int
    frontier: Frontier
    note: str
    note_size: int
    note_at: datetime | None
    kept_at: datetime | None
    refusal: str


def moment(timestamp_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=timestamp_us)
