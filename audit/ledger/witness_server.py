"""python -m audit.ledger witness: a small witness on a machine of its own.

No Django and no database. One folder of state, one key. Put TLS before it when it is asked over a
network: a reverse proxy, or a tunnel.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.checkpoint import InvalidNoteError
from audit.ledger.witness import MAX_BODY_BYTES, Answer, Memory, StateError, Witness

MAX_REQUESTS_AT_ONCE = 32
PATIENCE_SECONDS = 10


class KeyFileError(ValueError):
    """The witness's key file is there but cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command `witness` takes."""
    parser.add_argument(
        "--state", metavar="FOLDER", required=True, help="what it has seen is kept here"
    )
    parser.add_argument(
        "--key", metavar="FILE", required=True, help="its key (PEM), made if need be"
    )
    parser.add_argument("--name", required=True, help="its name, like witness.example.org/w1")
    parser.add_argument(
        "--log",
        metavar="VKEY",
        action="append",
        required=True,
        help="verifier key of a log that it cosigns (GET /log/vkey); repeat it for several",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:8091")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; give the exit status (2: the arguments do not work)."""
    host, _, port = options.listen.rpartition(":")
    try:
        witness = Witness(
            options.name,
            signing_key(Path(options.key)),
            options.log,
            Memory(Path(options.state)),
            now=lambda: int(time.time()),
        )
        server = WitnessServer((host.strip("[]"), int(port)), witness)
    except (InvalidNoteError, KeyFileError, OSError, OverflowError, ValueError) as exc:
        sys.stderr.write(f"The witness cannot start: {exc}\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop that this very thread runs.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    _say(f"witness {witness.vkey}")
    _say(f"listening on {host}:{server.server_address[1]}; cosigns {', '.join(witness.origins)}")
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in this file, made at first use and readable by its owner alone. KeyFileError."""
    if not path.exists():
        _make_once(path)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as exc:
        raise KeyFileError(f"{path} is not a private key in PEM") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key")
    return key


def _make_once(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # of two processes at once, one wins
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()


class WitnessServer(ThreadingHTTPServer):
    """One thread a request, a bounded number of them."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        self.witness = witness
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._places = threading.BoundedSemaphore(MAX_REQUESTS_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no news; the traceback would name its address."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "vestige-witness"
    sys_version = ""
    timeout = PATIENCE_SECONDS

    server: BaseServer

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        if self.path.rstrip("/").rpartition("/")[2] != "add-checkpoint":
            self._send(Answer(HTTPStatus.NOT_FOUND, "POST to add-checkpoint.\n"))
            return
        try:
            answer = self._witness.add_checkpoint(body)
        except (StateError, OSError) as exc:
            _say(f"REFUSED to cosign: {exc}")
            answer = Answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, "The witness's state is not usable.\n"
            )
        self._send(answer)

    def do_GET(self) -> None:
        if self.path == "/vkey":
            self._send(Answer(HTTPStatus.OK, f"{self._witness.vkey}\n"))
        else:
            self._send(Answer(HTTPStatus.NOT_FOUND, "GET /vkey, or POST to add-checkpoint.\n"))

    @property
    def _witness(self) -> Witness:
        server = self.server
        if not isinstance(server, WitnessServer):
            raise TypeError("a witness's handler needs a witness's server")
        return server.witness

    def _body(self) -> bytes | None:
        """The body; None when it was answered that it cannot be taken."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            self.close_connection = True
            self._send(Answer(HTTPStatus.LENGTH_REQUIRED, "Send Content-Length.\n"))
            return None
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._send(
                Answer(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"A request has at most {MAX_BODY_BYTES} bytes.\n",
                )
            )
            return None
        return self.rfile.read(int(length))

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line a request, without the address of who asked."""
        asked = "".join(sign if sign.isprintable() else "?" for sign in self.requestline[:200])
        _say(f"{asked} {int(code)}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing else: what http.server says of broken requests is the client's text."""


def _say(text: str) -> None:
    sys.stdout.write(text.encode("ascii", "backslashreplace").decode() + "\n")
    sys.stdout.flush()
