"""Opening a table through its catalog, and committing to it.

Whatever a catalog or a table's properties ask for, files are read and written in the table's own
folder, which this installation has to allow, and no class is loaded that they name.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    BadRequestError,
    CommitFailedException,
    ForbiddenError,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    UnauthorizedError,
    ValidationError,
)
from pyiceberg.io import FileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.typedef import EMPTY_DICT, Properties
from requests import RequestException, Session
from sqlalchemy.exc import SQLAlchemyError

from connectors.adapters.base import (
    PlanOutdatedError,
    StoreError,
    StoreNotFoundError,
)
from connectors.adapters.iceberg.entry import catalog_fault, catalog_name, engine_url, token
from connectors.adapters.iceberg.files import FolderFiles, Home
from connectors.adapters.iceberg.location import Place, Reach
from connectors.adapters.iceberg.table import TableView
from connectors.references import Role

_FOREIGN_CODE = "write.py-location-provider.impl"
_PATH_SETTINGS = ("prefix", "namespace-separator")


class CommitLostError(PlanOutdatedError):
    """Another writer's commit came first; a new look at the table tells whether to try again."""


class UnknownOutcomeError(StoreError):
    """The catalog did not say whether a commit went through."""


class _SqlCatalog(SqlCatalog):
    def __init__(self, files: FolderFiles, name: str, **properties: str) -> None:
        self._files = files
        super().__init__(name, **properties)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        """As the library does it, which would read the metadata by a client of its own."""
        location = orm_table.metadata_location
        if not location:
            raise NoSuchTableError
        return Table(
            identifier=(*orm_table.table_namespace.split("."), orm_table.table_name),
            metadata=FromInputFile.table_metadata(self._files.new_input(location)),
            metadata_location=location,
            io=self._files,
            catalog=self,
        )

    def _load_file_io(
        self, properties: Properties = EMPTY_DICT, location: str | None = None
    ) -> FileIO:
        return self._files


class _RestCatalog(RestCatalog):
    def __init__(self, files: FolderFiles, name: str, **properties: str) -> None:
        self._files = files
        self._given = properties
        super().__init__(name, **properties)

    def _create_session(self) -> Session:
        session = super()._create_session()
        session.max_redirects = 0  # an allowed host must not lead to another one
        return session

    def _fetch_config(self) -> None:
        """Of what the catalog asks for, only how its paths are written: other settings could send
        requests to another host, or a secret."""
        super()._fetch_config()
        asked = {name: v for name, v in self.properties.items() if name in _PATH_SETTINGS}
        self.properties = {**asked, **self._given}
        self.uri = self._given["uri"]

    def _load_file_io(
        self, properties: Properties = EMPTY_DICT, location: str | None = None
    ) -> FileIO:
        return self._files


@contextmanager
def opened(
    place: Place, options: Mapping[str, Any], role: Role, reach: Reach
) -> Iterator[TableView]:
    """The table as its catalog has it now. Raises StoreError when it cannot be loaded."""
    files = FolderFiles(reach)
    with _translated(place):
        catalog = _catalog(place, options, role, files)
    try:
        with _translated(place):
            table = catalog.load_table((*place.namespace, place.table))
        if _FOREIGN_CODE in table.metadata.properties:
            raise StoreError(
                f"The table {place.shown_table} names its own code for paths in the property "
                f"{_FOREIGN_CODE}, which is not run here. Remove the property."
            )
        files.home = Home(table.metadata.location, reach)
        yield TableView(table, files.home)
    finally:
        catalog.close()


def _catalog(
    place: Place, options: Mapping[str, Any], role: Role, files: FolderFiles
) -> "_SqlCatalog | _RestCatalog":
    if place.kind == "rest":
        given = {"uri": place.base}
        if secret := token(options, role):
            given["token"] = secret
        if warehouse := options.get("warehouse"):
            given["warehouse"] = str(warehouse)
        return _RestCatalog(files, "vestige", **given)
    name = catalog_name(place, options, role)
    url = engine_url(place, options, role, writable=role == "writer")
    return _SqlCatalog(
        files,
        name,
        uri=url.render_as_string(hide_password=False),
        init_catalog_tables="false",
    )


@contextmanager
def _translated(place: Place) -> Iterator[None]:
    """Raises StoreError in our words for what catalogs, files and the library say in theirs.

    "from None": an error's chain could bring values of rows or a password into a log.
    """
    try:
        yield
    except StoreError:
        raise
    except (NoSuchTableError, NoSuchNamespaceError):
        raise StoreNotFoundError(
            f"There is no table {place.shown_table} in {place.shown}."
        ) from None
    except (UnauthorizedError, ForbiddenError, AuthorizationExpiredError):
        raise StoreError(
            f"{place.shown[0].upper()}{place.shown[1:]} refused the token. Name the variable that "
            'holds a valid one in the option "token_env", or its file in "token_file".'
        ) from None
    except (SQLAlchemyError, RequestException, RESTError) as exc:
        raise catalog_fault(place, exc) from None
    except (
        OSError,
        ValueError,
        ValidationError,
        LookupError,
        TypeError,
    ) as exc:
        raise StoreError(
            f"The metadata of the table {place.shown_table} cannot be read: a file is damaged or "
            f"was removed ({type(exc).__name__})."
        ) from None


def commit(table: Table, updates: Sequence[TableUpdate]) -> None:
    """Commit if every branch and tag is still where this table has it.

    Raises CommitLostError, StoreError and whatever refuses the commit (nothing was committed),
    UnknownOutcomeError.
    """
    requirements: list[TableRequirement] = [AssertTableUUID(uuid=table.metadata.table_uuid)]
    requirements += [
        AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": ref.snapshot_id})
        for name, ref in sorted(table.metadata.refs.items())
    ]
    try:
        table.catalog.commit_table(table, tuple(requirements), tuple(updates))
    except CommitFailedException:
        raise CommitLostError(
            f"Another writer committed to the table {'.'.join(table.name())} in the meantime. "
            "Nothing was erased: search and plan again."
        ) from None
    except (UnauthorizedError, ForbiddenError, AuthorizationExpiredError, BadRequestError) as exc:
        raise StoreError(
            f"The catalog refused the commit to the table {'.'.join(table.name())} "
            f"({type(exc).__name__}). Let the writer's token or user change the table."
        ) from None
    except OSError as exc:
        raise StoreError(
            f"The metadata of the table {'.'.join(table.name())} could not be written "
            f"({type(exc).__name__}). Check free space; nothing was committed."
        ) from None
    except (SQLAlchemyError, RequestException, RESTError) as exc:
        raise UnknownOutcomeError(
            "The catalog did not say whether the commit went through "
            f"({type(exc).__name__}). Run the same step again: it finds out."
        ) from None
