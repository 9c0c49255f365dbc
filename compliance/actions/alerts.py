"""Telling auditors and data protection officers that the log does not hold."""

from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from accounts.models import User
from audit.actions import mark_announced
from audit.logs import MAIN
from audit.templatetags.vestige import in_log, log_name
from compliance.actions.mail import post


@transaction.atomic
def announce_failed_verification(
    pk: int, people: Iterable[User], *, log_id: int, first_bad: int | None, faults: int
) -> None:
    """One mail each, once for a check. The subject says what stopped, and nothing else."""
    if not mark_announced(pk):
        return
    where = "" if first_bad is None else f"The first bad entry is number {first_bad}.\n"
    name, query = ("", "") if log_id == MAIN.id else (f" {log_name(log_id)}", in_log(log_id))
    found = "1 fault was" if faults == 1 else f"{faults} faults were"
    for person in people:
        if person.email:
            post(
                None,
                to=person.email,
                purpose="log verification failed",
                subject="Vestige: a verification of the log failed",
                body=(
                    f"The audit log{name} does not hold: what is stored is not what was signed.\n\n"
                    f"{found} found. {where}\n"
                    f"{settings.VESTIGE_PUBLIC_URL}{reverse('audit:verification')}{query}\n\n"
                    "Keep the database and the key files as they are. Compare the log with a"
                    " checkpoint that somebody outside holds: a witness, a published copy, an"
                    " auditor's export.\n"
                ),
            )
