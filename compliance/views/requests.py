"""The workflow's pages: the queue, one request, and what may be done with it."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts.auth import actor_of
from accounts.models import User
from audit.doors import page
from audit.subjects import SubjectRef
from compliance.actions import decisions, identity
from compliance.actions.erasure import execute
from compliance.actions.plans import amend_plan, approve_plan, start_discovery
from compliance.actions.requests import file_request
from compliance.actions.tails import close_tail, prolong_tail
from compliance.errors import WorkflowError
from compliance.forms import (
    CloseTailForm,
    ModeForm,
    ProlongTailForm,
    ReasonForm,
    RefuseForm,
    RetainForm,
    StaffRequestForm,
    VerifyForm,
)
from compliance.models import Plan, Request
from compliance.queries import (
    approvals_missing,
    current_plan,
    identifiers_of,
    masked,
    may_approve,
    open_tails,
    requests_visible_to,
    tails_of,
)
from compliance.states import ENDED, OPEN, TRANSITIONS, UNANSWERED, State
from compliance.views.pace import pace
from compliance.views.timeline import timeline
from connectors.queries import modes_of

_FILTERS = {
    "open": ("Open", Q(state__in=OPEN)),
    "approval": ("Awaiting approval", Q(state__in=[State.REVIEW, State.APPROVAL])),
    "blocked": ("Blocked", Q(state=State.BLOCKED)),
    "copies": ("Copies to end", Q(pk__in=open_tails().values("step__request"))),
    "overdue": ("Overdue", None),
    "ended": ("Ended", Q(state__in=ENDED)),
    "all": ("All", Q()),
}


def _filtered(request: HttpRequest) -> tuple[str, Any]:
    chosen = request.GET.get("show", "open")
    chosen = chosen if chosen in _FILTERS else "open"
    condition = _FILTERS[chosen][1]
    if condition is None:
        condition = Q(state__in=UNANSWERED, due_at__lt=timezone.now())
    rows = requests_visible_to(request.user).filter(condition)
    if sought := request.GET.get("q", "").strip():
        rows = rows.filter(reference__icontains=sought)
    if chosen in ("ended", "all"):
        rows = rows.order_by("-received_at", "-pk")
    return chosen, rows


@page("requests.read")
def queue(request: HttpRequest) -> HttpResponse:
    chosen, rows = _filtered(request)
    shown = Paginator(rows, 50).get_page(request.GET.get("page"))
    return render(
        request,
        "compliance/queue.html",
        {
            "page": shown,
            "chosen": chosen,
            "q": request.GET.get("q", ""),
            "now": timezone.now(),
            "tabs": [
                {"label": label, "url": f"?show={key}", "current": key == chosen}
                for key, (label, _) in _FILTERS.items()
            ],
        },
    )


@page("requests.file")
def new(request: HttpRequest) -> HttpResponse:
    form = StaffRequestForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            filed = file_request(
                rights=["erasure"],
                subjects=[SubjectRef(given["subject_type"], given["subject_value"])],
                contact=given["contact"],
                regime=given["regime"],
                received_at=given["received_at"],
                channel=Request.Channel.STAFF,
                by=actor_of(request),
            )
        except WorkflowError as exc:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        else:
            messages.success(request, f"{filed.reference} is filed. Confirm the identity next.")
            return redirect("compliance:request", reference=filed.reference)
    return render(request, "compliance/new.html", {"form": form})


def _visible(request: HttpRequest, reference: str) -> Request:
    return get_object_or_404(requests_visible_to(request.user), reference=reference)


@page("requests.read")
def show(request: HttpRequest, reference: str) -> HttpResponse:
    return _page(request, _visible(request, reference))


def _page(
    request: HttpRequest, case: Request, forms: Mapping[str, Any] | None = None
) -> HttpResponse:
    plan = current_plan(case)
    return render(
        request,
        "compliance/request.html",
        {
            "case": case,
            "plan": plan,
            "plan_steps": _plan_steps(plan),
            "approvals": plan.approvals.select_related("approver") if plan else [],
            "missing": approvals_missing(plan) if plan else [],
            "why_not_approve": may_approve(actor_of(request), plan) if plan else "",
            "steps": [
                {"step": step, "pace": pace(step, timezone.now())}
                for step in case.steps.select_related("connector", "dataset").filter(
                    plan__superseded_at=None
                )
            ],
            "tails": (tails := _tails(case, forms or {})),
            "tails_due": any(item["is_due"] for item in tails),
            "notices": case.notices.select_related("model_version__dataset"),
            "identity": _identity(actor_of(request), case),
            "timeline": timeline(case.resource, _EVENT_WORDS),
            "may": _verbs(actor_of(request), case),
            "working": case.state
            in (State.DISCOVERY, State.EXECUTING, State.VERIFYING_ERASURE, State.RESPONDING),
            "overdue": case.is_overdue,
            "forms": _forms(plan) | dict(forms or {}),
        },
    )


def _identity(user: User, case: Request) -> list[tuple[str, str]]:
    """Who it is about: in full for who must check the identity, masked for everybody else."""
    full = user.has_perm("requests.triage")
    return [(ref.type, ref.value if full else masked(ref)) for ref in identifiers_of(case)]


def _tails(case: Request, forms: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The copies that could not be reached, each with its forms."""
    now = timezone.now()
    return [
        {
            "tail": tail,
            "is_due": tail.closed_at is None and tail.until <= now,
            "close": forms.get(f"close-{tail.pk}") or CloseTailForm(prefix=f"close-{tail.pk}"),
            "prolong": forms.get(f"prolong-{tail.pk}")
            or ProlongTailForm(prefix=f"prolong-{tail.pk}"),
        }
        for tail in tails_of(case)
    ]


