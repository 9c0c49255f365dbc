"""Logs whose entries are old enough to go."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

from accounts.models import User
from audit import sequencer
from audit.actions import append, plan_pruning, prune, start_pruning
from audit.intake import NewEvent
from audit.logs import MAIN, LogRef
from audit.models import Entry, PrunedRange, Pruning
from tests.audit.builders import event

DAY_NS = 24 * 3600 * 10**9


@contextmanager
def days_ago(days: float) -> Iterator[None]:
    """What is sequenced inside is recorded so long ago, if the log is not younger already."""
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() - round(days * DAY_NS))
    with patch.object(sequencer, "time", clock):
        yield


def old_log(*stretches: tuple[int, str], days: float = 400, by: User, log: LogRef = MAIN) -> None:
    """So many more entries of these types, recorded so long ago."""
    with days_ago(days):
        for count, name in stretches:
            start = Entry.objects.filter(log_id=log.id).count()
            append([event(start + n, type=name) for n in range(count)], by=by, log=log)


def events_of(types: Sequence[str]) -> list[NewEvent]:
    return [event(number, type=name) for number, name in enumerate(types)]


def pruned(by: User, log: LogRef = MAIN) -> Pruning:
    """What may go went."""
    plan = plan_pruning(by=by, log_id=log.id)
    assert plan is not None
    return prune(start_pruning(plan.plan_hash, by=by, log_id=log.id).pk)


def ranges(log: LogRef = MAIN) -> list[tuple[int, int]]:
    found = PrunedRange.objects.filter(log_id=log.id).order_by("start")
    return list(found.values_list("start", "stop"))
