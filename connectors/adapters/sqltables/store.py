"""A table of an SQL database as a store."""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    Findings,
    Needles,
    ObjectFinding,
    OptionError,
    PhysicalObject,
    PlanOutdatedError,
    Progress,
    ScanReport,
    StoreError,
    StoreVersion,
    require_purge,
    silent,
)
from connectors.adapters.sqltables.address import parse_address
from connectors.adapters.sqltables.engine import connected
from connectors.adapters.sqltables.erase import erase_rows, fingerprint
from connectors.adapters.sqltables.find import Search
from connectors.adapters.sqltables.guards import blockers_of
from connectors.adapters.sqltables.purge import purge_mysql, purge_postgresql, purge_sqlite
from connectors.adapters.sqltables.rows import bag_of, select_rows
from connectors.adapters.sqltables.table import TableShape, read_shape
from connectors.adapters.sqltables.verify import Reading
from connectors.adapters.sqltables.verify_mysql import read_mysql
from connectors.adapters.sqltables.verify_postgresql import read_postgresql
from connectors.adapters.sqltables.verify_sqlite import read_sqlite
from connectors.clock import now
from connectors.people import Wanted, as_integer, identifier_text, same_identifier
from connectors.references import (
    CREDENTIAL_OPTIONS,
    HOW_TO_SIGN_IN,
    Role,
    credential,
    for_roles,
)
from connectors.scan.identifiers import Identifiers

_LISTS = ("text_columns", "child_tables", "other_tables", "known_triggers", "unrelated_columns")
_TEXTS = (
    "table",
    "data_directory",
    *for_roles(*CREDENTIAL_OPTIONS),
)


@dataclass(frozen=True)
class SqlFindings(Findings):
    """With what a plan needs to notice that the person's rows changed."""

    state: str = ""
    blockers: tuple[str, ...] = ()


