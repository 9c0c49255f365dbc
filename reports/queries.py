"""Reading documents: what may be seen, and what is due."""

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from compliance.leases import LEASE
from compliance.models import Request
from compliance.queries import requests_visible_to
from lineage.queries import datasets_visible_to, models_visible_to
from reports.models import Certificate, Document, Report

_SUGGESTED = 100


class DocumentMissingError(Exception):
    """There is no document yet; the message says why."""


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


def resource_suggestions(user: Any) -> list[str]:
    """Names that a report may be asked for; any other may be typed as well."""
    datasets = datasets_visible_to(user).order_by("node").values_list("node", flat=True)
    models = models_visible_to(user).order_by("node").values_list("node", flat=True)
    requests = requests_visible_to(user).order_by("-pk").values_list("reference", flat=True)
    return [
        *datasets[:_SUGGESTED],
        *models[:_SUGGESTED],
        *(f"request:{reference}" for reference in requests[:_SUGGESTED]),
    ]


def certificate_of(request: Request) -> Certificate:
    """The newest certificate of a request that is done. Raises DocumentMissingError."""
    done = Certificate.objects.filter(request=request, state=Document.State.DONE)
    found = done.select_related("request", "supersedes").first()
    if found is None:
        raise DocumentMissingError(why_no_certificate(request))
    return found


def why_no_certificate(request: Request) -> str:
    """Why a request has no certificate yet, and what to do, in sentences."""
    if request.certificate_due_at is None:
        return (
            f"{request.reference} is in the state “{request.get_state_display()}”. A certificate "
            "is issued once every store has been erased and scanned without a trace; before that "
            "it would be false."
        )
    failed = Certificate.objects.filter(request=request, state=Document.State.FAILED).first()
    if failed is not None:
        return (
            f"The erasure of {request.reference} is verified, but the certificate could not be "
            f"rendered: {failed.failure} It can be tried again from the page of the certificate."
        )
    return (
        f"The erasure of {request.reference} is verified; its certificate is being rendered. "
        "Ask again in a few seconds."
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
