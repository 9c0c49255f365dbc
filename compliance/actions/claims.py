"""Which worker does which steps: those of one store together, where one pass does for all."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from compliance.discovery import rows_now
from compliance.models import Batch, Step
from compliance.queries import claimable, due_steps
from connectors.models import Connector

MOST_TOGETHER = 1_000
_SCANNING = (Step.Phase.TO_VERIFY, Step.Phase.VERIFYING)


@transaction.atomic
def claim_steps(pk: int) -> list[Step]:
    """The step and those that go with it, if this caller is the one to work on them now.

    One worker at a time works on a store: two erasures would outdate each other's plans, and an
    erasure would take files from under a scan.
    """
    connector = Step.objects.values_list("connector", flat=True).get(pk=pk)
    Connector.objects.select_for_update().get(pk=connector)  # claims on a store come one by one
    in_work = Step.objects.filter(~claimable(), connector=connector)
    due = due_steps().filter(connector=connector).select_related("plan", "connector")
    step = due.filter(pk=pk).first()
    if step is None or in_work.exists():
        return []
    claim, mine = secrets.token_hex(16), [mate.pk for mate in _together(step, due)]
    Step.objects.filter(pk__in=mine).update(claimed_at=timezone.now(), claim=claim)
    rows = Step.objects.filter(pk__in=mine).order_by("pk")
    return list(rows.select_related("request", "plan", "connector", "dataset", "batch"))


def _together(step: Step, due: QuerySet[Step]) -> list[Step]:
    if step.phase in _SCANNING:
        return list(due.filter(phase__in=_SCANNING).order_by("pk")[:MOST_TOGETHER])
    if step.batch_id:
        return list(due.filter(batch=step.batch_id, phase=step.phase))
    if step.phase != Step.Phase.DUE or not _joins(step):
        return [step]
    waiting = due.filter(phase=Step.Phase.DUE, batch=None).order_by("pk")
    mode = step.approved["mode"]
    mates = [other for other in waiting if _joins(other) and other.approved["mode"] == mode]
    return mates[:MOST_TOGETHER]


def _joins(step: Step) -> bool:
    """Whether there is something to erase, of which can be told how much is whose."""
    seen = rows_now(step.connector.kind, step.approved)
    return bool(step.approved["planned_objects"]) and seen is not None


def held(steps: Sequence[Step]) -> QuerySet[Step]:
    """Those of the steps that are still this worker's: not done with, and not taken over."""
    mine = Step.objects.filter(pk__in=[step.pk for step in steps], claim=steps[0].claim)
    return mine.exclude(claimed_at=None)


def renew_claim(steps: Sequence[Step]) -> bool:
    """False once none of them is this worker's any more."""
    return bool(held(steps).update(claimed_at=timezone.now()))


@transaction.atomic
def begin_batch(steps: Sequence[Step], plan: Mapping[str, Any], rows: Mapping[int, int]) -> None:
    """From now on these steps are carried out together by this plan (`discovery.fresh_plan`), also
    by the worker that follows if this one dies. `rows`: by step, how many of them are its own."""
    batch = Batch.objects.create(
        connector=steps[0].connector, plan=plan, rows={str(pk): count for pk, count in rows.items()}
    )
    for step in steps:
        step.batch = batch
    Step.objects.filter(pk__in=[step.pk for step in steps]).update(batch=batch)
