"""The sweep that renders what is due. Rows are the queue: any worker may die anywhere."""

import hashlib
import logging

from celery import shared_task
from django.db import DatabaseError
from django.utils import timezone

from accounts.models import User
from accounts.queries import system_user
from audit.actions import record_heads, sequence
from audit.completeness import NotShownError
from audit.heads import HeadsMissingError
from audit.queries import NothingSignedError, actor_names, entries, head
from compliance.errors import NotErasedError
from compliance.leases import kept_alive
from compliance.queries import certificate_facts
from datasheets.rendering import RenderError
from reports import actions, files, signing
from reports.certificate import ErasureCertificate, TimelineEntry
from reports.compliance_report import LogDisagreesError, TooManyEventsError, compliance_report
from reports.models import Certificate, Report
from reports.queries import due_certificates, due_reports
from reports.rendering import (
    NotInLogError,
    Rendered,
    question_of,
    rendered_certificate,
    rendered_report,
    timeline_seqs,
)

logger = logging.getLogger(__name__)
# Trying again does not help against these; a person must look.
_LASTING = (
    TooManyEventsError,
    LogDisagreesError,
    NotShownError,
    NotErasedError,
    signing.SigningKeyError,
)
_PASSING = (
    NotInLogError,
    NothingSignedError,
    HeadsMissingError,
    RenderError,
    OSError,
    DatabaseError,
)


@shared_task
def render_due_documents() -> None:
    """Makes rows for certificates that are due, then renders every row that is due."""
    actions.make_due_certificates()
    for pk in due_certificates().values_list("pk", flat=True):
        render_certificate(pk)
    for pk in due_reports().values_list("pk", flat=True):
        render_report(pk)


def render_certificate(pk: int) -> None:
    by = system_user("scheduler")
    certificate = actions.claim(Certificate, pk, by=by)
    if certificate is not None:
        _render(certificate, by=by)


def render_report(pk: int) -> None:
    by = system_user("scheduler")
    report = actions.claim(Report, pk, by=by)
    if report is not None:
        _render(report, by=by)


def _render(document: Certificate | Report, *, by: User) -> None:
    try:
        with kept_alive(lambda: actions.renew_claim(document), name=str(document)):
            if not document.statement:
                _issue(document, by=by)
            sequence()
            if isinstance(document, Certificate):
                rendered = rendered_certificate(document)
            else:
                rendered = _rendered_report(document, by=by)
            _keep(document, rendered, by=by)
    except actions.ClaimLostError:
        logger.info("%s is rendered by another worker", document)
    except _LASTING as exc:
        actions.fail(document, str(exc), fault=type(exc).__name__, by=by)
    except _PASSING as exc:
        logger.warning("%s is put back: %s", document, exc)
        actions.put_back(document, f"{exc}")
    except Exception as exc:
        # Put back and shown with the class only: a message might quote data.
        actions.put_back(document, f"Unexpected error ({type(exc).__name__}).")
        raise


def _rendered_report(report: Report, *, by: User) -> Rendered:
    try:
        return rendered_report(report)
    except HeadsMissingError:
        record_heads(by=by)
        return rendered_report(report)


def _issue(document: Certificate | Report, *, by: User) -> None:
    sequence()
    log = head()
    as_of = log.size - 1 if log else -1
    now = timezone.now()
    if isinstance(document, Certificate):
        statement = _certificate(document, as_of).statement(now)
    else:
        statement = compliance_report(question_of(document, as_of=as_of)).statement(now)
    actions.issue(document, statement, issued_at=now, as_of=as_of, by=by)


def _certificate(document: Certificate, as_of: int) -> ErasureCertificate:
    facts = certificate_facts(document.request)
    seqs = timeline_seqs(
        [
            document.request.resource,
            *(f"notice:{m.notice}" for m in facts.affected_models if m.notice),
            *(f"subject:{pseudonym}" for pseudonym in facts.pseudonyms),
        ],
        as_of=as_of,
    )
    rows = list(entries().filter(seq__in=seqs).order_by("seq"))
    names = actor_names({row.actor for row in rows})
    return ErasureCertificate(
        number=document.number,
        edition=document.edition,
        supersedes=document.supersedes.number if document.supersedes else None,
        as_of=as_of,
        facts=facts,
        timeline=[TimelineEntry(r.seq, r.recorded_at, r.type, names[r.actor]) for r in rows],
    )


def _keep(document: Certificate | Report, rendered: Rendered, *, by: User) -> None:
    folder = "certificates" if isinstance(document, Certificate) else "reports"
    stem = document.number if isinstance(document, Certificate) else str(document.pk)
    kept = {}
    for ending, data in (("json", rendered.json), ("pdf", rendered.pdf)):
        # The digest is in the name: a worker that was thought dead can overwrite nothing.
        digest = hashlib.sha256(data).hexdigest()
        name = f"{folder}/{stem}/{digest[:16]}.{ending}"
        files.write(name, data)
        kept[ending] = (name, digest)
    actions.finish(
        document,
        entry=rendered.entry,
        files=kept,
        pdf_bytes=len(rendered.pdf),
        signer_sha256=signing.certificate_sha256(),
        by=by,
    )
