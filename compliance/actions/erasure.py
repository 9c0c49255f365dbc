"""The erasure's rows: started, claimed, erased, purged, verified, failed. Each step is recorded.

The work itself, which takes long and touches stores, is in `compliance.execution`.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from audit.actions import forget_subject, record
from audit.sealing import live_keys
from audit.subjects import SubjectRef, lookup
from compliance import events
from compliance.actions.claims import held
from compliance.actions.notices import issue_notices
from compliance.actions.tails import leave_tails
from compliance.actions.transitions import move
from compliance.discovery import plan_hash
from compliance.errors import ClaimLostError, PlanChangedSinceApprovalError, WrongStateError
from compliance.models import Request, Step, Suppression
from compliance.queries import (
    approvals_missing,
    current_plan,
    identifiers_of,
    number_digest,
    suppression_digest,
)
from compliance.states import State
from connectors.adapters.base import Erased, ScanReport
from lineage.actions import forget_usage
from lineage.models import Dataset

Phase = Step.Phase
_SHOWN = ("phase", "started_at", "done", "total", "done_bytes", "activity", "activity_at")


@transaction.atomic
def execute(request: Request, *, by: User) -> None:
    """Makes one due row per store. The suppression comes first: nobody may re-ingest meanwhile."""
    request = Request.objects.select_for_update().get(pk=request.pk)
    plan = current_plan(request)
    if plan is None or approvals_missing(plan):
        raise WrongStateError(
            f"{request.reference} has no approved plan. The DPO and a data owner approve it first."
        )
    if plan_hash(plan.body) != plan.hash:
        raise PlanChangedSinceApprovalError(
            "The stored plan is not the one that was approved. Plan and approve again."
        )
    if request.held_at:
        raise WrongStateError(f"{request.reference} is under a legal hold: {request.hold_reason}")
    if request.scheduled_for and request.scheduled_for > timezone.now():
        raise WrongStateError(
            f"The cooling-off ends at {request.scheduled_for:%Y-%m-%d %H:%M} UTC. Execute it then."
        )
    move(request, "execute", by=by)
    people = identifiers_of(request)
    _suppress(request, people)
    record(
        events.SUBJECT_SUPPRESSED,
        by=by,
        resource=request.resource,
        details={"identifiers": len(people)},
    )
    for number, body in enumerate(plan.body["steps"], start=1):
        _, namespace, name = body["dataset"].split(":", 2)
        Step.objects.create(
            request=request,
            plan=plan,
            number=number,
            connector_id=body["connector"],
            dataset=Dataset.objects.filter(namespace=namespace, name=name, kind="dataset").first(),
            phase=Phase.RETAINED if body["retain"] else Phase.DUE,
            outcome="retained" if body["retain"] else "",
        )
    record(
        events.ERASURE_STARTED,
        by=by,
        resource=request.resource,
        details={"plan_hash": plan.hash, "steps": len(plan.body["steps"])},
    )
    _leave_executing(request, by=by)


def _suppress(request: Request, people: Sequence[SubjectRef]) -> None:
    for ref in people:
        Suppression.objects.get_or_create(
            digest=suppression_digest(ref), defaults={"request": request}
        )
        if number := number_digest(ref.type, ref.value):
            Suppression.objects.get_or_create(
                digest=number, defaults={"request": request, "as_number": True}
            )


def enter(steps: Sequence[Step], phase: str) -> None:
    """The worker goes into a phase (and its progress starts at nothing)."""
    rows = Step.objects.filter(pk__in=[step.pk for step in steps])
    rows.filter(started_at=None).update(started_at=timezone.now())
    rows.update(phase=phase, done=0, total=0, done_bytes=0, activity="", activity_at=None)
    for step in steps:
        step.refresh_from_db(fields=_SHOWN)


def show_progress(
    steps: Sequence[Step], activity: str, done: int, total: int, done_bytes: int
) -> None:
    """What people see on the page; renews the claim on the way."""
    now, first = timezone.now(), steps[0]
    if first.activity != activity[:60]:
        first.activity, first.activity_at = activity[:60], now
    held(steps).update(
        activity=first.activity,
        activity_at=first.activity_at,
        done=done,
        total=total,
        done_bytes=done_bytes,
        claimed_at=now,
    )


def _update(step: Step, **changes: Any) -> None:
    """Writes what the worker did, unless another has taken the step over meanwhile."""
    if not Step.objects.filter(pk=step.pk, claim=step.claim).update(**changes):
        raise ClaimLostError(str(step))


def _facts(step: Step) -> dict[str, object]:
    return {
        "step": step.number,
        "dataset": step.connector.dataset_node,
        "connector": step.connector_id,
    }


def _digest(paths: Sequence[str]) -> str:
    """Object names may carry identifiers (Hive keys), so the log holds only their digest."""
    return hashlib.sha256("\n".join(sorted(paths)).encode()).hexdigest()


@transaction.atomic
def step_erased(step: Step, erased: Erased, *, rows: int, together: int, by: User) -> None:
    """`rows` of those erased are this person's; `together`: of how many persons it was one pass."""
    facts = {
        "new_version": erased.new_version,
        "objects_removed": len(erased.objects_removed),
        "removed_sha256": _digest(erased.objects_removed),
        "objects_added": len(erased.objects_added),
        "added_sha256": _digest(erased.objects_added),
    }
    if dropped := erased.detail.get("signatures_dropped"):
        facts["signatures_dropped"] = dropped
    _update(
        step,
        phase=Phase.PURGING,
        rows_erased=rows,
        result=facts
        | {
            "together": together,
            "tool": f"Vestige {settings.VESTIGE_VERSION}, {step.connector.kind}",
        },
        erased_at=timezone.now(),
    )
    record(
        events.STEP_ERASED,
        by=by,
        resource=step.request.resource,
        details={**_facts(step), "rows": rows, "together": together, **facts},
    )
    step.refresh_from_db(fields=["phase", "rows_erased", "result", "erased_at"])


