"""What Celery does for the log."""

from celery import shared_task

from audit.actions import publish_due, sequence, verify_new_entries


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
