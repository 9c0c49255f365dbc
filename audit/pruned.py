"""What of the log is gone: whoever reads a stretch says so beside what is left of it."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from audit.ledger import canonical
from audit.ledger.leaf import unpack
from audit.models import Entry, PrunedRange


def range_of(log_id: int, seq: int) -> PrunedRange | None:
    """The range that this entry was pruned with."""
    found = PrunedRange.objects.filter(log_id=log_id, start__lte=seq).order_by("-start").first()
    return found if found is not None and seq < found.stop else None


def ranges_within(log_id: int, start: int, stop: int) -> QuerySet[PrunedRange]:
    """The ranges that touch start <= seq < stop, in order."""
    return PrunedRange.objects.filter(log_id=log_id, start__lt=stop, stop__gt=start).order_by(
        "start"
    )


def entries_within(log_id: int, start: int, stop: int) -> int:
    """How many of these entries are pruned."""
    found = ranges_within(log_id, start, stop).values_list("start", "stop")
    return sum(min(last, stop) - max(first, start) for first, last in found)


def ranges_between(
    log_id: int, since: datetime | None, until: datetime | None, as_of: int
) -> list[dict[str, Any]]:
    """The ranges with entries of this time, `until` exclusive, up to the entry `as_of`.

    {"start", "stop", "entry", "oldest", "newest"}: as the entry says that tells of them.
    """
    found = []
    told: dict[int, list[dict[str, Any]]] = {}
    for row in ranges_within(log_id, 0, as_of + 1):
        if row.entry not in told:
            told[row.entry] = _ranges_told(log_id, row.entry)
        for said in told[row.entry]:
            if said["start"] <= row.start and row.stop <= said["stop"]:
                oldest, newest = _moment(said["oldest"]), _moment(said["newest"])
                if (since is None or newest >= since) and (until is None or oldest < until):
                    times = {"oldest": said["oldest"], "newest": said["newest"]}
                    found.append(described(row) | times)
    return found


def described(row: PrunedRange) -> dict[str, Any]:
    return {"start": row.start, "stop": row.stop, "entry": row.entry}


def details_of(log_id: int, entry: int) -> dict[str, Any]:
    """What a log.pruned says; nothing when there is no such entry."""
    leaf = Entry.objects.filter(log_id=log_id, seq=entry).values_list("leaf", flat=True).first()
    if leaf is None:
        return {}
    details: dict[str, Any] = canonical.decode(unpack(bytes(leaf)).event).get("details", {})
    return details


def _ranges_told(log_id: int, entry: int) -> list[dict[str, Any]]:
    ranges: list[dict[str, Any]] = details_of(log_id, entry).get("ranges", [])
    return ranges


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
