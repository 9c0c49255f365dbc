"""Copies that an erasure could not reach: left with a date, asked about by the clock, closed."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from compliance import events
from compliance.actions.mail import post
from compliance.actions.requests import digest_of
from compliance.errors import InvalidInputError, NotPermittedError, WrongStateError
from compliance.models import Request, Step, Tail
from compliance.queries import open_tails

DAYS_BETWEEN_QUESTIONS = 7


def leave_tails(step: Step, *, by: User) -> None:
    """Dates the copies of a store from which rows or traces were just erased."""
    now = timezone.now()
    for stated in step.connector.tails:
        until = now + timedelta(days=stated["days"])
        tail, made = Tail.objects.get_or_create(
            step=step, what=stated["what"], defaults={"until": until}
        )
        if made:
            record(
                events.TAIL_LEFT,
                by=by,
                resource=step.request.resource,
                details={
                    "tail": tail.pk,
                    "dataset": step.connector.dataset_node,
                    "what": tail.what,
                    "until": until.isoformat(),
                },
            )


@transaction.atomic
def ask_about_tail(pk: int, people: Iterable[User], *, by: User) -> None:
    """A copy should be gone by now: asks who decides whether it is, and again each week."""
    now = timezone.now()
    won = open_tails(asked_before=now - timedelta(days=DAYS_BETWEEN_QUESTIONS)).filter(
        pk=pk, until__lte=now
    )
    if not won.update(asked_at=now):
        return  # another worker was here, or somebody has answered
    tail = Tail.objects.select_related("step__request").get(pk=pk)
    request = tail.step.request
    addresses = sorted({person.email for person in people if person.email})
    for address in addresses:
        post(
            None,
            to=address,
            purpose="tail",
            subject=f"Privacy request {request.reference}: is a copy gone?",
            body=(
                f"The data of request {request.reference} were erased, but one copy could not be "
                f"reached: {tail.what}. By its retention it was to end on "
                f"{tail.until:%d %B %Y}.\n\n"
                "Please confirm that it is gone, or say how long it lasts:\n\n"
                f"{settings.VESTIGE_PUBLIC_URL}/requests/{request.reference}/\n"
            ),
        )
    record(
        events.TAIL_ASKED,
        by=by,
        resource=request.resource,
        details={"tail": tail.pk, "recipients": len(addresses)},
    )


@transaction.atomic
def close_tail(request: Request, *, tail: int, note: str, by: User) -> None:
    """Somebody vouches that the copy is gone. After the last one a final certificate is due."""
    if not note.strip():
        raise InvalidInputError("Say how you know that the copy is gone.", field="note")
    Request.objects.select_for_update().get(pk=request.pk)  # of two that close, one is the last
    _change(request, tail, by, closed_at=timezone.now(), closed_by=by, note=note.strip())
    record(
        events.TAIL_CLOSED,
        by=by,
        resource=request.resource,
        details={"tail": tail, "note_sha256": digest_of(note.strip())},
    )
    if not open_tails().filter(step__request=request).exists():
        Request.objects.filter(pk=request.pk).update(certificate_due_at=timezone.now())
    request.refresh_from_db()


@transaction.atomic
def prolong_tail(request: Request, *, tail: int, until: datetime, reason: str, by: User) -> None:
    """The copy lasts longer than its retention said; it is asked about again on that day."""
    if not reason.strip():
        raise InvalidInputError("Say why the copy lasts longer.", field="reason")
    if until <= timezone.now():
        raise InvalidInputError("The day on which the copy ends lies ahead.", field="until")
    _change(request, tail, by, until=until, asked_at=None, note=reason.strip())
    record(
        events.TAIL_PROLONGED,
        by=by,
        resource=request.resource,
        details={
            "tail": tail,
            "until": until.isoformat(),
            "reason_sha256": digest_of(reason.strip()),
        },
    )


def _change(request: Request, tail: int, by: User, **changes: object) -> None:
    if not by.has_perm("requests.decide"):
        raise NotPermittedError("Your role may not decide about the copies of a request.")
    mine = Tail.objects.filter(pk=tail, step__request=request)
    if not mine.exists():
        raise InvalidInputError(f"{request.reference} has no copy {tail}.", field="tail")
    if not mine.filter(closed_at=None).update(**changes):
        raise WrongStateError(f"Copy {tail} is closed already.")
