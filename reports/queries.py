"""Reading documents: what may be seen, and what is due."""

from datetime import timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from compliance.models import Request
from compliance.queries import requests_visible_to
from reports.models import Certificate, Document, Report

LEASE = timedelta(seconds=30)  # a worker that has not renewed its claim for so long is gone


class DocumentMissingError(Exception):
    """There is no document yet; `status` says why."""

    def __init__(self, reason: str, *, status: str) -> None:
        super().__init__(reason)
        self.status = status


def reports_visible_to(user: Any) -> QuerySet[Report]:
    """Reports draw on the whole log: for those who may ask for one."""
    rows = Report.objects.select_related("requested_by")
    if not user.is_authenticated or not user.has_perm("reports.create"):
        return rows.none()
    return rows


def certificates_visible_to(user: Any) -> QuerySet[Certificate]:
    """Whoever sees the request sees its certificates."""
    return Certificate.objects.filter(request__in=requests_visible_to(user)).select_related(
        "request", "supersedes"
    )


def certificate_of(request: Request) -> Certificate:
    """The newest certificate of a request that is done. Raises DocumentMissingError."""
    rows = Certificate.objects.filter(request=request).select_related("request", "supersedes")
    found = rows.filter(state=Document.State.DONE).first()
    if found is not None:
        return found
    if request.certificate_due_at is None:
        raise DocumentMissingError(
            f"{request.reference} is in the state “{request.get_state_display()}”. A certificate "
            "is issued once every store has been erased and scanned without a trace; before that "
            "it would be false.",
            status="not_verified",
        )
    failed = rows.filter(state=Document.State.FAILED).first()
    if failed is not None:
        raise DocumentMissingError(
            f"The erasure of {request.reference} is verified, but the certificate could not be "
            f"rendered: {failed.failure} Retry it from the page of the certificate.",
            status="failed",
        )
    raise DocumentMissingError(
        f"The erasure of {request.reference} is verified; its certificate is being rendered. "
        "Ask again in a few seconds.",
        status="rendering",
    )


def requests_awaiting_certificate() -> QuerySet[Request]:
    """Requests whose certificate is due and has no row yet."""
    answered = Certificate.objects.filter(
        request=OuterRef("pk"), due_at=OuterRef("certificate_due_at")
    )
    return Request.objects.filter(certificate_due_at__isnull=False).exclude(Exists(answered))


def claimable() -> Q:
    """Rows to be rendered now, and those that a dead worker left behind."""
    now = timezone.now()
    return Q(state=Document.State.DUE, render_after__lte=now) | Q(
        state=Document.State.RENDERING, claimed_at__lt=now - LEASE
    )


def due_reports() -> QuerySet[Report]:
    return Report.objects.filter(claimable()).order_by("pk")


def due_certificates() -> QuerySet[Certificate]:
    """A later certificate waits for the one that it supersedes."""
    waiting = Q(supersedes__state__in=[Document.State.DUE, Document.State.RENDERING])
    return Certificate.objects.filter(claimable()).exclude(waiting).order_by("pk")


def unfinished_certificates() -> QuerySet[Certificate]:
    """Certificates that failed, and that nothing later has replaced."""
    return Certificate.objects.filter(state=Document.State.FAILED, superseded_by=None).order_by(
        F("due_at").asc()
    )
