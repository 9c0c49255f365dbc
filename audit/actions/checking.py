"""Checks of the log as it is stored, kept and recorded."""

from typing import Any

from django.db import transaction

from audit import intake
from audit.actions.acting import Actor
from audit.actions.recording import record, sequence
from audit.events import LOG_VERIFIED
from audit.ledger.chain import ChainStateError
from audit.models import MAIN_LOG, Verification
from audit.queries import head, latest_verification, stored_log_outcome
from audit.verification.outcome import Outcome


def verify_stored_log(*, by: Actor, full: bool = False) -> Verification:
    """Check the whole log as it is stored, keep what was found, and record that it was done."""
    outcome = stored_log_outcome(full=full)
    with transaction.atomic():
        row = _keep(outcome, by=by.actor)
        record(
            LOG_VERIFIED,
            by=by,
            resource=f"log:{intake.LOG_NAME}",
            details={
                "size": outcome.size,
                "entries": outcome.entries,
                "outcome": "holds" if outcome.ok else "does not hold",
                "first_bad": outcome.first_bad,
                "root": outcome.root,
                "faults": len(outcome.findings),
            },
        )
    if outcome.ok:
        sequence()
        row = verify_new_entries() or row  # the record of this check is an entry as well
    return row


def verify_new_entries() -> Verification | None:
    """Go on from where the newest check ended, if it found the log good; what it finds now.

    An old entry that was changed since is only found by the next whole check.
    """
    last = latest_verification()
    log = head()
    if last is None or not last.ok or log is None or log.size == last.size:
        return last
    try:
        outcome = stored_log_outcome(state=bytes(last.state))
    except ChainStateError:
        outcome = stored_log_outcome()
    if not outcome.ok:
        return _keep(outcome, by=last.by)
    Verification.objects.filter(pk=last.pk).update(**_values(outcome))
    last.refresh_from_db()
    return last


def _keep(outcome: Outcome, *, by: str) -> Verification:
    return Verification.objects.create(
        log_id=MAIN_LOG, started_at=outcome.started_at, by=by, **_values(outcome)
    )


def _values(outcome: Outcome) -> dict[str, Any]:
    return {
        "finished_at": outcome.finished_at,
        "size": outcome.size,
        "entries": outcome.entries,
        "pruned": outcome.pruned,
        "root": outcome.root,
        "ok": outcome.ok,
        "first_bad": outcome.first_bad,
        "faults": [str(finding) for finding in outcome.findings],
        "warnings": outcome.warnings,
        "state": outcome.state,
    }
