"""Mail as rows: written with the change that causes it, sent by a worker, emptied once sent."""

import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit import vault
from audit.actions import record
from compliance.events import MAIL_SENT
from compliance.models import Mail, Request
from compliance.queries import claimable


def post(request: Request | None, *, to: str, purpose: str, subject: str, body: str) -> Mail:
    """Makes a mail due. The subject must not say who or why: it is read over shoulders."""
    message_id = f"<{secrets.token_hex(16)}@vestige>"
    return Mail.objects.create(
        request=request,
        purpose=purpose,
        message_id=message_id,
        sealed_to=vault.encrypt(to.encode(), context=f"mail-to:{message_id}"),
        sealed_body=vault.encrypt(body.encode(), context=f"mail-body:{message_id}"),
        subject=subject,
        due_at=timezone.now(),
    )


def claim_mail(pk: int) -> Mail | None:
    """The mail, if this caller is the one to send it now."""
    won = Mail.objects.filter(claimable(), pk=pk, sent_at=None).update(claimed_at=timezone.now())
    return Mail.objects.get(pk=pk) if won else None


@transaction.atomic
def mark_sent(mail: Mail, *, by: User) -> None:
    """The mail has left; what it said and to whom is forgotten."""
    Mail.objects.filter(pk=mail.pk).update(
        sent_at=timezone.now(), sealed_to=None, sealed_body=None, failure=""
    )
    record(
        MAIL_SENT,
        by=by,
        resource=mail.request.resource if mail.request else f"mail:{mail.pk}",
        details={"purpose": mail.purpose, "message_id": mail.message_id},
    )


def mark_unsent(mail: Mail, reason: str) -> None:
    """The mail stays due, a little later each time (at most an hour)."""
    wait = min(3600, 5 * 2 ** min(mail.attempts, 10))
    Mail.objects.filter(pk=mail.pk).update(
        claimed_at=None,
        attempts=mail.attempts + 1,
        due_at=timezone.now() + timedelta(seconds=wait),
        failure=reason[:200],
    )
