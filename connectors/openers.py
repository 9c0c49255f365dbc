"""How a store of each kind is opened, and where this installation may go for one.

An adapter is imported when the first store of its kind is opened: together they take longer than
all else that starts.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from django.conf import settings

from audit.keys import lookup_key
from connectors.adapters.base import OptionError, Store, StoreError
from connectors.engines import OPTIONS as ENGINE_OPTIONS
from connectors.engines import Engine, engine_of
from connectors.folders import LocalFolder, LocationError, local_path
from connectors.models import Connector
from connectors.s3 import Access, S3Folder, S3Place, is_s3, parse_s3
from connectors.storage import Folder

if TYPE_CHECKING:
    from connectors.adapters.delta import DeltaStore
    from connectors.adapters.dvc.settings import Address, BucketAddress
    from connectors.adapters.files import FilesStore

StoreRole = Literal["reader", "writer", "verifier"]


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
    from connectors.adapters.delta import DeltaStore

    return _in_folder(DeltaStore, location, subject_columns, options, role)


def _open_files(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    from connectors.adapters.files import FilesStore

    return _in_folder(FilesStore, location, subject_columns, options, role)


def _in_folder(
    kind: "type[DeltaStore] | type[FilesStore]",
    location: str,
    subject_columns: Iterable[str],
    options: Mapping[str, Any],
    role: StoreRole,
) -> Opened:
    folder, known, name = _allowed_folder(location, options, role)
    store = kind(folder, subject_columns, options, writable=role == "writer")
    return Opened(store, known, name)


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
    from connectors.adapters.dvc import DvcStore
    from connectors.adapters.dvc.store import parse_location

    folder, output = parse_location(location)
    path = allowed_path(folder)
    known = f"{path}#{output}" if output else str(path)

    def reach(address: "Address") -> Folder:
        if isinstance(address, Path):
            return LocalFolder(allowed_path(str(address)))
        return _allowed_bucket(parse_s3(address.location), _options_for(address, options), role)

    store = DvcStore(known, subject_columns, options, writable=role == "writer", reach=reach)
    return Opened(store, known, f"{path.name}/{output}" if output else path.name)


def _options_for(address: "BucketAddress", options: Mapping[str, Any]) -> Mapping[str, Any]:
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
    from connectors.adapters.sqltables import SqlStore, parse_address

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
    from connectors.adapters.iceberg import IcebergStore, parse_place

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
        from connectors.adapters.iceberg import local_file

        return str(parse_s3(location) if is_s3(location) else allowed_path(local_file(location)))

    def folder(self, location: str) -> Folder:
        return _allowed_folder(self.spelled(location), self.options, self.role)[0]


def _open_lakefs(
    location: str, subject_columns: Iterable[str], options: Mapping[str, Any], role: StoreRole
) -> Opened:
    from connectors.adapters.lakefs import LakefsStore, parse_place

    place = parse_place(location)
    _refuse_other_host(place.host, place.port)
    _refuse_other_secrets(options)
    store = LakefsStore(
        place.location,
        subject_columns,
        options,
        role=role,
        reach=lambda where: _allowed_folder(where, options, role)[0],
    )
    return Opened(store, place.location, place.name)


def allowed_engine(options: Mapping[str, Any]) -> Engine:
    """By the option "engine", where this installation may connect to it. Raises OptionError."""
    _refuse_other_secrets({name: options.get(name) for name in ENGINE_OPTIONS})

    def permit(host: str, port: int) -> None:
        try:
            _refuse_other_host(host, port)
        except LocationOutsideError as exc:
            raise OptionError(f'The option "engine_address": {exc}') from None

    return engine_of(options, permit)


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


OPENERS: dict[str, Opener] = {
    Connector.Kind.DELTA.value: _open_delta,
    Connector.Kind.FILES.value: _open_files,
    Connector.Kind.ICEBERG.value: _open_iceberg,
    Connector.Kind.SQL.value: _open_sql,
    Connector.Kind.DVC.value: _open_dvc,
    Connector.Kind.LAKEFS.value: _open_lakefs,
}
