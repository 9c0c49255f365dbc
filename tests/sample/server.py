"""The real application, its web server alone, in a process and a home of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
ADMIN_TOKEN = "admin-token-of-this-test"


@dataclass(frozen=True)
class Server:
    url: str
    home: Path
    environment: dict[str, str]

    def key(self, *roles: str) -> str:
        answer = httpx.post(
            f"{self.url}/api/v1/keys",
            json={"name": " ".join(roles), "roles": roles},
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    def client(self, *roles: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key(*roles)}"},
            trust_env=False,
            timeout=30,
        )

    def start(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        """`python -m module` of the sample, against this server."""
        return subprocess.Popen(
            [sys.executable, "-m", module, "--url", self.url, "--home", str(self.home), *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, module: str, *arguments: str) -> tuple[int, str]:
        """Its exit code and what it said."""
        process = self.start(module, *arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {
        "VESTIGE_HOME": str(home), "PORT": str(port), "VESTIGE_ADMIN_TOKEN": ADMIN_TOKEN,
        "PYTHONUNBUFFERED": "1", "REDIS_URL": f"redis+socket://{home}/no-broker.sock",
    }  # fmt: skip
    for command in (["migrate", "--no-input", "-v", "0"], ["set_up"]):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT, env=environment, check=True, capture_output=True,
        )  # fmt: skip
    web = subprocess.Popen(
        [
            sys.executable, "-m", "granian", "--interface", "wsgi", "config.wsgi:application",
            "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--blocking-threads", "4", "--no-access-log", "--log-level", "critical",
        ],
        cwd=ROOT, env=environment,
    )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", home, environment)
    try:
        _wait_until_up(server.url, web)
        yield server
    finally:
        web.terminate()
        web.wait(timeout=20)


def _wait_until_up(url: str, web: "subprocess.Popen[Any]") -> None:
    for _ in range(300):
        assert web.poll() is None, "the web server ended"
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the web server did not answer")
