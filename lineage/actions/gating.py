"""Asking the policy about a new version, and keeping what it said."""

from collections.abc import Mapping

from django.db import transaction

from accounts.models import User
from audit.actions import record
from lineage.events import GATE_EVALUATED
from lineage.gates import Candidate, Current, Limit, Verdict, evaluate
from lineage.models import Dataset
from lineage.queries import newest_version, training_versions


@transaction.atomic
def evaluate_gate(
    dataset: Dataset,
    candidate: Candidate,
    *,
    old_rows: int | None = None,
    metrics: Mapping[str, float],
    limits: Mapping[str, Limit],
    by: User,
) -> Verdict:
    """The policy's verdict on a candidate against the dataset's newest version, recorded."""
    newest = newest_version(dataset)
    current = Current()
    if newest is not None:
        current = Current(
            version=newest.version,
            schema={column["name"]: column["type"] for column in newest.schema},
            sources={source.dataset.node for source in training_versions(newest)},
            rows=newest.rows,
        )
    if old_rows is not None:
        current = Current(current.version, current.schema, current.sources, old_rows)
    verdict = evaluate(candidate, current, metrics, limits)
    record(
        GATE_EVALUATED,
        by=by,
        resource=dataset.node,
        resource_version=current.version,
        details={
            "verdict": verdict.verdict,
            "rules": sorted({reason.rule for reason in verdict.reasons}),
            "next_version": verdict.next_version,
        },
    )
    return verdict
