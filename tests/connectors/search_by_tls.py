"""A search by a cluster behind a proxy that ends TLS, as on another host, in a process of its own:
gRPC reads once which authorities it trusts.

Prints, as JSON, how many rows the newest version holds of the person or why none were found, and
whether the proxy was sent the token.
"""

import ipaddress
import json
import os
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.adapters.base import StoreError
from connectors.engines import engine_of, spark
from tests.connectors.builders import PERSON, store

HOST = "127.0.0.2"  # not one of the names of this machine
TOKEN = "s3cret-of-tests"


def certified(folder: Path) -> ssl.SSLContext:
    """With a certificate for HOST, in `certificate.pem`, that nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster of tests")])
    now = datetime.now(UTC)  # noqa: TID251 (not of the application)
    hosts = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(hosts, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context


class Proxy:
    """Passes on what it decrypts, and keeps what clients said."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self.context, self.port = context, port
        self.said: list[bytes] = []
        self.listening = socket.create_server((HOST, 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            raw, _ = self.listening.accept()
            try:
                client = self.context.wrap_socket(raw, server_side=True)
            except OSError:  # it does not trust us
                continue
            server = socket.create_connection(("127.0.0.1", self.port))
            answers: list[bytes] = []
            for ends in ((client, server, self.said), (server, client, answers)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, said: list[bytes]) -> None:
        try:
            while body := source.recv(1 << 16):
                said.append(body)
                target.sendall(body)
        except OSError:
            return


def main(table: str, folder: str, port: str, trusted: str) -> None:
    context = certified(Path(folder))
    if trusted == "trusted":
        os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = f"{folder}/certificate.pem"
    os.environ["TEST_TOKEN"] = TOKEN
    spark._CONNECT_SECONDS = 5
    proxy = Proxy(context, int(port))
    opened = store(Path(table))
    options = {
        "engine": "spark",
        "engine_address": f"sc://{HOST}:{proxy.listening.getsockname()[1]}",
        "engine_token_env": "TEST_TOKEN",
        "engine_tasks": 2,
    }
    opened.engine = engine_of(options, lambda _host, _port: None)
    told: dict[str, object] = {}
    try:
        told["rows"] = opened.find_subject(PERSON).rows_by_version["4"]
    except StoreError as exc:
        told["why"] = str(exc)
    sent = f"Bearer {TOKEN}".encode() in b"".join(proxy.said)
    sys.stdout.write(json.dumps({**told, "token_sent": sent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
