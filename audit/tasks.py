"""What Celery does for the log."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from celery import shared_task
from django.conf import settings

from audit.actions import (
    SWEEPER,
    VERIFIER,
    PruningRefusedError,
    anchor_at,
    announce_epochs,
    destroy_due_keys,
    due_places,
    plan_pruning,
    prune,
    publish_due,
    record_checkpoints,
    record_heads,
    replay_if_restored,
    request_verification,
    rotate_due_epoch,
    run_verification,
    sequence,
    settle_signing_keys,
    start_pruning,
    verify_all_new_entries,
)
from audit.actions.acting import SCHEDULER
from audit.logs import all_logs
from audit.models import MAIN_LOG
from audit.places import PlacesError
from audit.queries import scrub_is_due, verifications_under_way
from audit.retention import running_prunings

log = logging.getLogger(__name__)
_WAKE_UP_SECONDS = 60  # the sweep has come again by then
_LONGEST_PAUSE_SECONDS = 1.0


@shared_task
def sequence_pending() -> None:
    """The sweep: finds what a crash left between a commit and its place in a log."""
    for one in all_logs():
        sequence(one)


@shared_task
def check_new_entries() -> None:
    """Keeps the newest whole check of each log up to date with what was added since."""
    verify_all_new_entries()


@shared_task
def record_heads_of_log() -> None:
    """Keeps what the newest entries of resources are provable: VESTIGE_HEADS_MINUTES apart."""
    for one in all_logs():
        record_heads(by=SWEEPER, log=one)


@shared_task
def record_checkpoints_of_logs() -> None:
    """Has the main log hold the checkpoints of units' logs: VESTIGE_PARENT_SECONDS apart."""
    record_checkpoints()


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


@shared_task
def continue_pruning() -> None:
    """The sweep: begins what was started, and goes on with what a crash has left."""
    for pruning_id in running_prunings():
        prune(pruning_id)


@shared_task
def plan_nightly() -> None:
    """Plans what may go. Nothing is deleted by that, unless VESTIGE_PRUNE is auto."""
    for one in all_logs():
        try:
            plan = plan_pruning(by=SCHEDULER, log_id=one.id, keep_empty=False)
            if plan is not None and settings.VESTIGE_PRUNE == "auto":
                prune(start_pruning(plan.plan_hash, by=SCHEDULER, log_id=one.id).pk)
        except PruningRefusedError as exc:
            log.info("Nothing of the log %s is pruned tonight: %s", one.name, exc)


@shared_task
def publish_checkpoints() -> None:
    """Brings the published copies up to date, if there are to be any and it is time."""
    for one in all_logs():
        publish_due(one.id)


@shared_task
def scrub_log() -> None:
    """Makes a full check of each log due whose last one is old; it runs in the background."""
    if settings.VESTIGE_SCRUB_HOURS <= 0:
        return
    for one in all_logs():
        if scrub_is_due(timedelta(hours=settings.VESTIGE_SCRUB_HOURS), one):
            request_verification(by=VERIFIER, full=True, log=one)


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
