"""From a statement that is in the log to its two files: JSON and PDF, each with its proofs inside.

Everything is drawn from the stored statement and from entries that cannot change, so that a
second worker, after a first one died, makes the same document.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import segno
from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from audit.ledger import bundle
from audit.ledger.checkpoint import parse
from audit.queries import entries, entries_for, evidence
from datasheets.rendering import Attachment, render_pdf
from reports import signing
from reports.compliance_report import (
    ComplianceReport,
    LogDisagreesError,
    Question,
    compliance_report,
)
from reports.models import Certificate, Report
from reports.texts import details_line, event_words

EVIDENCE = "evidence.json"
_LONGEST_LIST = 50


class NotInLogError(Exception):
    """The entry that binds the statement has no place in the log yet."""


@dataclass(frozen=True)
class Rendered:
    """Both files, and the entry that binds their statement."""

    entry: int
    json: bytes
    pdf: bytes


def question_of(report: Report, *, as_of: int) -> Question:
    return Question(
        report=report.pk,
        resource=report.resource,
        start_text=report.start_text,
        end_text=report.end_text,
        start_at=report.start_at,
        before_at=report.before_at,
        as_of=as_of,
        requested_by=str(report.requested_by),
    )


def rendered_report(report: Report) -> Rendered:
    """Raises NotInLogError, LogDisagreesError, RenderError, SigningKeyError.

    Raises HeadsMissingError when the log must first commit to its heads.
    """
    statement = json.loads(report.statement)
    content = compliance_report(question_of(report, as_of=statement["entries"]["as_of"]))
    jsonl = content.jsonl()
    if hashlib.sha256(jsonl).hexdigest() != statement["events_sha256"]:
        raise LogDisagreesError(
            f"The events of {report.resource} are not the ones that the statement was made of. "
            "Verify the log before you rely on any report."
        )
    entry = _entry_of(report)
    proofs = evidence(
        [*content.proved(), entry],
        purpose="compliance report",
        statement=statement,
        complete=[content.span] if content.span and statement.get("complete") else [],
    )
    pdf = _pdf(
        "reports/pdf/compliance.html",
        _report_context(report, content, statement, entry, proofs),
        title=f"Compliance report {report.pk}: {report.resource}",
        subject=f"Events of {report.resource} from {report.start_text} to {report.end_text}",
        at=report.issued_at,
        attachments=[
            Attachment(
                "events.jsonl",
                jsonl,
                "application/jsonl",
                "Data",
                "All events of the report, one canonical JSON object a line",
            ),
            Attachment(
                "events.csv",
                content.csv(),
                "text/csv",
                "Alternative",
                "All events of the report, as a table",
            ),
            _evidence_attachment(proofs),
        ],
    )
    keys = (
        "resource",
        "period",
        "total_events",
        "events_by_type",
        "unique_actors",
        "version_history",
    )
    body = {
        **{key: statement[key] for key in keys},
        "events": list(content.events),
        **{key: value for key, value in statement.items() if key not in keys},
    }
    return Rendered(entry, _json(body, report.statement_sha256, entry, proofs), pdf)


def rendered_certificate(certificate: Certificate) -> Rendered:
    """Raises NotInLogError, RenderError, SigningKeyError."""
    statement = json.loads(certificate.statement)
    entry = _entry_of(certificate)
    proofs = evidence(
        [*(line["entry"] for line in statement["timeline"]), entry],
        purpose="certificate of erasure",
        statement=statement,
    )
    pdf = _pdf(
        "reports/pdf/certificate.html",
        {
            "certificate": statement,
            **_proof_context(certificate, entry, proofs),
            "timeline": _worded(statement["timeline"]),
        },
        title=f"Certificate of erasure {certificate.number}",
        subject=f"Erasure on request {certificate.request.reference}",
        at=certificate.issued_at,
        attachments=[_evidence_attachment(proofs)],
    )
    body = _json(statement, certificate.statement_sha256, entry, proofs)
    return Rendered(entry, body, pdf)


def _entry_of(document: Certificate | Report) -> int:
    found = entries().filter(event_id=document.event_id).values_list("seq", flat=True).first()
    if found is None:
        raise NotInLogError(f"{document}: the entry that binds it waits for its place in the log.")
    return int(found)


def _json(
    statement: Mapping[str, Any], digest: str, entry: int, proofs: Mapping[str, Any]
) -> bytes:
    body = {
        **statement,
        "statement_sha256": digest,
        "statement_entry": entry,
        "checkpoint": proofs["checkpoint"],
        "evidence": proofs,
    }
    return json.dumps(body, ensure_ascii=False, indent=1).encode()


def _evidence_attachment(proofs: Mapping[str, Any]) -> Attachment:
    return Attachment(
        EVIDENCE,
        bundle.dumps(proofs),
        "application/json",
        "Supplement",
        "The log entries of this document with their proofs; python -m audit.ledger verify",
    )


def _pdf(
    template: str,
    context: Mapping[str, Any],
    *,
    title: str,
    subject: str,
    at: datetime | None,
    attachments: Sequence[Attachment],
) -> bytes:
    if at is None:
        raise NotInLogError(f"{title} has not been issued.")
    pdf = render_pdf(
        render_to_string(template, dict(context)),
        title=title,
        subject=subject,
        author=settings.VESTIGE_ORGANISATION,
        created=at,
        attachments=attachments,
    )
    return signing.signed(pdf, reason=title)


def _proof_context(
    document: Certificate | Report, entry: int, proofs: Mapping[str, Any]
) -> dict[str, Any]:
    said, _ = parse(proofs["checkpoint"])
    page = (
        reverse("reports:certificate", args=[document.number])
        if isinstance(document, Certificate)
        else reverse("reports:report", args=[document.pk])
    )
    link = f"{settings.VESTIGE_PUBLIC_URL}{page}"
    return {
        "organisation": settings.VESTIGE_ORGANISATION,
        "statement_sha256": document.statement_sha256,
        "entry": entry,
        "proved": len(proofs["entries"]),
        "checkpoint": {"origin": said.origin, "size": said.size, "root": said.root.hex()},
        "vkey": proofs["log"]["vkey"],
        "link": link,
        "qr": segno.make(link, error="m").svg_inline(
            scale=1, border=0, title=f"QR code: {link}", omitsize=True, dark="#16202b"
        ),
        "file_name": file_name(document, "pdf"),
    }


def _report_context(
    report: Report,
    content: ComplianceReport,
    statement: Mapping[str, Any],
    entry: int,
    proofs: Mapping[str, Any],
) -> dict[str, Any]:
    first, last = content.shown()
    return {
        "report": statement,
        "number": report.pk,
        "events": {
            "first": [_printed(event) for event in first],
            "last": [_printed(event) for event in last],
            "shown": len(first) + len(last),
            "left_out": len(content.events) - len(first) - len(last),
        },
        "types": _ends(list(statement["events_by_type"].items())),
        "actors": _ends(statement["unique_actors"]),
        "versions": _ends(statement["version_history"]),
        **_proof_context(report, entry, proofs),
    }


def _ends(rows: Sequence[Any]) -> dict[str, Any]:
    """The first and last of a list that may be long; a page costs by the row."""
    if len(rows) <= _LONGEST_LIST:
        return {"first": rows, "last": [], "left_out": 0}
    half = _LONGEST_LIST // 2
    return {"first": rows[:half], "last": rows[-half:], "left_out": len(rows) - 2 * half}


def _printed(event: Mapping[str, Any]) -> dict[str, Any]:
    return {**event, "facts": details_line(event["details"])}


def _worded(timeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**line, "words": event_words(line["type"])} for line in timeline]


def timeline_seqs(resources: Sequence[str], *, as_of: int) -> list[int]:
    """The entries of these resources, up to and with `as_of`, in the order of the log."""
    found: set[int] = set()
    for resource in resources:
        found.update(entries_for(resource, as_of=as_of).values_list("seq", flat=True))
    return sorted(found)


def file_name(document: Certificate | Report, ending: str) -> str:
    """What the file is called when somebody takes it away."""
    if isinstance(document, Certificate):
        return f"{document.number}.{ending}"
    return f"compliance-report-{document.pk}.{ending}"
