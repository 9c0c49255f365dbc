"""Which stores there are, and opening them."""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from django.conf import settings
from django.db.models import QuerySet

from audit.keys import lookup_key
from connectors.adapters.base import OptionError, Store, StoreError
from connectors.adapters.delta import DeltaStore
from connectors.adapters.dvc import DvcStore
from connectors.adapters.dvc.store import parse_location
from connectors.adapters.files import FilesStore
from connectors.adapters.sqltables import Address, SqlStore, parse_address
from connectors.folders import LocationError, local_path
from connectors.models import Connector

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


def _open_delta(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    path = allowed_path(location)
    store = DeltaStore(str(path), subject_columns, options, writable=role == "writer")
    return Opened(store, str(path), path.name)


def _open_files(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    path = allowed_path(location)
    store = FilesStore(str(path), subject_columns, options, writable=role == "writer")
    return Opened(store, str(path), path.name)


def _open_dvc(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    folder, output = parse_location(location)
    path = allowed_path(folder)
    known = f"{path}#{output}" if output else str(path)
    store = DvcStore(
        known,
        subject_columns,
        options,
        writable=role == "writer",
        permit=lambda place: allowed_path(str(place)),
    )
    return Opened(store, known, f"{path.name}/{output}" if output else path.name)


def _open_sql(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    address = parse_address(location, options)
    if address.dialect == "sqlite":
        address = replace(address, database=str(allowed_path(address.database)))
    elif address.socket:
        address = replace(address, socket=str(allowed_path(address.socket)))
    else:
        _refuse_other_host(address)
    if directory := options.get("data_directory"):
        allowed_path(str(directory))
    for name, value in options.items():
        if name.endswith("password_file") and value:
            _refuse_other_secret(name, str(value))
    key = hmac.new(lookup_key(), b"rows of a person", hashlib.sha256).digest()
    named = {k: v for k, v in options.items() if k != "table"}  # it stands in the location now
    store = SqlStore(address.location, subject_columns, named, role=role, key=key)
    return Opened(store, address.location, address.shown_table)


def _refuse_other_host(address: Address) -> None:
    allowed = [host.lower() for host in settings.VESTIGE_STORE_HOSTS]
    if not {address.host, f"{address.host}:{address.port}"} & set(allowed):
        raise LocationOutsideError(
            f"This installation may not connect to port {address.port} of the host {address.host} "
            f"(allowed: {', '.join(allowed) or 'none'}). Have VESTIGE_STORE_HOSTS extended."
        )


def _refuse_other_secret(option: str, file: str) -> None:
    folder = Path(settings.VESTIGE_STORE_SECRETS)
    if not Path(file).resolve().is_relative_to(folder.resolve()):
        raise OptionError(
            f'The file in the option "{option}" is not below {folder}. Put it there, or have '
            "VESTIGE_STORE_SECRETS name another folder."
        )


OPENERS: dict[str, Opener] = {
    Connector.Kind.DELTA.value: _open_delta,
    Connector.Kind.FILES.value: _open_files,
    Connector.Kind.SQL.value: _open_sql,
    Connector.Kind.DVC.value: _open_dvc,
}


def available_kinds() -> dict[str, str]:
    """Kinds that have an adapter: name → how people call it."""
    return {kind: str(Connector.Kind(kind).label) for kind in OPENERS}


def connectors_visible_to(user: "User") -> QuerySet[Connector]:
    if not user.has_perm("connectors.read"):
        return Connector.objects.none()
    return Connector.objects.select_related("owner").order_by("name", "pk")


def enabled_connectors() -> QuerySet[Connector]:
    """The stores that an erasure has to cover."""
    return Connector.objects.filter(disabled_at=None).order_by("pk")


def open_store(connector: Connector, *, role: StoreRole) -> Store:
    """The store behind a connector.

    Only a "writer" may erase; a "verifier" re-reads what is left and shares nothing with the
    writer but the location. Raises StoreError with a sentence that says what is wrong.
    """
    return open_location(
        connector.kind,
        connector.location,
        connector.subject_columns,
        connector.options,
        role=role,
    ).store


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
    return OPENERS[kind](location, subject_columns, options, role)


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
