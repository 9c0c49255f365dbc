"""Rows of PostgreSQL as Arrow tables: most of the work is done outside of Python's lock."""

from typing import Any

from audit.verification.chunks import Chunk
from audit.verification.confirming import confirmed
from audit.verification.layout import TIMES


class ArrowReadError(RuntimeError):
    """The server, or the way to Arrow, cannot deliver the rows."""


class ArrowReader:
    """A connection of its own to PostgreSQL; for one thread at a time."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: Any = None  # opened in the thread that uses it

    def chunk(self, select: str, log_id: int, start: int, stop: int) -> Chunk:
        """The chunk that `select` gives for these three numbers. Raises ArrowReadError."""
        # Imported here: 60 MB and 0.5 s that only verification needs.
        import adbc_driver_postgresql.dbapi as adbc
        import polars as pl

        try:
            if self._connection is None:
                self._connection = adbc.connect(self._conninfo, autocommit=True)
            with self._connection.cursor() as cursor:
                cursor.execute(select.format(log_id, start, stop))
                frame = pl.DataFrame(cursor.fetch_arrow_table())
        except (adbc.Error, OSError, ValueError, pl.exceptions.PolarsError) as exc:
            raise ArrowReadError(str(exc)) from exc
        return Chunk(frame=confirmed(frame.with_columns(pl.col(*TIMES).cast(pl.Int64))))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