def _forms(plan: Plan | None) -> dict[str, Any]:
    nodes = [step["dataset"] for step in plan.body["steps"]] if plan else []
    return {
        "verify": VerifyForm(),
        "refuse": RefuseForm(prefix="refuse"),
        "hold": ReasonForm(prefix="hold"),
        "extend": ReasonForm(prefix="extend"),
        "reopen": ReasonForm(prefix="reopen"),
        "retain": RetainForm(prefix="retain", nodes=nodes),
        "mode": ModeForm(prefix="mode", nodes=_with_choice(plan)),
    }


def _with_choice(plan: Plan | None) -> list[str]:
    """The locations whose older versions may go or stay."""
    steps = plan.body["steps"] if plan else []
    return [step["dataset"] for step in steps if len(modes_of(step["kind"])) > 1]


def _plan_steps(plan: Plan | None) -> list[dict[str, Any]]:
    if plan is None:
        return []
    return [
        {
            **step,
            "by_version": sorted(
                step["rows_by_version"].items(), key=lambda item: (len(item[0]), item[0])
            ),
        }
        for step in plan.body["steps"]
    ]


_EVENT_WORDS = {
    "request.filed": ("Request received", "ok"),
    "request.code_sent": ("Code sent to a held address", ""),
    "request.code_refused": ("Wrong or old code entered", "warn"),
    "request.verified": ("Identity confirmed", "ok"),
    "request.merged": ("Merged into an earlier request", ""),
    "discovery.started": ("Search of all stores started", ""),
    "discovery.failed": ("Search failed", "bad"),
    "plan.made": ("Plan written", "ok"),
    "plan.approved": ("Plan approved", "ok"),
    "plan.approval_refused": ("Approval refused", "warn"),
    "plan.approvals_voided": ("Approvals void: the plan changes", "warn"),
    "request.scheduled": ("Scheduled for execution", ""),
    "request.extended": ("Period extended", "warn"),
    "request.held": ("Legal hold set", "warn"),
    "request.released": ("Legal hold lifted", ""),
    "request.refused": ("Refused", "bad"),
    "request.withdrawn": ("Withdrawn by the person", ""),
    "request.reopened": ("Reopened", "warn"),
    "subject.suppressed": ("Person put on the suppression list", ""),
    "erasure.started": ("Erasure started", "live"),
    "erasure.step_erased": ("Rows erased", "ok"),
    "erasure.step_purged": ("Old copies purged", "ok"),
    "erasure.step_verified": ("Every byte read again, no trace", "ok"),
    "erasure.step_failed": ("Step failed", "bad"),
    "erasure.verified": ("Erasure verified in every store", "ok"),
    "erasure.tail_left": ("A copy could not be reached", "warn"),
    "erasure.tail_asked": ("Asked whether a copy is gone", ""),
    "erasure.tail_prolonged": ("A copy lasts longer", "warn"),
    "erasure.tail_closed": ("A copy is gone", "ok"),
    "request.tail_open": ("Answered; a copy is still to end", "ok"),
    "request.blocked": ("Blocked", "bad"),
    "request.completed": ("Completed", "ok"),
    "certificate.issued": ("Certificate issued", "ok"),
    "mail.sent": ("Mail sent", ""),
}


def _verbs(user: User, case: Request) -> dict[str, bool]:
    """What this person may do with the request as it stands."""
    possible = {
        verb: case.state in row.sources and user.has_perm(row.permission or "")
        for verb, row in TRANSITIONS.items()
    }
    decides = user.has_perm("requests.decide") and case.state in UNANSWERED
    return possible | {
        "approve": case.state in (State.REVIEW, State.APPROVAL)
        and user.has_perm("requests.approve"),
        "hold": decides and not case.held_at,
        "release": decides and bool(case.held_at),
        "extend": decides and not case.extended_at,
        "execute": possible["execute"] and not case.held_at,
        "tails": user.has_perm("requests.decide"),
    }


