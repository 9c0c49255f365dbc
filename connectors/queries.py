"""Which stores there are, and opening them."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.keys import named_key
from connectors.adapters.base import (
    MODES,
    ComparesRows,
    OptionError,
    Store,
    StoreError,
    StoreVersion,
    TakesIndex,
)
from connectors.clustering import Advice, HasRanges, advice
from connectors.comparing import Comparison, RowChanges, compare, row_changes
from connectors.engines import Engine, RunsTasks
from connectors.index import SubjectIndex
from connectors.models import Connector, StoreIndex
from connectors.openers import OPENERS, Opened, StoreRole, allowed_engine

if TYPE_CHECKING:
    from accounts.models import User


class KindUnavailableError(StoreError):
    """Stores of this kind cannot be connected yet."""


# Whose stores can keep older versions through an erasure.
HISTORY_KINDS = (
    Connector.Kind.DELTA.value,
    Connector.Kind.ICEBERG.value,
    Connector.Kind.DVC.value,
)
# On whose files a cluster can work.
TASK_KINDS = (
    Connector.Kind.DELTA.value,
    Connector.Kind.ICEBERG.value,
    Connector.Kind.FILES.value,
)
# Whose stores take a subject index.
INDEXED_KINDS = (
    Connector.Kind.DELTA.value,
    Connector.Kind.ICEBERG.value,
    Connector.Kind.DVC.value,
    Connector.Kind.LAKEFS.value,
)


def available_kinds() -> dict[str, str]:
    """Kinds that have an adapter: name → how people call it."""
    return {kind: str(Connector.Kind(kind).label) for kind in OPENERS}


def connectors_visible_to(user: "User") -> QuerySet[Connector]:
    if not user.has_perm("connectors.read"):
        return Connector.objects.none()
    return Connector.objects.select_related("owner", "subject_index").order_by("name", "pk")


def enabled_connectors() -> QuerySet[Connector]:
    """The stores that an erasure has to cover."""
    return Connector.objects.filter(disabled_at=None).order_by("pk")


def open_store(connector: Connector, *, role: StoreRole) -> Store:
    """The store behind a connector.

    Only a "writer" may erase; a "verifier" re-reads what is left and shares nothing with the
    writer but the location. Only a "reader" finds by the index. Raises StoreError with a sentence
    that says what is wrong.
    """
    store = open_location(
        connector.kind,
        connector.location,
        connector.subject_columns,
        connector.options,
        role=role,
    ).store
    if role == "reader" and isinstance(store, TakesIndex) and not without_index(connector.options):
        store.index = index_of(connector)
    return store


def without_index(options: Mapping[str, Any]) -> str:
    """The option for which no index is kept; empty where one is. What free texts say can be found
    by reading alone. Raises OptionError."""
    wanted = options.get("subject_index", True)
    if not isinstance(wanted, bool):
        raise OptionError(
            'The option "subject_index" is true or false. With false, no index of the people in '
            "the store is kept."
        )
    if not wanted:
        return "subject_index"
    return "text_columns" if options.get("text_columns") else ""


def index_of(connector: Connector) -> SubjectIndex:
    """Where this machine keeps the store's index, if it has one."""
    # Each store's own, so that the same person has other hashes in each.
    key = hmac.new(named_key("subject-index"), connector.resource.encode(), hashlib.sha256)
    return SubjectIndex(Path(settings.VESTIGE_INDEX) / str(connector.pk), key.digest())


INDEX_LEASE = timedelta(minutes=10)  # longer than one large file is hashed


def claimable_indexes() -> QuerySet[StoreIndex]:
    """Builds that nobody works on: wanted, or taken up by a worker that is gone."""
    now = timezone.now()
    return StoreIndex.objects.filter(
        Q(due_at__lte=now, claimed_at=None) | Q(claimed_at__lt=now - INDEX_LEASE)
    )


def index_state(connector: Connector) -> StoreIndex | None:
    """What is known of its index; None for one that has none, or none yet."""
    try:
        return connector.subject_index
    except StoreIndex.DoesNotExist:
        return None


MOST_ROW_BYTES = 256_000_000  # of objects whose rows are compared while somebody waits


@dataclass(frozen=True)
class VersionChanges:
    """`rows` is None where rows were not compared; `why_not` says why."""

    comparison: Comparison
    rows: RowChanges | None
    why_not: str = ""


class UnknownVersionError(StoreError):
    """The store keeps no version of this name."""


