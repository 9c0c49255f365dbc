"""The erasure as a worker does it: erase, purge, and re-scan as somebody else.

The steps of several persons in one store are one pass: to remove one person from a file or a
hundred costs nearly the same. Each function takes such steps (most often a single one), may be
killed anywhere, and may run twice: what is done already is found done, and the next worker goes on
from the last recorded phase.
"""

import logging
import time
from collections.abc import Sequence

from django.db import transaction

from accounts.models import User
from accounts.queries import system_user
from audit.subjects import SubjectRef
from compliance.actions.claims import begin_batch, claim_steps, renew_claim
from compliance.actions.erasure import (
    enter,
    fail_step,
    show_progress,
    step_erased,
    step_purged,
    step_verified,
)
from compliance.discovery import erase_plan_of, fresh_plan, keeps_history, needles_for, rows_now
from compliance.errors import ClaimLostError
from compliance.leases import kept_alive
from compliance.models import Step
from compliance.queries import identifiers_of
from connectors.adapters.base import (
    Erased,
    ErasePlan,
    Needles,
    PlanOutdatedError,
    Progress,
    ScanReport,
    Store,
    StoreError,
)
from connectors.queries import open_store
from lineage.actions import sync_connector

logger = logging.getLogger(__name__)
Phase = Step.Phase

_TRIES = 3  # at a store that others write to meanwhile
_SEARCH_AGAIN = "Run the discovery again and have the new plan approved."


def work_on_step(pk: int) -> None:
    """Takes up one step where it stands, with those that go with it; returns at once if somebody
    else works on the store."""
    if steps := claim_steps(pk):
        _work_on(steps)


def _work_on(steps: list[Step]) -> None:
    scanning = steps[0].phase in (Phase.TO_VERIFY, Phase.VERIFYING)
    by = system_user("verifier" if scanning else "executor")
    with kept_alive(lambda: renew_claim(steps), name=str(steps[0])):
        try:
            if scanning:
                _verify(steps, by)
            else:
                _erase_and_purge(steps, by)
        except ClaimLostError:
            logger.warning("%s was taken over by another worker", steps[0])
        except PlanOutdatedError as exc:
            _fail(steps, f"{exc} {_SEARCH_AGAIN}", by=by)
        except StoreError as exc:
            _fail(steps, str(exc), by=by)
        except Exception as exc:
            # Visible on the page, with the class only: a message might quote data.
            logger.exception("%s failed", steps[0])
            _fail(
                steps,
                f"Unexpected error ({type(exc).__name__}). The worker's log says more. "
                "Run the discovery again to try once more.",
                by=by,
            )


def _fail(steps: Sequence[Step], reason: str, *, by: User) -> None:
    ended = Step.objects.filter(phase__in=[Phase.DONE, Phase.FAILED])
    known = set(ended.filter(pk__in=[s.pk for s in steps]).values_list("pk", flat=True))
    for step in steps:
        if step.pk not in known:
            fail_step(step, reason, by=by)


def _erase_and_purge(steps: list[Step], by: User) -> None:
    if not _plan(steps).objects:  # neither rows, nor a trace in the table's log
        enter(steps, Phase.PURGING)
        _purged(steps, None, by)
        return
    connector = steps[0].connector
    store = open_store(connector, role="writer")
    if steps[0].phase in (Phase.DUE, Phase.ERASING):
        enter(steps, Phase.ERASING)
        steps = _erase(store, steps, by)
        if not steps:
            return
        if not _plan(steps).objects:  # somebody else has removed the rows since
            _purged(steps, None, by)
            return
    purged = store.purge_history(_plan(steps), _progress(steps))
    body = steps[0].carried_out
    rewritten = [v for v, rows in body["rows_by_version"].items() if rows and keeps_history(body)]
    # Of several, the first stands for them all in the store's own record.
    sync_connector(connector, by=by, because=steps[0].request.resource, rewritten=rewritten)
    _purged(steps, purged, by)


def _erase(store: Store, steps: list[Step], by: User) -> list[Step]:
    """Those of the steps that were erased; the others have failed."""
    if len(steps) > 1 and steps[0].batch is None:
        steps = _plan_anew(steps, by)
    for tries_left in reversed(range(_TRIES)):
        if not steps or not _plan(steps).objects:
            break
        try:
            return _erased(steps, store.erase(_plan(steps), _needles(steps), _progress(steps)), by)
        except PlanOutdatedError:
            if not tries_left:
                raise
            steps = _plan_anew(steps, by)
    return steps


