"""Gathering the heads of the log, beside appending the entries that they are gathered from.

With few resources and with many: what an hourly commitment costs depends on how many resources
were written to since the last one.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

SIZE = int(os.environ.get("BENCH_HEADS_ENTRIES", "200000"))
RESOURCES = (50, 100_000)
_BATCH = 10_000
_PROVEN = 1_000


def run(database: str) -> None:
    """Prints the tables. Django must be set up on a scratch installation."""
    for resources in RESOURCES:
        title = f"{SIZE:,} entries of {resources:,} resources on {database}"
        sys.stdout.write(f"\n{title}\n{'-' * len(title)}\n")
        for name, seconds in measured(SIZE, resources):
            sys.stdout.write(f"{name:<55} {seconds:>9.3f} s\n")
        sys.stdout.flush()


def measured(size: int, resources: int) -> list[tuple[str, float]]:
    """Append `size` entries of so many resources, gather their heads, prove and verify."""
    from accounts.queries import system_user
    from audit import heads
    from audit.actions import append, record_heads
    from audit.completeness import Span
    from audit.ledger.bundle import dumps
    from audit.ledger.verify import verify_bundle
    from audit.models import MAIN_LOG
    from audit.queries import evidence, head
    from audit.verification.heads import findings
    from bench import events

    by = system_user("setup")
    record_heads(by=by)
    # Each resource is written to equally often, in an order without a pattern.
    names = [f"dataset:bench-{resources}:{number}" for number in range(resources)]
    found = []

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        found.append((name, time.perf_counter() - started))
        return result

    def fill() -> None:
        for start in range(0, size, _BATCH):
            batch = [
                msgspec.structs.replace(
                    events.new(number, f"h{resources}"), resource=names[number * 7_919 % resources]
                )
                for number in range(start, min(start + _BATCH, size))
            ]
            append(batch, by=by)

    timed(f"{size:,} entries appended, by {_BATCH:,}", fill)
    timed("their heads gathered", lambda: heads.gather(MAIN_LOG))
    timed("committed to", lambda: record_heads(by=by))
    append([events.new(number, f"few{resources}") for number in range(1_000)], by=by)
    timed("1,000 entries later: gathered and committed to", lambda: record_heads(by=by))
    log = head()
    span = Span(names[0], since=max(0, (log.size if log else 0) - _PROVEN * resources))
    made = timed(
        f"up to {_PROVEN} entries of a resource proven to be all",
        lambda: dumps(evidence([], purpose="completeness", complete=[span])),
    )
    verdict = timed(f"those {len(made):,} bytes verified", lambda: verify_bundle(made))
    wrong = timed(
        "every commitment of the log recomputed (--full)", lambda: list(findings(MAIN_LOG))
    )
    if wrong or not verdict.valid:
        raise RuntimeError(f"the heads do not hold: {wrong[:3]} {verdict.faults}")
    return found
