"""What Celery does for the log."""

from celery import shared_task

from audit.actions import sequence


@shared_task
def sequence_pending() -> None:
    """The sweep: finds what a crash left between a commit and its place in the log."""
    sequence()
