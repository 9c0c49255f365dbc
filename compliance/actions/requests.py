"""A request from receipt to decision: filing, identity, merging, hold, extension, refusal."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit import vault
from audit.actions import record
from audit.subjects import SubjectRef, lookup, normalise
from compliance import clock, events
from compliance.actions.mail import post
from compliance.actions.transitions import move
from compliance.errors import (
    InvalidInputError,
    TooManyRequestsError,
)
from compliance.models import ReferenceCounter, Request, Step
from compliance.queries import contact_of, copies_until, keyed_hash, status_token, tails_of
from compliance.states import State

# In an hour. A form that anybody can post to must not become a way to send mail to strangers.
_LIMITS = {"origin": 20, "subject": 5, "everyone": 500}
SUPPORTED_RIGHTS = ("erasure",)


def digest_of(text: str) -> str:
    """What the log holds of a free text, which may name people."""
    return hashlib.sha256(text.encode()).hexdigest()


def _next_reference(year: int) -> str:
    ReferenceCounter.objects.get_or_create(year=year)
    counter = ReferenceCounter.objects.select_for_update().get(year=year)
    counter.last += 1
    counter.save(update_fields=["last"])
    return f"R-{year}-{counter.last:04d}"


def _check_limits(origin: str, subject: str) -> None:
    recent = Request.objects.filter(created_at__gt=timezone.now() - timedelta(hours=1))
    if (
        (origin and recent.filter(origin=origin).count() >= _LIMITS["origin"])
        or recent.filter(subject_lookup=subject).count() >= _LIMITS["subject"]
        or recent.filter(channel=Request.Channel.FORM).count() >= _LIMITS["everyone"]
    ):
        raise TooManyRequestsError(
            "Too many requests were filed in the last hour. Try again in an hour, or write to us."
        )


def _check_filing(
    rights: Sequence[str], subjects: Sequence[SubjectRef], received_at: datetime
) -> list[SubjectRef]:
    unsupported = [right for right in rights if right not in SUPPORTED_RIGHTS]
    if unsupported or not rights:
        raise InvalidInputError(
            f"rights must be a list of: {', '.join(SUPPORTED_RIGHTS)}.", field="rights"
        )
    if received_at > timezone.now() + timedelta(minutes=5):
        raise InvalidInputError("received_at lies in the future.", field="received_at")
    try:
        return [normalise(ref) for ref in subjects]
    except ValueError as exc:
        raise InvalidInputError(str(exc), field="subject") from exc


@transaction.atomic
def file_request(
    *,
    rights: Sequence[str],
    subjects: Sequence[SubjectRef],
    by: User,
    channel: str,
    contact: str = "",
    regime: str = "gdpr",
    received_at: datetime | None = None,
    origin: str = "",
    scope: Sequence[str] = (),
) -> Request:
    """A new request, whose identity is still to be confirmed.

    `subjects` are the identifiers that the person gave; `contact` an e-mail address to answer to;
    `origin` the network address of a public form's sender (kept as a keyed hash for the limits).
    """
    received = received_at or timezone.now()
    people = _check_filing(rights, subjects, received)
    try:
        rules = clock.regime_named(regime).snapshot()
    except clock.UnknownRegimeError as exc:
        raise InvalidInputError(str(exc), field="regime") from exc
    subject_lookup = lookup(people[0])
    hashed_origin = keyed_hash("origin", origin) if origin else ""
    if channel == Request.Channel.FORM:
        _check_limits(hashed_origin, subject_lookup)
    reference = _next_reference(timezone.now().year)
    identity = json.dumps([{"type": p.type, "value": p.value} for p in people]).encode()
    request = Request.objects.create(
        reference=reference,
        state=State.VERIFYING,
        rights=list(rights),
        regime=rules,
        channel=channel,
        filed_by=by,
        scope=list(scope),
        received_at=received,
        due_at=clock.due_at(received, rules, country=settings.VESTIGE_HOLIDAYS),
        subject_lookup=subject_lookup,
        sealed_identity=vault.encrypt(identity, context=f"identity:{reference}"),
        sealed_contact=(
            vault.encrypt(contact.encode(), context=f"contact:{reference}") if contact else None
        ),
        origin=hashed_origin,
    )
    record(
        events.REQUEST_FILED,
        by=by,
        resource=request.resource,
        details={
            "rights": list(rights),
            "regime": regime,
            "channel": channel,
            "due_at": request.due_at.isoformat(),
            "scope": list(scope),
        },
        subject=people[0],
        sealed={"identifiers": [{"type": p.type, "value": p.value} for p in people]},
    )
    return request


def forget_identity(request: Request) -> None:
    """Empties what the case kept of the person. The contact goes when the last mail is written."""
    Request.objects.filter(pk=request.pk).update(sealed_identity=None, sealed_contact=None)
    request.refresh_from_db()


def answer_person(request: Request, *, purpose: str, subject: str, text: str) -> None:
    """Writes to the person at the contact address, if there is one; with the status page's link."""
    address = contact_of(request)
    if address is None:
        return
    link = f"{settings.VESTIGE_PUBLIC_URL}/privacy/status/{status_token(request)}/"
    post(
        request,
        to=address,
        purpose=purpose,
        subject=subject,
        body=f"{text}\n\nWhere your request stands: {link}\n\n"
        f"{settings.VESTIGE_ORGANISATION}\n{settings.VESTIGE_DPO_CONTACT}\n",
    )


