"""Reading back what happened to one row: ours beside the libraries of bench.change."""

from collections.abc import Callable
from typing import Any

from bench.change import ROWS, savers
from bench.report import Line, best_rates, say, table

CHANGES = 100


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    from django.apps import apps

    from audit.actions import sequence

    works = savers()
    for number in range(0, CHANGES * ROWS, ROWS):  # always the same row
        for work in works.values():
            work(number)
    sequence()
    readers: dict[str, Callable[[], int]] = {
        "django-auditlog": _by_auditlog,
        "django-simple-history": _by_simple_history,
        "audit.queries.entries_for, from the leaves": _ours,
    }
    if apps.is_installed("pghistory"):
        readers["django-pghistory"] = _by_pghistory
    for name, read in readers.items():
        if read() != CHANGES:
            raise RuntimeError(f"{name} kept {read()} of {CHANGES} changes")
    rates = best_rates(CHANGES, readers, runs=10)
    table(
        f"Reading the {CHANGES} changes of one row back, newest first, on {database}",
        [Line(name, rate) for name, rate in rates.items()],
    )
    say("A record that was changed or removed: verify_log names it; the others cannot tell.")


def _row(model: Any) -> Any:
    """The first of the rows that `savers` made last."""
    return model.objects.order_by("-pk")[ROWS - 1]


def _ours() -> int:
    from audit.queries import entries_for, event_of
    from bench.peers.models import RecordedAccount

    found = entries_for(f"account:{_row(RecordedAccount).pk}").reverse()
    return len([event_of(entry)["details"] for entry in found])


def _by_auditlog() -> int:
    from auditlog.models import LogEntry

    from bench.peers.models import AuditlogAccount

    found = LogEntry.objects.get_for_object(_row(AuditlogAccount))
    return len([entry.changes_dict for entry in found if entry.action])


def _by_simple_history() -> int:
    from bench.peers.models import SimpleHistoryAccount

    return len([kept.balance for kept in _row(SimpleHistoryAccount).history.all()])


def _by_pghistory() -> int:
    from bench.peers.models import PghistoryAccount

    events = _row(PghistoryAccount).events
    kept = events.filter(pgh_label="update").order_by("-pgh_id")
    return len([event.balance for event in kept])
