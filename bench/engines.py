"""A Delta table searched and rewritten by tasks of a cluster, as part of `stores`.

The cluster is Sail's on this machine. Beside it stand the same files searched and rewritten by this
process, so the difference is what the engine costs: a session, a job for each file, and what
travels. Two workers stand beside one. They are threads of one server, as Sail's local cluster has
them; Arrow and polars get no further threads, so that a worker means a core.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Line, say, table
from tests.connectors.sail_server import SailServer, sail

if TYPE_CHECKING:
    from connectors.adapters.delta import DeltaStore

MOST_OVERHEAD = 2.0  # seconds of a search
NEARLY_LINEAR = 0.6  # of the time of one worker
_HERE = "this process"
_RUNS = 3


def run(path: Path, people: Sequence[str]) -> None:
    """Prints the tables of a table whose column "person" names these people."""
    with _cluster(1) as one, _cluster(2) as two:
        engines = {_HERE: None, "1 worker": one, "2 workers": two}
        for server in engines.values():
            _store(path, server).find_subject({"person": people[:1]})  # imports what it needs
        _find(path, people, engines)
        _rewrite(path, people, engines)


def _cluster(workers: int) -> "contextlib.AbstractContextManager[SailServer]":
    count = str(workers)
    return sail(
        SAIL_CLUSTER__WORKER_INITIAL_COUNT=count,
        SAIL_CLUSTER__WORKER_MAX_COUNT=count,
        OMP_NUM_THREADS="1",
        POLARS_MAX_THREADS="1",
    )


def _store(path: Path, server: SailServer | None) -> "DeltaStore":
    from connectors.adapters.delta import DeltaStore
    from connectors.engines import engine_of

    store = DeltaStore(str(path), ["person"], {})
    if server:
        store.engine = engine_of(server.options, lambda _host, _port: None)
    return store


def _find(path: Path, people: Sequence[str], engines: Mapping[str, SailServer | None]) -> None:
    found = {}

    def work(name: str, server: SailServer | None) -> None:
        findings = _store(path, server).find_subject({"person": people[:1]})
        found[name] = findings.rows_by_version

    seconds = _shortest(engines, work)
    if len({tuple(rows.items()) for rows in found.values()}) > 1:
        raise RuntimeError("the engines disagree about the rows")
    _print("Find 1 person", seconds)
    more = seconds["1 worker"] - seconds[_HERE]
    verdict = "met" if more <= MOST_OVERHEAD else "MISSED"
    say(
        f"One worker takes {more:.2f} s more than this process"
        f" (target at most {MOST_OVERHEAD:.0f} s: {verdict})."
    )


def _rewrite(path: Path, people: Sequence[str], engines: Mapping[str, SailServer | None]) -> None:
    """Of persons who stand in every file."""
    needles = {"person": people[-100:]}
    timed: dict[str, list[float]] = {}

    def work(name: str, server: SailServer | None) -> None:
        copy = path.with_name("copy")
        shutil.copytree(path, copy)
        store = _store(copy, server)
        plan = store.plan_erase(_store(copy, None).find_subject(needles), mode="purge")
        started = time.perf_counter()
        store.erase(plan, needles)
        timed.setdefault(name, []).append(time.perf_counter() - started)
        shutil.rmtree(copy)

    _shortest(engines, work)
    seconds = {name: min(times) for name, times in timed.items()}
    _print("Erase 100 persons from every file of the newest version", seconds, NEARLY_LINEAR)


def _shortest(
    engines: Mapping[str, SailServer | None], work: Callable[[str, SailServer | None], None]
) -> dict[str, float]:
    """Seconds of each, in turns, so that a slow minute hits all of them."""
    timed: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_RUNS):
        for name, server in engines.items():
            started = time.perf_counter()
            work(name, server)
            timed[name].append(time.perf_counter() - started)
    return {name: min(times) for name, times in timed.items()}


def _print(title: str, seconds: Mapping[str, float], target: float | None = None) -> None:
    one, two = seconds["1 worker"], seconds["2 workers"]
    table(
        f"{title}: seconds",
        [
            Line(_HERE, seconds[_HERE], unit="s"),
            Line("1 worker", one, _HERE, one / seconds[_HERE], unit="s"),
            Line("2 workers", two, "1 worker", two / one, target, at_most=True, unit="s"),
        ],
    )
