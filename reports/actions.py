"""Documents on their way: asked for, claimed, issued, finished, failed, retried, exported."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from audit.ledger import canonical
from audit.ledger.bundle import statement_digest
from compliance.actions.requests import certificate_issued
from compliance.models import Request
from reports import events
from reports.models import Certificate, Document, Report
from reports.periods import PeriodError, parsed_period
from reports.queries import claimable, requests_awaiting_certificate

MOST_ATTEMPTS = 4
DocumentT = TypeVar("DocumentT", Certificate, Report)


class ReportRefusedError(ValueError):
    """What was asked for makes no report; `field` and `fix` say where and what to do."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{reason} {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class ClaimLostError(Exception):
    """Another worker has taken the document over, or it is not to be rendered any more."""


@transaction.atomic
def request_report(*, kind: str, resource: str, start: str, end: str, by: User) -> Report:
    """Makes a report due. Raises ReportRefusedError."""
    if kind not in Report.Kind.values:
        raise ReportRefusedError(
            "kind",
            f"There is no report of the kind {kind[:40]!r}.",
            f"Known: {', '.join(Report.Kind.values)}.",
        )
    name = resource.strip()
    if not name or len(name) > 512 or not name.isprintable():
        raise ReportRefusedError(
            "resource",
            "A resource has 1 to 512 printable characters.",
            "Name one, as in dataset:shop:purchases.",
        )
    try:
        period = parsed_period(start, end)
    except PeriodError as exc:
        raise ReportRefusedError(exc.field, exc.reason, exc.fix) from exc
    report = Report.objects.create(
        kind=kind,
        resource=name,
        start_text=period.start_text,
        end_text=period.end_text,
        start_at=period.start_at,
        before_at=period.before_at,
        requested_by=by,
    )
    record(
        events.REPORT_REQUESTED,
        by=by,
        resource=report.log_resource,
        details={
            "kind": kind,
            "resource": name,
            "start": period.start_text,
            "end": period.end_text,
        },
    )
    return report


@transaction.atomic
def make_certificate_due(request: Request) -> Certificate | None:
    """The row that answers the request's due certificate; None if nothing is due any more."""
    request = Request.objects.select_for_update().get(pk=request.pk)
    due = request.certificate_due_at
    if due is None:
        return None
    earlier = Certificate.objects.filter(request=request, edition=Certificate.Edition.AUDITOR)
    number = f"C{request.reference.removeprefix('R')}"
    count = earlier.count()
    row, _ = Certificate.objects.get_or_create(
        request=request,
        edition=Certificate.Edition.AUDITOR,
        due_at=due,
        defaults={
            "number": f"{number}-{count + 1}" if count else number,
            "supersedes": earlier.order_by("-pk").first(),
        },
    )
    return row


def make_due_certificates() -> None:
    """Finds requests whose certificate is due: `compliance` marks them and knows nothing of us."""
    for request in requests_awaiting_certificate():
        make_certificate_due(request)


def claim(model: type[DocumentT], pk: int, *, by: User) -> DocumentT | None:
    """The document, if this caller is the one to render it now."""
    taken = model.objects.filter(claimable(), pk=pk).update(
        state=Document.State.RENDERING,
        claim=secrets.token_hex(16),
        claimed_at=timezone.now(),
        attempts=F("attempts") + 1,
    )
    if not taken:
        return None
    document = model.objects.get(pk=pk)
    if document.attempts > MOST_ATTEMPTS:
        fail(
            document,
            f"Rendering was tried {MOST_ATTEMPTS} times and never ended well. "
            f"{document.failure or 'The worker left no message; its log may say more.'}",
            fault="TooManyAttempts",
            by=by,
        )
        return None
    return document


def renew_claim(document: Document) -> bool:
    return bool(_own(document).update(claimed_at=timezone.now()))


def _own(document: Document) -> Any:
    return type(document)._default_manager.filter(
        pk=document.pk, claim=document.claim, state=Document.State.RENDERING
    )


def _require_own(updated: int, document: Document) -> None:
    if not updated:
        raise ClaimLostError(f"{document} is rendered by somebody else, or not to be rendered.")


