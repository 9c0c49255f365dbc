"""Connecting stores, testing and disabling them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.actions import record
from connectors.adapters.base import OptionError, Store, StoreError
from connectors.events import CONNECTOR_CREATED, CONNECTOR_DISABLED, CONNECTOR_TESTED
from connectors.models import DEFAULT_NAMESPACE, Connector
from connectors.queries import (
    KindUnavailableError,
    Opened,
    open_location,
    open_store,
    require_available,
)

if TYPE_CHECKING:
    from accounts.models import User

DEFAULT_QUEUE = "celery"


class ConnectorError(ValueError):
    """The store cannot be connected as asked; `field` says which input is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True)
class ConnectionTest:
    """What opening a store gave: its columns and number of versions, or why it failed."""

    reachable: bool
    reason: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    versions: int = 0


def probe(
    *, kind: str, location: str, subject_columns: Mapping[str, str], options: Mapping[str, Any]
) -> tuple[Opened, ConnectionTest]:
    """Open a store that is not connected yet, and return it and what was found.

    Raises ConnectorError when it cannot be opened or lacks one of the columns.
    """
    try:
        require_available(kind)
    except KindUnavailableError as exc:
        raise ConnectorError("kind", str(exc)) from exc
    _check_subject_columns(subject_columns)
    if not isinstance(options, Mapping):
        raise ConnectorError("options", 'Give the options as an object, for example {"key": 1}.')
    try:
        opened = open_location(kind, location, subject_columns, options, role="reader")
        found = _read(opened.store)
    except OptionError as exc:
        raise ConnectorError("options", str(exc)) from exc
    except StoreError as exc:
        raise ConnectorError("location", str(exc)) from exc
    except (TypeError, ValueError) as exc:
        raise ConnectorError(
            "options", f"An option has a value that cannot be used: {exc}"
        ) from exc
    present = {name for name, _ in found.columns}
    missing = [c for c in subject_columns if c not in present and c.split(".")[0] not in present]
    if missing:
        raise ConnectorError(
            "subject_columns",
            f"The store has no column {', '.join(missing)}. Its columns are: "
            f"{', '.join(name for name, _ in found.columns)}.",
        )
    return opened, found


def _read(store: Store) -> ConnectionTest:
    columns = tuple(store.schema())
    return ConnectionTest(
        reachable=True, columns=columns, versions=len(store.versions(digests=False))
    )


def _check_subject_columns(subject_columns: Mapping[str, str]) -> None:
    if not isinstance(subject_columns, Mapping) or not subject_columns:
        raise ConnectorError(
            "subject_columns",
            "Name at least one column that holds identifiers of people and the type of "
            'identifier in it, for example {"customer_id": "customer"}.',
        )
    for column, kind in subject_columns.items():
        if not isinstance(column, str) or not column.strip():
            raise ConnectorError("subject_columns", "A column name is empty.")
        if not isinstance(kind, str) or not kind.strip():
            raise ConnectorError(
                "subject_columns",
                f'Say what type of identifier the column {column} holds, for example "customer".',
            )


@transaction.atomic
def create_connector(
    *,
    kind: str,
    location: str,
    subject_columns: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
    dataset: Mapping[str, str] | None = None,
    name: str = "",
    queue: str = "",
    owner: "User | None" = None,
    by: "User",
) -> Connector:
    """Connect a store after opening it.

    `dataset`: {"namespace", "name"} of its dataset in lineage, by default "stores" and the
    folder's or table's name. Raises ConnectorError, which names the field.
    """
    opened, _ = probe(
        kind=kind, location=location, subject_columns=subject_columns, options=options or {}
    )
    dataset = dataset or {}
    dataset_name = dataset.get("name", "").strip() or opened.name
    connector = Connector(
        kind=kind,
        name=name.strip() or dataset_name,
        location=opened.location,
        subject_columns=dict(subject_columns),
        options=dict(options or {}),
        dataset_namespace=dataset.get("namespace", "").strip() or DEFAULT_NAMESPACE,
        dataset_name=dataset_name,
        owner=owner or by,
        queue=queue.strip() or DEFAULT_QUEUE,
    )
    _refuse_repetition(connector)
    try:
        with transaction.atomic():
            connector.save()
    except IntegrityError as exc:  # somebody connected it a moment ago
        raise ConnectorError("location", "This store was connected just now.") from exc
    record(
        CONNECTOR_CREATED,
        by=by,
        resource=connector.resource,
        details={
            "kind": kind,
            "dataset": connector.dataset_node,
            "location_sha256": hashlib.sha256(opened.location.encode()).hexdigest(),
            "subject_columns": sorted(connector.subject_columns),
            "queue": connector.queue,
        },
    )
    return connector


def _refuse_repetition(connector: Connector) -> None:
    live = Connector.objects.filter(disabled_at=None)
    same = live.filter(kind=connector.kind, location=connector.location).first()
    if same is not None:
        raise ConnectorError(
            "location", f'This store is connected already, as "{same.name}" (store {same.pk}).'
        )
    taken = live.filter(
        dataset_namespace=connector.dataset_namespace, dataset_name=connector.dataset_name
    ).first()
    if taken is not None:
        raise ConnectorError(
            "dataset",
            f'The dataset {connector.dataset_node} is held by the store "{taken.name}" already. '
            "Give this one another dataset name.",
        )


def check_connector(connector: Connector, *, by: "User") -> ConnectionTest:
    """Try to read the store now, and record how it went."""
    try:
        found = _read(open_store(connector, role="reader"))
    except StoreError as exc:
        found = ConnectionTest(reachable=False, reason=str(exc))
    reason = hashlib.sha256(found.reason.encode()).hexdigest() if found.reason else ""
    with transaction.atomic():
        record(
            CONNECTOR_TESTED,
            by=by,
            resource=connector.resource,
            details={
                "reachable": found.reachable,
                "versions": found.versions,
                "reason_sha256": reason,
            },
        )
    return found


@transaction.atomic
def disable_connector(connector: Connector, *, by: "User") -> None:
    """Leave a store out of searches and erasures from now on. Repeating it changes nothing."""
    changed = Connector.objects.filter(pk=connector.pk, disabled_at=None).update(
        disabled_at=timezone.now()
    )
    if changed:
        connector.refresh_from_db()
        record(CONNECTOR_DISABLED, by=by, resource=connector.resource)
