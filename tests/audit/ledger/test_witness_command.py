"""The witness as it is run: a process of its own, on loopback."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from audit.ledger import tree
from audit.ledger.cosignature import answered, parse_witness_vkey
from audit.ledger.witness import request_body
from audit.ledger.witness_server import KeyFileError, signing_key
from tests.audit.ledger.builders import log_of, vkey
from tests.audit.outside import ROOT, WitnessProcess

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    process = WitnessProcess(tmp_path / "w", vkey())
    yield process
    process.kill()


def test_it_prints_its_key_cosigns_and_ends_on_sigterm(witness: WitnessProcess) -> None:
    log = log_of(9)
    sent = request_body(0, [], log.note())
    answer = httpx.post(f"{witness.url}/add-checkpoint", content=sent)
    assert answer.status_code == 200
    (found,) = answered(log.note(), answer.text, [parse_witness_vkey(witness.vkey)])
    assert found.key.name == "witness.example/w1"
    again = httpx.post(f"{witness.url}/add-checkpoint", content=sent)
    assert (again.status_code, again.text) == (409, "9\n")
    assert again.headers["Content-Type"] == "text/x.tlog.size"
    assert httpx.get(f"{witness.url}/vkey").text == f"{witness.vkey}\n"
    code, output = witness.stop()
    assert code == 0
    assert output.splitlines()[0] == "POST /add-checkpoint HTTP/1.1 200"
    assert "127.0.0.1" not in output


def test_one_connection_serves_several_questions(witness: WitnessProcess) -> None:
    with httpx.Client(base_url=witness.url) as client:
        for old, size in ((0, 3), (3, 8), (8, 20)):
            log = log_of(size)
            proof = tree.consistency_proof(old, size, log.get)
            sent = request_body(old, proof, log.note())
            assert client.post("/add-checkpoint", content=sent).status_code == 200


def test_killed_hard_it_goes_on_where_it_was(witness: WitnessProcess) -> None:
    sent = request_body(0, [], log_of(9).note())
    httpx.post(f"{witness.url}/add-checkpoint", content=sent)
    before = witness.vkey
    witness.kill()
    witness.start()
    assert witness.vkey == before
    assert httpx.post(f"{witness.url}/add-checkpoint", content=sent).text == "9\n"


def test_damaged_state_is_answered_with_500_and_named_on_the_console(
    witness: WitnessProcess,
) -> None:
    sent = request_body(0, [], log_of(9).note())
    httpx.post(f"{witness.url}/add-checkpoint", content=sent)
    (kept,) = witness.state.glob("*.json")
    kept.write_text("{")
    assert httpx.post(f"{witness.url}/add-checkpoint", content=sent).status_code == 500
    assert "REFUSED to cosign: What was kept of vestige.example/log" in witness.stop()[1]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"POST /other HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"GET /\x1b[2J HTTP/1.1\r\n\r\n", b"404"),
        (b"PUT / HTTP/1.1\r\n\r\n", b"501"),
        (b"rubbish\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_is_refused_and_writes_nothing_odd_to_the_console(
    witness: WitnessProcess, request_text: bytes, status: bytes
) -> None:
    host, port = witness.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as link:
        link.sendall(request_text)
        assert status in link.recv(4096)
    assert "\x1b" not in witness.stop()[1]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (("--log", "no key"), "a verifier key is written"),
        (("--name", "two words"), "a verifier key is written"),
        (("--key", __file__), "is not a private key in PEM"),
        (("--listen", "nowhere"), "cannot start"),
        (("--listen", "127.0.0.1:99999999"), "cannot start"),
    ],
)
def test_arguments_that_do_not_work_end_it_with_2(
    tmp_path: Path, changed: tuple[str, str], fault: str
) -> None:
    arguments = {
        "--state": str(tmp_path / "state"),
        "--key": str(tmp_path / "key"),
        "--name": "witness.example/w1",
        "--log": vkey(),
    } | dict([changed])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "audit.ledger",
            "witness",
            *(word for pair in arguments.items() for word in pair),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert fault in done.stderr


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    made = signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing_key(path).private_bytes_raw() == made.private_bytes_raw()
    path.write_text("no key")
    with pytest.raises(KeyFileError):
        signing_key(path)
