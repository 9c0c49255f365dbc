"""What Celery does for the log."""

from celery import shared_task

from audit.actions import SWEEPER, record_heads, sequence, verify_new_entries


@shared_task
def sequence_pending() -> None:
    """The sweep: finds what a crash left between a commit and its place in the log."""
    sequence()


@shared_task
def check_new_entries() -> None:
    """Keeps the newest whole check of the log up to date with what was added since."""
    verify_new_entries()


@shared_task
def record_heads_of_log() -> None:
    """Keeps what the newest entries of resources are provable: VESTIGE_HEADS_MINUTES apart."""
    record_heads(by=SWEEPER)
