"""Retraining notices: the list, one notice, and the owner's answers."""

from datetime import UTC, datetime, time
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts.auth import actor_of
from audit.doors import page
from compliance.actions.notices import acknowledge, start_retraining, submit_evidence, waive
from compliance.errors import WorkflowError
from compliance.forms import EvidenceForm, WaiveForm
from compliance.models import Notice
from compliance.queries import notices_visible_to
from compliance.states import NOTICE_OPEN, NoticeState
from compliance.views.timeline import timeline
from lineage.models import Version

_WORDS = {
    "notice.issued": ("Notice issued", "live"),
    "notice.sent": ("Mail sent to the owner", ""),
    "notice.acknowledged": ("Acknowledged", "ok"),
    "notice.started": ("Retraining started", "live"),
    "notice.evidence_rejected": ("Evidence not sufficient", "bad"),
    "notice.closed": ("Closed with proof", "ok"),
    "notice.waived": ("Waived by the DPO", "warn"),
}


@page("notices.read")
def index(request: HttpRequest) -> HttpResponse:
    show_all = request.GET.get("show") == "all"
    rows = notices_visible_to(request.user)
    if not show_all:
        rows = rows.filter(state__in=NOTICE_OPEN)
    return render(
        request,
        "compliance/notices.html",
        {
            "page": Paginator(rows, 50).get_page(request.GET.get("page")),
            "show_all": show_all,
            "now": timezone.now(),
            "tabs": [
                {"label": "Open", "url": "?", "current": not show_all},
                {"label": "All", "url": "?show=all", "current": show_all},
            ],
        },
    )


@page("notices.read")
def show(request: HttpRequest, pk: int) -> HttpResponse:
    return _page(request, get_object_or_404(notices_visible_to(request.user), pk=pk))


def _candidates(notice: Notice) -> list[tuple[str, str]]:
    """Other versions of the model, newest first."""
    versions = (
        Version.objects.filter(dataset_id=notice.model_version.dataset_id)
        .exclude(pk=notice.model_version_id)
        .order_by("-created_at")
    )
    return [
        (v.version, f"Version {v.version}, made {v.created_at:%d %B %Y %H:%M} UTC")
        for v in versions
    ]


def _page(
    request: HttpRequest, notice: Notice, forms: dict[str, Any] | None = None
) -> HttpResponse:
    return render(
        request,
        "compliance/notice.html",
        {
            "notice": notice,
            "model": notice.model_version.dataset,
            "overdue": notice.is_open and notice.due_at < timezone.now(),
            "may_acknowledge": actor_of(request).has_perm("notices.answer")
            and notice.state == NoticeState.ISSUED,
            "may_start": actor_of(request).has_perm("notices.answer")
            and notice.state in (NoticeState.ACKNOWLEDGED, NoticeState.REJECTED_EVIDENCE),
            "may_answer": actor_of(request).has_perm("notices.answer") and notice.is_open,
            "may_waive": actor_of(request).has_perm("notices.decide") and notice.is_open,
            "forms": {
                "evidence": EvidenceForm(versions=_candidates(notice)),
                "waive": WaiveForm(prefix="waive"),
            }
            | (forms or {}),
            "timeline": timeline(notice.resource, _WORDS),
        },
    )


@page("notices.read")
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    notice = get_object_or_404(notices_visible_to(request.user), pk=pk)
    try:
        if verb == "acknowledge":
            acknowledge(notice, by=actor_of(request))
            messages.success(request, "You have acknowledged the notice.")
        elif verb == "start":
            start_retraining(notice, by=actor_of(request))
            messages.success(request, "Noted: retraining has started.")
        elif verb == "evidence":
            return _evidence(request, notice)
        elif verb == "waive":
            return _waive(request, notice)
        else:
            raise Http404
    except WorkflowError as exc:
        messages.error(request, str(exc))
    return redirect("compliance:notice", pk=pk)


def _evidence(request: HttpRequest, notice: Notice) -> HttpResponse:
    form = EvidenceForm(request.POST, versions=_candidates(notice))
    if not form.is_valid():
        return _page(request, notice, {"evidence": form})
    name = form.cleaned_data["model_version"]
    replacement = (
        get_object_or_404(Version, dataset_id=notice.model_version.dataset_id, version=name)
        if name
        else None
    )
    checks = submit_evidence(notice, replacement=replacement, by=actor_of(request))
    failed = [check for check in checks if not check.passed]
    if failed:
        messages.error(request, "Not sufficient yet: " + " ".join(c.finding for c in failed))
    else:
        messages.success(request, "Every check holds. The notice is closed.")
    return redirect("compliance:notice", pk=notice.pk)


def _waive(request: HttpRequest, notice: Notice) -> HttpResponse:
    form = WaiveForm(request.POST, prefix="waive")
    if not form.is_valid():
        return _page(request, notice, {"waive": form})
    until = datetime.combine(form.cleaned_data["expires_at"], time(23, 59, 59), tzinfo=UTC)
    try:
        waive(notice, reason=form.cleaned_data["reason"], until=until, by=actor_of(request))
    except WorkflowError as exc:
        form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        return _page(request, notice, {"waive": form})
    messages.success(request, "The notice is waived until then.")
    return redirect("compliance:notice", pk=notice.pk)
