"""The backend's connections. Django finds this module by the name of the package."""

from collections.abc import Sequence
from typing import Any

from django.db.backends.postgresql.base import DatabaseWrapper as PostgresqlWrapper
from django.db.backends.utils import debug_transaction
from psycopg.pq import TransactionStatus

from audit import prepared


class DatabaseWrapper(PostgresqlWrapper):
    """A connection that may hold the last statements of a transaction back until its COMMIT.

    They are sent before anything else is done on the connection, so that nobody sees a difference
    but in the messages that are exchanged.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.held: list[prepared.Held] = []  # not sent yet, in their order

    def hold(self, statement: prepared.Statement, parameters: Sequence[bytes | None]) -> None:
        """Run this in the open transaction, not later than its COMMIT."""
        self.held.append((statement, parameters))

    def send_held(self) -> None:
        held, self.held = self.held, []
        if self.connection.info.transaction_status == TransactionStatus.INERROR:
            return  # they stand behind the last savepoint, to which only a rollback leads now
        with self.wrap_database_errors:
            for statement, parameters in held:
                prepared.run_on(self.connection, statement, parameters)

    def _cursor(self, name: str | None = None) -> Any:
        if self.held:
            self.send_held()
        return super()._cursor(name)  # type: ignore[misc]  # the stubs know no private names

    def _commit(self) -> None:
        if not self.held:
            super()._commit()  # type: ignore[misc]
            return
        held, self.held = self.held, []
        with debug_transaction(self, "COMMIT"), self.wrap_database_errors:
            prepared.commit_with(self.connection, held)

    def _rollback(self) -> None:
        self.held.clear()
        super()._rollback()  # type: ignore[misc]

    def _close(self) -> None:
        self.held.clear()
        super()._close()  # type: ignore[misc]
