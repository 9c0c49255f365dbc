"""The retention page of a log, `?log=`: policies, holds, what may go, what went."""

from itertools import islice

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit.actions import (
    PruningRefusedError,
    RetentionError,
    end_policy,
    place_hold,
    plan_pruning,
    release_hold,
    set_policy,
    start_pruning,
)
from audit.doors import actor_of, log_asked, page
from audit.events import permanent_classes
from audit.forms import LogHoldForm, RetentionPolicyForm
from audit.logs import LogRef, logs_visible_to
from audit.models import Pruning
from audit.queries import actor_names
from audit.retention import held_by_cases, holds, planned, policies, prunings
from audit.templatetags.vestige import in_log

_NEWEST = 20
_RANGES = 20


@require_http_methods(["GET", "HEAD", "POST"])
def retention(request: HttpRequest) -> HttpResponse:
    """GET shows, POST sets a policy."""
    return _set_policy(request) if request.method == "POST" else _show(request)


@page("retention.manage")
def _set_policy(request: HttpRequest) -> HttpResponse:
    log, form = log_asked(request), RetentionPolicyForm(request.POST)
    if form.is_valid():
        try:
            policy = set_policy(**form.cleaned_data, by=actor_of(request), log_id=log.id)
        except RetentionError as exc:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        else:
            messages.success(
                request, f"Entries of {policy.event_class} are kept {policy.days:,} days."
            )
            return _back(log)
    return _page(request, log, policy_form=form, status=422)


@page("retention.read")
@require_GET
def _show(request: HttpRequest) -> HttpResponse:
    return _page(request, log_asked(request))


@page("retention.manage")
@require_POST
def end(request: HttpRequest) -> HttpResponse:
    log = log_asked(request)
    try:
        end_policy(request.POST.get("event_class", ""), by=actor_of(request), log_id=log.id)
    except RetentionError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, "The policy has ended: its entries are kept.")
    return _back(log)


@page("retention.manage")
@require_POST
def hold(request: HttpRequest) -> HttpResponse:
    log, form = log_asked(request), LogHoldForm(request.POST)
    if form.is_valid():
        said = form.cleaned_data
        last = said["last"]
        try:
            place_hold(
                resource=said["resource"],
                subject=said["subject"],
                start=said["first"],
                stop=None if last is None else last + 1,
                reason=said["reason"],
                by=actor_of(request),
                log_id=log.id,
            )
        except RetentionError as exc:
            field = {"start": "first"}.get(exc.field, exc.field)
            form.add_error(field if field in form.fields else None, str(exc))
        else:
            messages.success(request, "The hold stands: these entries are kept.")
            return _back(log)
    return _page(request, log, hold_form=form, status=422)


@page("retention.manage")
@require_POST
def release(request: HttpRequest, pk: int) -> HttpResponse:
    log = log_asked(request)
    try:
        release_hold(pk, by=actor_of(request), log_id=log.id)
    except RetentionError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, "The hold is released.")
    return _back(log)


@page("retention.manage")
@require_POST
def plan(request: HttpRequest) -> HttpResponse:
    log = log_asked(request)
    try:
        plan_pruning(by=actor_of(request), log_id=log.id)
    except PruningRefusedError as exc:
        messages.error(request, str(exc))
    return _back(log)


@page("retention.prune")
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, plan_hash: str) -> HttpResponse:
    """GET shows what will be deleted, POST starts it."""
    log = log_asked(request)
    newest = planned(log.id)
    if newest is None or newest.plan_hash != plan_hash:
        if request.method == "POST":
            messages.error(request, "This is not the newest plan. Look at what may go now.")
            return _back(log)
        raise Http404("There is no such plan any more.")
    if request.method == "POST":
        try:
            start_pruning(plan_hash, by=actor_of(request), log_id=log.id)
        except PruningRefusedError as exc:
            messages.error(request, str(exc))
        else:
            messages.success(request, "The pruning has started.")
        return _back(log)
    ranges = newest.plan["ranges"]
    context = {
        "log": log,
        "plan": newest,
        "ranges": [(start, stop - 1) for start, stop in islice(ranges, _RANGES)],
        "more": max(0, len(ranges) - _RANGES),
    }
    return render(request, "audit/confirm_pruning.html", context)


def _back(log: LogRef) -> HttpResponse:
    return redirect(f"{reverse('audit:retention')}{in_log(log.id)}")


def _page(
    request: HttpRequest,
    log: LogRef,
    *,
    policy_form: Form | None = None,
    hold_form: Form | None = None,
    status: int = 200,
) -> HttpResponse:
    found, standing = list(policies(log.id)), list(holds(log.id))
    newest, runs = planned(log.id), list(prunings(log.id)[:_NEWEST])
    running = next((run for run in runs if run.state == Pruning.State.RUNNING), None)
    may = request.user.has_perm
    context = {
        "log": log,
        "logs": logs_visible_to(request.user),
        "policies": found,
        "holds": standing,
        "cases": [(name, len(held)) for name, held in held_by_cases().items() if held],
        "plan": newest,
        "prunings": runs,
        "running": running,
        "refresh": running is not None,
        "manages": may("retention.manage"),
        "prunes": may("retention.prune"),
        "policy_form": policy_form or RetentionPolicyForm(),
        "hold_form": hold_form or LogHoldForm(),
        "permanent": permanent_classes(),
        "actors": actor_names(
            [
                *(policy.set_by for policy in found),
                *(item.placed_by for item in standing),
                *(run.started_by for run in runs),
                *([newest.planned_by] if newest else []),
            ]
        ),
    }
    return render(request, "audit/retention.html", context, status=status)
