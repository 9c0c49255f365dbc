"""The witness's rules, one by one, in the order of C2SP tlog-witness."""

import json
import threading
from http import HTTPStatus
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger import checkpoint, tree
from audit.ledger.cosignature import answered, parse_witness_vkey
from audit.ledger.witness import (
    Memory,
    RequestError,
    StateError,
    Witness,
    parse_request,
    request_body,
)
from tests.audit.ledger.builders import KEY, ORIGIN, OTHER_KEY, SampleLog, log_of, vkey

WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(4, 36)))
NOW = 1_790_000_000


def witness_in(folder: Path, *log_vkeys: str) -> Witness:
    return Witness(
        "witness.example/w1", WITNESS_KEY, log_vkeys or (vkey(),), Memory(folder), lambda: NOW
    )


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return witness_in(tmp_path / "state")


def body(log: SampleLog, old: int, note: str = "") -> bytes:
    size = len(log.leaves)
    return request_body(old, tree.consistency_proof(old, size, log.get), note or log.note())


def forked(at: int, size: int) -> SampleLog:
    """A log that is another from entry `at` on."""
    return SampleLog({"rows": n if n < at else -n} for n in range(size))


def test_growth_is_cosigned_step_by_step(witness: Witness) -> None:
    key = parse_witness_vkey(witness.vkey)
    old = 0
    for size in (1, 2, 7, 8, 300, 300):
        log = log_of(size)
        answer = witness.add_checkpoint(body(log, old))
        assert answer.status == HTTPStatus.OK
        (found,) = answered(log.note(), answer.body, [key])
        assert found.time == NOW
        old = size


def test_the_empty_log_may_be_cosigned(witness: Witness) -> None:
    assert witness.add_checkpoint(body(log_of(0), 0)).status == HTTPStatus.OK
    assert witness.add_checkpoint(body(log_of(5), 0)).status == HTTPStatus.OK


def test_an_unknown_log_gets_404_and_an_unknown_key_403(witness: Witness) -> None:
    other = checkpoint.sign(checkpoint.Checkpoint("other/log", 5, bytes(32)), KEY)
    assert witness.add_checkpoint(body(log_of(5), 0, other)).status == HTTPStatus.NOT_FOUND
    forged = body(log_of(5), 0, log_of(5).note(OTHER_KEY))
    assert witness.add_checkpoint(forged).status == HTTPStatus.FORBIDDEN


def test_an_old_size_above_the_new_gets_400(witness: Witness) -> None:
    sent = request_body(9, [], log_of(5).note())
    assert witness.add_checkpoint(sent).status == HTTPStatus.BAD_REQUEST


def test_another_old_size_gets_409_with_the_witnesss_own(witness: Witness) -> None:
    assert witness.add_checkpoint(body(log_of(5), 3)).body == "0\n"
    witness.add_checkpoint(body(log_of(5), 0))
    for old in (0, 3, 4):
        answer = witness.add_checkpoint(body(log_of(9), old))
        assert (answer.status, answer.body, answer.media_type) == (
            HTTPStatus.CONFLICT,
            "5\n",
            "text/x.tlog.size",
        )


def test_a_log_that_was_rolled_back_gets_409_with_the_size_it_had(witness: Witness) -> None:
    witness.add_checkpoint(body(log_of(9), 0))
    assert witness.add_checkpoint(body(log_of(5), 5)).body == "9\n"


def test_another_tree_of_the_same_size_gets_409(witness: Witness) -> None:
    witness.add_checkpoint(body(log_of(9), 0))
    answer = witness.add_checkpoint(body(forked(4, 9), 9))
    assert (answer.status, answer.body) == (HTTPStatus.CONFLICT, "9\n")


@pytest.mark.parametrize("size", [10, 16, 100])
def test_a_forked_log_gets_422_and_leaves_no_trace(witness: Witness, size: int) -> None:
    witness.add_checkpoint(body(log_of(9), 0))
    answer = witness.add_checkpoint(body(forked(4, size), 9))
    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert witness.add_checkpoint(body(log_of(size), 9)).status == HTTPStatus.OK


