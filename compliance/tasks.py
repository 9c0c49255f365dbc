"""Wake-ups. Rows are the queue: each sweep finds what is due, also what a lost broker dropped."""

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from accounts.queries import system_user, users_with_role
from accounts.roles import Role
from audit import vault
from audit.queries import verifications_to_announce
from compliance.actions.alerts import announce_failed_verification
from compliance.actions.identity import send_code
from compliance.actions.mail import claim_mail, mark_sent, mark_unsent
from compliance.actions.notices import post_notice
from compliance.actions.plans import claim_discovery, fail_discovery, write_plan
from compliance.actions.tails import DAYS_BETWEEN_QUESTIONS, ask_about_tail
from compliance.discovery import discover, held_address
from compliance.execution import work_on_step
from compliance.models import Challenge, Notice, Request
from compliance.queries import due_mail, next_discoveries, next_steps, open_tails
from connectors.adapters.base import StoreError

logger = logging.getLogger(__name__)


@shared_task
def send_due_mail() -> None:
    """Sends codes and mail that are due."""
    for pk in Challenge.objects.filter(due_at__lte=timezone.now()).values_list("pk", flat=True):
        send_challenge(pk)
    for pk in due_mail().values_list("pk", flat=True)[:100]:
        send_mail(pk)


def send_challenge(pk: int) -> None:
    """Finds out to which held address the code may go, and makes that mail due."""
    challenge = Challenge.objects.select_related("request").get(pk=pk)
    try:
        address = held_address(challenge.request)
    except StoreError:
        # A store that is down for now must not cost the person their code: the sweep comes again.
        logger.warning("no store could be asked for the address of challenge %s", pk)
        return
    send_code(challenge, address, by=system_user("scheduler"))


def send_mail(pk: int) -> None:
    mail = claim_mail(pk)
    if mail is None or mail.sealed_to is None or mail.sealed_body is None:
        return
    to = vault.decrypt(bytes(mail.sealed_to), context=f"mail-to:{mail.message_id}").decode()
    body = vault.decrypt(bytes(mail.sealed_body), context=f"mail-body:{mail.message_id}").decode()
    message = EmailMessage(
        subject=mail.subject,
        body=body,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[to],
        # If a worker dies between sending and noting it, the mail is sent again under the same
        # id, by which mail systems drop the second copy.
        headers={"Message-ID": mail.message_id},
    )
    try:
        message.send()
    except OSError as exc:  # smtplib's errors are OSErrors
        mark_unsent(mail, f"{type(exc).__name__}: the mail server did not take it")
        return
    mark_sent(mail, by=system_user("scheduler"))


@shared_task
def advance_due_requests() -> None:
    """Wakes a worker for each search that is due, and for each store with steps that are."""
    for pk in next_discoveries():
        discover_request.delay(pk)
    for pk, queue in next_steps().values_list("pk", "connector__queue"):
        run_step.apply_async((pk,), queue=queue)


@shared_task
def discover_request(pk: int) -> None:
    """Searches all stores for one request's person and writes the plan."""
    request = claim_discovery(pk)
    if request is None:
        return
    by = system_user("executor")

    def still_here(done: int, total: int) -> None:
        Request.objects.filter(pk=pk).update(
            claimed_at=timezone.now(), stores_searched=done, stores_to_search=total
        )

    try:
        found = discover(request, on_store=still_here)
        write_plan(request, found, by=by)
    except StoreError as exc:
        fail_discovery(request, str(exc), by=by)
    except Exception as exc:
        logger.exception("discovery for request %s failed", pk)
        fail_discovery(
            request,
            f"Unexpected error ({type(exc).__name__}) while searching; the worker's log says "
            "more. Run the discovery again.",
            by=by,
        )


@shared_task
def run_step(pk: int) -> None:
    """Works on one step of an erasure; a second delivery finds it claimed and returns."""
    work_on_step(pk)


@shared_task
def issue_due_notices() -> None:
    """Posts the mail of new notices, and reminders of those that stay open."""
    due = Notice.objects.filter(mail_due_at__lte=timezone.now()).values_list("pk", flat=True)
    for pk in due:
        with transaction.atomic():
            post_notice(
                Notice.objects.select_for_update().get(pk=pk),
                users_with_role(Role.MODEL_OWNER),
                by=system_user("scheduler"),
            )


@shared_task
def ask_about_due_tails() -> None:
    """Asks about copies that should be gone by now, and again about those nobody has answered."""
    now = timezone.now()
    asked_before = now - timedelta(days=DAYS_BETWEEN_QUESTIONS)
    due = open_tails(asked_before=asked_before).filter(until__lte=now)
    for pk in due.values_list("pk", flat=True):
        ask_about_tail(pk, users_with_role(Role.DPO), by=system_user("scheduler"))


@shared_task
def announce_failed_verifications() -> None:
    """Makes mail due for checks of the log that failed: `audit` keeps them, and knows no people."""
    for row in verifications_to_announce():
        announce_failed_verification(
            row.pk,
            users_with_role(Role.AUDITOR, Role.DPO),
            log_id=row.log_id,
            first_bad=row.first_bad,
            faults=len(row.faults),
        )
