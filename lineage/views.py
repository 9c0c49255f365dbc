"""Pages of datasets and models: lists, versions, the lineage graph, history."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts.auth import actor_of
from accounts.models import User
from audit.doors import page
from audit.queries import actor_names, entries_for, event_of
from connectors.adapters.base import StoreError
from lineage.actions import (
    LineageError,
    put_model_in_use,
    retire_model_version,
    sync_connector,
)
from lineage.drawing import draw
from lineage.forms import DEFAULT_DEPTH, DatasetFilterForm, GraphForm, ModelFilterForm
from lineage.models import Dataset, Edge, Version
from lineage.names import page_of
from lineage.queries import (
    datasets_visible_to,
    graph,
    may_decide_on,
    models_trained_on_purged,
    models_visible_to,
    training_of,
    versions_visible_to,
    with_use,
    with_versions,
)

ROWS = 50
TABS = ("overview", "lineage", "history")


# Lists


@page("lineage.read")
@require_GET
def datasets(request: HttpRequest) -> HttpResponse:
    form = DatasetFilterForm(request.GET)
    rows = datasets_visible_to(actor_of(request))
    if form.is_valid():
        rows = _named(rows, form.cleaned_data["q"])
        if form.cleaned_data["personal"]:
            rows = rows.filter(personal_data=form.cleaned_data["personal"] == "yes")
    found = _page(rows, request)
    context = found | {"form": form, "rows": _in_order(with_versions(rows), found["ids"])}
    return render(request, "lineage/datasets.html", context)


@page("lineage.read")
@require_GET
def models(request: HttpRequest) -> HttpResponse:
    form = ModelFilterForm(request.GET)
    user = actor_of(request)
    rows = models_visible_to(user)
    if form.is_valid():
        rows = _named(rows, form.cleaned_data["q"])
        if form.cleaned_data["use"]:
            used = Q(pk__in=Version.objects.filter(in_use=True).values("dataset"))
            rows = rows.filter(used if form.cleaned_data["use"] == "yes" else ~used)
    found = _page(rows, request)
    shown = _in_order(with_use(with_versions(rows)), found["ids"])
    context = found | {"form": form, "rows": _model_lines(shown, user)}
    return render(request, "lineage/models.html", context)


def _named(rows: QuerySet[Dataset], part: str) -> QuerySet[Dataset]:
    if not part:
        return rows
    return rows.filter(
        Q(name__icontains=part) | Q(title__icontains=part) | Q(namespace__icontains=part)
    )


def _page(rows: QuerySet[Dataset], request: HttpRequest) -> dict[str, Any]:
    """The ids of one page in the order of names, and the addresses of the pages around it.

    Keyset paging: the last page is as fast as the first.
    """
    ordered = rows.order_by("name", "pk")
    after, before = (_row(rows, request.GET.get(name, "")) for name in ("after", "before"))
    if before is not None:
        earlier = ordered.filter(Q(name__lt=before.name) | Q(name=before.name, pk__lt=before.pk))
        ids = list(earlier.reverse().values_list("pk", flat=True)[: ROWS + 1])
        more_before, more_after = len(ids) > ROWS, True
        ids = ids[:ROWS][::-1]
    else:
        if after is not None:
            ordered = ordered.filter(Q(name__gt=after.name) | Q(name=after.name, pk__gt=after.pk))
        ids = list(ordered.values_list("pk", flat=True)[: ROWS + 1])
        more_before, more_after = after is not None, len(ids) > ROWS
        ids = ids[:ROWS]
    return {
        "ids": ids,
        "previous": _with(request, before=ids[0], after=None) if ids and more_before else "",
        "next": _with(request, after=ids[-1], before=None) if ids and more_after else "",
    }


def _row(rows: QuerySet[Dataset], pk: str) -> Dataset | None:
    return rows.filter(pk=pk).first() if pk.isascii() and pk.isdecimal() and len(pk) < 19 else None


def _with(request: HttpRequest, **changes: Any) -> str:
    """This address with other parameters; None takes one out."""
    query = request.GET.dict() | changes
    return "?" + urlencode({k: v for k, v in query.items() if v is not None and v != ""})


def _in_order(rows: QuerySet[Dataset], ids: Sequence[int]) -> list[Dataset]:
    found = rows.in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]


def _model_lines(shown: Sequence[Dataset], user: User) -> list[dict[str, Any]]:
    versions = (
        versions_visible_to(user)
        .filter(Q(in_use=True) | Q(version__in=[m.latest_version for m in shown]))  # type: ignore[attr-defined]
        .filter(dataset__in=shown, read_by=None)
        .order_by("-in_use", "-created_at")
    )
    by_model: dict[int, list[Version]] = {}
    for version in versions:
        by_model.setdefault(version.dataset_id, []).append(version)
    speaking = [found[0] for found in by_model.values()]
    made_from, gone = training_of(speaking), models_trained_on_purged()
    return [
        {
            "model": model,
            "used": [v for v in by_model.get(model.pk, []) if v.in_use],
            "trained_on": [
                v for first in by_model.get(model.pk, [])[:1] for v in made_from[first.pk]
            ],
            "learned_from_purged": any(
                v.in_use and v.pk in gone for v in by_model.get(model.pk, [])
            ),
        }
        for model in shown
    ]


# One dataset or model


@page("lineage.read")
@require_GET
def dataset(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(with_versions(datasets_visible_to(actor_of(request))), pk=pk)
    context = _sections(request, row)
    if context["tab"] == "overview":
        context |= _versions(request, row)
    return render(request, "lineage/dataset.html", context)


@page("lineage.read")
@require_GET
def model(request: HttpRequest, pk: int) -> HttpResponse:
    user = actor_of(request)
    row = get_object_or_404(with_use(with_versions(models_visible_to(user))), pk=pk)
    context = _sections(request, row) | {"may_decide": may_decide_on(user, row)}
    if context["tab"] == "overview":
        context |= _versions(request, row)
        made_from, gone = training_of(context["versions"]), models_trained_on_purged()
        context["versions"] = [
            {"version": v, "trained_on": made_from[v.pk], "learned_from_purged": v.pk in gone}
            for v in context["versions"]
        ]
    return render(request, "lineage/model.html", context)


def _sections(request: HttpRequest, row: Dataset) -> dict[str, Any]:
    tab = request.GET.get("tab", TABS[0])
    may_read_log = actor_of(request).has_perm("log.read")
    tabs = [name for name in TABS if name != "history" or may_read_log]
    if tab not in TABS:
        raise Http404(f"There is no section {tab}.")
    if tab not in tabs:
        raise PermissionDenied("Your role does not open the log, where the history is from.")
    context: dict[str, Any] = {
        "dataset": row,
        "tab": tab,
        "tabs": [
            {
                "label": name.capitalize(),
                "url": request.path if name == TABS[0] else f"?tab={name}",
                "current": name == tab,
            }
            for name in tabs
        ],
    }
    if tab == "lineage":
        context |= _lineage(request, row)
    if tab == "history":
        context |= _history(request, row)
    return context


def _versions(request: HttpRequest, row: Dataset) -> dict[str, Any]:
    """A page of versions, newest first, by keyset."""
    rows = versions_visible_to(actor_of(request)).filter(dataset=row, read_by=None)
    ordered = rows.order_by("-created_at", "-pk")
    last = request.GET.get("before", "")
    if last.isascii() and last.isdecimal() and (mark := rows.filter(pk=last[:18]).first()):
        ordered = ordered.filter(
            Q(created_at__lt=mark.created_at) | Q(created_at=mark.created_at, pk__lt=mark.pk)
        )
    found = list(ordered[: ROWS + 1])
    older = _with(request, before=found[ROWS - 1].pk) if len(found) > ROWS else ""
    return {
        "versions": found[:ROWS],
        "older": older,
        "newest_first": request.path if last else "",
    }


def _lineage(request: HttpRequest, row: Dataset) -> dict[str, Any]:
    form = GraphForm({"depth": DEFAULT_DEPTH} | request.GET.dict())
    asked = form.cleaned_data if form.is_valid() else {}
    version = asked.get("version", "")
    if (
        version
        and not versions_visible_to(actor_of(request)).filter(dataset=row, version=version).exists()
    ):
        raise Http404(f"{row} has no version {version}.")
    as_of: datetime | None = asked.get("as_of")
    found = graph(
        f"{row.node}@{version}" if version else row.node,
        asked.get("direction") or "both",
        asked.get("depth") or DEFAULT_DEPTH,
        as_of.replace(tzinfo=UTC) if as_of else None,
    )
    urls = _urls(found["nodes"])
    return {
        "graph": found,
        "graph_form": form,
        "drawing": draw(found, urls, title=f"Lineage of {row}"),
        "edges": [
            edge
            | {
                "kind_label": Edge.Kind(edge["kind"]).label,
                "source_url": urls.get(edge["source"]),
                "target_url": urls.get(edge["target"]),
            }
            for edge in found["edges"]
        ],
        "version": version,
    }


def _urls(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The page of each node: its dataset's lineage, at its version if it is one."""
    own = {node.get("dataset", node["id"]) for node in nodes if node["type"] != "job"}
    pages = {d.node: page_of(d) for d in Dataset.objects.filter(node__in=own)}
    urls = {}
    for node in nodes:
        base = pages.get(node.get("dataset", node["id"]))
        if base:
            version = {"version": node["version"]} if node["version"] else {}
            urls[node["id"]] = f"{base}?{urlencode({'tab': 'lineage'} | version)}"
    return urls


