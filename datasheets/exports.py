"""A datasheet or model card as JSON and as Markdown."""

import re
from typing import Any

from django.conf import settings
from django.urls import reverse

from audit.intake import time_text
from datasheets.catalog import DATASHEET
from datasheets.guide import NOT_STATED
from datasheets.models import Answer
from datasheets.queries.findings import Evidence, Finding, day
from datasheets.queries.sheets import COMPLETE, Entry, SheetView, Status
from datasheets.values import escaped

SCHEMA = "vestige.sheet/1"
# A heading of an answer must not become one of the document, nor a tag of it HTML.
_HEADING = re.compile(r"^(\s{0,3})(#{1,6}(?=\s|$)|=+\s*$|-+\s*$)", re.MULTILINE)
_TAG = re.compile(r"<(?=[A-Za-z/!?])(?!https?://|mailto:)")

WORDS: dict[Status, str] = {
    Status.UNANSWERED: "Not stated",
    Status.DRAFT: "Draft, not confirmed by anybody",
    Status.ANSWERED: "Answered, not confirmed",
    Status.CONFIRMED: "Confirmed",
    Status.NOT_APPLICABLE: "Not applicable",
    Status.UNKNOWN: "Unknown",
    Status.STALE: "Stale",
    Status.MEASURED: "Measured",
}


def as_json(view: SheetView) -> dict[str, Any]:
    """The whole document as JSON-able data. Digests are SHA-256, hex; times RFC 3339."""
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": view.kind,
        "questions_from": view.catalogue.source,
        "id": view.dataset.pk,
        "node": view.dataset.node,
        "title": view.title,
        "url": page_url(view),
        "as_of": time_text(view.at),
        "version": _version(view),
        "completeness": _completeness(view),
        "answers": {e.question.id: _answer(e.answer, e) for e in view.entries.values() if e.answer},
        "questions": [_question(entry) for entry in view.entries.values()],
    }
    if view.kind == DATASHEET:
        body["datasheet"] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(view.guide).items()
        }
    return body


def page_url(view: SheetView) -> str:
    name = "datasheets:datasheet" if view.kind == DATASHEET else "datasheets:model_card"
    return f"{settings.VESTIGE_PUBLIC_URL}{reverse(name, args=[view.dataset.pk])}"


def _version(view: SheetView) -> dict[str, Any] | None:
    version = view.current
    if version is None:
        return None
    return {
        "version": version.version,
        "created_at": time_text(version.created_at),
        "rows": version.rows,
        "bytes": version.bytes,
        "sha256": version.digest or None,
        "schema": version.schema,
    }


def _completeness(view: SheetView) -> dict[str, Any]:
    found = view.completeness
    return {
        "percent": found.percent,
        "done_weight": found.done,
        "weight": found.weight,
        "answered_weight": found.answered,
        "stale_weight": found.stale,
        "questions": dict(found.counts),
        "counts_as_done": sorted(status.value for status in COMPLETE),
    }


def _question(entry: Entry) -> dict[str, Any]:
    question = entry.question
    return {
        "id": question.id,
        "number": question.number,
        "section": question.section,
        "question": question.title,
        "follow_up": question.follow_up,
        "answer_type": question.answer_type,
        "options": list(question.options),
        "fill": question.fill,
        "weight": question.weight,
        "regulation": list(question.regulation),
        "applies": entry.applies,
        "state": entry.status.value,
        "stale_because": entry.stale_because or None,
        "value": entry.value,
        "answer": _answer(entry.answer, entry) if entry.answer else None,
        "evidence": _finding(entry.finding) if entry.finding else None,
    }


def _answer(answer: Answer, entry: Entry) -> dict[str, Any]:
    return {
        "value": answer.value,
        "state": entry.status.value if entry.status == Status.STALE else answer.state,
        "given_state": answer.state,
        "reason": answer.reason or None,
        "author": str(answer.author),
        "answered_at": time_text(answer.answered_at),
        "confirmed_by": str(answer.confirmed_by) if answer.confirmed_by else None,
        "confirmed_at": time_text(answer.confirmed_at) if answer.confirmed_at else None,
        "evidence_sha256": answer.evidence_digest or None,
        "salt": answer.salt,
        "sha256": answer.digest,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "value": finding.value,
        "sha256": finding.digest,
        "complete": finding.complete,
        "note": finding.note or None,
        "rests_on": [_evidence(item) for item in finding.evidence],
    }


def _evidence(item: Evidence) -> dict[str, Any]:
    return {"text": item.text, "version": item.version_id, "entry": item.seq}


def as_markdown(view: SheetView) -> str:
    """The document as Markdown. A datasheet begins with the guide's own, byte for byte."""
    head = f"{view.guide.to_markdown()}\n---\n\n" if view.kind == DATASHEET else ""
    parts = [
        f"# {view.name} of {escaped(view.title)}\n\n{_about(view)}",
        *(
            f"## {escaped(section.title)}\n\n" + "\n\n".join(_entry(e) for e in section.entries)
            for section in view.sections
        ),
    ]
    return head + "\n\n".join(parts) + "\n"


def _about(view: SheetView) -> str:
    done = view.completeness
    version = f", version {escaped(view.current.version)}" if view.current else ""
    lines = [
        f"`{view.dataset.node}`{version}. As of {view.at:%Y-%m-%d %H:%M} UTC.",
        f"{done.percent}% complete by weight: confirmed by a person or measured. Another"
        f" {done.answered_percent}% is answered and not confirmed.",
        f"Questions: {escaped(view.catalogue.source)}.",
        f"<{page_url(view)}>",
    ]
    return "\n\n".join(lines)


def _entry(entry: Entry) -> str:
    question = entry.question
    number = f"{question.number}. " if question.number else ""
    parts = [f"### {number}{escaped(question.title)}"]
    if entry.is_measured and entry.finding:
        parts.append(entry.finding.markdown)
    if entry.answer_markdown and entry.applies:
        note = "Note: " if entry.is_measured else ""
        parts.append(note + contained(entry.answer_markdown))
    elif entry.answer and entry.answer.reason:
        parts.append(contained(entry.answer.reason))
    elif not entry.is_measured and entry.applies:
        parts.append(NOT_STATED)
    if entry.computed_label and entry.finding:
        parts.append(f"{entry.computed_label}:\n\n{entry.finding.markdown}")
    if entry.status != Status.UNANSWERED:
        parts.append(f"*{escaped(signature(entry))}*")
    return "\n\n".join(parts)


def contained(markdown: str) -> str:
    """Markdown that cannot change the document around it."""
    return _TAG.sub(r"\\<", _HEADING.sub(r"\1\\\2", markdown))


def signature(entry: Entry) -> str:
    """How the answer stands, by whom and when, and what it rests on: one line."""
    parts = [WORDS[entry.status]]
    answer = entry.answer
    if answer and entry.applies:
        if entry.stale_because:
            parts.append(entry.stale_because.rstrip("."))
        parts.append(f"answered by {answer.author}, {day(answer.answered_at)}")
        if answer.confirmed_by:
            parts.append(f"confirmed by {answer.confirmed_by}, {day(answer.confirmed_at)}")
    if entry.finding and entry.applies:
        parts += [item.label for item in entry.finding.evidence]
        if entry.finding.note:
            parts.append(entry.finding.note.rstrip("."))
    return " · ".join(parts)
