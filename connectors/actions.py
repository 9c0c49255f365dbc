"""Connecting stores, testing, indexing and disabling them."""

import hashlib
import logging
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.actions import record
from connectors.adapters.base import OptionError, Progress, Store, StoreError, TakesIndex
from connectors.engines import EngineError, RunsTasks
from connectors.events import (
    CONNECTOR_CREATED,
    CONNECTOR_DISABLED,
    CONNECTOR_INDEXED,
    CONNECTOR_TESTED,
)
from connectors.index import build, prune
from connectors.models import DEFAULT_NAMESPACE, Connector, StoreIndex
from connectors.openers import Opened
from connectors.queries import (
    KindUnavailableError,
    claimable_indexes,
    index_of,
    open_location,
    open_store,
    require_available,
)

if TYPE_CHECKING:
    from accounts.models import User

DEFAULT_QUEUE = "celery"
logger = logging.getLogger(__name__)


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
    except (OptionError, EngineError) as exc:
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
    if isinstance(store, RunsTasks) and (witness := store.witness()):
        store.engine.require_sight(*witness)
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
        StoreIndex.objects.filter(connector=connector).update(due_at=timezone.now())  # to remove it
        record(CONNECTOR_DISABLED, by=by, resource=connector.resource)


def demand_index(connector: Connector) -> None:
    """Have a worker bring the store's index up to date, if it has one; what only files held that
    are gone is forgotten at once. Raises StoreError."""
    store = open_store(connector, role="reader")
    if not isinstance(store, TakesIndex) or store.index is None:
        return
    prune(store, store.index)
    StoreIndex.objects.update_or_create(connector=connector, defaults={"due_at": timezone.now()})


def build_index(pk: int, *, by: "User") -> StoreIndex | None:
    """Take up one build; None when it is not wanted any more, or somebody else has it. The index
    of a disabled store is removed.

    It goes on where one that was killed left off: each file's part is written as a whole. Two at
    once would do no harm, so the claim only saves the work.
    """
    claim = secrets.token_hex(16)
    claimed = {"claim": claim, "claimed_at": timezone.now(), "due_at": None, "done": 0, "total": 0}
    if not claimable_indexes().filter(pk=pk).update(**claimed):
        return None
    row = StoreIndex.objects.select_related("connector").get(pk=pk)
    if row.connector.disabled_at is not None:
        index_of(row.connector).remove()
        row.delete()
        return None
    try:
        built = _built(row)
    except StoreError as exc:
        built = {"fault": str(exc)[:1000]}
    except Exception as exc:
        # Visible on the page, with the class only: a message might quote data.
        logger.exception("the index of store %s could not be built", row.connector_id)
        built = {
            "fault": f"Unexpected error ({type(exc).__name__}). The worker's log says more; the "
            "next sync tries again."
        }
    return _note_built(row, built, by=by)


def _built(row: StoreIndex) -> dict[str, Any]:
    store = open_store(row.connector, role="reader")
    if not isinstance(store, TakesIndex) or store.index is None:
        return {}
    index, started = store.index, time.monotonic()
    with index.building() as ours:
        if not ours:  # by a worker that lost its claim and is still at it
            return {"due_at": timezone.now()}
        hashed = build(store, index, _index_progress(row))
        size = index.finish()
    return {
        **asdict(size),
        "files_hashed": hashed,
        "seconds": time.monotonic() - started,
        "machine": socket.gethostname(),
    }


def _index_progress(row: StoreIndex) -> Progress:
    shown = 0.0

    def tell(_phase: str, done: int, total: int, _bytes: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 0.5 or done == total:
            shown = time.monotonic()
            StoreIndex.objects.filter(pk=row.pk, claim=row.claim).update(
                done=done, total=total, claimed_at=timezone.now()
            )

    return tell


@transaction.atomic
def _note_built(row: StoreIndex, built: dict[str, Any], *, by: "User") -> StoreIndex | None:
    hashed = built.pop("files_hashed", None)
    found = {"fault": "", **({} if hashed is None else {"built_at": timezone.now()}), **built}
    ended = {"claim": "", "claimed_at": None}
    if not StoreIndex.objects.filter(pk=row.pk, claim=row.claim).update(**found, **ended):
        return None
    if hashed is not None:
        details = {name: found[name] for name in ("files", "entries", "bytes", "machine")}
        record(
            CONNECTOR_INDEXED,
            by=by,
            resource=row.connector.resource,
            details={**details, "files_hashed": hashed},
        )
    row.refresh_from_db()
    return row
