"""A client as an outsider would write it from C2SP tlog-tiles, signed-note and RFC 6962: it has an
address and a key, uses nothing but HTTP, and imports nothing of ours.

Proofs are not asked for but made from the tiles, as the specification wants it.
"""

import hashlib
import json
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from email.message import Message
from functools import lru_cache
from itertools import pairwise
from threading import Thread

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.servers.basehttp import WSGIRequestHandler, WSGIServer
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connections

from accounts.models import User
from tests.builders import key_for

pytestmark = [pytest.mark.django_db, pytest.mark.enable_socket]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class OutsideClient:
    """A reader of one tiled log, at a prefix, with a verifier key from elsewhere."""

    def __init__(self, prefix: str, vkey: str) -> None:
        self.prefix, self.vkey = prefix, vkey
        self.tile = lru_cache(maxsize=None)(self._tile)

    def ask(self, path: str, *, method: str = "GET", key: str = "") -> tuple[int, bytes, Message]:
        request = urllib.request.Request(f"{self.prefix}/{path}", method=method)  # noqa: S310
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def checkpoint(self) -> tuple[int, bytes]:
        """Size and root that the key has signed."""
        status, body, _ = self.ask("checkpoint")
        assert status == 200
        return self.opened(body.decode())

    def opened(self, note: str) -> tuple[int, bytes]:
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        name, key_id, material = self.vkey.split("+", 2)
        key = b64decode(material)
        assert key[0] == 1
        assert sha256(name.encode() + b"\n" + key)[:4].hex() == key_id
        blobs = [b64decode(line.split(" ")[2]) for line in signatures.splitlines()]
        (blob,) = [item for item in blobs if item[:4].hex() == key_id]
        Ed25519PublicKey.from_public_bytes(key[1:]).verify(blob[4:], text.encode())
        origin, size, root = text.splitlines()
        assert origin == name
        return int(size), b64decode(root)

    def _tile(self, level: int, index: int, width: int) -> list[bytes]:
        digits = f"{index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        path = f"tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")
        status, body, headers = self.ask(path)
        assert (status, len(body)) == (200, 32 * width), path
        assert headers["Content-Type"] == "application/octet-stream"
        return [body[at : at + 32] for at in range(0, len(body), 32)]

    def subtree(self, start: int, end: int, size: int) -> bytes:
        """MTH(D[start:end]) of RFC 6962 in the tree of `size`, from its tiles alone."""
        count = end - start
        if count & (count - 1) == 0 and start % count == 0:
            return self._complete(start, count, size)
        k = 1 << (count - 1).bit_length() - 1
        left = self.subtree(start, start + k, size)
        return sha256(b"\x01" + left + self.subtree(start + k, end, size))

    def _complete(self, start: int, count: int, size: int) -> bytes:
        level = (count.bit_length() - 1) // 8
        first, wide = start >> 8 * level, count >> 8 * level
        index, offset = divmod(first, 256)
        width = min(256, (size >> 8 * level) - 256 * index)
        nodes = self.tile(level, index, width)[offset : offset + wide]
        while len(nodes) > 1:
            nodes = [sha256(b"\x01" + nodes[at] + nodes[at + 1]) for at in range(0, len(nodes), 2)]
        return nodes[0]

    def root(self, size: int) -> bytes:
        return self.subtree(0, size, size)

    def path(self, m: int, start: int, end: int, size: int) -> list[bytes]:
        """PATH(m, D[start:end]) of RFC 6962, section 2.1.1."""
        if end - start == 1:
            return []
        k = 1 << (end - start - 1).bit_length() - 1
        if m < k:
            right = self.subtree(start + k, end, size)
            return [*self.path(m, start, start + k, size), right]
        return [
            *self.path(m - k, start + k, end, size),
            self.subtree(start, start + k, size),
        ]

    def subproof(self, m: int, start: int, end: int, size: int, *, known: bool) -> list[bytes]:
        """SUBPROOF(m, D[start:end], known) of RFC 6962, section 2.1.2."""
        if m == end - start:
            return [] if known else [self.subtree(start, end, size)]
        k = 1 << (end - start - 1).bit_length() - 1
        if m <= k:
            right = self.subtree(start + k, end, size)
            return [*self.subproof(m, start, start + k, size, known=known), right]
        return [
            *self.subproof(m - k, start + k, end, size, known=False),
            self.subtree(start, start + k, size),
        ]


