"""Appending through REST, beside two views that insert one unchained row, on the same server.

One granian process serves all of them, one after the other in turns; the client is bench.client.
What the server gives without doing anything (/healthz) is measured too: it is the limit of client,
server and Django together.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from bench.append import actor
from bench.client import CLIENTS
from bench.plain import PlainTable
from bench.report import Line, beside, say, table

REQUESTS, TURNS = 500, 8
_OURS, _ORM = "POST /api/v1/events", "DRF + ORM view, one unchained row"
_PLAIN, _HEALTH = "plain msgspec view, one unchained row", "GET /healthz"
_PATHS = {_HEALTH: "/healthz", _ORM: "/peer/orm", _PLAIN: "/peer/plain", _OURS: "/api/v1/events"}


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    from accounts.actions import create_key
    from accounts.roles import Role

    _, key = create_key(name="bench", roles=[Role.PIPELINE], by=actor())
    plain = PlainTable()
    for workers, threads in ((1, 16), (2, 8)):
        with server(workers=workers, threads=threads) as port:
            rates, waits = _rates(port, key, f"w{workers}")
        is_postgresql = database == "PostgreSQL"
        processes = "1 process" if workers == 1 else f"{workers} processes"
        table(
            f"REST, one event a request, {CLIENTS} clients, {processes} of {threads} threads,"
            f" on {database}",
            [
                Line(_HEALTH, rates[_HEALTH]),
                Line(_ORM, rates[_ORM]),
                Line(_PLAIN, rates[_PLAIN]),
                beside(_OURS, _ORM, rates, 3.0 if is_postgresql else None),
                beside(_OURS, _PLAIN, rates, 0.9 if is_postgresql else None),
            ],
        )
        say(f"Waits of ours: median {waits[0]:.1f} ms, 99 of 100 within {waits[1]:.1f} ms")
    plain.drop()


def _rates(port: int, key: str, name: str) -> tuple[dict[str, float], tuple[float, float]]:
    best = dict.fromkeys(_PATHS, 0.0)
    waits = (0.0, 0.0)
    for path in _PATHS.values():
        _client(port, path, key, 200, f"{name}-warm{path}")
    for turn in range(TURNS):
        for view, path in _PATHS.items():
            rate, median, late = _client(port, path, key, REQUESTS, f"{name}-{turn}{path}")
            if rate > best[view]:
                best[view] = rate
                waits = (median, late) if view == _OURS else waits
    return best, waits


def _client(port: int, path: str, key: str, count: int, run: str) -> tuple[float, float, float]:
    method = "GET" if path == "/healthz" else "POST"
    done = subprocess.run(
        [sys.executable, "-m", "bench.client", str(port), path, str(count), run, method],
        env=os.environ | {"BENCH_KEY": key},
        check=True,
        stdout=subprocess.PIPE,
    )
    rate, median, late = orjson.loads(done.stdout)
    return rate, median, late


@contextmanager
def server(*, workers: int, threads: int) -> Iterator[int]:
    """The application with the peers' views, served as `make run` serves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [
            sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port),
            "--workers", str(workers), "--blocking-threads", str(threads),
            "--no-access-log", "--log-level", "error", "config.wsgi:application",
        ],
        env=os.environ | {"PORT": str(port)},
    )  # fmt: skip
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(2)  # each process imports the application
        yield port
    finally:
        process.terminate()
        process.wait()
