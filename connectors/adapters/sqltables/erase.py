"""Deleting a person's rows: one transaction, which holds only if it changed nothing else.

Resumable: killed before the commit nothing has happened; after it the person's rows are not found
any more, and a rerun says so.
"""

import hashlib
import hmac

import sqlalchemy as sa
from sqlalchemy import Connection

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    PlanOutdatedError,
    Progress,
    ResidueError,
    StoreError,
)
from connectors.adapters.sqltables.address import Address
from connectors.adapters.sqltables.find import Search, TheirRows
from connectors.adapters.sqltables.rows import bag_of, located


def fingerprint(search: Search, key: bytes) -> str:
    """What the person's rows were, as a keyed hash: without the key nobody can try values."""
    return hmac.new(key, search.digest.encode(), hashlib.sha256).hexdigest()[:32]


def erase_rows(
    connection: Connection,
    address: Address,
    search: Search,
    plan: ErasePlan,
    key: bytes,
    progress: Progress,
) -> Erased:
    """Raises PlanOutdatedError, ResidueError, StoreError; the transaction is then rolled back."""
    search.run(connection, address.schema, address.table)
    if not search.rows:
        note = "no row of the person is left: an earlier attempt, or somebody else, deleted them"
        return Erased(None, 0, (), (), {"note": note})
    _refuse_other_state(address, search, plan, key)
    others = {}
    for number, their in enumerate(search.found):
        progress("count", number, len(search.found), 0)
        others[their.shape.shown] = bag_of(connection, their.shape).without(their.bag).digest
    # Tables that refer to others come after them in the search, so they go first.
    for number, their in enumerate(reversed(search.found)):
        progress("erase", number, len(search.found), 0)
        _delete(connection, their)
    for their in search.found:
        if bag_of(connection, their.shape).digest != others[their.shape.shown]:
            raise StoreError(
                f"Deleting changed other people's rows in the table {their.shape.shown} (a trigger "
                "or a cascade). All of it was undone."
            )
    again = Search(search.subject_columns, search.needles, search.text_columns, search.children)
    again.run(connection, address.schema, address.table)
    if again.rows:
        raise ResidueError(
            f"{again.rows} rows were still found in the table {address.shown_table} after "
            "deleting. All of it was undone."
        )
    connection.commit()
    progress("erase", len(search.found), len(search.found), 0)
    return Erased(
        new_version=None,
        rows=search.rows,
        objects_removed=(),
        objects_added=(),
        detail={t.shape.shown: t.bag.count for t in search.found},
    )


def _refuse_other_state(address: Address, search: Search, plan: ErasePlan, key: bytes) -> None:
    same = hmac.compare_digest(fingerprint(search, key), plan.snapshot.rpartition("/")[2])
    if not same or search.rows != plan.rows:
        raise PlanOutdatedError(
            f"The person's rows in the table {address.shown_table} changed since the plan was "
            "made. Nothing was erased: plan again."
        )
    if search.blockers:
        raise PlanOutdatedError(
            f"{' '.join(search.blockers)} Nothing was erased: settle it and plan again."
        )


def _delete(connection: Connection, their: TheirRows) -> None:
    removed = 0
    for where in located(their.shape, their.places):
        removed += connection.execute(sa.delete(their.shape.table).where(where)).rowcount
    if removed != their.bag.count:
        raise ResidueError(
            f"{removed} rows of the table {their.shape.shown} were deleted where "
            f"{their.bag.count} were counted. All of it was undone."
        )
