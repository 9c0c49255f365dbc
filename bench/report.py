"""Timing and tables. Absolute rates drift on a shared machine: the ratios are what counts."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple


class Line(NamedTuple):
    """One measured thing: how many a second, and what it is compared with in the same run."""

    name: str
    rate: float
    peer: str = ""
    ratio: float | None = None
    target: float | None = None


def best_rate(count: int, work: Callable[[], object], *, runs: int = 3) -> float:
    """`count` divided by the shortest of several runs, in seconds."""
    shortest = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - started)
    return count / shortest


def table(title: str, lines: list[Line]) -> None:
    width = max(len(line.name) for line in lines)
    sys.stdout.write(f"\n{title}\n{'-' * len(title)}\n")
    for line in lines:
        text = f"{line.name:<{width}}  {line.rate:>11,.0f} /s"
        if line.ratio is not None:
            text += f"   {line.ratio:5.2f} x {line.peer}"
        if line.target is not None and line.ratio is not None:
            verdict = "met" if line.ratio >= line.target else "MISSED"
            text += f"   target {line.target:.2f}: {verdict}"
        sys.stdout.write(text + "\n")
    sys.stdout.flush()
