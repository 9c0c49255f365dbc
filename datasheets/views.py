"""The pages of datasheets and model cards: reading, answering section by section, taking away."""

import json
from collections.abc import Callable
from http import HTTPStatus

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.auth import actor_of
from accounts.models import User
from audit.doors import page
from audit.queries import NothingSignedError
from datasheets.actions import (
    AnswersRefusedError,
    answer_questions,
    ask_for_profile,
    confirm_answer,
    note_export,
    open_sheet,
)
from datasheets.exports import as_json, as_markdown
from datasheets.forms import SectionForm
from datasheets.issuing import file_name, issued_pdf
from datasheets.models import Profile
from datasheets.queries.sheets import SheetView, sheet_view
from datasheets.rendering import RenderError
from lineage.models import Dataset
from lineage.queries import datasets_visible_to, models_visible_to

_UNPRINTABLE = "The PDF could not be made. Try again in a moment."


def _dataset(request: HttpRequest, kind: str, pk: int) -> Dataset:
    user = actor_of(request)
    rows = models_visible_to(user) if kind == "model" else datasets_visible_to(user)
    return get_object_or_404(rows, pk=pk)


def sheet_url(view: SheetView | Dataset) -> str:
    dataset = view.dataset if isinstance(view, SheetView) else view
    name = "datasheets:model_card" if dataset.is_model else "datasheets:datasheet"
    return reverse(name, args=[dataset.pk])


@page("documents.read")
@require_GET
def sheet(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    view = sheet_view(_dataset(request, kind, pk))
    return render(request, "datasheets/sheet.html", _context(view) | {"own_url": sheet_url(view)})


def _context(view: SheetView) -> dict[str, object]:
    done = view.completeness
    counts = done.counts
    profile = Profile.objects.filter(version=view.current).first() if view.current else None
    return {
        "view": view,
        "is_model": view.dataset.is_model,
        "profile": profile,
        "figures": [
            {
                "label": "Complete",
                "value": f"{done.percent}%",
                "note": "confirmed or measured, by weight",
            },
            {"label": "Measured", "value": counts.get("measured", 0)},
            {"label": "Confirmed", "value": counts.get("confirmed", 0)},
            {
                "label": "Answered",
                "value": counts.get("answered", 0),
                "note": "to be confirmed",
            },
            {
                "label": "Stale",
                "value": counts.get("stale", 0),
                "kind": "warn" if counts.get("stale") else "",
            },
            {
                "label": "Not stated",
                "value": counts.get("unanswered", 0) + counts.get("draft", 0),
                "note": f"{counts.get('draft', 0)} with a computed draft",
            },
        ],
    }


@page("documents.edit")
def edit(request: HttpRequest, kind: str, pk: int, section: str) -> HttpResponse:
    dataset = _dataset(request, kind, pk)
    view = sheet_view(dataset)
    chosen = next((s for s in view.sections if s.key == section), None)
    if chosen is None:
        raise Http404
    form = SectionForm(chosen, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = actor_of(request)
            given = form.given()
            if given:
                answer_questions(open_sheet(dataset, by=user), given, by=user)
        except AnswersRefusedError as exc:
            for fault in exc.faults:
                form.add_fault(fault)
        else:
            number = len(given)
            said = f"{number} {'answer' if number == 1 else 'answers'} saved."
            messages.success(request, said if number else "Nothing was changed.")
            return redirect(f"{sheet_url(dataset)}#{section}")
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
    return render(
        request,
        "datasheets/edit.html",
        {"view": view, "section": chosen, "form": form, "own_url": sheet_url(dataset)},
        status=status,
    )


@page("documents.edit")
@require_POST
def confirm(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    dataset, user = _dataset(request, kind, pk), actor_of(request)
    question_id = request.POST.get("question", "")
    try:
        confirm_answer(open_sheet(dataset, by=user), question_id, by=user)
    except AnswersRefusedError as exc:
        messages.error(request, str(exc))
        return redirect(sheet_url(dataset))
    messages.success(request, "Confirmed, and bound to what is measured now.")
    return redirect(f"{sheet_url(dataset)}#{question_id}")


@page("documents.edit")
@require_POST
def measure(request: HttpRequest, kind: str, pk: int) -> HttpResponse:
    dataset = _dataset(request, kind, pk)
    version = sheet_view(dataset).current
    if version is None or not version.in_store or dataset.connector is None:
        messages.error(
            request, "There is nothing to measure: connect the dataset's store and read it first."
        )
    else:
        ask_for_profile(version, by=actor_of(request))
        messages.success(request, "The current version will be measured in the background.")
    return redirect(sheet_url(dataset))


def _json_bytes(dataset: Dataset, _user: User) -> bytes:
    return json.dumps(as_json(sheet_view(dataset)), ensure_ascii=False, indent=1).encode()


def _markdown_bytes(dataset: Dataset, _user: User) -> bytes:
    return as_markdown(sheet_view(dataset)).encode()


def _pdf_bytes(dataset: Dataset, user: User) -> bytes:
    return issued_pdf(dataset, by=user)


_FILES: dict[str, tuple[str, Callable[[Dataset, User], bytes]]] = {
    "pdf": ("application/pdf", _pdf_bytes),
    "md": ("text/markdown; charset=utf-8", _markdown_bytes),
    "json": ("application/json", _json_bytes),
}


@page("documents.read")
@require_GET
def download(request: HttpRequest, kind: str, pk: int, ending: str) -> HttpResponse:
    """The document as a file. Taking it away is recorded."""
    if ending not in _FILES:
        raise Http404
    dataset, user = _dataset(request, kind, pk), actor_of(request)
    mime, make = _FILES[ending]
    try:
        data = make(dataset, user)
    except (RenderError, NothingSignedError) as exc:
        messages.error(request, f"{_UNPRINTABLE} {exc}")
        return redirect(sheet_url(dataset))
    note_export(dataset, ending, data, by=user)
    name = file_name(sheet_view(dataset), ending)
    return HttpResponse(
        data,
        content_type=mime,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
