"""The compliance report of a resource and a period: section 5.3 of the guide, with proofs.

The guide's keys stand first and as they are there: resource, period, total_events,
events_by_type, unique_actors, version_history, events. The statement, whose digest is in the log,
is the report with the list of events replaced by that list's digest.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from audit.cells import cell
from audit.completeness import NotShownError, Span, span_of_period, stated
from audit.ledger import canonical
from audit.queries import actor_names, entries_for, event_of, pruned_between, units_that_know
from reports import signing
from reports.texts import time_text

SCHEMA = "vestige-compliance-report/1"
MOST_EVENTS = 50_000  # above, a PDF with everything inside helps nobody
MOST_SHOWN = 500  # typesetting costs by the row
MOST_LIMITS = 20
MOST_PROVED = 2_000  # a proof is about 1.5 kB
EVENT_COLUMNS = (
    "entry",
    "timestamp",
    "event_type",
    "actor",
    "resource",
    "resource_version",
    "details",
    "parent_event_id",
    "event_id",
    "occurred_at",
    "recorded_by",
)
_LIMITS = (
    "The report covers what this log holds. What was never reported to the log is not in it.",
    "Times are those of recording. An event may name an earlier time of its own (occurred_at), as "
    "the system that reported it states it.",
    "Facts about persons are sealed in the log and stay sealed here.",
    "The proofs show that the entries stand in this log, in this order, under this key. They do "
    "not show that the operator, who holds the key, never kept another log: a checkpoint that was "
    "kept elsewhere would.",
)


class TooManyEventsError(Exception):
    """The period holds more events than one document should."""


class LogDisagreesError(Exception):
    """A column of the log says other than the leaf beside it: somebody edited it."""


@dataclass(frozen=True)
class Question:
    """What the report is about. `as_of`: the last entry that is looked at."""

    report: int
    resource: str
    start_text: str
    end_text: str
    start_at: datetime
    before_at: datetime
    as_of: int
    requested_by: str


@dataclass(frozen=True)
class ComplianceReport:
    """`span`: the entries of which the evidence proves that none is left out, or else why not.

    `pruned`: the ranges of the log, of this time, that are past their retention and gone.
    `elsewhere`: the logs of units that hold entries of the resource too, which are not in here.
    """

    question: Question
    events: Sequence[Mapping[str, Any]]
    span: Span | None
    not_complete_because: str
    pruned: Sequence[Mapping[str, Any]] = ()
    elsewhere: Sequence[str] = ()

    def jsonl(self) -> bytes:
        """Each event as canonical JSON (RFC 8785) on a line: what `events_sha256` is taken of."""
        return b"".join(canonical.encode(dict(event)) + b"\n" for event in self.events)

    def csv(self) -> bytes:
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(EVENT_COLUMNS)
        for event in self.events:
            rows.writerow(_cell(event[column]) for column in EVENT_COLUMNS)
        return text.getvalue().encode()

    def shown(self) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """The first and the last events, at most MOST_SHOWN; all of them in the first part."""
        if len(self.events) <= MOST_SHOWN:
            return self.events, ()
        half = MOST_SHOWN // 2
        return self.events[:half], self.events[-half:]

    def proved(self) -> list[int]:
        """The entries that the evidence bundle carries."""
        first, last = (self.events, ()) if len(self.events) <= MOST_PROVED else self.shown()
        return [event["entry"] for event in (*first, *last)]

    def guide_keys(self) -> dict[str, Any]:
        """The guide's keys without `events`."""
        asked = self.question
        return {
            "resource": asked.resource,
            "period": {"start": asked.start_text, "end": asked.end_text},
            "total_events": len(self.events),
            "events_by_type": dict(
                sorted(Counter(event["event_type"] for event in self.events).items())
            ),
            "unique_actors": sorted({event["actor"] for event in self.events}),
            "version_history": _version_history(self.events),
        }

    def statement(self, issued_at: datetime) -> dict[str, Any]:
        asked, keys, jsonl = self.question, self.guide_keys(), self.jsonl()
        entries = [event["entry"] for event in self.events]
        digest = hashlib.sha256(jsonl).hexdigest()
        return {
            **keys,
            "schema": SCHEMA,
            "report": asked.report,
            "issued_at": time_text(issued_at),
            "requested_by": asked.requested_by,
            "controller": {
                "name": settings.VESTIGE_ORGANISATION,
                "data_protection_officer": settings.VESTIGE_DPO_CONTACT,
            },
            "period_utc": {
                "from": time_text(asked.start_at),
                "before": time_text(asked.before_at),
                "over": asked.before_at <= issued_at,
            },
            "actor_names": actor_names(keys["unique_actors"]),
            "entries": {
                "first": entries[0] if entries else None,
                "last": entries[-1] if entries else None,
                "as_of": asked.as_of,
                "proved": len(self.proved()),
            },
            "complete": stated(self.span, len(entries)) if self.span else None,
            "not_complete_because": self.not_complete_because or None,
            "events_sha256": digest,
            "attachments": [
                {"name": "events.jsonl", "bytes": len(jsonl), "sha256": digest},
                _described("events.csv", self.csv()),
            ],
            "pruned": [dict(gone) for gone in self.pruned],
            "limits": [
                *map(_elsewhere_limit, self.elsewhere[:MOST_LIMITS]),
                *map(_pruned_limit, self.pruned[:MOST_LIMITS]),
                *_LIMITS,
            ],
            "signing_certificate_sha256": signing.certificate_sha256(),
        }


