"""Checks of the log as it is stored: made due, worked on in parts, kept and recorded."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit.actions.acting import Actor, Part
from audit.actions.recording import record, sequence
from audit.events import LOG_VERIFICATION_FAILED, LOG_VERIFIED
from audit.ledger.chain import ChainStateError
from audit.logs import MAIN, LogRef, all_logs, log_of
from audit.models import Verification
from audit.pruned import entries_within
from audit.queries import head, latest_verification, stored_log_outcome
from audit.segments import Progressed, next_segment
from audit.verification.outcome import Outcome

Progress = Callable[[int, int], None]

LEASE = timedelta(seconds=60)
_RENEW_SECONDS = 2.0


class ClaimLostError(Exception):
    """Another worker has taken the check over."""


def request_verification(*, by: Actor, full: bool = False, log: LogRef = MAIN) -> Verification:
    """Make a check of the whole log due, or find the one that is due or under way already."""
    now = head(log)
    row, _ = Verification.objects.get_or_create(
        log_id=log.id,
        full=full,
        finished_at=None,
        defaults={
            "started_at": timezone.now(),
            "by": by.actor,
            "size": now.size if now else 0,
        },
    )
    return row


def run_verification(pk: int, *, progress: Progress | None = None) -> Verification | None:
    """Work on a check until it is done; None when it is done already or another worker is at it.

    May be killed at any time: the next one goes on after the last part that was saved.
    """
    row = _claim(pk)
    if row is None:
        return None
    try:
        return _work(row, progress)
    except ClaimLostError:
        return None


def verify_stored_log(*, by: Actor, full: bool = False, log: LogRef = MAIN) -> Verification:
    """Check the whole log now, keep what was found, and record that it was done.

    Unfinished when a worker has the same check under way.
    """
    row = request_verification(by=by, full=full, log=log)
    run_verification(row.pk)
    row.refresh_from_db()
    return row


def _claim(pk: int) -> Verification | None:
    now = timezone.now()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    if not Verification.objects.filter(free, pk=pk, finished_at=None).update(
        claimed_until=now + LEASE
    ):
        return None
    return Verification.objects.get(pk=pk)


def _work(row: Verification, progress: Progress | None) -> Verification:
    renewed = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal renewed
        if time.monotonic() - renewed > _RENEW_SECONDS:
            renewed = time.monotonic()
            _save(row, entries=done)
        if progress:
            progress(done, total)

    so_far, log = _so_far(row), log_of(row.log_id)
    while not so_far.done:
        try:
            so_far = next_segment(so_far, full=row.full, log=log, progress=told)
        except ChainStateError:  # what was saved is no state: from the start
            so_far = Progressed(size=so_far.size)
            continue
        if not so_far.done:
            _save(row, **_values(so_far, log))
    _finish(row, so_far, log)
    if so_far.ok:
        sequence()
        verify_new_entries()  # the record of this check is an entry as well
    row.refresh_from_db()
    return row


def _so_far(row: Verification) -> Progressed:
    """Where the last saved part ended. `entries` may be ahead of it: it moves within parts."""
    state = bytes(row.state)
    if not state:
        return Progressed(size=row.size)
    return Progressed(
        entries=row.saved_entries,
        state=state,
        root=row.root,
        size=row.size,
        first_bad=row.first_bad,
        faults=list(row.faults),
        warnings=list(row.warnings),
    )


def _save(row: Verification, **values: Any) -> None:
    """Keep how far it is, and the claim alive. Raises ClaimLostError."""
    until = timezone.now() + LEASE
    held = Verification.objects.filter(pk=row.pk, finished_at=None, claimed_until=row.claimed_until)
    if not held.update(claimed_until=until, **values):
        raise ClaimLostError
    row.claimed_until = until


def _finish(row: Verification, found: Progressed, log: LogRef) -> None:
    """Keep what was found, and tell of it in the main log, whichever log it was found in."""
    with transaction.atomic():
        _save(row, **_values(found, log))
        Verification.objects.filter(pk=row.pk).update(
            finished_at=timezone.now(), claimed_until=None, ok=found.ok
        )
        record(
            LOG_VERIFIED,
            by=Part(row.by),
            resource=log.resource,
            details={
                "size": found.size,
                "entries": found.entries,
                "outcome": "holds" if found.ok else "does not hold",
                "first_bad": found.first_bad,
                "root": found.root,
                "faults": len(found.faults),
            },
        )
        if not found.ok:
            _record_failure(log, row.by, found.first_bad, len(found.faults))


def _record_failure(log: LogRef, by: str, first_bad: int | None, faults: int) -> None:
    record(
        LOG_VERIFICATION_FAILED,
        by=Part(by),
        resource=log.resource,
        details={"first_bad": first_bad, "faults": faults},
    )


def _values(found: Progressed, log: LogRef) -> dict[str, Any]:
    return {
        "size": found.size,
        "entries": found.entries,
        "saved_entries": found.entries,
        "pruned": entries_within(log.id, 0, found.entries),
        "root": found.root,
        "first_bad": found.first_bad,
        "faults": found.faults,
        "warnings": found.warnings,
        "state": found.state,
    }


def verify_all_new_entries() -> None:
    """As `verify_new_entries`, of every log."""
    for log in all_logs():
        verify_new_entries(log)


def verify_new_entries(log: LogRef = MAIN) -> Verification | None:
    """Go on from where the newest check ended, if it found the log good; what it finds now.

    An old entry that was changed since is only found by the next whole check.
    """
    last = latest_verification(log)
    now = head(log)
    if last is None or not last.ok or now is None or now.size == last.size:
        return last
    try:
        outcome = stored_log_outcome(log=log, state=bytes(last.state))
    except ChainStateError:
        outcome = stored_log_outcome(log=log)
    if not outcome.ok:
        return _keep_failure(outcome, log, after=last)
    Verification.objects.filter(pk=last.pk, extended_at=last.extended_at).update(
        extended_at=outcome.finished_at,
        size=outcome.size,
        entries=outcome.entries,
        pruned=outcome.pruned,
        root=outcome.root,
        warnings=outcome.warnings,
        state=outcome.state,
    )
    last.refresh_from_db()
    return last


@transaction.atomic
def _keep_failure(outcome: Outcome, log: LogRef, *, after: Verification) -> Verification:
    """One row for it, though two workers may have found it."""
    Verification.objects.select_for_update().get(pk=after.pk)
    newest = latest_verification(log)
    if newest is not None and newest.pk != after.pk:
        return newest
    _record_failure(log, after.by, outcome.first_bad, len(outcome.findings))
    return Verification.objects.create(
        log_id=after.log_id,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        size=outcome.size,
        entries=outcome.entries,
        root=outcome.root,
        first_bad=outcome.first_bad,
        faults=[str(finding) for finding in outcome.findings],
        warnings=outcome.warnings,
        state=outcome.state,
        by=after.by,
    )


def mark_announced(pk: int) -> bool:
    """Whether it is the caller who tells people of this failed check: once for each."""
    now: datetime = timezone.now()
    return bool(
        Verification.objects.filter(pk=pk, ok=False, announced_at=None)
        .exclude(finished_at=None)
        .update(announced_at=now)
    )
