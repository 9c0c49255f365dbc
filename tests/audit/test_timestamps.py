"""Time stamps over checkpoints, by a real certificate authority that is thrown away."""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from django.utils import timezone

from audit import outside
from audit.outside import OutsideError
from audit.timestamps import (
    Authority,
    InvalidTokenError,
    load_certificates,
    time_stamp,
    verify_token,
)
from tests.audit.outside import OPENSSL, Behaviour, CertificateAuthority, Server, reply_with

pytestmark = pytest.mark.enable_socket
NOTE = "vestige.example/log\n7\n…\n\n— vestige.example/log …\n"
Serve = Callable[[Behaviour], Server]


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "ca")


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(behave: Behaviour) -> Server:
        servers.append(Server(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def honest(ca: CertificateAuthority) -> Behaviour:
    return lambda _, query: reply_with(ca.reply(query))


def authority(server: Server, ca: CertificateAuthority) -> Authority:
    return Authority("tsa", server.url, load_certificates(ca.root_file.read_bytes()))


def test_a_time_stamp_is_checked_kept_and_read_by_openssl(
    ca: CertificateAuthority, serve: Serve, tmp_path: Path
) -> None:
    made = time_stamp(NOTE, authority(serve(honest(ca)), ca))
    assert abs(made.made_at - timezone.now()) < timedelta(minutes=1)
    assert verify_token(made.token, NOTE, (ca.root,)) == made.made_at
    (tmp_path / "note").write_text(NOTE)
    (tmp_path / "token").write_bytes(made.token)
    checked = subprocess.run(
        [OPENSSL, "ts", "-verify", "-data", "note", "-in", "token", "-token_in",
         "-CAfile", str(ca.root_file)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Verification: OK" in checked.stdout + checked.stderr


def test_a_time_stamp_of_something_else_is_refused(ca: CertificateAuthority, serve: Serve) -> None:
    def other(_: Server, query: bytes) -> tuple[int, dict[str, str], bytes]:
        imprint = sha256(NOTE.encode()).digest()
        assert imprint in query
        return reply_with(ca.reply(query.replace(imprint, sha256(b"other").digest())))

    with pytest.raises(OutsideError, match="covers something else"):
        time_stamp(NOTE, authority(serve(other), ca))


def test_a_time_stamp_that_was_made_for_another_question_is_refused(
    ca: CertificateAuthority, serve: Serve
) -> None:
    replies: list[bytes] = []

    def replay(_: Server, query: bytes) -> tuple[int, dict[str, str], bytes]:
        replies.append(ca.reply(query))
        return reply_with(replies[0])

    server = serve(replay)
    time_stamp(NOTE, authority(server, ca))
    with pytest.raises(OutsideError, match="Nonce mismatch"):
        time_stamp(NOTE, authority(server, ca))


def test_a_time_stamp_under_another_root_is_refused(
    ca: CertificateAuthority, serve: Serve, tmp_path: Path
) -> None:
    other = CertificateAuthority(tmp_path / "other")
    with pytest.raises(OutsideError, match="not good"):
        time_stamp(NOTE, authority(serve(honest(other)), ca))


def test_a_time_stamp_by_an_expired_certificate_is_refused(serve: Serve, tmp_path: Path) -> None:
    expired = CertificateAuthority(
        tmp_path / "old", valid_from=timedelta(days=-3), valid_for=timedelta(days=2)
    )
    with pytest.raises(OutsideError, match="expired"):
        time_stamp(NOTE, authority(serve(honest(expired)), expired))


def test_a_certificate_that_is_pinned_must_be_the_authoritys(
    ca: CertificateAuthority, serve: Serve, tmp_path: Path
) -> None:
    made = time_stamp(NOTE, authority(serve(honest(ca)), ca))
    assert verify_token(made.token, NOTE, (ca.root, ca.certificate))
    other = CertificateAuthority(tmp_path / "other")
    with pytest.raises(InvalidTokenError):
        verify_token(made.token, NOTE, (ca.root, other.certificate))


def test_every_changed_byte_of_a_token_is_noticed_or_changes_nothing_that_counts(
    ca: CertificateAuthority, serve: Serve
) -> None:
    """DER has room that no signature covers; what it says about the note and time never changes."""
    made = time_stamp(NOTE, authority(serve(honest(ca)), ca))
    tried = range(0, len(made.token), 3)
    passed = 0
    for at in tried:
        changed = bytearray(made.token)
        changed[at] ^= 0x10
        try:
            assert verify_token(bytes(changed), NOTE, (ca.root,)) == made.made_at
            passed += 1
        except InvalidTokenError:
            pass
    assert passed < len(tried) / 20
    with pytest.raises(InvalidTokenError):
        verify_token(made.token, NOTE + "\n", (ca.root,))
    for rubbish in (b"", b"\x30\x00", made.token[:-1], b"\x00" * 200):
        with pytest.raises(InvalidTokenError):
            verify_token(rubbish, NOTE, (ca.root,))


def test_a_clock_that_is_wrong_is_said(
    ca: CertificateAuthority, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = timezone.now() + timedelta(minutes=20)
    monkeypatch.setattr("audit.timestamps.timezone.now", lambda: later)
    with pytest.raises(OutsideError, match="clock"):
        time_stamp(NOTE, authority(serve(honest(ca)), ca))


def test_a_root_is_needed(ca: CertificateAuthority) -> None:
    with pytest.raises(ValueError, match="no root"):
        load_certificates((ca.folder / "tsa.pem").read_bytes())
    with pytest.raises(ValueError, match=r"."):
        load_certificates(b"no certificate")


@pytest.mark.parametrize(
    ("status", "media_type", "body", "fault"),
    [
        (500, "text/plain", b"sorry", "answers 500"),
        (200, "text/html", b"<html>", "no time stamp"),
        (200, "application/timestamp-reply", b"rubbish", "no time stamp"),
        (200, "application/timestamp-reply", b"", "no time stamp"),
        # PKIStatusInfo with status 2, rejection, and no token
        (200, "application/timestamp-reply", bytes.fromhex("30053003020102"), "refuses"),
        (200, "application/timestamp-reply", bytes(100_000), "more than 65536 bytes"),
    ],
)
def test_an_answer_that_is_no_time_stamp_is_a_fault(
    ca: CertificateAuthority, serve: Serve, status: int, media_type: str, body: bytes, fault: str
) -> None:
    server = serve(lambda _server, _query: (status, {"Content-Type": media_type}, body))
    with pytest.raises(OutsideError, match=fault):
        time_stamp(NOTE, authority(server, ca))


def test_a_redirect_is_not_followed(ca: CertificateAuthority, serve: Serve) -> None:
    elsewhere = serve(honest(ca))
    server = serve(lambda _server, _query: (307, {"Location": elsewhere.url}, b""))
    with pytest.raises(OutsideError, match="answers 307"):
        time_stamp(NOTE, authority(server, ca))
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b""]
)
def test_an_answer_that_drips_is_cut_off(
    ca: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    """In the headers, in the body, or before both: the line is taken away after a while."""
    monkeypatch.setattr(outside, "SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server, start))
        dripping.start()
        slow = Authority("tsa", f"http://127.0.0.1:{server.getsockname()[1]}", (ca.root,))
        began = time.monotonic()
        with pytest.raises(OutsideError, match="takes more than"):
            time_stamp(NOTE, slow)
        assert time.monotonic() - began < 3
        dripping.join()


def drip(server: socket.socket, start: bytes) -> None:
    """One byte each tenth of a second, without end."""
    line, _ = server.accept()
    with line, contextlib.suppress(OSError):
        line.recv(65_536)
        line.sendall(start)
        while True:
            line.sendall(b"x")
            time.sleep(0.1)


def test_an_authority_that_is_not_there_is_a_fault(ca: CertificateAuthority) -> None:
    nobody = Authority("tsa", "http://127.0.0.1:9", (ca.root,))
    with pytest.raises(OutsideError, match="cannot be reached"):
        time_stamp(NOTE, nobody)