def compliance_report(question: Question) -> ComplianceReport:
    """What the log holds about the resource in the period. Raises TooManyEventsError."""
    found = entries_for(
        question.resource, question.start_at, question.before_at, as_of=question.as_of
    )
    number = found.count()
    if number > MOST_EVENTS:
        raise TooManyEventsError(
            f"The period holds {number:,} events of {question.resource}; one report takes at most "
            f"{MOST_EVENTS:,}. Ask for a shorter period, or export the log as CSV from its page."
        )
    span, why_not = _span(question, number)
    gone = pruned_between(question.start_at, question.before_at, question.as_of)
    elsewhere = units_that_know(question.resource)
    return ComplianceReport(
        question, list(_events(question, found)), span, why_not, gone, elsewhere
    )


def _span(question: Question, number: int) -> tuple[Span | None, str]:
    """What can be proven to be complete; None and the reason when it cannot."""
    if number > MOST_PROVED:
        return None, (
            f"The evidence carries the events that are shown and not all {number:,}, which would"
            " make the file too large. A report on a shorter period is proven complete."
        )
    try:
        asked = question.resource, question.start_at, question.before_at
        return span_of_period(*asked, as_of=question.as_of), ""
    except NotShownError as exc:
        return None, str(exc)


def _elsewhere_limit(name: str) -> str:
    return (
        f"The log {name} of an organisation unit holds entries of this resource, too. This report"
        " is of the main log and does not have them: export them from the page of that log."
    )


def _pruned_limit(gone: Mapping[str, Any]) -> str:
    return (
        f"Entries {gone['start']} to {gone['stop'] - 1} of the log, recorded {gone['oldest']} to "
        f"{gone['newest']}, were past their retention and are gone; events of this resource may "
        f"have been among them. Entry {gone['entry']} says what went and why."
    )


def _events(question: Question, found: Any) -> Iterator[dict[str, Any]]:
    for entry in found.iterator(chunk_size=2000):
        event = event_of(entry)
        if event.get("resource", "") != question.resource:
            raise LogDisagreesError(
                f"Entry {entry.seq} is listed under {question.resource}, but its leaf speaks of "
                "something else. Verify the log before you rely on any report."
            )
        yield {
            "entry": entry.seq,
            "timestamp": time_text(entry.recorded_at),
            "event_type": event["type"],
            "actor": event["actor"],
            "resource": event["resource"],
            "resource_version": event.get("resource_version", ""),
            "details": event.get("details", {}),
            "parent_event_id": event.get("parent_id") or None,
            "event_id": event["id"],
            "occurred_at": event.get("occurred_at"),
            "recorded_by": event["by"],
            "sealed": "sealed" in event,
            "leaf_sha256": bytes(entry.leaf_hash).hex(),
        }


def _version_history(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each version in the order in which the log first names it."""
    history: dict[str, dict[str, Any]] = {}
    for event in events:
        version = event["resource_version"]
        if not version:
            continue
        row = history.setdefault(
            version,
            {
                "version": version,
                "timestamp": event["timestamp"],
                "event_type": event["event_type"],
                "actor": event["actor"],
                "entry": event["entry"],
                "events": 0,
            },
        )
        row["events"] += 1
    return list(history.values())


def _described(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return cell(canonical.encode(value).decode() if isinstance(value, dict | list) else str(value))
