"""The whole application in processes of its own, with the sample company."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.connectors.lakefs_server import SECRET as LAKEFS_SECRET
from tests.connectors.s3_server import KEY_ID, SECRET, s3_server

__all__ = ["s3_server"]  # the fixture
ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that share the sample company's installation are told apart, to run beside the rest."""
    for item in items:
        given = getattr(item, "callspec", None)
        names = [*getattr(item, "fixturenames", ()), *(given.params.values() if given else ())]
        if item.get_closest_marker("journey") and "installation" in names:
            item.add_marker("sample")


# What lets an installation connect buckets of the S3 server of the tests.
_S3 = {
    "VESTIGE_STORE_HOSTS": "127.0.0.1",
    "TEST_ACCESS_KEY_ID": KEY_ID,
    "TEST_SECRET_ACCESS_KEY": SECRET,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Installation:
    url: str
    home: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def output(self) -> str:
        return (self.home / "run.log").read_text()

    @property
    def sign_ins(self) -> dict[str, tuple[str, str]]:
        """username → (username, password)"""
        rows = json.loads((self.home / "keys" / "sample-sign-ins.json").read_text())
        return {row["username"]: (row["username"], row["password"]) for row in rows}

    def client(self, *roles: str) -> httpx.Client:
        """A REST client with a fresh key, and so an actor, of its own."""
        with httpx.Client(base_url=self.url) as admin:
            answer = admin.post(
                "/api/v1/keys",
                json={"name": f"journey {'+'.join(roles)}", "roles": list(roles)},
                headers={"Authorization": f"Bearer {self.admin_token}"},
            )
        assert answer.status_code == 201, answer.text
        self.clients.append(
            httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {answer.json()['key']}"},
                timeout=60,
            )
        )
        return self.clients[-1]

    @property
    def admin_token(self) -> str:
        return (self.home / "keys" / "admin.token").read_text()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)


def start(home: Path, *, port: int | None = None, **extra: str) -> Installation:
    """Starts an installation and returns when it says that it is ready."""
    port = port or free_port()
    environment = {
        k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "PORT")
    } | {"VESTIGE_HOME": str(home), "PORT": str(port), "PYTHONUNBUFFERED": "1", **_S3, **extra}
    home.mkdir(exist_ok=True)
    with (home / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "config.run"],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    running = Installation(f"http://127.0.0.1:{port}", home, process, environment)
    wait_for(
        lambda: "Ctrl-C stops everything" in running.output or process.poll() is not None,
        seconds=120,
    )
    assert process.poll() is None, running.output
    return running


def stores(home: Path) -> dict[str, Path]:
    """The sample company's Delta tables on disk, by name."""
    return {p.parent.name: p.parent for p in home.rglob("_delta_log") if p.is_dir()}


def wait_for(what: Any, *, seconds: float = 60, message: str = "") -> Any:
    """Polls until `what()` is truthy; the wait is for a worker, not for speed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds} s in vain {message}")


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Embedded mode: SQLite and a private Redis."""
    running = start(tmp_path_factory.mktemp("home"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def bare_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Embedded mode without the sample company; stores on this machine's own servers."""
    running = start(
        tmp_path_factory.mktemp("bare"),
        VESTIGE_SAMPLE="0",
        VESTIGE_COOLING_OFF_HOURS="0",
        VESTIGE_STORE_HOSTS="127.0.0.1",
        SHOP_LAKEFS_PASSWORD=LAKEFS_SECRET,
    )
    yield running
    running.stop()


@pytest.fixture(scope="session")
def server_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Server mode: PostgreSQL and Redis."""
    if not os.environ.get("JOURNEY_DATABASE_URL"):
        pytest.skip("no PostgreSQL and Redis given")
    running = start(
        tmp_path_factory.mktemp("server"),
        DATABASE_URL=os.environ["JOURNEY_DATABASE_URL"],
        REDIS_URL=os.environ["JOURNEY_REDIS_URL"],
    )
    yield running
    running.stop()
