"""What Celery does for the log."""

import time
from collections.abc import Callable
from datetime import timedelta

from celery import shared_task
from django.conf import settings

from audit.actions import (
    VERIFIER,
    publish_due,
    request_verification,
    run_verification,
    sequence,
    verify_new_entries,
)
from audit.queries import scrub_is_due, verifications_under_way

_LONGEST_PAUSE_SECONDS = 1.0


@shared_task
def sequence_pending() -> None:
    """The sweep: finds what a crash left between a commit and its place in the log."""
    sequence()


@shared_task
def check_new_entries() -> None:
    """Keeps the newest whole check of the log up to date with what was added since."""
    verify_new_entries()


@shared_task
def publish_checkpoints() -> None:
    """Brings the published copy up to date, if there is to be one and it is time."""
    publish_due()


@shared_task
def scrub_log() -> None:
    """Makes a full check due when the last one is old; it runs in the background."""
    if settings.VESTIGE_SCRUB_HOURS > 0 and scrub_is_due(
        timedelta(hours=settings.VESTIGE_SCRUB_HOURS)
    ):
        request_verification(by=VERIFIER, full=True)


@shared_task
def run_due_verifications() -> None:
    """Works on checks that are due, also those that a dead worker left; others find them taken."""
    for row in verifications_under_way():
        run_verification(row.pk, progress=_gently() if row.by == VERIFIER.actor else None)


def _gently() -> Callable[[int, int], None]:
    """Rests as long as it has worked: what nobody waits for leaves half of a core to others."""
    last = time.monotonic()

    def rest(done: int, total: int) -> None:
        nonlocal last
        time.sleep(min(time.monotonic() - last, _LONGEST_PAUSE_SECONDS))
        last = time.monotonic()

    return rest