def test_a_proof_that_is_too_long_or_for_a_first_size_of_0_gets_422(witness: Witness) -> None:
    sent = request_body(0, [bytes(32)], log_of(9).note())
    assert witness.add_checkpoint(sent).status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"old 0\n",
        b"old 00\n\n",
        b"old -1\n\n",
        b"old \xd9\xa3\n\n",
        b"new 0\n\n",
        b"old 0\nAAAA\n\n",
        b"old 0\n\xff\n\n",
        b"old 0\n" + b"A" * 43 + b"=\n" * 1,
        b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\nx",
        b"old 18446744073709551616\n\nx\n",
    ],
)
def test_what_is_no_request_gets_400(witness: Witness, sent: bytes) -> None:
    assert witness.add_checkpoint(sent).status == HTTPStatus.BAD_REQUEST


def test_a_request_is_read_as_it_was_written() -> None:
    proof = [bytes([n]) * 32 for n in range(63)]
    assert parse_request(request_body(7, proof, "note\n")) == (7, proof, "note\n")
    with pytest.raises(RequestError, match="at most 63"):
        parse_request(request_body(7, [bytes(32)] * 64, "note\n"))


def test_what_was_seen_survives_the_witness(tmp_path: Path) -> None:
    witness_in(tmp_path).add_checkpoint(body(log_of(9), 0))
    again = witness_in(tmp_path)
    assert again.add_checkpoint(body(log_of(9), 0)).body == "9\n"
    assert again.add_checkpoint(body(forked(4, 20), 9)).status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"size": 9}', '{"size": "9", "root": ""}'])
def test_a_witness_whose_state_is_damaged_does_not_start_afresh(
    tmp_path: Path, damage: str
) -> None:
    witness = witness_in(tmp_path)
    witness.add_checkpoint(body(log_of(9), 0))
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(damage)
    with pytest.raises(StateError, match="damaged"):
        witness.add_checkpoint(body(log_of(20), 0))


def test_the_state_of_another_log_is_not_taken(tmp_path: Path) -> None:
    witness = witness_in(tmp_path)
    witness.add_checkpoint(body(log_of(9), 0))
    (kept,) = tmp_path.glob("*.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"origin": "other/log"}))
    with pytest.raises(StateError):
        witness.add_checkpoint(body(log_of(9), 9))


def test_two_logs_are_kept_apart(tmp_path: Path) -> None:
    other = checkpoint.vkey("other/log", OTHER_KEY.public_key())
    witness = witness_in(tmp_path, vkey(), other)
    witness.add_checkpoint(body(log_of(9), 0))
    head = checkpoint.Checkpoint("other/log", 4, tree.root_of(log_of(4).hashes))
    sent = body(log_of(4), 0, checkpoint.sign(head, OTHER_KEY))
    assert witness.add_checkpoint(sent).status == HTTPStatus.OK
    assert witness.add_checkpoint(body(log_of(10), 9)).status == HTTPStatus.OK
    assert sorted(witness.origins) == ["other/log", ORIGIN]


def test_of_requests_at_once_one_wins_and_nothing_rolls_back(tmp_path: Path) -> None:
    """Two witnesses in one folder stand for two processes: flock counts by open file."""
    witnesses = [witness_in(tmp_path), witness_in(tmp_path)]
    witnesses[0].add_checkpoint(body(log_of(3), 0))
    sizes = list(range(4, 40))
    got: dict[int, HTTPStatus] = {}

    def ask(size: int) -> None:
        got[size] = witnesses[size % 2].add_checkpoint(body(log_of(size), 3)).status

    threads = [threading.Thread(target=ask, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [size for size in sizes if got[size] == HTTPStatus.OK]
    assert len(won) == 1
    assert set(got.values()) == {HTTPStatus.OK, HTTPStatus.CONFLICT}
    assert witnesses[0].add_checkpoint(body(log_of(50), 3)).body == f"{won[0]}\n"
