"""A mail backend that keeps mail in a Maildir: for the sample company, and for a first try."""

import email
import email.policy
import mailbox
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


@dataclass(frozen=True)
class KeptMessage:
    to: str
    subject: str
    sent_at: datetime
    body: str


def _maildir() -> mailbox.Maildir:
    # Maildir names are unique per message, unlike those of Django's file backend.
    return mailbox.Maildir(settings.VESTIGE_MAIL / "maildir", create=True)


class MailboxBackend(BaseEmailBackend):
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        box = _maildir()
        for message in email_messages:
            box.add(message.message().as_bytes())
        return len(email_messages)


def kept_messages(limit: int = 50) -> list[KeptMessage]:
    """The newest messages first."""
    found = []
    for raw in _maildir():
        message = email.message_from_bytes(raw.as_bytes(), policy=email.policy.default)
        body = message.get_body(("plain",))
        found.append(
            KeptMessage(
                to=str(message["To"]), subject=str(message["Subject"]),
                sent_at=parsedate_to_datetime(str(message["Date"])),
                body=body.get_content() if body else "",
            )
        )
    return sorted(found, key=lambda m: m.sent_at, reverse=True)[:limit]
