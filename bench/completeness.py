"""Gathering the heads of the log, beside appending the entries that they are gathered from.

With few resources and with many: what an hourly commitment costs depends on how many resources
were written to since the last one.
"""

import os
import time

import msgspec

from bench.report import Line, best_rate, table

SIZE = int(os.environ.get("BENCH_HEADS_ENTRIES", "200000"))
RESOURCES = (50, 100_000)
_BATCH = 10_000


def run(database: str) -> None:
    """Prints the tables. Django must be set up on a scratch installation."""
    for resources in RESOURCES:
        table(
            f"{SIZE:,} entries of {resources:,} resources on {database}",
            measured(SIZE, resources),
        )


def measured(size: int, resources: int) -> list[Line]:
    """Append `size` entries of so many resources, gather their heads, prove and verify."""
    from accounts.queries import system_user
    from audit import heads
    from audit.actions import append, record_heads
    from audit.completeness import Span
    from audit.ledger.verify import verify_bundle
    from audit.models import MAIN_LOG
    from audit.queries import evidence
    from audit.verification.heads import findings
    from bench import events

    by = system_user("setup")
    record_heads(by=by)
    # Each resource is written to about equally often, in an order without a pattern.
    names = [f"dataset:bench-{resources}:{number}" for number in range(resources)]
    spread = [names[number * 7_919 % resources] for number in range(size)]
    spent = 0.0
    for start in range(0, size, _BATCH):
        numbers = range(start, min(start + _BATCH, size))
        batch = [
            msgspec.structs.replace(events.new(n, f"h{resources}"), resource=spread[n])
            for n in numbers
        ]
        started = time.perf_counter()
        append(batch, by=by)
        spent += time.perf_counter() - started
    appended = size / spent
    gathered = best_rate(size, lambda: heads.gather(MAIN_LOG), runs=1)
    committed = best_rate(1, lambda: record_heads(by=by), runs=1)
    few = [events.new(number, f"few{resources}") for number in range(1_000)]
    append(few, by=by)
    again = best_rate(1, lambda: record_heads(by=by), runs=1)

    def prove() -> None:
        made = evidence([], purpose="completeness", complete=[Span(names[0], since=size // 2)])
        if not verify_bundle(made).valid:
            raise RuntimeError("the bundle is not valid")

    proven = best_rate(1, prove)
    wrong: list[object] = []
    checked = best_rate(size, lambda: wrong.extend(findings(MAIN_LOG)), runs=1)
    if wrong:
        raise RuntimeError(f"the heads do not hold: {wrong[:3]}")
    return [
        Line("append, by 10,000", appended),
        Line("heads gathered", gathered, "append", gathered / appended),
        Line("then: committed to", committed),
        Line("1,000 entries later: gathered and committed to", again),
        Line("a resource's second half proven and verified", proven),
        Line("every commitment of the log checked (verify_log --full)", checked),
    ]