def _history(request: HttpRequest, row: Dataset) -> dict[str, Any]:
    entries = entries_for(row.node).order_by("-seq")
    last = request.GET.get("before", "")
    if last.isascii() and last.isdecimal():
        entries = entries.filter(seq__lt=int(last[:18]))
    found = list(entries[: ROWS + 1])
    return {
        "entries": [{"entry": e, "details": event_of(e).get("details", {})} for e in found[:ROWS]],
        "actors": actor_names(e.actor for e in found),
        "older": _with(request, before=found[ROWS - 1].seq) if len(found) > ROWS else "",
        "newest_first": "?tab=history" if last else "",
    }


# What people decide


@page("connectors.sync")
@require_POST
def sync(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(datasets_visible_to(actor_of(request)), pk=pk)
    if row.connector is None or row.connector.disabled_at is not None:
        messages.error(request, f"No store is connected for {row}.")
        return redirect("lineage:dataset", pk=pk)
    try:
        result = sync_connector(row.connector, by=actor_of(request))
    except StoreError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(
            request,
            f"{result.versions} versions in the store: {len(result.added)} new,"
            f" {len(result.purged)} purged since the last time.",
        )
        if result.changed:
            messages.error(
                request,
                f"The content of version {', '.join(result.changed)} changed under its name.",
            )
    return redirect("lineage:dataset", pk=pk)


@page("notices.answer")
@require_POST
def put_in_use(request: HttpRequest, pk: int, version: int) -> HttpResponse:
    return _decide(request, pk, version, put_model_in_use, "is in use from now on")


@page("notices.answer")
@require_POST
def retire(request: HttpRequest, pk: int, version: int) -> HttpResponse:
    return _decide(request, pk, version, retire_model_version, "is retired")


def _decide(
    request: HttpRequest, pk: int, version: int, decision: Any, outcome: str
) -> HttpResponse:
    user = actor_of(request)
    model = get_object_or_404(models_visible_to(user), pk=pk)
    if not may_decide_on(user, model):
        raise PermissionDenied(f"{model} belongs to {model.owner}. Ask them.")
    row = get_object_or_404(versions_visible_to(user), pk=version, dataset=model, read_by=None)
    try:
        decision(row, by=user)
    except LineageError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, f"Version {row.version} {outcome}.")
    return redirect("lineage:model", pk=pk)
