"""Pages of the connected stores."""

import csv
from typing import TYPE_CHECKING, cast

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from audit.cells import cell
from audit.doors import page
from audit.templatetags.vestige import byte_size, count
from connectors.actions import (
    ConnectionTest,
    ConnectorError,
    check_connector,
    create_connector,
    disable_connector,
    probe,
)
from connectors.adapters.base import StoreError, StoreVersion
from connectors.comparing import shared_objects, sharing, steps
from connectors.forms import CompareForm, ConnectForm, TailsForm
from connectors.kinds import KINDS
from connectors.models import Connector
from connectors.queries import (
    INDEXED_KINDS,
    TASK_KINDS,
    VersionChanges,
    available_kinds,
    clustering_of,
    connectors_visible_to,
    index_state,
    version_changes,
    versions_of,
    without_index,
)
from connectors.tails import state_tails

if TYPE_CHECKING:
    from accounts.models import User


def _user(request: HttpRequest) -> "User":
    return cast("User", request.user)


@page("connectors.read")
def stores(request: HttpRequest) -> HttpResponse:
    visible = connectors_visible_to(_user(request))
    return render(request, "connectors/stores.html", {"stores": visible})


@page("connectors.read")
def store(request: HttpRequest, pk: int) -> HttpResponse:
    return _store_page(request, _connector(request, pk))


def _connector(request: HttpRequest, pk: int) -> Connector:
    return get_object_or_404(connectors_visible_to(_user(request)), pk=pk)


def _store_page(
    request: HttpRequest, connector: Connector, tails: TailsForm | None = None
) -> HttpResponse:
    versions, fault = _versions(connector)
    context = {
        "connector": connector,
        "fault": fault,
        "steps": steps(versions),
        "newest": versions[0] if versions else None,
        "most_bytes": max((version.bytes or 0 for version in versions), default=0),
        "figures": _figures(versions),
        "options": [(name, _shown(value)) for name, value in sorted(connector.options.items())],
        "subject_columns": sorted(connector.subject_columns.items()),
        "clustering": _clustering(connector),
        "tails_form": tails or TailsForm(initial={"tails": connector.tails}),
        "tasked": connector.kind in TASK_KINDS,
        "indexed": connector.kind in INDEXED_KINDS and not connector.disabled_at,
        "index_off": without_index(connector.options),
        "index": index_state(connector),
    }
    return render(request, "connectors/store.html", context)


def _clustering(connector: Connector) -> dict[str, object]:
    """The column by which an erasure rewrites least, and what ordering by it would change."""
    try:
        found = clustering_of(connector)
    except StoreError:
        return {}  # the page says so already
    if not found:
        return {}
    best = min(found, key=lambda item: (item.now, item.ordered))
    return {
        "column": best.column,
        "now": _share(best.now),
        "ordered": _share(best.ordered) if best.pays else "",
    }


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "less than 1%"


def _shown(option: object) -> str:
    return ", ".join(map(str, option)) if isinstance(option, list) else str(option)


def _figures(versions: list[StoreVersion]) -> list[dict[str, object]]:
    if not versions:
        return []
    shared = sharing(versions)
    return [
        {"label": "Versions kept", "value": count(len(versions))},
        {"label": "Rows now", "value": count(versions[0].rows)},
        {
            "label": "Physical files",
            "value": count(shared.objects),
            "note": f"read {count(shared.reads)} times by all versions together",
        },
        {
            "label": "On disk",
            "value": byte_size(shared.bytes),
            "note": f"{byte_size(shared.bytes_read)} if no version shared files",
        },
    ]


def _versions(connector: Connector) -> tuple[list[StoreVersion], str]:
    """Newest first, or why the store cannot be read."""
    try:
        return versions_of(connector), ""
    except StoreError as exc:
        return [], str(exc)


@page("connectors.read")
def files(request: HttpRequest, pk: int) -> HttpResponse:
    """The report on what versions share, file by file."""
    connector = _connector(request, pk)
    versions, fault = _versions(connector)
    context = {
        "connector": connector,
        "fault": fault,
        "figures": _figures(versions),
        "kept": len(versions),
        "page": Paginator(shared_objects(versions), 100).get_page(request.GET.get("page")),
    }
    return render(request, "connectors/files.html", context)


@page("connectors.read")
def files_as_csv(request: HttpRequest, pk: int) -> HttpResponse:
    connector = _connector(request, pk)
    versions, fault = _versions(connector)
    if fault:
        messages.error(request, fault)
        return redirect("connectors:files", pk=pk)
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="vestige-store-{pk}-files.csv"'
    lines = csv.writer(answer)
    lines.writerow(["file", "bytes", "rows", "versions", "saved_bytes"])
    for item in shared_objects(versions):
        kept = item.object
        lines.writerow(
            [cell(kept.path), kept.bytes, kept.rows, " ".join(item.versions), item.saved]
        )
    return answer


