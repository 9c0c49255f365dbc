"""The erasure as a worker does it: erase, purge, and re-scan as somebody else.

Each function takes one row, may be killed anywhere, and may run twice: what is done already is
found done, and the next worker goes on from the last recorded phase.
"""

import logging
import time

from accounts.models import User
from accounts.queries import system_user
from compliance.actions.erasure import (
    claim_step,
    enter,
    fail_step,
    renew_claim,
    show_progress,
    step_erased,
    step_purged,
    step_verified,
)
from compliance.discovery import erase_plan_of, keeps_history, needles_for
from compliance.errors import ClaimLostError
from compliance.leases import kept_alive
from compliance.models import Step
from compliance.queries import identifiers_of
from connectors.adapters.base import PlanOutdatedError, Progress, ScanReport, StoreError
from connectors.queries import open_store
from lineage.actions import sync_connector

logger = logging.getLogger(__name__)
Phase = Step.Phase


def work_on_step(pk: int) -> None:
    """Takes up one step where it stands; returns at once if somebody else has it."""
    step = claim_step(pk)
    if step is None:
        return
    scanning = step.phase in (Phase.TO_VERIFY, Phase.VERIFYING)
    by = system_user("verifier" if scanning else "executor")
    with kept_alive(lambda: renew_claim(step.pk, step.claim), name=f"step {step.pk}"):
        try:
            if scanning:
                _verify(step, by)
            else:
                _erase_and_purge(step, by)
        except ClaimLostError:
            logger.warning("step %s was taken over by another worker", step.pk)
        except PlanOutdatedError as exc:
            fail_step(step, f"{exc} Run the discovery again and have the new plan approved.", by=by)
        except StoreError as exc:
            fail_step(step, str(exc), by=by)
        except Exception as exc:
            # Visible on the page, with the class only: a message might quote data.
            logger.exception("step %s of request %s failed", step.number, step.request_id)
            fail_step(
                step,
                f"Unexpected error ({type(exc).__name__}). The worker's log says more. "
                "Run the discovery again to try once more.",
                by=by,
            )


def _erase_and_purge(step: Step, by: User) -> None:
    body = step.plan.body["steps"][step.number - 1]
    plan = erase_plan_of(body)
    needles = needles_for(step.connector, identifiers_of(step.request))
    if not plan.objects:  # neither rows, nor a trace in the table's log
        enter(step, Phase.PURGING)
        step_purged(step, None, by=by)
        return
    store = open_store(step.connector, role="writer")
    progress = _progress(step)
    if step.phase in (Phase.DUE, Phase.ERASING):
        enter(step, Phase.ERASING)
        erased = store.erase(plan, needles, progress)
        # Rows may stand in older versions alone: the purge takes those. But rows that the plan
        # saw in the current version and that were not erased are a failure, not a success.
        seen = body["rows_by_version"].get(plan.snapshot, 0)
        if seen and not erased.rows:
            fail_step(
                step,
                f"The plan saw {seen} rows in the current version, but nothing was erased. "
                "Nothing is reported as done; run the discovery again.",
                by=by,
            )
            return
        step_erased(step, erased, by=by)
    purged = store.purge_history(plan, progress)
    rewritten = [v for v, rows in body["rows_by_version"].items() if rows and keeps_history(body)]
    sync_connector(step.connector, by=by, because=step.request.resource, rewritten=rewritten)
    step_purged(step, purged, by=by)


def _verify(step: Step, by: User) -> None:
    enter(step, Phase.VERIFYING)
    people = identifiers_of(step.request)
    store = open_store(step.connector, role="verifier")
    control = store.control_subject(needles_for(step.connector, people))
    report = store.verify_erased([ref.value for ref in people], control, _progress(step))
    if report.clean:
        step_verified(step, report, by=by)
    else:
        fail_step(step, _residue(report), report=report, by=by)


def _residue(report: ScanReport) -> str:
    if report.traces:
        first = report.traces[0]
        more = f" and {len(report.traces) - 1} more places" if len(report.traces) > 1 else ""
        return f"Residue found in {first.path} ({first.where}){more}."
    if report.unreadable:
        return f"{report.unreadable[0]} could not be read, so nothing can be said about it."
    return "The scan did not find a person who must still be there, so it proves nothing."


def _progress(step: Step) -> Progress:
    shown = 0.0

    def tell(phase: str, done: int, total: int, done_bytes: int) -> None:
        nonlocal shown
        # A write for each of thousands of files would cost more than reading them.
        if time.monotonic() - shown > 0.5 or done == total:
            shown = time.monotonic()
            show_progress(step, phase, done, total, done_bytes)

    return tell