def versions_of(connector: Connector) -> list[StoreVersion]:
    """What the store keeps, newest first; no file is read. Raises StoreError."""
    return list(reversed(open_store(connector, role="reader").versions(digests=False)))


def version_changes(
    connector: Connector,
    old: str,
    new: str,
    *,
    key: Sequence[str] = (),
    versions: Sequence[StoreVersion] | None = None,
) -> VersionChanges:
    """What differs between two versions; `key`: columns that name a row; `versions`: those of
    `versions_of`, where they were read already.

    Raises StoreError, UnknownVersionError, and ValueError for a key that is no column.
    """
    store = open_store(connector, role="reader")
    if versions is None:
        versions = list(reversed(store.versions(digests=False)))
    kept = {version.id: version for version in reversed(versions)}
    for name in (old, new):
        if name not in kept:
            raise UnknownVersionError(
                f"The store keeps no version {name}. It keeps {len(kept)}: "
                f"{', '.join(list(kept)[-5:])}{' and older ones' if len(kept) > 5 else ''}."
            )
    found = compare(kept[old], kept[new])
    if not isinstance(store, ComparesRows):
        kind = connector.get_kind_display()
        return VersionChanges(found, None, f"Rows of this kind of store ({kind}) are not compared.")
    if found.apart_bytes > MOST_ROW_BYTES:
        return VersionChanges(
            found,
            None,
            f"The objects that only one of them reads hold {found.apart_bytes:,} bytes, more than "
            f"the {MOST_ROW_BYTES:,} that are compared while you wait. Compare versions that are "
            "closer together.",
        )
    try:
        changes = row_changes(store.rows_apart(old, new), store.rows_apart(new, old), key)
    except pl.exceptions.PolarsError as exc:
        raise StoreError("The rows of the two versions cannot be compared.") from exc
    return VersionChanges(found, changes)


def clustering_of(connector: Connector) -> list[Advice]:
    """How much one erasure rewrites, by each column that names people; none where the store does
    not say. Raises StoreError."""
    store = open_store(connector, role="reader")
    if not isinstance(store, HasRanges):
        return []
    ranges = store.ranges(sorted(connector.subject_columns))
    found = [advice(column, items) for column, items in ranges.items()]
    return [item for item in found if item is not None]


def erase_mode(kind: str, options: Mapping[str, Any]) -> str:
    """What an erasure makes of a store's older versions (`MODES`), by its option "history",
    unless its plan says otherwise.

    Raises OptionError.
    """
    history = options.get("history", "purge")
    if history == "purge":
        return "purge"
    if history != "keep":
        raise OptionError(f'The option "history" is "purge" or "keep", not "{history}".')
    if "keep_history" not in modes_of(kind):
        raise OptionError(
            f"{Connector.Kind(kind).label} stores cannot keep older versions through an erasure. "
            'Leave the option "history" out: they are purged.'
        )
    return "keep_history"


def modes_of(kind: str) -> tuple[str, ...]:
    """What an erasure can make of the older versions of such a store, of `MODES`."""
    return MODES if kind in HISTORY_KINDS else ("purge",)


def open_location(
    kind: str,
    location: str,
    subject_columns: Iterable[str],
    options: Mapping[str, Any],
    *,
    role: StoreRole,
) -> Opened:
    """A store that may have no connector yet. Raises KindUnavailableError, LocationOutsideError,
    OptionError, StoreError."""
    require_available(kind)
    without_index(options)
    erase_mode(kind, options)
    engine = _engine_of(kind, options)
    opened = OPENERS[kind](location, subject_columns, options, role)
    if isinstance(opened.store, RunsTasks):
        opened.store.engine = engine
    return opened


def _engine_of(kind: str, options: Mapping[str, Any]) -> Engine:
    """By the option "engine". Raises OptionError."""
    if options.get("engine", "local") != "local" and kind not in TASK_KINDS:
        raise OptionError(
            f"{Connector.Kind(kind).label} stores are searched and rewritten by one machine only. "
            'Leave the option "engine" out.'
        )
    return allowed_engine(options)


def require_available(kind: str) -> None:
    available = available_kinds()
    if kind in available:
        return
    offered = ", ".join(f'"{name}"' for name in available)
    if kind in Connector.Kind.values:
        raise KindUnavailableError(
            f"{Connector.Kind(kind).label} stores cannot be connected yet. "
            f"Available now: {offered}."
        )
    raise KindUnavailableError(f'There is no kind of store "{kind}". Available now: {offered}.')