@page("connectors.read")
def compare(request: HttpRequest, pk: int) -> HttpResponse:
    connector = _connector(request, pk)
    versions, fault = _versions(connector)
    names = [version.id for version in versions]
    newest = dict(zip(("new", "old"), names, strict=False))
    form = CompareForm({**newest, **request.GET.dict()}, versions=names)
    changes: VersionChanges | None = None
    if len(names) > 1 and form.is_valid():
        given = form.cleaned_data
        try:
            changes = version_changes(
                connector, given["old"], given["new"], key=given["key"], versions=versions
            )
        except StoreError as exc:
            fault = str(exc)
        except ValueError as exc:
            form.add_error("key", f"Rows cannot be told apart by it: {exc}.")
    context = {
        "connector": connector,
        "fault": fault,
        "form": form,
        "comparable": len(names) > 1,
        "changes": changes,
        "figures": _changed_figures(changes) if changes else [],
    }
    return render(request, "connectors/compare.html", context)


def _changed_figures(changes: VersionChanges) -> list[dict[str, object]]:
    found, rows = changes.comparison, changes.rows
    before, after = found.old.rows, found.new.rows
    figures: list[dict[str, object]] = [
        {"label": "Rows", "value": f"{count(before)} → {count(after)}"},
        {
            "label": "Files",
            "value": f"{count(len(found.removed))} gone, {count(len(found.added))} new",
            "note": f"{count(len(found.shared))} read by both",
        },
    ]
    if rows is not None:
        figures += [
            {"label": "Rows added", "value": count(rows.added)},
            {"label": "Rows removed", "value": count(rows.removed)},
        ]
        if rows.modified is not None:
            figures.append({"label": "Rows modified", "value": count(rows.modified)})
    return figures


def _versions_text(number: int) -> str:
    return f"{number} version" if number == 1 else f"{number} versions"


@page("connectors.manage")
def connect(request: HttpRequest) -> HttpResponse:
    form = ConnectForm(request.POST or None)
    tested: ConnectionTest | None = None
    if request.method == "POST" and form.is_valid():
        given = form.as_given()
        try:
            if "test" in request.POST:
                tested = _tested(given)
            else:
                made = create_connector(**given, by=_user(request))
                messages.success(request, f"{made.name} is connected.")
                return redirect("connectors:store", pk=made.pk)
        except ConnectorError as exc:
            form.add_fault(exc.field, str(exc))
    context = {
        "form": form,
        "kinds": [(label, KINDS[name]) for name, label in available_kinds().items()],
        "tested": tested,
        "tested_text": f"It keeps {_versions_text(tested.versions)} and has every column you named."
        if tested
        else "",
    }
    return render(request, "connectors/connect.html", context)


def _tested(given: dict[str, object]) -> ConnectionTest:
    _, found = probe(
        kind=str(given["kind"]),
        location=str(given["location"]),
        subject_columns=cast("dict[str, str]", given["subject_columns"]),
        options=cast("dict[str, object]", given["options"]),
    )
    return found


@page("connectors.manage")
@require_POST
def test(request: HttpRequest, pk: int) -> HttpResponse:
    connector = _connector(request, pk)
    found = check_connector(connector, by=_user(request))
    if found.reachable:
        messages.success(request, f"The store can be read: {_versions_text(found.versions)}.")
    else:
        messages.error(request, found.reason)
    return redirect("connectors:store", pk=pk)


@page("connectors.manage")
@require_POST
def disable(request: HttpRequest, pk: int) -> HttpResponse:
    connector = _connector(request, pk)
    disable_connector(connector, by=_user(request))
    messages.success(
        request, f"{connector.name} is disabled: searches and erasures leave it out from now on."
    )
    return redirect("connectors:store", pk=pk)


@page("connectors.manage")
@require_POST
def tails(request: HttpRequest, pk: int) -> HttpResponse:
    connector = _connector(request, pk)
    form = TailsForm(request.POST)
    if form.is_valid():
        try:
            state_tails(connector, form.cleaned_data["tails"], by=_user(request))
        except ConnectorError as exc:
            form.add_error("tails", str(exc))
        else:
            messages.success(request, "Erasures from now on name these copies.")
            return redirect("connectors:store", pk=pk)
    return _store_page(request, connector, form)
