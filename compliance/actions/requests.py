"""A request from receipt to decision: filing, identity, merging, hold, extension, refusal."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.queries import system_user
from audit import vault
from audit.actions import record
from audit.subjects import SubjectRef, lookup, normalise
from compliance import clock, events
from compliance.actions.mail import post
from compliance.actions.transitions import move
from compliance.errors import (
    CodeRefusedError,
    InvalidInputError,
    NotPermittedError,
    TooManyRequestsError,
    WrongStateError,
)
from compliance.models import Challenge, ReferenceCounter, Request, Step
from compliance.queries import contact_of, identifiers_of, keyed_hash, status_token
from compliance.states import ENDED, State

CODE_MINUTES = 10
# In an hour. A form that anybody can post to must not become a way to send mail to strangers.
_LIMITS = {"origin": 20, "subject": 5, "everyone": 500}
SUPPORTED_RIGHTS = ("erasure",)
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


@transaction.atomic
def open_challenge(request: Request) -> Challenge:
    """A confirmation page for the request; the code itself is sent by a worker.

    Whether we hold an address is looked up there and not here, so that the form's answer and its
    timing are the same for everybody.
    """
    now = timezone.now()
    return Challenge.objects.create(
        request=request,
        token=secrets.token_urlsafe(32),
        due_at=now,
        expires_at=now + timedelta(minutes=CODE_MINUTES),
    )


@transaction.atomic
def send_code(challenge: Challenge, address: str | None, *, by: User) -> None:
    """Sends a fresh code to an address that is known to be the person's; None: sends nothing."""
    claimed = Challenge.objects.filter(pk=challenge.pk, due_at__isnull=False).update(due_at=None)
    if not claimed or address is None:
        return
    code = f"{secrets.randbelow(10**6):06d}"
    request = challenge.request
    Challenge.objects.filter(pk=challenge.pk).update(
        code_hash=keyed_hash("otp", f"{challenge.token}\0{code}"),
        expires_at=timezone.now() + timedelta(minutes=CODE_MINUTES),
    )
    post(
        request,
        to=address,
        purpose="code",
        subject="Your confirmation code",
        body=(
            f"Your confirmation code is {code}\n\n"
            f"Enter it on the page where you filed your privacy request. It is valid for "
            f"{CODE_MINUTES} minutes.\n\n"
            "If you did not file a privacy request with "
            f"{settings.VESTIGE_ORGANISATION}, ignore this message: without the code nothing "
            "will happen.\n"
        ),
    )
    record(events.REQUEST_CODE_SENT, by=by, resource=request.resource)


def confirm_code(challenge: Challenge, code: str) -> Request:
    """Confirms the person's identity by the code.

    A wrong try is counted and recorded even though this raises, so nothing here is one
    transaction with the caller's.
    """
    by = system_user("public-form")
    given = "".join(ch for ch in code if ch.isdigit())
    with transaction.atomic():
        row = Challenge.objects.select_for_update().get(pk=challenge.pk)
        reason = _why_refused(row, given)
        if reason:
            if row.tries_left:
                row.tries_left -= 1
                row.save(update_fields=["tries_left"])
            record(
                events.REQUEST_CODE_REFUSED,
                by=by,
                resource=row.request.resource,
                details={"reason": reason, "tries_left": row.tries_left},
            )
        else:
            row.used_at = timezone.now()
            row.save(update_fields=["used_at"])
            verify(row.request, method="code to held e-mail address", by=by)
    if reason:
        texts = {
            "expired": "This code is no longer valid. Ask for a new one below.",
            "used": "This code was used already.",
            "too many tries": "There were too many wrong tries. Ask for a new code below.",
            "wrong": f"That is not the code we sent. You have {row.tries_left} tries left.",
        }
        raise CodeRefusedError(texts[reason], field="code")
    return row.request


def _why_refused(row: Challenge, given: str) -> str:
    if row.used_at:
        return "used"
    if row.tries_left == 0:
        return "too many tries"
    if row.expires_at < timezone.now():
        return "expired"
    # compare_digest: an attacker must not learn by timing how much of a hash was right.
    offered = keyed_hash("otp", f"{row.token}\0{given}")
    return "" if row.code_hash and secrets.compare_digest(offered, row.code_hash) else "wrong"


@transaction.atomic
def verify(request: Request, *, method: str, note: str = "", by: User) -> Request:
    """The identity is confirmed; the request goes to triage, or into an earlier one."""
    if not method.strip():
        raise InvalidInputError("Say how the identity was checked.", field="method")
    move(request, "verify", by=by, verified_at=timezone.now(), verification=method[:200])
    record(
        events.REQUEST_VERIFIED,
        by=by,
        resource=request.resource,
        details={"method": method},
        **({"subject": identifiers_of(request)[0], "sealed": {"note": note}} if note else {}),
    )
    earlier = (
        Request.objects.filter(subject_lookup=request.subject_lookup, verified_at__isnull=False)
        .exclude(pk=request.pk)
        .exclude(state__in=ENDED)
        .order_by("verified_at")
        .first()
    )
    # An unverified request never swallows a verified one: only verified rows were looked at.
    if earlier is not None:
        move(request, "merge", by=by, merged_into=earlier)
        record(
            events.REQUEST_MERGED,
            by=by,
            resource=request.resource,
            details={"into": earlier.reference},
        )
    return request


@transaction.atomic
def extend(request: Request, *, reason: str, by: User) -> None:
    """Uses the regime's one extension; the reasons go to the person within the first period."""
    if not by.has_perm("requests.decide"):
        raise _forbidden("extend")
    if not request.is_open:
        raise WrongStateError(f"{request.reference} has ended.")
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
    """`reports` has rendered the certificate that was due: the request is complete.

    A second certificate, after the last notice closed, finds the request complete already.
    """
    now = timezone.now()
    Request.objects.filter(pk=request.pk).update(certificate_due_at=None, certificate_issued_at=now)
    request.refresh_from_db()
    if request.state != State.RESPONDING:
        return
    retained = request.steps.filter(phase=Step.Phase.RETAINED, plan__superseded_at=None).exists()
    outcome = "completed_partial" if retained else "completed"
    move(request, "complete_in_part" if retained else "complete", by=by)
    record(
        events.REQUEST_COMPLETED,
        by=by,
        resource=request.resource,
        details={
            "outcome": outcome,
            "certificate": certificate,
            "statement_sha256": statement_sha256,
        },
    )
    found = request.steps.filter(plan__superseded_at=None, rows_erased__gt=0).exists()
    answer_person(
        request,
        purpose="completed",
        subject="Your privacy request",
        text=_closing_text(request, found=found, retained=retained),
    )
    forget_identity(request)


def _closing_text(request: Request, *, found: bool, retained: bool) -> str:
    if not found and not retained:
        what = "We searched all connected stores and hold no data about you there."
    elif retained:
        what = (
            "Your data were erased, except where the law obliges us to keep them. You may complain "
            "to a supervisory authority (Art. 77 GDPR) and go to court (Art. 79 GDPR)."
        )
    else:
        what = "Your data were erased, and every store was read again to make sure of it."
    return f"Your request {request.reference} is complete. {what}"


def _forbidden(verb: str) -> NotPermittedError:
    return NotPermittedError(f"Your role may not {verb} a request.")
