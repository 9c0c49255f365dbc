"""The log, or a filtered part of it, as a stream of CSV or JSON lines, oldest first."""

import csv
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from audit.intake import time_text
from audit.models import Entry
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
# A spreadsheet runs what begins with these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def chunks(filters: Filters, end: int) -> Iterator[list[Entry]]:
    """The matching entries with seq < end, in order; each chunk is found by number."""
    found = matching(filters).order_by("seq")
    start = 0
    while rows := list(found.filter(seq__gte=start, seq__lt=end)[:_CHUNK]):
        yield rows
        start = rows[-1].seq + 1


def json_lines(filters: Filters, end: int) -> Iterator[bytes]:
    """One object a line: the event, its place, and the exact leaf in base64."""
    for rows in chunks(filters, end):
        yield b"".join(orjson.dumps(_object(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def csv_lines(filters: Filters, end: int) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS)
    for rows in chunks(filters, end):
        yield "".join(writer.writerow(_cells(row)) for row in rows)


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _object(row: Entry) -> dict[str, Any]:
    return event_of(row) | {
        "seq": row.seq,
        "recorded_at": time_text(row.recorded_at),
        "leaf_hash": bytes(row.leaf_hash).hex(),
        "leaf": b64encode(bytes(row.leaf)).decode(),
    }


def _cells(row: Entry) -> Iterable[str]:
    event = _object(row)
    event["details"] = orjson.dumps(event.get("details", {})).decode()
    for name in _COLUMNS:
        text = str(event.get(name, ""))
        yield f"'{text}" if text.startswith(_FORMULA) else text
