"""What is appended at once, and what a process knows of the end of a log that it left."""

from dataclasses import dataclass, field, replace

from audit import signer, storage
from audit.intake import Prepared
from audit.ledger.tree import Frontier
from audit.rows import Head, Known, Newest, Row


@dataclass(slots=True)
class Batch:
    """What one transaction appends: events in their order, and rows once they are chained."""

    head: Head
    known: dict[str, Known] = field(default_factory=dict)
    events: list[Prepared] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # event id -> index in `events`
    rows: list[Row] = field(default_factory=list)
    newest: dict[str, Newest] = field(default_factory=dict)  # by resource


@dataclass(slots=True)
class End:
    """The end of a log as this process left it, which is true until somebody else appends."""

    head: Head
    newest: dict[str, Newest]  # by resource; not of all


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
        end = self._ends.get(head.log_id)
        seen = end.newest if end and end.head.last_hash == head.last_hash else {}
        known = {resource: seen[resource] for resource in resources & seen.keys()}
        unknown = list(resources - known.keys()) if head.size else []
        return known | storage.newest_of(head.log_id, unknown) if unknown else known

    def move(self, batch: Batch, after: Frontier, signed: signer.Signed | None) -> None:
        """The batch was appended and signed."""
        head = batch.head
        if signed is None or signed.size != after.size or signer.keeps_next(head) or head.refusal:
            self.forget(head.log_id)
            return
        end = self._ends.get(head.log_id)
        continues = end is not None and end.head.last_hash == head.last_hash
        newest = end.newest if end and continues else {}
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
        )