class SqlStore:
    """One table. `subject_columns`: the columns that hold identifiers of people.

    Options, besides who signs in (see `address`): `table`; `text_columns` (free text: a row that
    mentions the person is the person's); `child_tables` (erased along, where they refer to the
    person's rows); `other_tables` (of the same database, that the final scan leaves out);
    `known_triggers` (and materialised views that keep nothing); `unrelated_columns` (whose texts
    may equal a short identifier by chance); `data_directory` (of a PostgreSQL server, as this
    machine sees it: then the scan reads its files).

    `key`: what fingerprints of a person's rows are keyed with. Raises StoreError, OptionError.
    """

    kind = "sql"

    def __init__(
        self,
        location: str,
        subject_columns: Iterable[str],
        options: Mapping[str, Any] | None = None,
        *,
        role: Role = "writer",
        key: bytes = b"",
    ) -> None:
        self.options = dict(options or {})
        _check_options(self.options)
        self.address = parse_address(location, self.options)
        self.subject_columns = tuple(subject_columns)
        self.role = role
        self.key = key
        self._lists = {name: tuple(self.options.get(name, ())) for name in _LISTS}

    def _open(self, *, writable: bool = False) -> Any:
        who = credential(self.options, self.role)
        return connected(self.address, who, writable=writable)

    def _shape(self, connection: Connection) -> TableShape:
        return read_shape(connection, self.address.schema, self.address.table)

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """The one state that a table keeps. Its id follows from the content of all rows, or,
        without `digests`, from their number and what the database says of changes."""
        with self._open() as connection:
            shape = self._shape(connection)
            size = self._size(connection, shape)
            bag = bag_of(connection, shape) if digests else None
            rows = bag.count if bag else _count(connection, shape)
            digest = bag.digest if bag else None
            name = digest[:16] if digest else self._marker(connection, shape, rows)
        return [
            StoreVersion(
                id=name,
                created_at=self._changed_at(),
                operation="CURRENT",
                objects=(PhysicalObject(shape.shown, size, rows, digest),),
                rows=rows,
                bytes=size,
                digest=digest,
                schema=shape.columns,
            )
        ]

    def _changed_at(self) -> datetime:
        """When the content was last changed, at the latest: only a file tells."""
        if self.address.dialect != "sqlite":
            return now()
        times = [p.stat().st_mtime for p in self._files() if p.exists()]
        return datetime.fromtimestamp(max(times), UTC) if times else now()

    def _files(self) -> list[Path]:
        return [Path(f"{self.address.database}{suffix}") for suffix in ("", "-wal")]

    def _size(self, connection: Connection, shape: TableShape) -> int:
        if self.address.dialect == "sqlite":
            return sum(p.stat().st_size for p in self._files() if p.exists())
        if self.address.dialect == "postgresql":
            statement = sa.text("SELECT pg_total_relation_size(CAST(:oid AS oid))")
            return int(connection.execute(statement, {"oid": shape.oid}).scalar_one())
        statement = sa.text(
            "SELECT coalesce(sum(data_length + index_length), 0) FROM information_schema.tables "
            "WHERE table_schema = database() AND table_name = :name"
        )
        return int(connection.execute(statement, {"name": shape.table.name}).scalar_one())

    def _marker(self, connection: Connection, shape: TableShape, rows: int) -> str:
        told: list[object] = [rows]
        if self.address.dialect == "sqlite":
            told += [(p.stat().st_mtime_ns, p.stat().st_size) for p in self._files() if p.exists()]
        elif self.address.dialect == "postgresql":
            statement = sa.text(
                "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_all_tables WHERE relid = :oid"
            )
            told += list(connection.execute(statement, {"oid": shape.oid}).first() or ())
        return f"seen-{hashlib.sha256(repr(told).encode()).hexdigest()[:8]}"

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]:
        """Columns and their SQL types, as they are now: a table keeps no other version."""
        with self._open() as connection:
            return self._shape(connection).columns

    def profile(self, version: str | None = None) -> Mapping[str, Any]:
        """Counts only, no values."""
        with self._open() as connection:
            shape = self._shape(connection)
            columns = {}
            for name, kind in shape.columns:
                column: Any = shape.table.c[name]
                if shape.dialect == "postgresql":
                    column = sa.cast(column, sa.Text)  # some types have no equality
                filled, distinct = connection.execute(
                    sa.select(sa.func.count(column), sa.func.count(sa.distinct(column)))
                ).one()
                columns[name] = {"type": kind, "filled": filled, "distinct": distinct}
            rows = _count(connection, shape)
            return {
                "version": version,
                "rows": rows,
                "files": 1,
                "bytes": self._size(connection, shape),
                "duplicates": 0 if shape.key else None,
                "columns": {
                    name: {
                        "type": found["type"],
                        "nulls": rows - found["filled"],
                        "distinct": found["distinct"],
                    }
                    for name, found in columns.items()
                },
            }

    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings:
        """Raises StoreError for columns that are not there."""
        tell = progress or silent
        started = time.monotonic()
        tell("find", 0, 1, 0)
        search = self._search(needles)
        with self._open() as connection:
            search.run(connection, self.address.schema, self.address.table)
            blockers = list(search.blockers)
            objects = []
            version = ""
            if search.rows:
                version = bag_of(connection, search.found[0].shape).digest[:16]
                writer = credential(self.options, "writer").user
                for their in search.found:
                    known = self._lists["known_triggers"]
                    blockers += blockers_of(connection, self.address, their.shape, known, writer)
                    size = self._size(connection, their.shape)
                    objects.append(
                        ObjectFinding(their.shape.shown, size, their.bag.count, (version,))
                    )
            size = self._size(connection, search.found[0].shape)
        tell("find", 1, 1, size)
        return SqlFindings(
            objects=tuple(objects),
            rows_by_version={version: search.rows} if version else {},
            linked=_others(search.linked, needles),
            method="one query with bound values for each identifier column; what it left was "
            "compared by the rule for identifiers",
            files_searched=len(search.found),
            bytes_searched=size,
            seconds=time.monotonic() - started,
            state=f"{version}/{fingerprint(search, self.key)}" if version else "",
            blockers=tuple(dict.fromkeys(blockers)),
        )

    def _search(self, needles: Needles) -> Search:
        return Search(
            self.subject_columns, needles, self._lists["text_columns"], self._lists["child_tables"]
        )

    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan:
        """Raises StoreError for another mode than "purge"."""
        require_purge(
            mode,
            no_history=(
                "A table keeps no older versions, so there is no history to keep (keep_history)."
            ),
        )
        if not isinstance(findings, SqlFindings):
            raise PlanOutdatedError("These findings are not of an SQL table. Search again.")
        return ErasePlan(
            mode=mode,
            snapshot=findings.state,
            objects=tuple(o.path for o in findings.objects),
            rows=sum(o.rows for o in findings.objects),
            bytes=sum(o.bytes for o in findings.objects),
            versions_lost=tuple(findings.rows_by_version),
            blockers=findings.blockers,
        )

    def erase(self, plan: ErasePlan, needles: Needles, progress: Progress | None = None) -> Erased:
        """Delete the person's rows in one transaction.

        Raises PlanOutdatedError (nothing was changed), ResidueError, StoreError.
        """
        self._refuse_if_not_writer()
        if plan.mode != "purge":
            raise StoreError(f'There is no mode "{plan.mode}".')
        if plan.blockers:
            raise StoreError(f"The plan cannot be carried out: {' '.join(plan.blockers)}")
        with self._open(writable=True) as connection:
            search = self._search(needles)
            tell = progress or silent
            return erase_rows(connection, self.address, search, plan, self.key, tell)

    def _refuse_if_not_writer(self) -> None:
        if self.role != "writer":
            raise StoreError(f"The table {self.address.shown_table} was opened for reading only.")

    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased:
        """Make the database let go of what it keeps of deleted rows. Raises StoreError."""
        self._refuse_if_not_writer()
        if not plan.objects:
            return Erased(None, 0, (), (), {"note": "nothing to purge"})
        tell = progress or silent
        if self.address.dialect == "sqlite":
            detail = purge_sqlite(self.address, tell)
        else:
            with self._open(writable=True) as plain:
                connection = plain.execution_options(isolation_level="AUTOCOMMIT")
                shapes = [self._planned(connection, name) for name in plan.objects]
                purge = {"postgresql": purge_postgresql, "mysql": purge_mysql}
                detail = purge[self.address.dialect](connection, shapes, tell)
        return Erased(self.versions()[0].id, 0, (), (), detail)

    def _planned(self, connection: Connection, shown: str) -> TableShape:
        if shown == self.address.shown_table:
            return self._shape(connection)
        schema, _, table = shown.rpartition(".")
        return read_shape(connection, schema or None, table)

    def verify_erased(
        self,
        needles: Iterable[str],
        control: tuple[str, str] | None,
        progress: Progress | None = None,
    ) -> ScanReport:
        """Read every row that is left, and the bytes where they can be reached. Raises StoreError
        when the verifier cannot get in."""
        identifiers = Identifiers(
            needles,
            identity_columns=self.subject_columns,
            unrelated_columns=self._lists["unrelated_columns"],
            control=control,
        )
        who = credential(self.options, "verifier")
        left_out = self._lists["other_tables"]
        reading = Reading(identifiers, self._full_name(), progress or silent)
        if self.address.dialect == "sqlite":
            read_sqlite(self.address, reading, left_out)
        elif self.address.dialect == "postgresql":
            directory = str(self.options.get("data_directory", ""))
            read_postgresql(self.address, who, reading, left_out, directory)
        else:
            read_mysql(self.address, who, reading, left_out)
        if self.address.dialect != "sqlite":
            reading.method.append(
                "signed in with the verifier's own credential"
                if who.own
                else "signed in with the reader's credential, for want of one for the verifier"
            )
        return reading.report(with_control=control is not None)

    def _full_name(self) -> str:
        """The table as the verifier lists it."""
        if self.address.dialect != "postgresql":
            return self.address.table
        if self.address.schema:
            return self.address.shown_table
        statement = sa.text(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = CAST(:oid AS oid)"
        )
        with self._open() as connection:
            oid = self._shape(connection).oid
            schema = connection.execute(statement, {"oid": oid}).scalar_one()
        return f"{schema}.{self.address.table}"

    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct identifiers in a column, as text, in no order. Raises StoreError."""
        with self._open() as connection:
            shape = self._shape(connection)
            found = shape.column(column)
            statement = [found.label("v")]
            seen: set[str] = set()
            for (value,) in select_rows(connection, statement, shape, found.is_not(None)):
                text = identifier_text(value)
                if text not in seen:
                    seen.add(text)
                    yield text

    def control_subject(self, needles: Needles) -> tuple[str, str] | None:
        """(column, identifier) of somebody else in the table; None when nobody is left.

        This is another person's identifier: it belongs in no log and no report.
        """
        sought = Wanted(v for values in needles.values() for v in values)
        with self._open() as connection:
            shape = self._shape(connection)
            columns = [
                shape.column(name).label(f"v{i}") for i, name in enumerate(self.subject_columns)
            ]
            for row in select_rows(connection, columns, shape):
                for name, value in zip(self.subject_columns, row, strict=True):
                    text = "" if value is None else identifier_text(value)
                    if text.strip() and not sought.names(value):
                        return name, text
        return None


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if "password" in name and name not in _TEXTS:
            raise OptionError(f"An option holds a password. {HOW_TO_SIGN_IN}")
        if name in _LISTS:
            if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                raise OptionError(f'The option "{name}" is a list of names.')
        elif name in _TEXTS:
            if not isinstance(value, str):
                raise OptionError(f'The option "{name}" is a text.')
        else:
            known = ", ".join(sorted((*_LISTS, *_TEXTS)))
            raise OptionError(f'There is no option "{name}". The options are: {known}.')


def _count(connection: Connection, shape: TableShape) -> int:
    statement = sa.select(sa.func.count()).select_from(shape.table)
    return int(connection.execute(statement).scalar_one())


def _others(linked: Mapping[str, set[str]], needles: Needles) -> dict[str, tuple[str, ...]]:
    """Identifiers in the person's rows that were not searched for in that column."""
    others = {}
    for column, values in linked.items():
        known = needles.get(column, ())
        numbers = {as_integer(k) for k in known} - {None}
        new = sorted(
            v
            for v in values
            if not any(same_identifier(v, k) for k in known) and as_integer(v) not in numbers
        )
        if new:
            others[column] = tuple(new)
    return others