def _retained(case: Request) -> list[dict[str, str]]:
    plan = current_plan(case)
    steps = plan.body["steps"] if plan else []
    return [{"dataset": s["dataset"], **s["retain"]} for s in steps if s["retain"]]


def _do_verify(case: Request, form: Any, by: User) -> None:
    identity.verify(case, **form.cleaned_data, by=by)


def _do_retain(case: Request, form: Any, by: User) -> None:
    kept = [r for r in _retained(case) if r["dataset"] != form.cleaned_data["dataset"]]
    amend_plan(case, retain=[*kept, form.cleaned_data], by=by)


def _do_mode(case: Request, form: Any, by: User) -> None:
    chosen = form.cleaned_data
    start_discovery(case, modes={chosen["dataset"]: chosen["mode"]}, by=by)


# verb → (form's name or None, what to do, what to say)
_ACTIONS: dict[str, tuple[str | None, Callable[..., Any], str]] = {
    "verify": ("verify", _do_verify, "The identity is confirmed."),
    "plan": (
        None,
        lambda case, form, by: start_discovery(case, by=by),
        "The search has started. The plan appears here.",
    ),
    "mode": ("mode", _do_mode, "The search has started again. The new plan appears here."),
    "approve": (None, lambda case, form, by: None, "Your approval is recorded."),
    "retain": ("retain", _do_retain, "The plan has changed; approvals start anew."),
    "execute": (
        None,
        lambda case, form, by: execute(case, by=by),
        "The erasure has started. Progress appears here.",
    ),
    "refuse": (
        "refuse",
        lambda case, form, by: decisions.refuse(case, **form.cleaned_data, by=by),
        "The request is refused; the person is told why.",
    ),
    "hold": (
        "hold",
        lambda case, form, by: decisions.hold(case, **form.cleaned_data, by=by),
        "The request is held. Nothing is erased until you release it.",
    ),
    "release": (
        None,
        lambda case, form, by: decisions.release(case, by=by),
        "The hold is lifted.",
    ),
    "extend": (
        "extend",
        lambda case, form, by: decisions.extend(case, **form.cleaned_data, by=by),
        "The period is extended; the person is told why.",
    ),
    "withdraw": (
        None,
        lambda case, form, by: decisions.withdraw(case, by=by),
        "The request is withdrawn.",
    ),
    "reopen": (
        "reopen",
        lambda case, form, by: decisions.reopen(case, **form.cleaned_data, by=by),
        "The request is open again.",
    ),
}


@page("requests.read")
@require_POST
def act(request: HttpRequest, reference: str, verb: str) -> HttpResponse:
    case = _visible(request, reference)
    if verb not in _ACTIONS:
        raise Http404
    name, action, done = _ACTIONS[verb]
    form = _bound(name, request, case) if name else None
    if form is not None and not form.is_valid():
        return _page(request, case, {str(name): form})
    try:
        if verb == "approve":
            approve_plan(case, plan_hash=request.POST.get("plan_hash", ""), by=actor_of(request))
        else:
            action(case, form, actor_of(request))
    except WorkflowError as exc:
        if form is not None:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
            return _page(request, case, {str(name): form})
        messages.error(request, str(exc))
    else:
        messages.success(request, done)
    return redirect("compliance:request", reference=reference)


def _bound(name: str, request: HttpRequest, case: Request) -> Any:
    plan = current_plan(case)
    if name == "retain":
        nodes = [step["dataset"] for step in plan.body["steps"]] if plan else []
        return RetainForm(request.POST, prefix="retain", nodes=nodes)
    if name == "mode":
        return ModeForm(request.POST, prefix="mode", nodes=_with_choice(plan))
    if name == "verify":
        return VerifyForm(request.POST)
    if name == "refuse":
        return RefuseForm(request.POST, prefix="refuse")
    return ReasonForm(request.POST, prefix=name)


# verb → its form, what to do, what to say
_TAIL_ACTIONS: dict[str, tuple[type[Form], Callable[..., None], str]] = {
    "close": (CloseTailForm, close_tail, "The copy is noted as gone."),
    "prolong": (ProlongTailForm, prolong_tail, "You will be asked again on that day."),
}


@page("requests.read")
@require_POST
def act_on_tail(request: HttpRequest, reference: str, tail: int, verb: str) -> HttpResponse:
    case = _visible(request, reference)
    if verb not in _TAIL_ACTIONS:
        raise Http404
    kind, action, done = _TAIL_ACTIONS[verb]
    form = kind(request.POST, prefix=f"{verb}-{tail}")
    if form.is_valid():
        try:
            action(case, tail=tail, **form.cleaned_data, by=actor_of(request))
        except WorkflowError as exc:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        else:
            messages.success(request, done)
            return redirect("compliance:request", reference=reference)
    return _page(request, case, {f"{verb}-{tail}": form})
