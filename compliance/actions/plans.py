"""Discovery, the plan, its approvals. Approvals sign a hash; a change of the plan voids them."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from audit import vault
from audit.actions import record
from audit.ledger import canonical
from compliance import events
from compliance.actions.transitions import move
from compliance.discovery import Discovery, in_scope, method_of, plan_body, plan_hash
from compliance.errors import (
    ApproverIsAuthorError,
    InvalidInputError,
    NotPermittedError,
    PlanChangedSinceApprovalError,
    WrongStateError,
)
from compliance.models import Approval, Plan, Request
from compliance.queries import (
    approvals_missing,
    claimable,
    current_plan,
    nodes_being_erased_in,
    unsettled,
    waits_for_erasure,
)
from compliance.states import State
from connectors.queries import modes_of

EXEMPTIONS = ("17(3)(a)", "17(3)(b)", "17(3)(c)", "17(3)(d)", "17(3)(e)")


@transaction.atomic
def start_discovery(request: Request, *, modes: Mapping[str, str] | None = None, by: User) -> None:
    """Asks a worker to search the stores and write a plan in this user's name.

    `modes`: {dataset node: "purge" | "keep_history"}, what becomes of older versions where it is
    to be another than the store's own way; it stays for the searches after this one.
    """
    move(
        request,
        "plan",
        by=by,
        discovery_due_at=timezone.now(),
        planned_by=by,
        reason="",
        stores_searched=0,
        stores_to_search=0,
        modes=request.modes | _checked(request, modes or {}),
    )
    _void_approvals(request, by=by)
    record(events.DISCOVERY_STARTED, by=by, resource=request.resource)


def _checked(request: Request, modes: Mapping[str, str]) -> dict[str, str]:
    stores = {connector.dataset_node: connector for connector in in_scope(request)}
    for node, mode in modes.items():
        if node not in stores:
            raise InvalidInputError(
                f"{node!r} is not a location that this request searches.", field="modes"
            )
        if mode not in (offered := modes_of(stores[node].kind)):
            kind = stores[node].get_kind_display()
            raise InvalidInputError(
                f"{mode!r} cannot be done with the older versions of {node}: {kind} stores offer"
                f" {' and '.join(offered)}.",
                field="modes",
            )
    return dict(modes)


def claim_discovery(pk: int) -> Request | None:
    """The request, if this caller is the one to search for it now.

    Not while an erasure rewrites one of its stores.
    """
    if waits_for_erasure(Request.objects.get(pk=pk).scope, nodes_being_erased_in()):
        return None
    won = Request.objects.filter(claimable(), pk=pk, state=State.DISCOVERY).update(
        claimed_at=timezone.now()
    )
    return Request.objects.get(pk=pk) if won else None


@transaction.atomic
def write_plan(request: Request, found: Discovery, *, by: User) -> Plan:
    """Keeps what discovery found as the request's current plan, and moves it to review."""
    identity = canonical.encode([{"type": s.type, "value": s.value} for s in found.subjects])
    Request.objects.filter(pk=request.pk).update(
        sealed_identity=vault.encrypt(identity, context=f"identity:{request.reference}"),
    )
    plan = _new_plan(request, plan_body(request, found, retain=_kept(request)), by=by)
    move(request, "plan_made", by=by, discovery_due_at=None)
    return plan


@transaction.atomic
def fail_discovery(request: Request, reason: str, *, by: User) -> None:
    move(request, "discovery_failed", by=by, reason=reason, discovery_due_at=None)
    record(
        events.DISCOVERY_FAILED, by=by, resource=request.resource, details={"reason": reason[:300]}
    )


@transaction.atomic
def amend_plan(request: Request, *, retain: Sequence[Mapping[str, str]], by: User) -> Plan:
    """Keeps some locations by an exemption of Art. 17(3): a new plan, and approvals start anew.

    `retain`: [{"dataset": node, "exemption": "17(3)(b)", "reason": text}]; empty keeps none.
    """
    plan = current_plan(request)
    if plan is None:
        raise WrongStateError(f"{request.reference} has no plan yet. Run the discovery first.")
    nodes = {step["dataset"] for step in plan.body["steps"]}
    chosen: dict[str, Mapping[str, str]] = {}
    for item in retain:
        if item.get("dataset") not in nodes:
            raise InvalidInputError(
                f"{item.get('dataset')!r} is not a location of this plan.", field="retain.dataset"
            )
        if item.get("exemption") not in EXEMPTIONS or not str(item.get("reason", "")).strip():
            raise InvalidInputError(
                f"Each kept location needs a reason and an exemption of: {', '.join(EXEMPTIONS)}.",
                field="retain.exemption",
            )
        chosen[item["dataset"]] = {"exemption": item["exemption"], "reason": item["reason"]}
    body: dict[str, Any] = dict(plan.body)
    body["steps"] = [
        {
            **step,
            "retain": chosen.get(step["dataset"]),
            "method": method_of(
                step.get("mode", "purge"), step["planned_objects"], chosen.get(step["dataset"])
            ),
        }
        for step in body["steps"]
    ]
    move(request, "amend", by=by, scheduled_for=None)
    _void_approvals(request, by=by)
    return _new_plan(request, body, by=by)


