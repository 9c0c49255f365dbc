"""The main log as the parent of units' logs: what it holds of each."""

from dataclasses import dataclass
from datetime import datetime

from audit.events import LOG_CHECKPOINT
from audit.ledger import canonical
from audit.ledger.leaf import unpack
from audit.logs import LogRef
from audit.models import MAIN_LOG, Entry


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of the main log that holds the checkpoint of a unit's log."""

    entry: int
    size: int
    recorded_at: datetime


def newest_told(log: LogRef) -> Told | None:
    """The newest checkpoint of this log in the main log; None before the first."""
    found = Entry.objects.filter(log_id=MAIN_LOG, type=LOG_CHECKPOINT.name, resource=log.resource)
    row = found.order_by("-seq").first()
    if row is None:
        return None
    details = canonical.decode(unpack(bytes(row.leaf)).event)["details"]
    return Told(row.seq, details["size"], row.recorded_at)
