"""Single events through the append path, beside inserting the same rows without a chain.

The peer is a table with the log's columns and indexes, filled by plain INSERT + commit over 16
connections (psycopg with prepared statements, no Django in between).
"""

import time
from typing import Any

from bench import events
from bench.plain import PlainTable, open_bare_connection, values_of
from bench.report import Line, beside, say, table
from bench.threads import rate_in_threads

# Many short turns: on a shared machine one of them falls into a quiet moment.
SINGLES, ALONE, TURNS = 3_000, 100, 12
_PEER = "INSERT+commit, 16 connections"
_ONE = "INSERT+commit, 1 connection"


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    _singles(database)
    _window()


def actor() -> Any:
    from accounts.queries import system_user

    return system_user("setup")


def _singles(database: str) -> None:
    from audit.actions import append

    by, plain = actor(), PlainTable()
    best: dict[str, float] = {}

    def measure(name: str, rate: float) -> None:
        best[name] = max(best.get(name, 0), rate)

    def inserting(count: int, threads: int) -> float:
        rows = [values_of(row) for row in plain.rows_of(count, f"p{plain.filled}")]
        return rate_in_threads(
            count,
            lambda number: plain.insert(rows[number]),
            threads=threads,
            prepare=open_bare_connection,
        )

    def appending(count: int, threads: int, run: str) -> float:
        made = [events.new(number, run) for number in range(count)]
        return rate_in_threads(count, lambda number: append([made[number]], by=by), threads=threads)

    for turn in range(TURNS):
        measure(_PEER, inserting(SINGLES, 16))
        measure("append, 64 submitters", appending(SINGLES, 64, f"a{turn}"))
        measure("append, 16 submitters", appending(SINGLES, 16, f"b{turn}"))
        measure(_ONE, inserting(ALONE, 1))
        measure("append, 1 submitter", appending(ALONE, 1, f"c{turn}"))
    plain.drop()
    target = 1.5 if database == "PostgreSQL" else None
    table(
        f"Single events of ~450 bytes through the append path on {database}",
        [
            Line(_PEER, best[_PEER]),
            beside("append, 64 submitters", _PEER, best, target),
            beside("append, 16 submitters", _PEER, best),
            Line(_ONE, best[_ONE]),
            beside("append, 1 submitter", _ONE, best),
        ],
    )


def _window() -> None:
    """How long a committed change waits for its signed place, with nobody else writing."""
    from django.db import transaction

    from audit.actions import record
    from audit.events import LOG_EXPORTED
    from audit.queries import head

    by, waits = actor(), []
    for number in range(100):
        before = head()
        size = before.size if before else 0
        with transaction.atomic():
            record(LOG_EXPORTED, by=by, resource="log:main", details={"size": number})
        committed = time.perf_counter()
        while (after := head()) is None or not after.note_size > size:
            time.sleep(0.000_2)
        waits.append(time.perf_counter() - committed)
    waits.sort()
    say(
        f"From commit to signed entry: median {waits[50] * 1000:.1f} ms,"
        f" 99 of 100 within {waits[98] * 1000:.1f} ms"
    )