def _kept(request: Request) -> dict[str, Mapping[str, str]]:
    """Exemptions of the last plan stay when the stores are searched again."""
    last = request.plans.order_by("-number").first()
    steps = last.body["steps"] if last else []
    return {step["dataset"]: step["retain"] for step in steps if step["retain"]}


def _new_plan(request: Request, body: dict[str, Any], *, by: User) -> Plan:
    last = request.plans.order_by("-number").first()
    request.plans.filter(superseded_at=None).update(superseded_at=timezone.now())
    body = {k: v for k, v in body.items() if k not in ("number", "nonce")}
    number = last.number + 1 if last else 1
    # Number and nonce: the same findings planned twice are two plans, with two hashes.
    body |= {"number": number, "nonce": secrets.token_hex(8)}
    author = request.planned_by if by.kind == User.Kind.SYSTEM and request.planned_by else by
    plan = Plan.objects.create(
        request=request, number=number, author=author, body=body, hash=plan_hash(body)
    )
    record(
        events.PLAN_MADE,
        by=author,
        resource=request.resource,
        details={
            "number": number,
            "plan_hash": plan.hash,
            "rows": sum(s["rows"] for s in body["steps"]),
            "steps": len(body["steps"]),
            "models": [f"{m['model']}@{m['version']}" for m in body["affected_models"]],
        },
    )
    return plan


def _void_approvals(request: Request, *, by: User) -> None:
    plan = current_plan(request)
    if plan is None:
        return
    voided = plan.approvals.filter(voided_at=None).update(voided_at=timezone.now())
    if voided:
        record(
            events.APPROVALS_VOIDED,
            by=by,
            resource=request.resource,
            details={"number": plan.number, "plan_hash": plan.hash, "count": voided},
        )


def approve_plan(request: Request, *, plan_hash: str, by: User) -> Approval:
    """Signs the plan's hash. A refused try is recorded too: it is evidence of four eyes."""
    try:
        return _approve(request, plan_hash, by)
    except (ApproverIsAuthorError, PlanChangedSinceApprovalError) as exc:
        with transaction.atomic():
            record(
                events.APPROVAL_REFUSED,
                by=by,
                resource=request.resource,
                details={"plan_hash": plan_hash[:64], "reason": type(exc).__name__},
            )
        raise


@transaction.atomic
def _approve(request: Request, given_hash: str, by: User) -> Approval:
    # The row is locked so that two approvers, or an approver and a new plan, come one by one.
    request = Request.objects.select_for_update().get(pk=request.pk)
    plan = current_plan(request)
    if plan is None or request.state not in (State.REVIEW, State.APPROVAL):
        raise WrongStateError(f"{request.reference} has no plan that awaits approval.")
    if not by.has_perm("requests.approve"):
        raise NotPermittedError("Only the DPO and a data owner approve plans.")
    if plan.author_id == by.pk:
        raise ApproverIsAuthorError("You made this plan. Somebody else must approve it.")
    if given_hash != plan.hash:
        raise PlanChangedSinceApprovalError(
            "The hash is not that of the current plan. Read the plan again and approve its hash "
            f"{plan.hash}."
        )
    _check_nothing_open(plan)
    if plan.approvals.filter(approver=by, voided_at=None).exists():
        raise WrongStateError("You have approved this plan already; the other must be another's.")
    roles = [role for role in approvals_missing(plan) if by.has_role(role)]
    if not roles:
        raise WrongStateError(
            "The approval of your role was given already. The one that is missing: "
            + ", ".join(Role(role).label for role in approvals_missing(plan))
            + "."
        )
    approval = Approval.objects.create(plan=plan, approver=by, role=roles[0], plan_hash=plan.hash)
    record(
        events.PLAN_APPROVED,
        by=by,
        resource=request.resource,
        details={"number": plan.number, "plan_hash": plan.hash, "role": roles[0]},
    )
    if approvals_missing(plan):
        move(request, "first_approval", by=by)
    else:
        start = timezone.now() + timedelta(hours=settings.VESTIGE_COOLING_OFF_HOURS)
        move(request, "second_approval", by=by, scheduled_for=start)
        record(
            events.REQUEST_SCHEDULED,
            by=by,
            resource=request.resource,
            details={"scheduled_for": start.isoformat()},
        )
    return approval


def _check_nothing_open(plan: Plan) -> None:
    if open_points := unsettled(plan):
        raise WrongStateError(open_points)
