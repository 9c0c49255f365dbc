"""A Delta table searched and rewritten by tasks of a cluster, as part of `stores`.

The cluster is Sail's, with its workers in one process of this machine, so what is seen is what the
engine costs: the session, a job for each file, and what travels. Beside it stands the same table
searched and rewritten by this process. Workers and this process may use one core for each file that
they have open.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.report import Line, best_rates, say, table

MOST_OVERHEAD = 2.0  # seconds of a search, on one machine
NEARLY_LINEAR = 1.6  # of two workers beside one
_WORKERS = (1, 2)
_RUNS = 3
_LISTENS = re.compile(r"Spark Connect server on \S+?:(\d+)")


def run(path: Path, people: Sequence[str]) -> None:
    """Prints the tables of a table whose column "person" names these people."""
    with _sail(1) as one, _sail(2) as two:
        addresses = {"1 worker": one, "2 workers": two}
        for address in addresses.values():
            _search(path, people[:1], address)()  # the workers' first import of everything
        _find(path, people[:1], addresses)
        _rewrite(path, people[-1:], addresses)


def _find(path: Path, people: Sequence[str], addresses: dict[str, str]) -> None:
    local = "find, this process"
    works = {local: _search(path, people, "")}
    works |= {f"find, {name}": _search(path, people, at) for name, at in addresses.items()}
    seconds = {name: 1 / rate for name, rate in best_rates(1, works, runs=_RUNS).items()}
    _print("Find a person", seconds, local)
    more = seconds["find, 1 worker"] - seconds[local]
    verdict = "met" if more <= MOST_OVERHEAD else "MISSED"
    say(
        f"One worker took {more:.2f} s more than this process"
        f" (target at most {MOST_OVERHEAD:.0f} s: {verdict})."
    )


def _rewrite(path: Path, people: Sequence[str], addresses: dict[str, str]) -> None:
    local = "rewrite, this process"
    seconds = {local: _erased(path, people, "")}
    seconds |= {f"rewrite, {name}": _erased(path, people, at) for name, at in addresses.items()}
    _print("Rewrite the files that hold them, and commit", seconds, local)


def _print(title: str, seconds: dict[str, float], local: str) -> None:
    one, two = (name for name in seconds if name != local)
    table(
        f"{title}: seconds",
        [
            Line(local, seconds[local], unit="s"),
            Line(one, seconds[one], local, seconds[one] / seconds[local], unit="s"),
            Line(two, seconds[two], one, seconds[two] / seconds[one], unit="s"),
        ],
    )


def _store(path: Path, address: str) -> "DeltaStore":
    from connectors.adapters.delta import DeltaStore
    from connectors.engines import engine_of

    store = DeltaStore(str(path), ["person"], {})
    options = {"engine": "spark", "engine_address": address} if address else {}
    store.engine = engine_of({**options, **({"engine_tasks": 2} if address else {})}, _anywhere)
    return store


def _anywhere(_host: str, _port: int) -> None:
    """The servers are ours."""
