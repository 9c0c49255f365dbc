"""What is appended at once, and what a process knows of the end of a log that it left."""

from dataclasses import dataclass, field, replace

from audit import signer, storage
from audit.intake import Event
from audit.ledger.tree import Frontier
from audit.proofs import Edges
from audit.rows import Head, Known, Newest, Row


@dataclass(slots=True)
class Batch:
    """What one transaction appends: events in their order, and rows once they are chained."""

    head: Head
    known: dict[str, Known] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # event id -> index in `events`
    rows: list[Row] = field(default_factory=list)
    newest: dict[str, Newest] = field(default_factory=dict)  # by resource
    edges: Edges | None = None  # of the tree after it, where that is known


@dataclass(slots=True)
class End:
    """The end of a log as this process left it, which is true until somebody else appends."""

    head: Head
    newest: dict[str, Newest]  # by resource; not of all
    edges: Edges | None  # None: unknown, until a tile was filled
    stored_note: str  # the head's own may be newer, and is then stored with the next batch


class Ends:
    """What this process knows of the ends of the logs."""

    _MOST_RESOURCES = 20_000

    def __init__(self) -> None:
        self._ends: dict[int, End] = {}

    def get(self, log_id: int) -> End | None:
        return self._ends.get(log_id)

    def forget(self, log_id: int) -> None:
        self._ends.pop(log_id, None)

    def newest(self, batch: Batch) -> dict[str, Newest]:
        """The newest entry of each of the batch's resources that has one."""
        head, resources = batch.head, {event.resource for event in batch.events}
        end = self._left_at(head)
        seen = end.newest if end else {}
        known = {resource: seen[resource] for resource in resources & seen.keys()}
        unknown = list(resources - known.keys()) if head.size else []
        return known | storage.newest_of(head.log_id, unknown) if unknown else known

    def edges(self, head: Head) -> Edges | None:
        """The right edge of the tree at this head, if this process left it there."""
        end = self._left_at(head)
        return end.edges if end else None

    def move(self, batch: Batch, after: Frontier, signed: signer.Signed | None) -> None:
        """The batch was appended and signed."""
        head = batch.head
        if signed is None or signed.size != after.size or signer.keeps_next(head) or head.refusal:
            self.forget(head.log_id)
            return
        end = self._left_at(head)
        newest = end.newest if end else {}
        if len(newest) > self._MOST_RESOURCES:
            newest.clear()
        newest.update(batch.newest)
        last = batch.rows[-1] if batch.rows else None
        self._ends[head.log_id] = End(
            replace(
                head,
                size=after.size,
                last_hash=last.leaf_hash if last else head.last_hash,
                last_timestamp_us=last.timestamp_us if last else head.last_timestamp_us,
                frontier=after,
                note=signed.note,
                note_size=signed.size,
                note_at=signed.signed_at,
            ),
            newest,
            batch.edges if last else self.edges(head),
            signed.note if signed.stored else head.note,
        )

    def _left_at(self, head: Head) -> End | None:
        """What is known of the end, if this head is where the log was left."""
        end = self._ends.get(head.log_id)
        return end if end and end.head.last_hash == head.last_hash else None
