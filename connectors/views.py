"""Pages of the connected stores."""

from typing import TYPE_CHECKING, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

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
from connectors.forms import ConnectForm
from connectors.models import Connector
from connectors.queries import connectors_visible_to, open_store

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
    connector = get_object_or_404(connectors_visible_to(_user(request)), pk=pk)
    versions, fault = _versions(connector)
    context = {
        "connector": connector,
        "fault": fault,
        "versions": versions,
        "newest": versions[0] if versions else None,
        "figures": _figures(versions),
        "subject_columns": sorted(connector.subject_columns.items()),
    }
    return render(request, "connectors/store.html", context)


def _figures(versions: list[StoreVersion]) -> list[dict[str, object]]:
    if not versions:
        return []
    sizes = {o.path: o.bytes for version in versions for o in version.objects}
    read = sum(len(version.objects) for version in versions)
    return [
        {"label": "Versions kept", "value": count(len(versions))},
        {"label": "Rows now", "value": count(versions[0].rows or 0)},
        {
            "label": "Physical files",
            "value": count(len(sizes)),
            "note": f"read {count(read)} times by all versions together",
        },
        {"label": "On disk", "value": byte_size(sum(sizes.values()))},
    ]


def _versions(connector: Connector) -> tuple[list[StoreVersion], str]:
    """Newest first, or why the store cannot be read."""
    try:
        found = open_store(connector, role="reader").versions(digests=False)
    except StoreError as exc:
        return [], str(exc)
    return list(reversed(found)), ""


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
        "tested": tested,
        "tested_text": f"It keeps {tested.versions} versions and has every column you named."
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
    connector = get_object_or_404(connectors_visible_to(_user(request)), pk=pk)
    found = check_connector(connector, by=_user(request))
    if found.reachable:
        messages.success(request, f"The store can be read: {found.versions} versions.")
    else:
        messages.error(request, found.reason)
    return redirect("connectors:store", pk=pk)


@page("connectors.manage")
@require_POST
def disable(request: HttpRequest, pk: int) -> HttpResponse:
    connector = get_object_or_404(connectors_visible_to(_user(request)), pk=pk)
    disable_connector(connector, by=_user(request))
    messages.success(
        request, f"{connector.name} is disabled: searches and erasures leave it out from now on."
    )
    return redirect("connectors:store", pk=pk)