def _erased(steps: list[Step], erased: Erased, by: User) -> list[Step]:
    seen = {step.pk: _rows_of(step) for step in steps}
    # Rows may stand in older versions alone: the purge takes those. But rows that the plan saw in
    # the current version and that were not erased are a failure, not a success.
    if any(seen.values()) and not erased.rows:
        _fail(
            steps,
            f"The plan saw {sum(seen.values())} rows in the current version, but nothing"
            " was erased. Nothing is reported as done; run the discovery again.",
            by=by,
        )
        return []
    with transaction.atomic():
        for step in steps:
            rows = erased.rows if len(steps) == 1 else seen[step.pk]
            step_erased(step, erased, rows=rows, together=len(steps), by=by)
    return steps


def _plan_anew(steps: list[Step], by: User) -> list[Step]:
    """A plan for the store as it is now. Steps whose approval does not cover it fail; the others
    are a batch from now on."""
    connector, mode = steps[0].connector, steps[0].approved["mode"]
    body, plan = fresh_plan(connector, _people(steps), mode)
    rows: dict[int, int] = {}
    for step in steps:
        if len(steps) > 1 and step.approved["snapshot"] == plan.snapshot and not plan.blockers:
            rows[step.pk] = rows_now(connector.kind, step.approved) or 0  # nothing has changed
            continue
        own, its = (body, plan) if len(steps) == 1 else fresh_plan(connector, _people([step]), mode)
        if its.blockers or its.rows > step.approved["rows"]:
            fail_step(step, f"{_more_than_approved(its)} {_SEARCH_AGAIN}", by=by)
        else:
            rows[step.pk] = rows_now(connector.kind, own) or 0
    covered = [step for step in steps if step.pk in rows]
    if not covered:
        return []
    if len(covered) < len(steps):
        body, plan = fresh_plan(connector, _people(covered), mode)
    begin_batch(covered, body, rows)
    return covered


def _more_than_approved(plan: ErasePlan) -> str:
    changed = "The store has changed since the plan was made, and nothing was erased:"
    if plan.blockers:
        return f"{changed} {' '.join(plan.blockers)}"
    return f"{changed} it has {plan.rows} rows of the person now, more than were approved."


def _purged(steps: Sequence[Step], purged: Erased | None, by: User) -> None:
    with transaction.atomic():
        for step in steps:
            step_purged(step, purged, by=by)


def _verify(steps: list[Step], by: User) -> None:
    enter(steps, Phase.VERIFYING)
    connector, people = steps[0].connector, _people(steps)
    store = open_store(connector, role="verifier")
    control = store.control_subject(needles_for(connector, people))
    report = store.verify_erased([ref.value for ref in people], control, _progress(steps))
    if report.clean:
        with transaction.atomic():
            for step in steps:
                step_verified(step, report, by=by)
    elif len(steps) > 1:  # whose traces are they?
        for step in steps:
            _verify([step], by)
    else:
        fail_step(steps[0], _residue(report), report=report, by=by)


def _residue(report: ScanReport) -> str:
    if report.traces:
        first = report.traces[0]
        more = f" and {len(report.traces) - 1} more places" if len(report.traces) > 1 else ""
        return f"Residue found in {first.path} ({first.where}){more}."
    if report.unreadable:
        return f"{report.unreadable[0]} could not be read, so nothing can be said about it."
    return "The scan did not find a person who must still be there, so it proves nothing."


def _plan(steps: Sequence[Step]) -> ErasePlan:
    return erase_plan_of(steps[0])


def _people(steps: Sequence[Step]) -> list[SubjectRef]:
    people = [ref for step in steps for ref in identifiers_of(step.request)]
    return list(dict.fromkeys(people))


def _needles(steps: Sequence[Step]) -> Needles:
    return needles_for(steps[0].connector, _people(steps))


def _rows_of(step: Step) -> int:
    if step.batch:
        return int(step.batch.rows[str(step.pk)])
    return rows_now(step.connector.kind, step.approved) or 0


def _progress(steps: Sequence[Step]) -> Progress:
    shown = 0.0

    def tell(phase: str, done: int, total: int, done_bytes: int) -> None:
        nonlocal shown
        # A write for each of thousands of files would cost more than reading them.
        if time.monotonic() - shown > 0.5 or done == total:
            shown = time.monotonic()
            show_progress(steps, phase, done, total, done_bytes)

    return tell
