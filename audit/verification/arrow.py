"""Rows of PostgreSQL as Arrow tables: most of the work is done outside of Python's lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from audit.verification.chunks import Chunk
from audit.verification.confirming import confirmed
from audit.verification.layout import TIMES


class ArrowReadError(RuntimeError):
    """The server, or the way to Arrow, cannot deliver the rows."""


class ArrowReader:
    """Connections of its own to PostgreSQL, one for each thread that reads at the same time."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._idle: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """For when no thread reads any more."""
        for connection in self._idle:
            connection.close()

    def chunk(self, select: str, log_id: int, start: int, stop: int) -> Chunk:
        """The chunk that `select` gives for these three numbers. Raises ArrowReadError."""
        # Imported here: 60 MB and 0.5 s that only verification needs.
        import adbc_driver_postgresql.dbapi as adbc
        import polars as pl

        try:
            with self._connection() as connection, connection.cursor() as cursor:
                cursor.execute(select.format(log_id, start, stop))
                frame = pl.DataFrame(cursor.fetch_arrow_table())
        except (adbc.Error, OSError, ValueError, pl.exceptions.PolarsError) as exc:
            raise ArrowReadError(str(exc)) from exc
        return Chunk(frame=confirmed(frame.with_columns(pl.col(*TIMES).cast(pl.Int64))))

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        import adbc_driver_postgresql.dbapi as adbc

        connection = (
            self._idle.pop() if self._idle else adbc.connect(self._conninfo, autocommit=True)
        )
        try:
            yield connection
        finally:
            self._idle.append(connection)
