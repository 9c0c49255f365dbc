"""Taking in what the protocols' doors receive: into the log, then into the graph, at once."""

import hashlib
from dataclasses import dataclass

from django.db import IntegrityError, transaction

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


def receive(body: bytes, report: Report, *, protocol: str, by: User) -> Received:
    """Record the body by its hash and merge what it says. The same bytes again change nothing."""
    digest = hashlib.sha256(body).hexdigest()
    known = Intake.objects.filter(digest=digest).first()
    if known is None:
        try:
            return _receive(body, digest, report, protocol, by)
        except IntegrityError:
            # Somebody else took the same body in at this moment, or it is a fault of ours.
            known = Intake.objects.filter(digest=digest).first()
            if known is None:
                raise
    return Received(known.event_id, repeated=True)


@transaction.atomic
def _receive(body: bytes, digest: str, report: Report, protocol: str, by: User) -> Received:
    event_id = record(
        LINEAGE_RECEIVED,
        by=by,
        resource=_resource(report),
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
    # Before the graph is touched: a second transaction with the same body waits here, and fails.
    Intake.objects.create(digest=digest, protocol=protocol, event_id=event_id)
    project(report, by=by, parent_id=event_id, source=protocol)
    return Received(event_id, repeated=False)


def _resource(report: Report) -> str:
    if report.kind == "dataset" and (report.described or report.outputs):
        facts = (*report.described, *report.outputs)[0]
        kind = "model" if facts.is_model else "dataset"
        return candidate_nodes(kind, facts.namespace, facts.name)[0]
    assert report.job is not None  # noqa: S101  # runs and jobs have one
    return candidate_nodes("job", report.job.namespace, report.job.name)[0]