@transaction.atomic
def certificate_issued(
    request: Request, certificate: str, statement_sha256: str, *, by: User
) -> None:
    """`reports` has rendered the certificate that was due: the person is answered, and the request
    is complete, unless a copy that could not be reached is still to end.

    A second certificate, after the last notice or copy was closed, may find it complete already.
    """
    now = timezone.now()
    Request.objects.filter(pk=request.pk).update(certificate_due_at=None, certificate_issued_at=now)
    request.refresh_from_db()
    if request.state not in (State.RESPONDING, State.TAIL_OPEN):
        return
    proof = {"certificate": certificate, "statement_sha256": statement_sha256}
    until = copies_until(request)
    if until is None:
        _complete(request, proof, by=by)
    elif request.state == State.RESPONDING:
        move(request, "leave_tail", by=by)
        record(
            events.REQUEST_TAIL_OPEN,
            by=by,
            resource=request.resource,
            details={
                "tails": tails_of(request).filter(closed_at=None).count(),
                "until": until.isoformat(),
                **proof,
            },
        )
    # Who was answered when a tail was left has no address here any more.
    answer_person(
        request,
        purpose="completed",
        subject="Your privacy request",
        text=_closing_text(request, copies_end=until),
    )
    forget_identity(request)


def _complete(request: Request, proof: Mapping[str, str], *, by: User) -> None:
    retained = _retains(request)
    move(request, "complete_in_part" if retained else "complete", by=by)
    record(
        events.REQUEST_COMPLETED,
        by=by,
        resource=request.resource,
        details={"outcome": "completed_partial" if retained else "completed", **proof},
    )


def _retains(request: Request) -> bool:
    return request.steps.filter(phase=Step.Phase.RETAINED, plan__superseded_at=None).exists()


def _closing_text(request: Request, *, copies_end: datetime | None) -> str:
    if _retains(request):
        what = (
            "Your data were erased, except where the law obliges us to keep them. You may complain "
            "to a supervisory authority (Art. 77 GDPR) and go to court (Art. 79 GDPR)."
        )
    elif request.steps.filter(plan__superseded_at=None, rows_erased__gt=0).exists():
        what = "Your data were erased, and every store was read again to make sure of it."
    else:
        what = "We searched all connected stores and hold no data about you there."
    if copies_end is None:
        return f"Your request {request.reference} is complete. {what}"
    return (
        f"We have answered your request {request.reference}. {what} Backup copies that cannot be "
        f"changed still hold them until they end; the last one ends on {copies_end:%d %B %Y}."
    )