@transaction.atomic
def step_purged(step: Step, purged: Erased | None, *, by: User) -> None:
    """The history is gone (None: nothing was found here, so nothing was purged)."""
    removed = purged.objects_removed if purged else ()
    now = purged.detail.get("renamed", {}) if purged else {}
    renamed = {v: now[v] for v in step.carried_out["rows_by_version"] if v in now}
    purge = {
        "objects_removed": len(removed),
        "removed_sha256": _digest(removed),
        "versions_lost": len(step.carried_out["versions_lost"]) if purged else 0,
    }
    if renamed:
        purge["versions_renamed"] = len(renamed)
        purge["renamed_sha256"] = _digest([f"{old} {new}" for old, new in renamed.items()])
    _update(
        step,
        phase=Phase.TO_VERIFY,
        # The purge has given the table a version of its own; the erasure's went with the history.
        result=step.result
        | {
            "purged": purge | {"renamed": renamed},
            "unreached": list(purged.detail.get("tails", ())) if purged else [],
        }
        | ({"new_version": purged.new_version} if purged and purged.new_version else {}),
        claimed_at=None,
        activity="",
        rows_erased=step.rows_erased or 0,
    )
    record(
        events.STEP_PURGED, by=by, resource=step.request.resource, details={**_facts(step), **purge}
    )
    if purged:
        leave_tails(step, by=by)
    _leave_executing(step.request, by=by)


def _leave_executing(request: Request, *, by: User) -> None:
    """Once no step is left to erase, the verifier's turn begins."""
    request = Request.objects.select_for_update().get(pk=request.pk)
    steps = request.steps.filter(plan__superseded_at=None)
    if (
        request.state == State.EXECUTING
        and not steps.exclude(phase__in=[Phase.TO_VERIFY, Phase.RETAINED]).exists()
    ):
        move(request, "erased", by=by)
        _finish_if_clean(request, by=by)


