"""The log, or a filtered part of it, as a stream of CSV or JSON lines, oldest first."""

import csv
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from audit.cells import cell
from audit.intake import time_text
from audit.models import Entry, PrunedRange
from audit.pruned import described, ranges_within
from audit.queries import event_of
from audit.search import Filters, matching

_CHUNK = 2000
_COLUMNS = [
    "seq",
    "recorded_at",
    "type",
    "actor",
    "by",
    "resource",
    "resource_version",
    "occurred_at",
    "id",
    "parent_id",
    "subject",
    "details",
    "leaf_hash",
]


def _with_pruned(filters: Filters, end: int) -> Iterator[list[Entry | PrunedRange]]:
    """The entries in order, and each pruned range in its place."""
    gone = ranges_within(filters.log.id, 0, end).iterator(_CHUNK)
    following = next(gone, None)
    for rows in chunks(filters, end):
        found: list[Entry | PrunedRange] = []
        for row in rows:
            while following is not None and following.start < row.seq:
                found.append(following)
                following = next(gone, None)
            found.append(row)
        yield found
    while following is not None:
        yield [following]
        following = next(gone, None)


def chunks(filters: Filters, end: int) -> Iterator[list[Entry]]:
    """The matching entries with seq < end, in order; each chunk is found by number."""
    found = matching(filters).order_by("seq")
    start = 0
    while rows := list(found.filter(seq__gte=start, seq__lt=end)[:_CHUNK]):
        yield rows
        start = rows[-1].seq + 1


def json_lines(filters: Filters, end: int) -> Iterator[bytes]:
    """One object a line: the event, its place, and the exact leaf in base64.

    Where entries are pruned stands {"pruned": {"start", "stop", "entry"}}.
    """
    for rows in _with_pruned(filters, end):
        yield b"".join(orjson.dumps(_object(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def csv_lines(filters: Filters, end: int) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS)
    for rows in _with_pruned(filters, end):
        yield "".join(writer.writerow(_cells(row)) for row in rows)


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _object(row: Entry | PrunedRange) -> dict[str, Any]:
    if isinstance(row, PrunedRange):
        return {"pruned": described(row)}
    return event_of(row) | {
        "seq": row.seq,
        "recorded_at": time_text(row.recorded_at),
        "leaf_hash": bytes(row.leaf_hash).hex(),
        "leaf": b64encode(bytes(row.leaf)).decode(),
    }


def _cells(row: Entry | PrunedRange) -> Iterable[str]:
    event = _object(row)
    if isinstance(row, PrunedRange):
        event = {"seq": f"{row.start} to {row.stop - 1}", "type": "(pruned)", "details": event}
    event["details"] = orjson.dumps(event.get("details", {})).decode()
    for name in _COLUMNS:
        yield cell(str(event.get(name, "")))
