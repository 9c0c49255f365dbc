"""A small server that speaks the Iceberg REST protocol for the tables of an SQL catalog.

It is what pyiceberg's own client takes for a catalog: the paths and bodies are those of
https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import CommitTableRequest, CommitTableResponse, Table

from tests.connectors.iceberg_builders import catalog

TOKEN = "the-token-of-the-tests"


class Server(ThreadingHTTPServer):
    """`failing`: the status that every commit is answered with, after it went through."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.failing = 0
        self.redirect = ""
        self.config: dict[str, str] = {}
        self.table_config: dict[str, str] = {}

    @property
    def location(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/iceberg#shop.orders"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        return

    def _answer(self, status: int, body: dict[str, Any], **headers: str) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _error(self, status: int, kind: str) -> None:
        self._answer(status, {"error": {"message": kind, "type": kind, "code": status}})

    def _path(self) -> list[str]:
        """Below the prefix; empty when the request was answered already."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._error(401, "NotAuthorizedException")
            return []
        if self.server.redirect:
            self._answer(307, {}, Location=self.server.redirect)
            return []
        path = [unquote(p) for p in urlsplit(self.path).path.split("/")[1:]]
        if path[:2] != ["iceberg", "v1"]:
            self._error(404, "NoSuchPath")
            return []
        return path[2:]

    def do_GET(self) -> None:
        path = self._path()
        if path == ["config"]:
            self._answer(200, {"defaults": {"prefix": "lake"}, "overrides": self.server.config})
        elif path[:2] == ["lake", "namespaces"] and path[3:4] == ["tables"]:
            with catalog(self.server.root) as opened:
                try:
                    table = opened.load_table((*path[2].split("\x1f"), path[4]))
                except NoSuchTableError:
                    self._error(404, "NoSuchTableException")
                    return
                self._answer(200, _described(table) | {"config": self.server.table_config})
        elif path:
            self._error(404, "NoSuchPath")

    def do_POST(self) -> None:
        path = self._path()
        if not path:
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = CommitTableRequest.model_validate_json(body)
        with catalog(self.server.root) as opened:
            table = opened.load_table((*path[2].split("\x1f"), path[4]))
            try:
                done = opened.commit_table(table, asked.requirements, asked.updates)
            except CommitFailedException:
                self._error(409, "CommitFailedException")
                return
        if self.server.failing:
            self._error(self.server.failing, "InternalServerError")
            return
        self._answer(200, _response(done))


def _described(table: Table) -> dict[str, Any]:
    return {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json()),
    }


def _response(done: CommitTableResponse) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(done.model_dump_json())
    return answer


@contextmanager
def served(root: Path) -> Iterator[Server]:
    server = Server(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
