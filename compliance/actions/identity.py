"""Whose request it is: a code to a held address, or a check by staff; and merging."""

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.queries import system_user
from audit.actions import record
from compliance import events
from compliance.actions.mail import post
from compliance.actions.transitions import move
from compliance.errors import CodeRefusedError, InvalidInputError
from compliance.models import Challenge, Request
from compliance.queries import identifiers_of, keyed_hash
from compliance.states import UNANSWERED

CODE_MINUTES = 10


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
        subject=identifiers_of(request)[0] if note else None,
        sealed={"note": note} if note else None,
    )
    earlier = (
        Request.objects.filter(subject_lookup=request.subject_lookup, verified_at__isnull=False)
        .filter(state__in=UNANSWERED)
        .exclude(pk=request.pk)
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
