"""Which stores there are, and opening them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from django.conf import settings
from django.db.models import QuerySet

from connectors.adapters.base import Store, StoreError
from connectors.adapters.delta import DeltaStore
from connectors.adapters.files import FilesStore
from connectors.folders import LocationError, local_path
from connectors.models import Connector

if TYPE_CHECKING:
    from accounts.models import User

StoreRole = Literal["reader", "writer", "verifier"]


class KindUnavailableError(StoreError):
    """Stores of this kind cannot be connected yet."""


class LocationOutsideError(StoreError):
    """The location is not below a folder that this installation may connect."""


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
    )


def open_location(
    kind: str,
    location: str,
    subject_columns: Iterable[str],
    options: Mapping[str, Any],
    *,
    role: StoreRole,
) -> Store:
    """A store that may have no connector yet. Raises KindUnavailableError, LocationOutsideError,
    StoreError."""
    require_available(kind)
    opener = OPENERS[kind]
    path = opener.locate(location)
    return opener.store(path, subject_columns, options, writable=role == "writer")


def located(kind: str, location: str) -> str:
    """The location as it is kept, links resolved. Raises KindUnavailableError,
    LocationOutsideError, StoreError."""
    require_available(kind)
    return OPENERS[kind].locate(location)


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


def _folder(location: str) -> str:
    return str(allowed_path(location))


class _StoreClass(Protocol):
    def __call__(
        self,
        location: str,
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        writable: bool = True,
    ) -> Store: ...


@dataclass(frozen=True)
class Opener:
    """How stores of one kind are reached. `locate`: the location as it is kept, once checked;
    raises StoreError for one that this installation may not connect."""

    locate: Callable[[str], str]
    store: _StoreClass


OPENERS: dict[str, Opener] = {
    "delta": Opener(_folder, DeltaStore),
    "files": Opener(_folder, FilesStore),
}