@transaction.atomic
def step_verified(step: Step, report: ScanReport, *, by: User) -> None:
    """Nothing was left in any byte."""
    kept = report_json(report)
    _update(
        step,
        phase=Phase.DONE,
        report=kept,
        claimed_at=None,
        activity="",
        finished_at=timezone.now(),
        outcome="erased" if step.approved["rows"] else "not_found",
    )
    record(
        events.STEP_VERIFIED,
        by=by,
        resource=step.request.resource,
        details={
            **_facts(step),
            "files": report.files,
            "bytes": report.bytes,
            "scan_sha256": report.digest,
            "control_found": report.control_found,
            "method": report.method,
        },
    )
    _finish_if_clean(step.request, by=by)


@transaction.atomic
def fail_step(step: Step, reason: str, *, report: ScanReport | None = None, by: User) -> None:
    """The step, and with it the request, stops visibly; nothing is reported as erased."""
    kept = report_json(report) if report else {}
    _update(
        step,
        phase=Phase.FAILED,
        failure=reason,
        report=kept,
        claimed_at=None,
        finished_at=timezone.now(),
        outcome="failed",
    )
    record(
        events.STEP_FAILED,
        by=by,
        resource=step.request.resource,
        details={
            **_facts(step),
            "reason": "residue" if report else "error",
            "traces": len(report.traces) if report else 0,
            "unreadable": len(report.unreadable) if report else 0,
            "files": report.files if report else 0,
        },
    )
    request = Request.objects.select_for_update().get(pk=step.request_id)
    if request.state == State.BLOCKED:
        return  # by another step; that reason stays
    move(request, "fail", by=by, reason=reason)
    record(
        events.REQUEST_BLOCKED,
        by=by,
        resource=step.request.resource,
        details={"reason": "residue found" if report else "a step failed"},
    )


def report_json(report: ScanReport) -> dict[str, object]:
    return {
        "files": report.files,
        "bytes": report.bytes,
        "traces": [{"path": t.path, "where": t.where, "count": t.count} for t in report.traces],
        "unreadable": list(report.unreadable),
        "control_found": report.control_found,
        "digest": report.digest,
        "method": report.method,
        "started_at": report.started_at.isoformat(),
        "finished_at": report.finished_at.isoformat(),
    }


def _finish_if_clean(request: Request, *, by: User) -> None:
    """Every store was scanned clean: keys are destroyed, owners told, the certificate is due."""
    request = Request.objects.select_for_update().get(pk=request.pk)
    steps = list(request.steps.filter(plan__superseded_at=None))
    if request.state != State.VERIFYING_ERASURE or any(
        step.phase not in (Phase.DONE, Phase.RETAINED) for step in steps
    ):
        return
    plan = current_plan(request)
    if plan is None:
        raise AssertionError("a request in execution has a plan")
    now = timezone.now()
    retained = any(step.phase == Phase.RETAINED for step in steps)
    move(request, "verified", by=by, erased_at=now, certificate_due_at=now)
    record(
        events.ERASURE_VERIFIED,
        by=by,
        resource=request.resource,
        details={
            "plan_hash": plan.hash,
            "steps": len(steps),
            "rows": sum(step.rows_erased or 0 for step in steps),
            "files": sum(int(step.report.get("files", 0)) for step in steps),
            "bytes": sum(int(step.report.get("bytes", 0)) for step in steps),
        },
    )
    issue_notices(request, plan, by=by)
    if not retained:  # what is kept by an exemption still needs its key and usage records
        _shred(request, by=by)


def _shred(request: Request, *, by: User) -> None:
    """Destroys the keys of the person's sealed facts, and the usage records that lead to them."""
    people = identifiers_of(request)
    keyed = live_keys(people)  # those identifiers of whom the log holds sealed facts
    Request.objects.filter(pk=request.pk).update(
        pseudonyms=sorted(key.pseudonym for key in keyed.values())
    )
    forget_usage([lookup(ref) for ref in people], by=by, because=request.resource)
    for ref in keyed:
        forget_subject(lookup(ref), by=by)