def included(index: int, size: int, node: bytes, proof: list[bytes], root: bytes) -> bool:
    """RFC 9162, section 2.1.3.2."""
    last = size - 1
    for sibling in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = sha256(b"\x01" + sibling + node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01" + node + sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


def consistent(first: int, second: int, old: bytes, new: bytes, proof: list[bytes]) -> bool:
    """RFC 9162, section 2.1.4.2, for 0 < first < second."""
    path = [old, *proof] if first & (first - 1) == 0 else list(proof)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = sha256(b"\x01" + node + fr), sha256(b"\x01" + node + sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha256(b"\x01" + sr + node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (fr, sr) == (old, new)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(db: None) -> Iterator[str]:
    """The application on a free port. Its thread shares the connection of the test, and with it
    the transaction: the tables of the log cannot be emptied afterwards. So no request may close
    it, as for Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    shared = connections["default"]
    shared.ensure_connection()
    shared.inc_thread_sharing()
    httpd = WSGIServer(("127.0.0.1", 0), _Quiet)
    httpd.set_app(get_wsgi_application())

    def serve() -> None:
        connections["default"] = shared
        httpd.serve_forever(poll_interval=0.02)

    thread = Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()
    shared.dec_thread_sharing()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def outsider(server: str, pipeline: User) -> OutsideClient:
    key = key_for(pipeline)
    append(server, key, 3)
    with urllib.request.urlopen(f"{server}/log/vkey", timeout=20) as answer:  # noqa: S310
        return OutsideClient(f"{server}/log", answer.read().decode().strip())


def append(server: str, key: str, count: int) -> list[int]:
    event = {"type": "UPDATE", "actor": "service:etl", "resource": "dataset:shop:purchases"}
    request = urllib.request.Request(  # noqa: S310
        f"{server}/api/v1/events",
        data=json.dumps({"events": [event] * count}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return [item["seq"] for item in json.load(answer)["receipts"]]


def test_the_root_is_rebuilt_and_proofs_are_made_from_tiles_alone(
    server: str, outsider: OutsideClient, pipeline: User
) -> None:
    key = key_for(pipeline)
    seen = [outsider.checkpoint()]
    for count in (90, 300, 1, 500):
        append(server, key, count)
        seen.append(outsider.checkpoint())
    for size, root in seen:
        assert outsider.root(size) == root
    for (first, old), (second, new) in pairwise(seen):
        proof = outsider.subproof(first, 0, second, second, known=True)
        assert consistent(first, second, old, new, proof)
        assert not consistent(first, second, sha256(old), new, proof)
        assert not consistent(first, second, old, sha256(new), proof)
    size, root = seen[-1]
    for index in (0, 1, 255, 256, 511, 512, size - 1):
        leaf_hash = outsider.subtree(index, index + 1, size)
        proof = outsider.path(index, 0, size, size)
        assert included(index, size, leaf_hash, proof, root)
        assert not included(index, size, sha256(leaf_hash), proof, root)


def test_entries_are_for_readers_and_hash_to_the_tiles(
    server: str, outsider: OutsideClient, pipeline: User, auditor: User
) -> None:
    append(server, key_for(pipeline), 300)
    size, root = outsider.checkpoint()
    path = f"tile/entries/001.p/{size - 256}"
    assert outsider.ask(path)[0] == 401
    assert outsider.ask(path, key=key_for(pipeline))[0] == 403
    status, body, headers = outsider.ask(path, key=key_for(auditor))
    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert "private" in headers["Cache-Control"]
    leaves = []
    while body:
        end = 2 + int.from_bytes(body[:2], "big")
        leaves.append(body[2:end])
        body = body[end:]
    assert len(leaves) == size - 256
    for at, leaf in enumerate(leaves):
        proof = outsider.path(256 + at, 0, size, size)
        assert included(256 + at, size, sha256(b"\x00" + leaf), proof, root)


def test_the_addresses_behave_as_the_specification_says(
    server: str, outsider: OutsideClient, pipeline: User
) -> None:
    append(server, key_for(pipeline), 600)
    size, _ = outsider.checkpoint()
    status, _, headers = outsider.ask("checkpoint")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert headers["Cache-Control"] == "no-store"
    for path, length in (
        ("tile/0/000", 8192),
        ("tile/0/001", 8192),
        (f"tile/0/002.p/{size - 512}", 32 * (size - 512)),
        ("tile/0/002.p/1", 32),
        ("tile/1/000.p/2", 64),
    ):
        status, body, headers = outsider.ask(path)
        assert (status, len(body)) == (200, length), path
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in headers
        assert "Cookie" not in (headers["Vary"] or "")
        status, nothing, asked = outsider.ask(path, method="HEAD")
        assert (status, nothing, asked["Content-Length"]) == (200, b"", str(length)), path
        assert outsider.ask(path, method="POST")[0] == 405
    for path in (
        "tile/0/002",
        f"tile/0/002.p/{size - 511}",
        "tile/0/003.p/1",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/0",
        "tile/0/x000/000",
        "tile/00/000",
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/63/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/entries/003",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/",
    ):
        status, _, headers = outsider.ask(path)
        assert status == 404, path
    status, _, headers = outsider.ask("tile/0/003.p/1")
    assert headers["Cache-Control"] == "no-store"


def test_a_changed_checkpoint_is_refused_by_the_outsider(outsider: OutsideClient) -> None:
    note = outsider.ask("checkpoint")[1].decode()
    size, _ = outsider.opened(note)
    with pytest.raises(InvalidSignature):
        outsider.opened(note.replace(f"\n{size}\n", f"\n{size + 1}\n"))
