"""A mail backend that keeps mail in a folder: for the sample company, and for a first try."""

import contextlib
import email
import email.policy
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


@dataclass(frozen=True)
class KeptMessage:
    to: str
    subject: str
    sent_at: datetime
    body: str


class MailboxBackend(BaseEmailBackend):
    """One file a message, named by its Message-ID: the same message sent twice is kept once."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            wire = message.message()
            _keep(hashlib.sha256(str(wire["Message-ID"]).encode()).hexdigest(), wire.as_bytes())
        return len(email_messages)


def _keep(name: str, content: bytes) -> None:
    """Whole or not at all: written aside, then linked to its name."""
    handle, draft = tempfile.mkstemp(dir=settings.VESTIGE_MAIL)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        with contextlib.suppress(FileExistsError):
            os.link(draft, settings.VESTIGE_MAIL / f"{name}.eml")
    finally:
        Path(draft).unlink()


def kept_messages(limit: int = 50) -> list[KeptMessage]:
    """The newest messages first."""
    found = []
    for path in settings.VESTIGE_MAIL.glob("*.eml"):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        body = message.get_body(("plain",))
        found.append(
            KeptMessage(
                to=str(message["To"]),
                subject=str(message["Subject"]),
                sent_at=parsedate_to_datetime(str(message["Date"])),
                body=body.get_content() if body else "",
            )
        )
    return sorted(found, key=lambda m: m.sent_at, reverse=True)[:limit]
