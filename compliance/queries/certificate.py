"""What a certificate of erasure states."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.queries import system_user
from accounts.roles import Role
from compliance.errors import NotErasedError
from compliance.models import Plan, Request, Step
from compliance.queries.cases import current_plan, tails_of
from compliance.states import NOTICE_OPEN


@dataclass(frozen=True)
class Signed:
    name: str
    role: str
    at: datetime
    plan_hash: str


@dataclass(frozen=True)
class Location:
    """What happened in one store. Paths of objects stay out: they may carry identifiers."""

    dataset: str
    store: str
    kind: str
    method: str
    outcome: str
    rows_found: int
    rows_erased: int
    rows_by_version: Mapping[str, int]
    versions_lost: list[str]
    versions_renamed: Mapping[str, str]  # old → now, where keeping them took their names
    history_kept: bool
    new_version: str | None
    objects_removed: int
    removed_sha256: str
    objects_purged: int
    tool: str
    operator: str
    started_at: datetime | None
    erased_at: datetime | None
    verifier: str
    scan: Mapping[str, Any]
    finished_at: datetime | None
    exemption: Mapping[str, str] | None
    unreached: list[str]  # what the store's adapter names without a date


@dataclass(frozen=True)
class TailFacts:
    """A copy that an erasure could not reach. `closed_by` says that it is gone."""

    dataset: str
    what: str
    until: datetime
    closed_at: datetime | None
    closed_by: str


@dataclass(frozen=True)
class AffectedModelFacts:
    model: str
    version: str
    in_use: bool
    path: list[str]
    notice: int | None
    notice_state: str
    replacement: str
    checks: list[Mapping[str, Any]]


@dataclass(frozen=True)
class CertificateFacts:
    """All that an erasure certificate states. Holds nothing that identifies the person."""

    reference: str
    rights: list[str]
    regime: Mapping[str, Any]
    channel: str
    received_at: datetime
    due_at: datetime
    extended_at: datetime | None
    verified_at: datetime | None
    verification: str
    erased_at: datetime
    pseudonyms: list[str]
    plan_number: int
    plan_hash: str
    plan_author: str
    approvals: list[Signed]
    locations: list[Location]
    tails: list[TailFacts]
    affected_models: list[AffectedModelFacts]
    suppressed: int
    keys_destroyed: int

    @property
    def partial(self) -> bool:
        return any(place.outcome == "retained" for place in self.locations)

    @property
    def notices_open(self) -> int:
        return sum(1 for m in self.affected_models if m.notice and m.notice_state in NOTICE_OPEN)

    @property
    def tails_open(self) -> int:
        return sum(1 for tail in self.tails if tail.closed_at is None)


def certificate_facts(request: Request) -> CertificateFacts:
    """The facts of a verified erasure. Raises `NotErasedError` before every store was scanned."""
    plan = current_plan(request)
    if request.erased_at is None or plan is None:
        raise NotErasedError(
            f"The erasure of {request.reference} is not verified; a certificate would be false."
        )
    return CertificateFacts(
        reference=request.reference,
        rights=list(request.rights),
        regime=request.regime,
        channel=request.get_channel_display(),
        received_at=request.received_at,
        due_at=request.due_at,
        extended_at=request.extended_at,
        verified_at=request.verified_at,
        verification=request.verification,
        erased_at=request.erased_at,
        pseudonyms=list(request.pseudonyms),
        plan_number=plan.number,
        plan_hash=plan.hash,
        plan_author=str(plan.author),
        approvals=[
            Signed(str(a.approver), Role(a.role).label, a.created_at, a.plan_hash)
            for a in plan.approvals.filter(voided_at=None).select_related("approver")
        ],
        locations=[
            _location(step, plan)
            for step in plan.steps.select_related("connector").order_by("number")
        ],
        tails=[
            TailFacts(
                tail.step.connector.dataset_node,
                tail.what,
                tail.until,
                tail.closed_at,
                str(tail.closed_by) if tail.closed_by else "",
            )
            for tail in tails_of(request)
        ],
        affected_models=_model_facts(request, plan),
        suppressed=request.suppressions.filter(as_number=False).count(),
        keys_destroyed=len(request.pseudonyms),
    )


def _location(step: Step, plan: Plan) -> Location:
    body = plan.body["steps"][step.number - 1]
    purged = step.result.get("purged", {})
    return Location(
        dataset=body["dataset"],
        store=body["store"],
        kind=body["kind"],
        method=body["method"],
        outcome=step.outcome,
        rows_found=body["rows"],
        rows_erased=step.rows_erased or 0,
        rows_by_version=body["rows_by_version"],
        versions_lost=body["versions_lost"] if purged.get("objects_removed") else [],
        versions_renamed=purged.get("renamed", {}),
        history_kept=body.get("mode") == "keep_history",
        new_version=step.result.get("new_version"),
        objects_removed=step.result.get("objects_removed", 0),
        removed_sha256=step.result.get("removed_sha256", ""),
        objects_purged=purged.get("objects_removed", 0),
        tool=step.result.get("tool", ""),
        operator=str(system_user("executor")),
        started_at=step.started_at,
        erased_at=step.erased_at,
        verifier=str(system_user("verifier")),
        scan={k: v for k, v in step.report.items() if k not in ("traces", "unreadable")}
        | {
            "traces": len(step.report.get("traces", [])),
            "unreadable": len(step.report.get("unreadable", [])),
        },
        finished_at=step.finished_at,
        exemption=body["retain"],
        unreached=list(step.result.get("unreached", [])),
    )


def _model_facts(request: Request, plan: Plan) -> list[AffectedModelFacts]:
    notices = {n.model_version_id: n for n in request.notices.select_related("replacement")}
    facts = []
    for item in plan.body["affected_models"]:
        notice = notices.get(item["id"])
        facts.append(
            AffectedModelFacts(
                model=item["model"],
                version=item["version"],
                in_use=item["in_use"],
                path=list(item["path"]),
                notice=notice.pk if notice else None,
                notice_state=notice.state if notice else "",
                replacement=notice.replacement.version if notice and notice.replacement else "",
                checks=list(notice.checks) if notice else [],
            )
        )
    return facts
