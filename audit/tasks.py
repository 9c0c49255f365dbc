"""What Celery does for the log."""

import logging

from celery import shared_task

from audit.actions import (
    anchor_at,
    announce_epochs,
    destroy_due_keys,
    due_places,
    replay_if_restored,
    rotate_due_epoch,
    sequence,
    settle_signing_keys,
    verify_new_entries,
)
from audit.models import MAIN_LOG
from audit.places import PlacesError

log = logging.getLogger(__name__)
_WAKE_UP_SECONDS = 60  # the sweep has come again by then


@shared_task
def sequence_pending() -> None:
    """The sweep: finds what a crash left between a commit and its place in the log."""
    sequence()


@shared_task
def check_new_entries() -> None:
    """Keeps the newest whole check of the log up to date with what was added since."""
    verify_new_entries()


@shared_task
def anchor_checkpoints(log_id: int = MAIN_LOG) -> None:
    """Wakes a task for each place outside that is due: one that is slow holds up no other."""
    try:
        due = due_places(log_id)
    except PlacesError as exc:
        log.warning("No place outside can be asked: %s", exc)
        return
    for place in due:
        anchor_checkpoint.apply_async((log_id, place.kind, place.name), expires=_WAKE_UP_SECONDS)


@shared_task
def anchor_checkpoint(log_id: int, kind: str, name: str) -> None:
    """Has one place hold the newest checkpoint."""
    anchor_at(log_id, kind, name)


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
