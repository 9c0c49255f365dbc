"""Sail's Spark-Connect server in a process of its own, whose workers import this source."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAIL = Path(sys.executable).with_name("sail")
_LISTENS = re.compile(r"Spark Connect server on \S+?:(\d+)")


@dataclass(frozen=True)
class SailServer:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"sc://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, object]:
        """Of a connector."""
        return {"engine": "spark", "engine_address": self.address, "engine_tasks": 2}

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def sail(ip: str = "127.0.0.1", **environment: str) -> Iterator[SailServer]:
    """A cluster of two workers with a slot each. `environment`: what the workers have beside
    ours, without the keys that tests set."""
    cluster = {
        "SAIL_MODE": "local-cluster",
        "SAIL_CLUSTER__WORKER_INITIAL_COUNT": "2",
        "SAIL_CLUSTER__WORKER_MAX_COUNT": "2",
        "SAIL_CLUSTER__WORKER_TASK_SLOTS": "1",
        "PYTHONPATH": str(ROOT),
    }
    without_keys = {k: v for k, v in os.environ.items() if not k.startswith("TEST_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(SAIL), "spark", "server", "--ip", ip, "--port", "0"],
            env={**without_keys, **cluster, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield SailServer(_port(process, log.fileno()), process)
        finally:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[bytes]", log: int) -> int:
    end = time.monotonic() + 30
    told = ""
    while time.monotonic() < end and process.poll() is None:
        told = os.pread(log, 10_000, 0).decode()
        if found := _LISTENS.search(told):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"Sail did not start: {told}")


@pytest.fixture(scope="session")
def sail_server() -> Iterator[SailServer]:
    with sail() as server:
        yield server
