"""What Celery does for the log."""

from celery import shared_task

from audit.actions import (
    announce_epochs,
    destroy_due_keys,
    replay_if_restored,
    rotate_due_epoch,
    sequence,
    settle_signing_keys,
    verify_new_entries,
)


@shared_task
def sequence_pending() -> None:
    """The sweep: finds what a crash left between a commit and its place in the log."""
    sequence()


@shared_task
def check_new_entries() -> None:
    """Keeps the newest whole check of the log up to date with what was added since."""
    verify_new_entries()


@shared_task
def keep_keys() -> None:
    """The sweep of the key store: what a crash left to be destroyed, what a restore brought back,
    and epochs of which the log does not tell yet."""
    destroy_due_keys()
    replay_if_restored()
    announce_epochs()


@shared_task
def rotate_due_keys() -> None:
    """New epochs by the calendar, and the end of a signing key whose overlap is over."""
    settle_signing_keys()
    rotate_due_epoch()
