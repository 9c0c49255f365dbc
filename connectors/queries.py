"""Which stores there are, and opening them."""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.keys import lookup_key, named_key
from connectors.adapters.base import (
    ComparesRows,
    OptionError,
    Store,
    StoreError,
    StoreVersion,
    TakesIndex,
)
from connectors.adapters.delta import DeltaStore
from connectors.adapters.dvc import DvcStore
from connectors.adapters.dvc.settings import Address, BucketAddress
from connectors.adapters.dvc.store import parse_location
from connectors.adapters.files import FilesStore
from connectors.adapters.iceberg import IcebergStore, local_file, parse_place
from connectors.adapters.lakefs import LakefsStore
from connectors.adapters.lakefs import parse_place as parse_repository
from connectors.adapters.sqltables import SqlStore, parse_address
from connectors.clustering import Advice, HasRanges, advice
from connectors.comparing import Comparison, RowChanges, compare, row_changes
from connectors.engines import OPTIONS as ENGINE_OPTIONS
from connectors.engines import Engine, RunsTasks, engine_of
from connectors.folders import LocalFolder, LocationError, local_path
from connectors.index import SubjectIndex
from connectors.models import Connector, StoreIndex
from connectors.s3 import Access, S3Folder, S3Place, is_s3, parse_s3
from connectors.storage import Folder

if TYPE_CHECKING:
    from accounts.models import User

StoreRole = Literal["reader", "writer", "verifier"]


class KindUnavailableError(StoreError):
    """Stores of this kind cannot be connected yet."""


class LocationOutsideError(StoreError):
    """The location is not below a folder that this installation may connect."""


@dataclass(frozen=True)
class Opened:
    """A store, the one spelling of where it is, and what its dataset is called by default."""

    store: Store
    location: str
    name: str


# Raises StoreError for a location that this installation may not open.
Opener = Callable[[str, Iterable[str], Mapping[str, Any], StoreRole], Opened]


def _folder_opener(kind: "type[DeltaStore] | type[FilesStore]") -> Opener:
    def opened(
        location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
    ) -> Opened:
        folder, known, name = _allowed_folder(location, options, role)
        store = kind(folder, subject_columns, options, writable=role == "writer")
        return Opened(store, known, name)

    return opened


def _allowed_folder(
    location: str, options: Mapping[str, Any], role: StoreRole
) -> tuple[Folder, str, str]:
    """The folder, the one spelling of where it is, and its name."""
    if not is_s3(location):
        path = allowed_path(location)
        return LocalFolder(path), str(path), path.name
    place = parse_s3(location)
    return _allowed_bucket(place, options, role), str(place), place.name


def _allowed_bucket(place: S3Place, options: Mapping[str, Any], role: StoreRole) -> S3Folder:
    _refuse_other_bucket(place)
    _refuse_other_secrets(options)
    access = Access.of(options, role)
    _refuse_other_host(access.host, access.port)
    return S3Folder(place, access, writer=lambda: Access.of(options, "writer"))


def _refuse_other_bucket(place: S3Place) -> None:
    allowed = settings.VESTIGE_STORE_BUCKETS
    if allowed and not any(place.is_below(parse_s3(f"s3://{name}")) for name in allowed):
        raise LocationOutsideError(
            f"The location {place} is outside the buckets that this installation may connect "
            f"({', '.join(allowed)}). Have VESTIGE_STORE_BUCKETS extended."
        )


