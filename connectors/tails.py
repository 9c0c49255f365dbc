"""Copies of a store that no erasure reaches, and how long each of them lasts.

A backup, an archive of the write-ahead log, a replica that lags: rows that are erased in the store
stay there until the copy ends by its own retention. Who runs the store knows which copies there
are; an erasure then names them with the day on which each one ends.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import transaction

from audit.actions import record
from connectors.actions import ConnectorError
from connectors.events import CONNECTOR_TAILS_STATED
from connectors.models import Connector

if TYPE_CHECKING:
    from accounts.models import User

MOST_DAYS = 3_660
_MOST_TAILS, _LONGEST_NAME = 20, 120


class StatedTail(TypedDict):
    """`what` copy it is, in words for a certificate; `days` after an erasure it is gone."""

    what: str
    days: int


@transaction.atomic
def state_tails(connector: Connector, tails: Sequence[Any], *, by: "User") -> None:
    """Replaces what is said of the store's copies; erasures from now on go by it.

    Raises ConnectorError.
    """
    stated = checked(tails)
    if stated == connector.tails:
        return
    Connector.objects.filter(pk=connector.pk).update(tails=stated)
    connector.refresh_from_db()
    record(
        CONNECTOR_TAILS_STATED,
        by=by,
        resource=connector.resource,
        details={"tails": [dict(tail) for tail in stated]},
    )


def checked(tails: Sequence[Any]) -> list[StatedTail]:
    """The tails if each is {"what": text, "days": number}. Raises ConnectorError."""
    if len(tails) > _MOST_TAILS:
        raise _fault(f"There are {len(tails)}; a store has at most {_MOST_TAILS}.")
    found = [_checked(number, tail) for number, tail in enumerate(tails, 1)]
    names = [tail["what"] for tail in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _fault(f"Names that stand there twice: {', '.join(twice)}.")
    return found


def _checked(number: int, tail: Any) -> StatedTail:
    what, days = (tail.get("what"), tail.get("days")) if isinstance(tail, dict) else (None, None)
    if not isinstance(what, str) or not 0 < len(what.strip()) <= _LONGEST_NAME:
        raise _fault(f"Number {number} has no name of 1 to {_LONGEST_NAME} characters.")
    if not what.isprintable():
        raise _fault(f"The name of number {number} has characters that cannot be printed.")
    if type(days) is not int or not 0 < days <= MOST_DAYS:
        raise _fault(
            f'Number {number}, "{what.strip()}", needs the days after which it is gone: a whole'
            f" number from 1 to {MOST_DAYS:,}."
        )
    return {"what": what.strip(), "days": days}


def _fault(reason: str) -> ConnectorError:
    return ConnectorError("tails", f'{reason} Give {{"what": "nightly backups", "days": 35}}.')
