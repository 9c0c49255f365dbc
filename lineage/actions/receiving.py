"""Taking in what the protocols' doors receive: into the log, then into the graph, at once."""

import hashlib
from dataclasses import dataclass

from django.db import transaction

from accounts.models import User
from audit.actions import record
from lineage.actions.projection import project
from lineage.events import LINEAGE_RECEIVED
from lineage.intake.reports import Report
from lineage.models import Intake
from lineage.nodes import candidate_nodes


@dataclass(frozen=True)
class Received:
    event_id: str
    repeated: bool


@transaction.atomic
def receive(body: bytes, report: Report, *, protocol: str, by: User) -> Received:
    """Record the body by its hash and merge what it says. The same bytes again change nothing."""
    digest = hashlib.sha256(body).hexdigest()
    event_id = f"{protocol}-{digest}"
    _, created = Intake.objects.get_or_create(
        digest=digest, defaults={"protocol": protocol, "event_id": event_id}
    )
    if not created:
        return Received(event_id, repeated=True)
    record(
        LINEAGE_RECEIVED,
        by=by,
        resource=_resource(report),
        event_id=event_id,
        occurred_at=report.at,
        details={
            "protocol": protocol,
            "kind": report.kind,
            "body_sha256": digest,
            "bytes": len(body),
            "inputs": len(report.inputs),
            "outputs": len(report.outputs) + len(report.described),
        }
        | ({"run_id": report.run.run_id, "state": report.run.state} if report.run else {}),
    )
    project(report, by=by, parent_id=event_id, source=protocol)
    return Received(event_id, repeated=False)


def _resource(report: Report) -> str:
    if report.kind == "dataset" and (report.described or report.outputs):
        facts = (*report.described, *report.outputs)[0]
        kind = "model" if facts.is_model else "dataset"
        return candidate_nodes(kind, facts.namespace, facts.name)[0]
    assert report.job is not None  # noqa: S101  # runs and jobs have one
    return candidate_nodes("job", report.job.namespace, report.job.name)[0]