def _open_dvc(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    folder, output = parse_location(location)
    path = allowed_path(folder)
    known = f"{path}#{output}" if output else str(path)

    def reach(address: Address) -> Folder:
        if isinstance(address, Path):
            return LocalFolder(allowed_path(str(address)))
        return _allowed_bucket(parse_s3(address.location), _options_for(address, options), role)

    store = DvcStore(known, subject_columns, options, writable=role == "writer", reach=reach)
    return Opened(store, known, f"{path.name}/{output}" if output else path.name)


def _options_for(address: BucketAddress, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The connector's, with what it leaves open from the repository's configuration. A store that
    the connector names is the only one that sees its key."""
    named = str(options.get("endpoint_url") or "").rstrip("/")
    if named and address.endpoint and address.endpoint != named:
        raise OptionError(
            "Its endpointurl in the repository's configuration is not what the option "
            '"endpoint_url" says. Correct one of the two; if the remote does not exist any more, '
            'name it in the option "retired_remotes".'
        )
    region = options.get("region") or address.region
    return {**options, "endpoint_url": named or address.endpoint, "region": region}


def _open_sql(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    address = parse_address(location, options)
    if address.dialect == "sqlite":
        address = replace(address, database=str(allowed_path(address.database)))
    elif address.socket:
        address = replace(address, socket=str(allowed_path(address.socket)))
    else:
        _refuse_other_host(address.host, address.port)
    if directory := options.get("data_directory"):
        allowed_path(str(directory))
    _refuse_other_secrets(options)
    key = hmac.new(lookup_key(), b"rows of a person", hashlib.sha256).digest()
    named = {k: v for k, v in options.items() if k != "table"}  # it stands in the location now
    store = SqlStore(address.location, subject_columns, named, role=role, key=key)
    return Opened(store, address.location, address.shown_table)


def _open_iceberg(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    place = parse_place(location)
    if place.kind == "sqlite":
        place = replace(place, base=str(allowed_path(place.base)))
    elif place.socket:
        place = replace(place, socket=str(allowed_path(place.socket)))
    else:
        _refuse_other_host(place.host, place.port)
    _refuse_other_secrets(options)
    reach = _TableReach(options, role)
    store = IcebergStore(place.location, subject_columns, options, role=role, reach=reach)
    return Opened(store, place.location, place.shown_table)


class _TableReach:
    """Where an Iceberg table's files may be: what catalogs say is bounded as what people say."""

    def __init__(self, options: Mapping[str, Any], role: StoreRole) -> None:
        self.options = options
        self.role = role

    def spelled(self, location: str) -> str:
        return str(parse_s3(location) if is_s3(location) else allowed_path(local_file(location)))

    def folder(self, location: str) -> Folder:
        return _allowed_folder(self.spelled(location), self.options, self.role)[0]


def _open_lakefs(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    place = parse_repository(location)
    _refuse_other_host(place.host, place.port)
    _refuse_other_secrets(options)
    store = LakefsStore(
        place.location,
        subject_columns,
        options,
        role=role,
        permit=lambda folder: allowed_path(str(folder)),
    )
    return Opened(store, place.location, place.name)


def _refuse_other_host(host: str, port: int | None) -> None:
    allowed = [name.lower() for name in settings.VESTIGE_STORE_HOSTS]
    if not {host, f"{host}:{port}"} & set(allowed):
        raise LocationOutsideError(
            f"This installation may not connect to port {port} of the host {host} "
            f"(allowed: {', '.join(allowed) or 'none'}). Have VESTIGE_STORE_HOSTS extended."
        )


def _refuse_other_secrets(options: Mapping[str, Any]) -> None:
    folder = Path(settings.VESTIGE_STORE_SECRETS)
    for name, value in options.items():
        if not (name.endswith("_file") and value):
            continue
        if not Path(str(value)).resolve().is_relative_to(folder.resolve()):
            raise OptionError(
                f'The file in the option "{name}" is not below {folder}. Put it there, or have '
                "VESTIGE_STORE_SECRETS name another folder."
            )


OPENERS: dict[str, Opener] = {
    Connector.Kind.DELTA.value: _folder_opener(DeltaStore),
    Connector.Kind.FILES.value: _folder_opener(FilesStore),
    Connector.Kind.ICEBERG.value: _open_iceberg,
    Connector.Kind.SQL.value: _open_sql,
    Connector.Kind.DVC.value: _open_dvc,
    Connector.Kind.LAKEFS.value: _open_lakefs,
}


# On whose files a cluster can work.
TASK_KINDS = (
    Connector.Kind.DELTA.value,
    Connector.Kind.ICEBERG.value,
    Connector.Kind.FILES.value,
)
INDEXED_KINDS = (Connector.Kind.DELTA.value,)  # whose stores take a subject index


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
    if role == "reader" and isinstance(store, TakesIndex) and wants_index(connector.options):
        store.index = index_of(connector)
    return store


def wants_index(options: Mapping[str, Any]) -> bool:
    """By the option `subject_index`. Raises OptionError."""
    wanted = options.get("subject_index", True)
    if not isinstance(wanted, bool):
        raise OptionError(
            'The option "subject_index" is true or false. With false, no index of the people in '
            "the store is kept."
        )
    return wanted


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
    """What an erasure makes of a store's older versions (`MODES`), by its option "history".

    Raises OptionError.
    """
    history = options.get("history", "purge")
    if history == "purge":
        return "purge"
    if history != "keep":
        raise OptionError(f'The option "history" is "purge" or "keep", not "{history}".')
    if kind != Connector.Kind.DELTA:
        raise OptionError(
            f"{Connector.Kind(kind).label} stores cannot keep older versions through an erasure. "
            'Leave the option "history" out: they are purged.'
        )
    return "keep_history"


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
    wants_index(options)
    erase_mode(kind, options)
    engine = _allowed_engine(kind, options)
    opened = OPENERS[kind](location, subject_columns, options, role)
    if isinstance(opened.store, RunsTasks):
        opened.store.engine = engine
    return opened


def _allowed_engine(kind: str, options: Mapping[str, Any]) -> Engine:
    """By the option "engine". Raises OptionError."""
    if options.get("engine", "local") != "local" and kind not in TASK_KINDS:
        raise OptionError(
            f"{Connector.Kind(kind).label} stores are searched and rewritten by one machine only. "
            'Leave the option "engine" out.'
        )
    _refuse_other_secrets({name: options.get(name) for name in ENGINE_OPTIONS})

    def permit(host: str, port: int) -> None:
        try:
            _refuse_other_host(host, port)
        except LocationOutsideError as exc:
            raise OptionError(f'The option "engine_address": {exc}') from None

    return engine_of(options, permit)


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


def allowed_path(location: str) -> Path:
    """The folder, links resolved, if it lies below VESTIGE_STORE_ROOTS (empty: anywhere).

    Resolving first keeps a link or ".." inside an allowed folder from leading out of it.
    """
    try:
        path = local_path(location).resolve()
    except LocationError as exc:
        raise StoreError(str(exc)) from exc
    except (OSError, RuntimeError) as exc:
        raise StoreError(f"The location {location} cannot be followed: {exc}") from exc
    roots = [Path(root) for root in settings.VESTIGE_STORE_ROOTS]
    if roots and not any(path.is_relative_to(root) for root in roots):
        allowed = ", ".join(str(root) for root in roots)
        raise LocationOutsideError(
            f"The location {location} is outside the folders that this installation may connect "
            f"({allowed}). Move the data there, or have VESTIGE_STORE_ROOTS extended."
        )
    return path