@transaction.atomic
def issue(
    document: Certificate | Report,
    statement: Mapping[str, Any],
    *,
    issued_at: datetime,
    as_of: int,
    by: User,
) -> None:
    """Fixes the statement and binds it to the log, once. Raises ClaimLostError."""
    digest = statement_digest(statement)
    fixed = (
        _own(document)
        .filter(statement="")
        .update(
            statement=canonical.encode(dict(statement)).decode(),
            statement_sha256=digest,
            issued_at=issued_at,
            as_of=as_of,
        )
    )
    _require_own(fixed, document)
    if isinstance(document, Certificate):
        event_id = record(
            events.CERTIFICATE_ISSUED,
            by=by,
            resource=document.request.resource,
            details={
                "certificate": document.number,
                "edition": document.edition,
                "supersedes": document.supersedes.number if document.supersedes else None,
                "as_of": as_of,
                "statement_sha256": digest,
            },
        )
    else:
        event_id = record(
            events.REPORT_ISSUED,
            by=by,
            resource=document.log_resource,
            details={
                "kind": document.kind,
                "resource": document.resource,
                "start": document.start_text,
                "end": document.end_text,
                "as_of": as_of,
                "events": statement["total_events"],
                "events_sha256": statement["events_sha256"],
                "statement_sha256": digest,
            },
        )
        _own(document).update(events=statement["total_events"])
    _own(document).update(event_id=event_id)
    document.refresh_from_db()


@transaction.atomic
def finish(
    document: Certificate | Report,
    *,
    entry: int,
    files: Mapping[str, tuple[str, str]],
    pdf_bytes: int,
    signer_sha256: str,
    by: User,
) -> None:
    """The files lie on disk. `files`: format → (name, SHA-256). Raises ClaimLostError."""
    (json_file, json_sha256), (pdf_file, pdf_sha256) = files["json"], files["pdf"]
    done = _own(document).update(
        state=Document.State.DONE,
        entry=entry,
        json_file=json_file,
        json_sha256=json_sha256,
        pdf_file=pdf_file,
        pdf_sha256=pdf_sha256,
        pdf_bytes=pdf_bytes,
        finished_at=timezone.now(),
        claimed_at=None,
        failure="",
    )
    _require_own(done, document)
    record(
        events.DOCUMENT_RENDERED,
        by=by,
        resource=document.log_resource,
        details={
            "document": _name(document),
            "json_sha256": json_sha256,
            "pdf_sha256": pdf_sha256,
            "pdf_bytes": pdf_bytes,
            "signer_sha256": signer_sha256,
        },
    )
    if isinstance(document, Certificate):
        # A notice may have been closed since this certificate was begun, and another one be due:
        # its row is made before the mark that it answers is taken away.
        make_certificate_due(document.request)
        certificate_issued(document.request, document.number, document.statement_sha256, by=by)
    document.refresh_from_db()


@transaction.atomic
def put_back(document: Certificate | Report, reason: str) -> None:
    """Something passing was in the way: due again, later each time."""
    wait = timedelta(seconds=2 * 4**document.attempts)
    _own(document).update(
        state=Document.State.DUE,
        claimed_at=None,
        failure=reason[:1000],
        render_after=timezone.now() + wait,
    )


@transaction.atomic
def fail(document: Certificate | Report, reason: str, *, fault: str, by: User) -> None:
    """Visible, and to be retried by a person. The log gets `fault` only: a reason may quote."""
    failed = _own(document).update(
        state=Document.State.FAILED, claimed_at=None, failure=reason[:1000]
    )
    _require_own(failed, document)
    if isinstance(document, Certificate):
        record(
            events.CERTIFICATE_FAILED,
            by=by,
            resource=document.request.resource,
            details={"certificate": document.number, "fault": fault},
        )
    else:
        record(
            events.REPORT_FAILED,
            by=by,
            resource=document.log_resource,
            details={"fault": fault},
        )


@transaction.atomic
def retry(document: Certificate | Report, *, by: User) -> None:
    """A failed document is due again. Raises ReportRefusedError if it has not failed."""
    again = (
        type(document)
        ._default_manager.filter(pk=document.pk, state=Document.State.FAILED)
        .update(state=Document.State.DUE, attempts=0, failure="", render_after=timezone.now())
    )
    if not again:
        raise ReportRefusedError(
            "state", f"{document} has not failed.", "Only a failed document can be retried."
        )
    if isinstance(document, Certificate):
        record(
            events.CERTIFICATE_RETRIED,
            by=by,
            resource=document.request.resource,
            details={"certificate": document.number},
        )
    else:
        record(events.REPORT_RETRIED, by=by, resource=document.log_resource)


@transaction.atomic
def note_export(document: Certificate | Report, file_format: str, *, by: User) -> None:
    """Somebody took the document away: auditors want that on record, too."""
    digest = document.pdf_sha256 if file_format == "pdf" else document.json_sha256
    record(
        events.DOCUMENT_EXPORTED,
        by=by,
        resource=document.log_resource,
        details={"document": _name(document), "format": file_format, "sha256": digest},
    )


def _name(document: Certificate | Report) -> str:
    return document.number if isinstance(document, Certificate) else f"report {document.pk}"
