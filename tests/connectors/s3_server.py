"""moto's S3 server in a process of its own, which can be told to refuse and to be unwell.

In one process with the client it hangs delta-rs. Requests to `/_faults` set what it answers to
those that follow: {"status": 503, "times": 3, "method": "PUT", "match": "parquet", "code": "…"}; an
empty object ends it, and `/_calls` lists what was asked since, with the answers' status.
"""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

KEY_ID, SECRET = "AKIDTEST", "secret-of-tests"


class Faulty:
    """A WSGI application around another one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.fault: dict[str, Any] = {}
        self.calls: list[str] = []
        # One request at a time: moto checks a condition and writes in two steps.
        self.lock = threading.RLock()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        asked = f"{method} {path}?{environ.get('QUERY_STRING', '')}"
        with self.lock:
            if path == "/_faults":
                size = int(environ.get("CONTENT_LENGTH") or 0)
                self.fault = json.loads(environ["wsgi.input"].read(size) or b"{}")
                self.calls = []
                return self._answer(start, 200, b"")
            if path == "/_calls":
                return self._answer(start, 200, json.dumps(self.calls).encode())

            def told(status: str, *rest: Any) -> Any:
                self.calls.append(f"{asked} {status[:3]}")
                return start(status, *rest)

            if self._is_faulty(method, asked):
                code = self.fault.get("code", "SlowDown")
                body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
                return self._answer(told, self.fault["status"], body.encode())
            return list(self.inner(environ, told))

    def _is_faulty(self, method: str, asked: str) -> bool:
        fault = self.fault
        if not fault or fault.get("times", 1) <= 0 or fault.get("method", method) != method:
            return False
        if not re.search(fault.get("match", ""), asked):
            return False
        fault["times"] = fault.get("times", 1) - 1
        return True

    def _answer(self, start: Any, status: int, body: bytes) -> Iterable[bytes]:
        start(f"{status} told", [("Content-Type", "application/xml")])
        return [body]


def serve() -> None:
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


@dataclass(frozen=True)
class S3Server:
    url: str

    @property
    def options(self) -> dict[str, str]:
        """Of a connector; the variables are set by the fixture."""
        return {
            "endpoint_url": self.url,
            "region": "us-east-1",
            "key_id_env": "TEST_ACCESS_KEY_ID",
            "secret_key_env": "TEST_SECRET_ACCESS_KEY",
        }

    @property
    def storage_options(self) -> dict[str, str]:
        """Of another writer, by deltalake."""
        return {
            "aws_endpoint": self.url,
            "aws_region": "us-east-1",
            "aws_access_key_id": KEY_ID,
            "aws_secret_access_key": SECRET,
            "aws_allow_http": "true",
            "aws_conditional_put": "etag",
        }

    @cache  # noqa: B019 (one for each server)
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )

    def fault(self, **how: Any) -> None:
        """`status`, `times`, `method`, `match` (a pattern of "METHOD /path?query"), `code`."""
        body = json.dumps(how).encode()
        urlopen(Request(f"{self.url}/_faults", data=body, method="POST")).close()  # noqa: S310

    def calls(self) -> list[str]:
        with urlopen(f"{self.url}/_calls") as answer:  # noqa: S310
            return list(json.load(answer))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_ACCESS_KEY_ID", KEY_ID)
        patch.setenv("TEST_SECRET_ACCESS_KEY", SECRET)
        yield server


@contextmanager
def running() -> Iterator[S3Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.connectors.s3_server"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        yield S3Server(f"http://127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    serve()
