"""Approving several plans at once: what each of them does, and a signature under each."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.auth import actor_of
from accounts.models import User
from audit.doors import page
from compliance.actions.plans import approve_plan
from compliance.errors import WorkflowError, WrongStateError
from compliance.models import Plan, Request
from compliance.queries import (
    current_plan,
    may_approve,
    requests_awaiting_approval,
    requests_visible_to,
    unsettled,
)

_A_PAGE = 50


@page("requests.approve")
def approvals(request: HttpRequest) -> HttpResponse:
    by = actor_of(request)
    cases = requests_visible_to(by) & requests_awaiting_approval()
    if request.method == "POST":
        _approve(request, {case.reference: case for case in cases})
        return redirect("compliance:approvals")
    shown = Paginator(cases.order_by("due_at", "pk"), _A_PAGE).get_page(request.GET.get("page"))
    rows = [_row(case, plan, by) for case in shown if (plan := current_plan(case))]
    return render(
        request,
        "compliance/approvals.html",
        {"page": shown, "rows": rows, "any": any(not row["why_not"] for row in rows)},
    )


def _row(case: Request, plan: Plan, by: User) -> dict[str, Any]:
    steps = [s for s in plan.body["steps"] if s["planned_objects"] and not s["retain"]]
    return {
        "case": case,
        "plan": plan,
        "rows": sum(step["rows"] for step in steps),
        "datasets": [step["dataset"] for step in steps],
        "versions_lost": sum(len(step["versions_lost"]) for step in steps),
        "keeps": any(step["mode"] == "keep_history" for step in steps),
        "retained": [step["dataset"] for step in plan.body["steps"] if step["retain"]],
        "models": len(plan.body["affected_models"]),
        "why_not": may_approve(by, plan) or unsettled(plan),
    }


def _approve(request: HttpRequest, cases: dict[str, Request]) -> None:
    """Each plan for itself: one that has changed meanwhile keeps none of the others back."""
    chosen = [value.partition(" ") for value in request.POST.getlist("plan")]
    done = 0
    for reference, _, plan_hash in chosen:
        try:
            if reference not in cases:
                raise WrongStateError("Its plan no longer awaits approval.")
            approve_plan(cases[reference], plan_hash=plan_hash, by=actor_of(request))
        except WorkflowError as exc:
            messages.error(request, f"{reference[:40]}: {exc}")
        else:
            done += 1
    if done:
        messages.success(request, f"Your approval of {done} plan{'s'[: done > 1]} is recorded.")
    if not chosen:
        messages.error(request, "No plan was chosen. Tick those that you approve.")
