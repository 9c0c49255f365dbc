"""Reports, certificates, and the home page."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.auth import actor_of
from audit.doors import page
from audit.queries import entries_for, event_of
from compliance.queries import requests_visible_to
from reports import actions
from reports.checks import DocumentCheck, checked_document
from reports.downloads import UnknownFormatError, download
from reports.files import DocumentFileMissingError
from reports.forms import ReportForm
from reports.home import dashboard, story
from reports.models import Certificate, Report
from reports.queries import (
    certificates_visible_to,
    reports_visible_to,
    resource_suggestions,
    why_no_certificate,
)
from reports.rendering import file_name
from reports.texts import details_line

_EVENTS_ON_PAGE = 50
# Above this size the check of a document would make its page slow: then it waits for a click.
_CHECK_AT_ONCE = 2_000_000


@page()
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "reports/home.html", dashboard(actor_of(request)))


@page("reports.create")
def reports(request: HttpRequest) -> HttpResponse:
    user = actor_of(request)
    form = ReportForm(request.POST or None, initial={"resource": request.GET.get("resource", "")})
    if request.method == "POST" and form.is_valid():
        try:
            made = actions.request_report(**form.wanted, by=user)
        except actions.ReportRefusedError as exc:
            form.add_error(exc.field if exc.field in form.fields else None, str(exc))
        else:
            return redirect("reports:report", pk=made.pk)
    shown = Paginator(reports_visible_to(user), 50).get_page(request.GET.get("page"))
    return render(
        request,
        "reports/reports.html",
        {
            "form": form,
            "page": shown,
            "suggestions": resource_suggestions(user),
            "certificates": certificates_visible_to(user)[:5],
            "refresh": any(row.is_under_way for row in shown),
        },
        status=422 if form.errors else 200,
    )


@page("reports.create")
def report(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(reports_visible_to(actor_of(request)), pk=pk)
    return render(
        request,
        "reports/report.html",
        {
            "row": row,
            "report": row.content,
            "events": _first_events(row),
            "check": _check(request, row),
            "refresh": row.is_under_way,
            "file": file_name(row, "pdf"),
        },
    )


def _first_events(row: Report) -> list[dict[str, Any]]:
    if not row.statement:
        return []
    found = entries_for(row.resource, row.start_at, row.before_at, as_of=row.as_of)
    return [
        {"entry": entry, "facts": details_line(event_of(entry).get("details", {}))}
        for entry in found[:_EVENTS_ON_PAGE]
    ]


def _check(request: HttpRequest, row: Certificate | Report) -> DocumentCheck | None:
    wanted = "verify" in request.GET or (row.pdf_bytes or 0) <= _CHECK_AT_ONCE
    return checked_document(row) if wanted and row.state == row.State.DONE else None


@page("reports.create")
@require_POST
def retry_report(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(reports_visible_to(actor_of(request)), pk=pk)
    _retry(request, row)
    return redirect("reports:report", pk=row.pk)


@page("reports.create")  # type: ignore[arg-type]  # a file is streamed
def report_file(request: HttpRequest, pk: int, ending: str) -> HttpResponseBase:
    row = get_object_or_404(reports_visible_to(actor_of(request)), pk=pk)
    return _file(request, row, ending)


@page("requests.read")
def certificates(request: HttpRequest) -> HttpResponse:
    rows = certificates_visible_to(actor_of(request))
    return render(
        request,
        "reports/certificates.html",
        {"page": Paginator(rows, 50).get_page(request.GET.get("page"))},
    )


@page("requests.read")
def certificate(request: HttpRequest, reference: str) -> HttpResponse:
    """One certificate by its number, or a request's newest by the request's reference."""
    rows = certificates_visible_to(actor_of(request))
    row = _certificate(rows, reference)
    if row is None:
        case = get_object_or_404(requests_visible_to(actor_of(request)), reference=reference)
        return render(
            request,
            "reports/no_certificate.html",
            {"case": case, "reason": why_no_certificate(case)},
        )
    return render(
        request,
        "reports/certificate.html",
        {
            "row": row,
            "certificate": row.content,
            "items": story(row.content, row.entry) if row.content else [],
            "may_retry": request.user.has_perm("requests.triage"),
            "file": file_name(row, "pdf"),
            **_verdict(row.content),
            "later": rows.filter(supersedes=row, state=Certificate.State.DONE).first(),
            "check": _check(request, row),
            "refresh": row.is_under_way,
        },
    )


def _verdict(said: Mapping[str, Any] | None) -> dict[str, str]:
    """The certificate in one sentence, and the colour that it may have."""
    if said is None:
        return {}
    if said["status"] == "partial":
        return {"tone": "warn", "verdict": "Erased in part, and verified"}
    if said["status"] == "interim":
        return {"tone": "warn", "verdict": f"Erased and verified; {_waits_for(said)}"}
    if not said["totals"]["rows_found"]:
        return {"tone": "", "verdict": "Searched everywhere: nothing was held"}
    return {"tone": "ok", "verdict": "Erased, and verified by an independent scan"}


def _waits_for(said: Mapping[str, Any]) -> str:
    """What an interim certificate is followed by another for."""
    waiting = said.get("open", {"notices": 1})  # certificates of before waited for models alone
    words = {"notices": "a model is still to be dealt with", "tails": "a copy is still to end"}
    return ", and ".join(text for name, text in words.items() if waiting.get(name))


def _certificate(rows: QuerySet[Certificate], reference: str) -> Certificate | None:
    found = rows.filter(number=reference).first()
    return found or rows.filter(request__reference=reference).first()


def _certificate_or_404(request: HttpRequest, reference: str) -> Certificate:
    row = _certificate(certificates_visible_to(actor_of(request)), reference)
    if row is None:
        raise Http404
    return row


@page("requests.triage")
@require_POST
def retry_certificate(request: HttpRequest, reference: str) -> HttpResponse:
    row = _certificate_or_404(request, reference)
    _retry(request, row)
    return redirect("reports:certificate", reference=row.number)


@page("requests.read")  # type: ignore[arg-type]  # a file is streamed
def certificate_file(request: HttpRequest, reference: str, ending: str) -> HttpResponseBase:
    return _file(request, _certificate_or_404(request, reference), ending)


def _retry(request: HttpRequest, row: Certificate | Report) -> None:
    try:
        actions.retry(row, by=actor_of(request))
    except actions.ReportRefusedError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, "It is due again and will be rendered in a moment.")


def _file(request: HttpRequest, row: Certificate | Report, ending: str) -> FileResponse:
    try:
        return download(row, ending, by=actor_of(request))
    except (UnknownFormatError, DocumentFileMissingError) as exc:
        raise Http404(str(exc)) from exc
