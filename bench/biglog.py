"""A log that is large: made by bulk appends, with resources, actors and types as in life."""

import time
from typing import Any

from bench import events
from bench.append import actor
from bench.report import say

_BATCH = 10_000
_TYPES = ("CREATE", "READ", "READ", "READ", "UPDATE", "TRANSFORM", "TRANSFORM", "pipeline.finished")
RARE = "dataset:warehouse:seldom_seen"  # one entry in 100,000 speaks of it


def grow(size: int) -> None:
    """Append until the log has at least `size` entries."""
    from audit.actions import append
    from audit.queries import head

    log = head()
    start, by, began = log.size if log else 0, actor(), time.perf_counter()
    if start >= size:
        return
    for first in range(start, size, _BATCH):
        count = min(_BATCH, size - first)
        append([_event(number) for number in range(first, first + count)], by=by)
    seconds = time.perf_counter() - began
    say(f"The log grew from {start:,} to {size:,} entries in {seconds:.0f} s.")


def _event(number: int) -> Any:
    event = events.new(number, "big")
    event.type = _TYPES[number * 7 % len(_TYPES)] if number % 9_973 else "DELETE"
    event.actor = f"service:pipeline-{number % 40}"
    event.resource = (
        RARE if number % 100_000 == 77 else f"dataset:warehouse:purchases_{number * 31 % 5_000}"
    )
    return event
