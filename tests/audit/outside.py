"""Places outside to test with: a witness in a process of its own, a time stamping authority.

No authority on the Internet is asked: `openssl ts` with a certificate authority that is thrown
away makes tokens as real ones do.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.utils import timezone

OPENSSL = shutil.which("openssl") or "openssl is not installed"
ROOT = Path(__file__).resolve().parents[2]


class WitnessProcess:
    """`python -m audit.ledger witness`; `start` again after `kill` keeps port, key and state."""

    def __init__(self, folder: Path, *log_vkeys: str, name: str = "witness.example/w1") -> None:
        self._arguments = [
            "--state", str(folder / "state"), "--key", str(folder / "witness.key"),
            "--name", name, *(item for vkey in log_vkeys for item in ("--log", vkey)),
        ]  # fmt: skip
        self._listen = "127.0.0.1:0"
        folder.mkdir(exist_ok=True)
        self.state = folder / "state"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "audit.ledger", "witness", *self._arguments,
             "--listen", self._listen],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.vkey = self._process.stdout.readline().split()[1]
        self._listen = self._process.stdout.readline().split()[2].rstrip(";")
        self.url = f"http://{self._listen}"

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()

    def stop(self) -> tuple[int, str]:
        """The exit status after SIGTERM, and what it said of the requests."""
        self._process.terminate()
        output, _ = self._process.communicate(timeout=10)
        return self._process.returncode, output

    def policy(self, quorum: str = "W") -> str:
        return f"witness W {self.vkey} {self.url}\nquorum {quorum}\n"


Behaviour = Callable[["Server", bytes], tuple[int, dict[str, str], bytes]]


class Server:
    """A loopback server that answers each POST by a function."""

    def __init__(self, behave: Behaviour) -> None:
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.asked.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, answer = behave(server, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class CertificateAuthority:
    """A root and a certificate for time stamping, thrown away after the test."""

    def __init__(
        self,
        folder: Path,
        *,
        valid_from: timedelta = timedelta(days=-1),
        valid_for: timedelta = timedelta(days=2),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        start = timezone.now() + valid_from
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name, name = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{folder.name} {what}")])
            for what in ("root", "time stamps")
        )
        basic = x509.BasicConstraints(ca=True, path_length=None)
        root = _certificate(root_name, root_name, root_key.public_key(), start - timedelta(days=9))
        self.root = root.add_extension(basic, critical=True).sign(root_key, hashes.SHA256())
        own = _certificate(root_name, name, key.public_key(), start, valid_for)
        self.certificate = own.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True
        ).sign(root_key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        self.root_file = folder / "root.pem"
        self.root_file.write_bytes(self.root.public_bytes(pem))
        (folder / "tsa.pem").write_bytes(self.certificate.public_bytes(pem))
        (folder / "tsa.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        (folder / "serial").write_text("01")
        (folder / "openssl.cnf").write_text(
            "[tsa]\ndefault_tsa = t\n[t]\nserial = serial\nsigner_digest = sha256\n"
            "default_policy = 1.2.3.4.1\ndigests = sha256\naccuracy = secs:1\n"
        )

    def reply(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        subprocess.run(
            [OPENSSL, "ts", "-reply", "-config", "openssl.cnf", "-section", "t",
             "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply"],
            cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip
        return (self.folder / "reply").read_bytes()

    def serve(self) -> Server:
        return Server(lambda _, query: reply_with(self.reply(query)))


def reply_with(body: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/timestamp-reply"}, body


def _certificate(
    issuer: x509.Name,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: datetime,
    valid_for: timedelta = timedelta(days=30),
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + valid_for)
    )
