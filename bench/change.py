"""An audited change: one row saved and its record written, in one transaction.

Beside it the same save with nobody watching, and with the libraries that a Django team would
otherwise pick. Ours counts only once the event is chained and signed: each run ends when nothing
waits any more. What part of the time that takes is measured by switching it off for a run, and
then giving all that waits its place at once, as the sweep does.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bench.append import actor
from bench.report import Line, beside, say, table
from bench.threads import rate_in_threads

CHANGES, ROWS, RUNS = 120, 40, 20
PLAIN, OURS = "save, unaudited", "save + record, until sequenced"
ALONE = "save + record, sequencing switched off"
LATER = "save + record, all sequenced afterwards"
AUDITLOG, SIMPLE = "save, django-auditlog", "save, django-simple-history"
PGHISTORY = "save, django-pghistory"
_START = datetime(2026, 1, 1, tzinfo=UTC)

Save = Callable[[int], None]


def run(database: str) -> None:
    """Prints the tables. Django must be set up on a scratch installation."""
    for threads in (1, 8):
        rates = _rates(savers(), threads)
        is_postgresql = database == "PostgreSQL"
        lines = [Line(PLAIN, rates[PLAIN])]
        lines += [
            beside(name, PLAIN, rates) for name in (AUDITLOG, SIMPLE, PGHISTORY) if name in rates
        ]
        lines += [beside(ALONE, PLAIN, rates), beside(LATER, PLAIN, rates)]
        lines += [beside(OURS, PLAIN, rates, 0.9 if is_postgresql else None)]
        if is_postgresql:
            lines += [beside(OURS, PGHISTORY, rates, 1.0)]
        connections = "1 connection" if threads == 1 else f"{threads} connections"
        table(f"Audited changes of a row on {database}, {connections}", lines)
        share = 1 - rates[OURS] / rates[ALONE]
        say(f"Chaining and signing took {share:.0%} of the time of the last line.")


def savers() -> dict[str, Save]:
    """For each way to audit: a function that makes change number n. Makes the rows."""
    from django.apps import apps
    from django.db import transaction
    from django.utils import timezone

    from audit.actions import record
    from audit.events import define
    from bench.peers import models

    changed = define("bench.account_changed", "balance", "status")
    by = actor()

    def rows(model: Any) -> list[Any]:
        return list(
            model.objects.bulk_create(
                model(
                    owner=f"Owner {number}",
                    email=f"owner{number}@example.org",
                    status="open",
                    note="An account as good as any other. " * 4,
                    opened_at=_START,
                    changed_at=_START,
                )
                for number in range(ROWS)
            )
        )

    def change(row: Any, number: int) -> None:
        row.balance, row.changed_at = number, timezone.now()
        row.status = "open" if number % 2 else "frozen"
        row.save()

    def saver(model: Any) -> Save:
        made = rows(model)

        def save(number: int) -> None:
            with transaction.atomic():
                change(made[number % ROWS], number)

        return save

    recorded = rows(models.RecordedAccount)

    def save_and_record(number: int) -> None:
        row = recorded[number % ROWS]
        with transaction.atomic():
            change(row, number)
            record(
                changed,
                by=by,
                resource=f"account:{row.pk}",
                details={"balance": row.balance, "status": row.status},
            )

    found = {
        PLAIN: saver(models.PlainAccount),
        AUDITLOG: saver(models.AuditlogAccount),
        SIMPLE: saver(models.SimpleHistoryAccount),
        OURS: save_and_record,
    }
    if apps.is_installed("pghistory"):
        found[PGHISTORY] = saver(models.PghistoryAccount)
    return found


def _rates(works: dict[str, Save], threads: int) -> dict[str, float]:
    best = dict.fromkeys([*works, ALONE, LATER], 0.0)
    numbers = itertools.count(step=2 * CHANGES)  # so that every save changes its row
    for _ in range(RUNS):
        for name, work in works.items():
            found = _rate(work, next(numbers), threads)
            best[name] = max(best[name], found[1])
        with _sequencing_off():
            alone, later = _rate(works[OURS], next(numbers), threads)
        best[ALONE], best[LATER] = max(best[ALONE], alone), max(best[LATER], later)
    return best


def _rate(work: Save, first: int, threads: int) -> tuple[float, float]:
    """Changes a second, and the same until everything is in its place."""
    numbers = itertools.count(first)

    def begin() -> None:
        """Connections live long: what the first change on one costs is not to be measured."""
        work(next(numbers))
        wait_until_sequenced()

    rate = rate_in_threads(CHANGES, lambda _: work(next(numbers)), threads=threads, prepare=begin)
    started = time.perf_counter()
    wait_until_sequenced()
    return rate, CHANGES / (CHANGES / rate + time.perf_counter() - started)


def wait_until_sequenced() -> None:
    from audit.actions import sequence
    from audit.models import Pending

    while Pending.objects.exists():
        sequence()


@contextmanager
def _sequencing_off() -> Iterator[None]:
    from audit.actions import recording

    scheduled = recording._sequence_after_commit
    recording._sequence_after_commit = lambda: None
    try:
        yield
    finally:
        recording._sequence_after_commit = scheduled
