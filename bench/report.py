"""Timing and tables. Absolute rates drift on a shared machine: the ratios are what counts."""

import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """One measured thing: how many a second, and what it is compared with in the same run.

    `at_most`: the ratio may not be above the target, instead of not below it.
    """

    name: str
    rate: float
    peer: str = ""
    ratio: float | None = None
    target: float | None = None
    at_most: bool = False
    unit: str = "/s"


def best_rate(count: int, work: Callable[[], object], *, runs: int = 3) -> float:
    """`count` divided by the shortest of several runs, in seconds."""
    shortest = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - started)
    return count / shortest


def best_rates(
    count: int, works: Mapping[str, Callable[[], object]], *, runs: int = 5
) -> dict[str, float]:
    """As `best_rate`, for works that take turns, so that a slow minute hits all of them."""
    timed: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            gc.collect()
            started = time.perf_counter()
            work()
            timed[name].append(count / (time.perf_counter() - started))
    return {name: max(rates) for name, rates in timed.items()}


def beside(name: str, peer: str, rates: Mapping[str, float], target: float | None = None) -> Line:
    return Line(name, rates[name], peer, rates[name] / rates[peer], target)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} when it began"
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(title: str, lines: Sequence[Line]) -> None:
    width = max(len(line.name) for line in lines)
    say(f"\n{title}\n{'-' * len(title)}")
    for line in lines:
        digits = 0 if line.rate >= 100 else 2
        text = f"{line.name:<{width}}  {line.rate:>11,.{digits}f} {line.unit}"
        if line.ratio is not None:
            text += f"   {line.ratio:5.2f} x {line.peer}"
        if line.target is not None and line.ratio is not None:
            met = line.ratio <= line.target if line.at_most else line.ratio >= line.target
            text += (
                f"   target {'<= ' * line.at_most}{line.target:.2f}: {'met' if met else 'MISSED'}"
            )
        say(text)
