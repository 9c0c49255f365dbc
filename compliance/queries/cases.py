"""Requests, notices, plans and tails, and who may see and approve them."""

from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from accounts.models import User
from accounts.roles import Role
from compliance.models import Notice, Plan, Request, Tail
from compliance.states import NOTICE_OPEN, OPEN, State


def requests_visible_to(user: Any) -> QuerySet[Request]:
    """Staff and auditors see every case (without identities); a pipeline sees what it filed."""
    rows = Request.objects.select_related("filed_by", "planned_by", "merged_into")
    if not user.is_authenticated:
        return rows.none()
    if user.has_perm("requests.read"):
        return rows
    if user.has_perm("requests.file"):
        return rows.filter(filed_by=user)
    return rows.none()


def notices_visible_to(user: Any) -> QuerySet[Notice]:
    rows = Notice.objects.select_related(
        "request", "model_version__dataset", "replacement", "acknowledged_by"
    )
    if not user.is_authenticated or not user.has_perm("notices.read"):
        return rows.none()
    return rows


def resources_of_open_cases() -> list[str]:
    """What the log must keep for open or held requests and open notices, whatever the policies."""
    open_requests = Request.objects.filter(Q(state__in=OPEN) | Q(held_at__isnull=False))
    open_notices = Notice.objects.filter(state__in=NOTICE_OPEN)
    references = set(open_requests.values_list("reference", flat=True))
    references |= set(open_notices.values_list("request__reference", flat=True))
    return [f"request:{reference}" for reference in sorted(references)] + [
        f"notice:{pk}" for pk in open_notices.order_by("pk").values_list("pk", flat=True)
    ]


def requests_awaiting_approval() -> QuerySet[Request]:
    return Request.objects.filter(state__in=[State.REVIEW, State.APPROVAL])


def current_plan(request: Request) -> Plan | None:
    return request.plans.filter(superseded_at=None).select_related("author").first()


def tails_of(request: Request) -> QuerySet[Tail]:
    """Copies that the request's erasures could not reach, those of earlier plans as well: what a
    plan that failed later has erased is in the backups all the same."""
    return Tail.objects.filter(step__request=request).select_related("step__connector", "closed_by")


def copies_until(request: Request) -> datetime | None:
    """When the last of the copies that are still there ends."""
    last = tails_of(request).filter(closed_at=None).order_by("until").last()
    return last.until if last else None


def open_tails(*, asked_before: datetime | None = None) -> QuerySet[Tail]:
    """Of all requests; with `asked_before` those about which nobody was asked since then."""
    rows = Tail.objects.filter(closed_at=None)
    if asked_before is None:
        return rows
    return rows.filter(Q(asked_at=None) | Q(asked_at__lte=asked_before))


def approvals_missing(plan: Plan) -> list[str]:
    """The roles that have not signed this plan yet."""
    given = set(plan.approvals.filter(voided_at=None).values_list("role", flat=True))
    return [role for role in (Role.DPO, Role.DATA_OWNER) if role not in given]


def may_approve(user: User, plan: Plan) -> str:
    """Why this user may not approve this plan; empty when they may."""
    if plan.author_id == user.pk:
        return "You made this plan. Somebody else must approve it."
    if plan.approvals.filter(approver=user, voided_at=None).exists():
        return "You have approved this plan already. The second approval must be somebody else's."
    if not user.has_role(*approvals_missing(plan)):
        return "The approval of your role is not the one that is missing."
    return ""


def unsettled(plan: Plan) -> str:
    """What stands in the way of every approval of this plan; empty when nothing does."""
    points = list(plan.body["questions"])
    for step in plan.body["steps"]:
        if not step["retain"]:
            points += [f"{step['dataset']}: {blocker}" for blocker in step["blockers"]]
    return f"This plan cannot be approved yet. {' '.join(points)}" if points else ""


def plan_json(request: Request) -> dict[str, Any] | None:
    plan = current_plan(request)
    if plan is None:
        return None
    return {"hash": plan.hash, "author": plan.author.actor, "number": plan.number, **plan.body}


def affected_models(request: Request) -> list[dict[str, Any]]:
    plan = current_plan(request)
    return list(plan.body["affected_models"]) if plan else []
