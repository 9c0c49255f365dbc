"""Decisions about a request: extend, hold, release, refuse, withdraw, reopen."""

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import record
from compliance import clock, events
from compliance.actions.requests import answer_person, digest_of, forget_identity
from compliance.actions.transitions import move
from compliance.errors import InvalidInputError, NotPermittedError, WrongStateError
from compliance.models import Request
from compliance.states import ENDED, UNANSWERED

REFUSAL_GROUNDS = {
    "no_ground": "None of the grounds of Art. 17(1) GDPR applies",
    "17(3)(a)": "Freedom of expression and information, Art. 17(3)(a)",
    "17(3)(b)": "A legal duty to keep the data, Art. 17(3)(b)",
    "17(3)(c)": "Public health, Art. 17(3)(c)",
    "17(3)(d)": "Archiving or research in the public interest, Art. 17(3)(d)",
    "17(3)(e)": "Legal claims, Art. 17(3)(e)",
    "identity": "Identity not established, Art. 12(2) and 12(6)",
    "excessive": "Manifestly unfounded or excessive, Art. 12(5)",
    "out_of_scope": "Outside the scope of the law",
}


@transaction.atomic
def extend(request: Request, *, reason: str, by: User) -> None:
    """Uses the regime's one extension; the reasons go to the person within the first period."""
    if not by.has_perm("requests.decide"):
        raise _forbidden("extend")
    if request.state not in UNANSWERED:
        raise WrongStateError(f"{request.reference} is answered; no period runs any more.")
    if not reason.strip():
        raise InvalidInputError("Say why more time is needed.", field="reason")
    if timezone.now() > request.due_at:
        raise WrongStateError("The period has run out; it can only be extended before its end.")
    due = clock.extended_due_at(
        request.received_at, request.regime, country=settings.VESTIGE_HOLIDAYS
    )
    won = Request.objects.filter(pk=request.pk, extended_at=None).update(
        extended_at=timezone.now(), extension_reason=reason, due_at=due
    )
    if not won:
        raise WrongStateError(f"{request.reference} was extended before; there is one extension.")
    record(
        events.REQUEST_EXTENDED,
        by=by,
        resource=request.resource,
        details={"due_at": due.isoformat(), "reason_sha256": digest_of(reason)},
    )
    request.refresh_from_db()
    answer_person(
        request,
        purpose="extended",
        subject="Your privacy request",
        text=f"We need more time for your request {request.reference}: until "
        f"{due.date():%d %B %Y}. The reason: {reason}",
    )


@transaction.atomic
def hold(request: Request, *, reason: str, by: User) -> None:
    """A legal hold: nothing is erased while it stands. The statutory date goes on running."""
    if not by.has_perm("requests.decide"):
        raise _forbidden("hold")
    if not reason.strip():
        raise InvalidInputError("Say why the request is held.", field="reason")
    won = (
        Request.objects.filter(pk=request.pk, held_at=None)
        .exclude(state__in=ENDED)
        .update(held_at=timezone.now(), hold_reason=reason)
    )
    if not won:
        raise WrongStateError(f"{request.reference} is held already, or has ended.")
    record(
        events.REQUEST_HELD,
        by=by,
        resource=request.resource,
        details={"reason_sha256": digest_of(reason)},
    )
    request.refresh_from_db()


@transaction.atomic
def release(request: Request, *, by: User) -> None:
    if not by.has_perm("requests.decide"):
        raise _forbidden("release")
    won = Request.objects.filter(pk=request.pk, held_at__isnull=False).update(
        held_at=None, hold_reason=""
    )
    if not won:
        raise WrongStateError(f"{request.reference} is not held.")
    record(events.REQUEST_RELEASED, by=by, resource=request.resource)
    request.refresh_from_db()


@transaction.atomic
def refuse(request: Request, *, ground: str, reason: str, by: User) -> None:
    """Ends the request without erasure. The person is told the reasons and their rights."""
    if ground not in REFUSAL_GROUNDS:
        raise InvalidInputError(
            f"ground must be one of: {', '.join(REFUSAL_GROUNDS)}.", field="ground"
        )
    if not reason.strip():
        raise InvalidInputError("State the reasons; the person will read them.", field="reason")
    move(request, "refuse", by=by, reason=f"{REFUSAL_GROUNDS[ground]}. {reason}")
    record(
        events.REQUEST_REFUSED,
        by=by,
        resource=request.resource,
        details={"ground": ground, "reason_sha256": digest_of(reason)},
    )
    answer_person(
        request,
        purpose="refused",
        subject="Your privacy request",
        text=f"We cannot comply with your request {request.reference}. "
        f"{REFUSAL_GROUNDS[ground]}. {reason}\n\nYou may complain to a supervisory authority "
        "(Art. 77 GDPR) and go to court (Art. 79 GDPR).",
    )
    forget_identity(request)


@transaction.atomic
def withdraw(request: Request, *, by: User) -> None:
    """The person takes the request back; possible until the erasure begins."""
    move(request, "withdraw", by=by)
    record(events.REQUEST_WITHDRAWN, by=by, resource=request.resource)


@transaction.atomic
def reopen(request: Request, *, reason: str, by: User) -> None:
    if not reason.strip():
        raise InvalidInputError("Say why the request is reopened.", field="reason")
    if not request.sealed_identity:
        raise WrongStateError(
            "The identity was destroyed when the request ended, so it cannot be searched again. "
            "File a new request."
        )
    move(request, "reopen", by=by, closed_at=None, reason="")
    record(
        events.REQUEST_REOPENED,
        by=by,
        resource=request.resource,
        details={"reason_sha256": digest_of(reason)},
    )


def _forbidden(verb: str) -> NotPermittedError:
    return NotPermittedError(f"Your role may not {verb} a request.")
