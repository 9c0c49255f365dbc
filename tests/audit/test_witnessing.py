"""A witness in a process of its own, and a log that grows, forks, and is rolled back before it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from audit import keys, proofs, signer, storage
from audit.actions import anchor_at, append, due_places, sequence
from audit.ledger import tree
from audit.ledger.checkpoint import Checkpoint, sign
from audit.ledger.cosignature import (
    cosign,
    cosignatures,
    parse_witness_vkey,
    verify_witnessed,
)
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack, unpack
from audit.ledger.tree import Frontier
from audit.ledger.witness import parse_request, request_body
from audit.ledger.witness_server import signing_key
from audit.models import MAIN_LOG, Anchor, AnchorAttempt, Entry, Log
from audit.models import Checkpoint as KeptCheckpoint
from audit.outside import OutsideError
from audit.queries import verifier_key
from audit.tasks import anchor_checkpoints
from audit.witnessing import WitnessAheadError, cosigned_by
from tests.audit.builders import as_database_owner, event, log_with, sql, verified
from tests.audit.outside import Behaviour, Server, WitnessProcess

pytestmark = [pytest.mark.django_db, pytest.mark.enable_socket]
NAME = "witness.example/w1"


@pytest.fixture
def witness(tmp_path: Path, settings: Any) -> Iterator[WitnessProcess]:
    signer._memory_file().unlink(missing_ok=True)
    process = WitnessProcess(tmp_path / "w1", verifier_key())
    settings.VESTIGE_WITNESSES = process.policy()
    yield process
    process.kill()


def anchored() -> bool:
    """One turn of the sweep, without the pause between two of them."""
    AnchorAttempt.objects.update(tried_at=None, claimed_until=None)
    (place,) = due_places()
    return anchor_at(MAIN_LOG, place.kind, place.name)


def grown(by: Any, count: int) -> None:
    append([event(Entry.objects.count() + n) for n in range(count)], by=by)


def attempt() -> AnchorAttempt:
    return AnchorAttempt.objects.get(kind="witness", name=NAME)


def test_a_growing_log_is_cosigned_again_and_again(witness: WitnessProcess) -> None:
    by = log_with(300)
    sizes = []
    for count in (0, 1, 400, 7):
        if count:
            grown(by, count)
        assert anchored()
        sizes.append(Log.objects.get().size)
    held = Anchor.objects.order_by("size")
    assert [anchor.size for anchor in held] == sizes
    for anchor in held:
        assert bytes(anchor.root) == proofs.root_at(MAIN_LOG, anchor.size)
        note = anchor.note + bytes(anchor.proof).decode()
        made, (found,) = verify_witnessed(
            note, [verifier_key()], [parse_witness_vkey(witness.vkey)]
        )
        assert (made.size, found.key.name) == (anchor.size, NAME)
        assert abs(anchor.made_at - timezone.now()) < timedelta(minutes=1)
    assert attempt().fault == ""
    assert due_places() == []
    assert verified().ok


def test_a_witness_that_knows_more_than_we_remember_is_asked_from_its_size(
    witness: WitnessProcess,
) -> None:
    """As after a crash between the witness's answer and our keeping it."""
    by = log_with(300)
    assert anchored()
    Anchor.objects.all().delete()
    assert anchored()  # the same size once more
    assert Anchor.objects.get().size == 300
    Anchor.objects.all().delete()
    grown(by, 50)
    assert anchored()
    code, output = witness.stop()
    assert code == 0
    statuses = [line.split()[-1] for line in output.splitlines()]
    assert statuses == ["200", "409", "200", "409", "200"]


def reseal(start: int, *, size: int) -> None:
    """Everything from an entry on rewritten, cut at a size, and signed by the real key.

    The file beside the key and what the database keeps of earlier signatures go as well.
    """
    rows = list(Entry.objects.order_by("seq"))[:size]
    previous = bytes(rows[start - 1].leaf_hash)
    hashes = [bytes(row.leaf_hash) for row in rows[:start]]
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE seq >= %s", size)
        for row in rows[start:]:
            old = unpack(bytes(row.leaf))
            body = old.event.replace(b'"rows":', b'"rowz":') if row.seq == start else old.event
            leaf = pack(row.seq, old.timestamp_us, previous, body)
            previous = leaf_hash(leaf)
            hashes.append(previous)
            sql(
                "UPDATE audit_entry SET leaf = %s, leaf_hash = %s WHERE seq = %s",
                leaf, previous, row.seq,
            )  # fmt: skip
        sql("DELETE FROM audit_tile")
        storage.insert_tiles(MAIN_LOG, proofs.grow(0, hashes, {}).filled)
        sql("DELETE FROM audit_checkpoint")
        frontier = Frontier()
        frontier.extend(hashes)
        made = Checkpoint(django_settings.VESTIGE_ORIGIN, size, frontier.root())
        sql(
            "UPDATE audit_log SET size = %s, last_hash = %s, frontier = %s, note = %s,"
            " note_size = %s, kept_at = NULL",
            size, previous, frontier.to_bytes(), sign(made, keys.log_key()), size,
        )  # fmt: skip
    signer._memory_file().unlink(missing_ok=True)
    signer._verified.clear()


@pytest.mark.parametrize("more", [0, 1, 60])
def test_a_log_sealed_again_and_signed_by_the_real_key_is_caught(
    witness: WitnessProcess, more: int
) -> None:
    by = log_with(300)
    assert anchored()
    reseal(150, size=300)
    Anchor.objects.all().delete()
    assert verified().ok  # nothing inside speaks against it any more
    if more:
        grown(by, more)
    assert not anchored()
    assert attempt().grave
    assert "Entries were changed after they were signed" in attempt().fault
    assert Anchor.objects.count() == 0
    # The line is cut: what the witness said stays.
    witness.kill()
    assert not anchored()
    assert attempt().grave


def test_what_a_witness_cosigned_is_a_root_that_the_stored_log_must_contain(
    witness: WitnessProcess,
) -> None:
    log_with(300)
    assert anchored()
    reseal(150, size=300)
    outcome = verified()
    assert [str(finding) for finding in outcome.findings] == [
        "The checkpoint over 300 entries that the witness witness.example/w1 cosigned covers"
        " another tree: an entry of 0 to 299 is not what was signed."
    ]


def test_a_log_that_was_rolled_back_is_caught(witness: WitnessProcess) -> None:
    by = log_with(300)
    grown(by, 50)
    assert anchored()
    reseal(200, size=250)
    outcome = verified()
    assert outcome.first_bad == 250
    Anchor.objects.all().delete()
    assert not anchored()
    assert attempt().grave
    assert "over 350 entries, and the log now has 250" in attempt().fault


def test_a_restored_backup_that_has_grown_again_is_caught(witness: WitnessProcess) -> None:
    by = log_with(300)
    grown(by, 50)
    assert anchored()
    reseal(299, size=300)  # the last entry before the cut differs as well
    Anchor.objects.all().delete()
    grown(by, 100)
    assert not anchored()
    assert attempt().grave


def test_a_forged_cosignature_in_the_database_is_found(witness: WitnessProcess) -> None:
    log_with(300)
    assert anchored()
    anchor = Anchor.objects.get()
    name, blob = bytes(anchor.proof).decode().rsplit(" ", 1)
    for changed in (blob[:40] + ("A" if blob[40] != "A" else "B") + blob[41:], "%%%"):
        Anchor.objects.update(proof=f"{name} {changed}".encode())
        assert not verified().ok
    Anchor.objects.update(proof=anchor.proof, note=anchor.note.replace("\n300\n", "\n299\n"))
    assert "is not signed by this log" in str(verified().findings[0])


def test_a_witness_killed_between_goes_on_where_it_was(witness: WitnessProcess) -> None:
    by = log_with(300)
    assert anchored()
    witness.kill()
    grown(by, 50)
    assert not anchored()
    assert attempt().fault == "It cannot be reached (ConnectError)."
    assert not attempt().grave
    grown(by, 1)  # a dead witness stops nobody
    witness.start()
    assert anchored()
    assert attempt().fault == ""
    assert Anchor.objects.order_by("-size").first().size == 351  # type: ignore[union-attr]


def test_a_witness_that_does_not_know_the_log_says_so(
    tmp_path: Path, settings: Any, witness: WitnessProcess
) -> None:
    log_with(10)
    stranger = WitnessProcess(
        tmp_path / "w2", "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    )
    settings.VESTIGE_WITNESSES = stranger.policy()
    assert not anchored()
    assert "does not know this log (404)" in attempt().fault
    assert not attempt().grave
    stranger.kill()


def test_two_clients_at_once_get_one_answer_and_nothing_rolls_back(
    witness: WitnessProcess,
) -> None:
    log_with(300)
    sequence()
    (place,) = due_places()
    assert place.witness is not None
    leaves = [bytes(h) for h in Entry.objects.order_by("seq").values_list("leaf_hash", flat=True)]

    def note_of(size: int) -> str:
        root = tree.root_of(leaves[:size])
        return sign(Checkpoint(django_settings.VESTIGE_ORIGIN, size, root), keys.log_key())

    def ask(size: int) -> int:
        answer = httpx.post(
            f"{witness.url}/add-checkpoint", content=request_body(0, [], note_of(size))
        )
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(ask, range(100, 116)))
    assert sorted(got) == [200] + [409] * 15
    size = 100 + got.index(200)
    # The client that comes later goes on from the size of the one that won.
    found = cosigned_by(MAIN_LOG, place.witness, note_of(200), known=0)
    assert cosignatures(note_of(200) + found.line, [place.witness.key])
    with pytest.raises(WitnessAheadError) as caught:
        cosigned_by(MAIN_LOG, place.witness, note_of(size), known=0)
    assert caught.value.size == 200


# The sweep


def run_at_once(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Tasks run where they are sent from; no broker is needed."""
    sent: list[tuple[Any, ...]] = []

    def now(args: tuple[Any, ...], **options: Any) -> None:
        sent.append(args)
        anchor_at(*args)

    monkeypatch.setattr("audit.tasks.anchor_checkpoint.apply_async", now)
    return sent


def test_the_sweep_asks_only_when_the_log_grew_and_the_interval_is_over(
    witness: WitnessProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = run_at_once(monkeypatch)
    by = log_with(300)
    anchor_checkpoints()
    assert sent == [(MAIN_LOG, "witness", NAME)]
    anchor_checkpoints()
    assert len(sent) == 1
    grown(by, 1)
    anchor_checkpoints()
    assert len(sent) == 1
    AnchorAttempt.objects.update(tried_at=timezone.now() - timedelta(seconds=60))
    anchor_checkpoints()
    assert len(sent) == 2
    assert Anchor.objects.count() == 2
    AnchorAttempt.objects.update(tried_at=timezone.now() - timedelta(days=1))
    anchor_checkpoints()
    assert len(sent) == 2


def test_a_worker_that_died_with_the_claim_is_followed_by_another(
    witness: WitnessProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = run_at_once(monkeypatch)
    log_with(300)
    monkeypatch.setattr("audit.actions.anchoring._ask", _dies)
    with pytest.raises(SystemExit):
        anchor_checkpoints()
    monkeypatch.undo()
    sent = run_at_once(monkeypatch)
    anchor_checkpoints()
    past = timezone.now() - timedelta(seconds=61)
    AnchorAttempt.objects.update(tried_at=past)  # the claim is held for longer
    anchor_checkpoints()
    assert sent == []  # it may still be at work
    assert not anchor_at(MAIN_LOG, "witness", NAME)
    AnchorAttempt.objects.update(tried_at=past, claimed_until=past + timedelta(seconds=60))
    anchor_checkpoints()
    assert len(sent) == 1
    assert Anchor.objects.count() == 1


def _dies(*_: Any) -> None:
    raise SystemExit


def test_an_error_that_nobody_foresaw_frees_the_claim_and_is_shown_by_its_class(
    witness: WitnessProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    log_with(10)
    monkeypatch.setattr("audit.actions.anchoring._ask", breaks)
    with pytest.raises(ZeroDivisionError):
        anchored()
    assert attempt().fault == "Unexpected error (ZeroDivisionError)."
    assert attempt().claimed_until is None


def test_a_task_that_comes_twice_asks_once(witness: WitnessProcess) -> None:
    log_with(300)
    (place,) = due_places()
    assert anchor_at(MAIN_LOG, place.kind, place.name)
    assert not anchor_at(MAIN_LOG, place.kind, place.name)
    Anchor.objects.all().delete()
    assert not anchor_at(MAIN_LOG, place.kind, place.name)  # within the pause
    _, output = witness.stop()
    assert output.count("POST") == 1


def test_a_task_for_a_place_that_is_not_configured_asks_nobody(witness: WitnessProcess) -> None:
    log_with(300)
    due_places()
    assert not anchor_at(MAIN_LOG, "witness", "witness.example/other")
    assert not anchor_at(MAIN_LOG, "timestamp", NAME)


def test_all_places_get_the_same_checkpoint(
    tmp_path: Path, witness: WitnessProcess, settings: Any
) -> None:
    second = WitnessProcess(tmp_path / "w2", verifier_key(), name="witness.example/w2")
    settings.VESTIGE_WITNESSES = (
        f"witness A {witness.vkey} {witness.url}\nwitness B {second.vkey} {second.url}\n"
        "group G 2 A B\nquorum G\n"
    )
    by = log_with(300)
    for place in due_places():
        assert anchor_at(MAIN_LOG, place.kind, place.name)
        grown(by, 3)  # the log goes on meanwhile
    assert set(Anchor.objects.values_list("size", flat=True)) == {300}
    second.kill()


def test_nothing_is_kept_or_asked_where_nothing_is_configured() -> None:
    log_with(10)
    kept = KeptCheckpoint.objects.count()
    anchor_checkpoints()
    assert KeptCheckpoint.objects.count() == kept
    assert AnchorAttempt.objects.count() == 0


# Answers that no witness should give


@pytest.fixture
def answering(settings: Any, witness: WitnessProcess) -> Iterator[Callable[[Behaviour], Server]]:
    servers: list[Server] = []

    def serve(behave: Behaviour) -> Server:
        servers.append(Server(behave))
        settings.VESTIGE_WITNESSES = f"witness W {witness.vkey} {servers[-1].url}/w\nquorum W\n"
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (200, b"", "no cosignature"),
        (200, b"\xff\n", "no cosignature"),
        (200, "— another/witness AAAAAAAA\n".encode(), "another key"),
        (403, b"", "does not accept the log's signature"),
        (404, b"", "does not know this log"),
        (400, b"", "malformed"),
        (500, b"", "answers 500"),
        (302, b"", "answers 302"),
        (409, b"", "409 without the size"),
        (409, b"-1\n", "409 without the size"),
        (409, b"07\n", "409 without the size"),
        (409, b"0\n", "the size 0 that it was asked from"),
        (200, bytes(70_000), "more than 65536 bytes"),
    ],
)
def test_a_fault_of_the_witness_is_no_accusation(
    answering: Callable[[Behaviour], Server], status: int, body: bytes, fault: str
) -> None:
    server = answering(lambda _s, _b: (status, {"Location": "http://127.0.0.1:9/"}, body))
    log_with(10)
    assert not anchored()
    assert fault in attempt().fault
    assert not attempt().grave
    assert set(server.asked) == {"/w/add-checkpoint"}


def test_a_witness_whose_size_changes_with_every_question_is_left_alone(
    answering: Callable[[Behaviour], Server],
) -> None:
    server = answering(lambda s, _b: (409, {}, f"{len(s.asked)}\n".encode()))
    log_with(10)
    assert not anchored()
    assert "changes with every question" in attempt().fault
    assert len(server.asked) == 3


def test_a_cosignature_from_the_future_is_a_fault(
    answering: Callable[[Behaviour], Server], witness: WitnessProcess, tmp_path: Path
) -> None:
    key = signing_key(tmp_path / "w1" / "witness.key")

    def early(_s: Server, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, cosign(parse_request(body)[2], NAME, key, 2**62).encode()

    answering(early)
    log_with(10)
    assert not anchored()
    assert "still to come" in attempt().fault


def test_a_damaged_log_that_cannot_prove_its_growth_is_a_fault(witness: WitnessProcess) -> None:
    by = log_with(300)
    assert anchored()
    grown(by, 300)
    with as_database_owner():
        sql("DELETE FROM audit_tile")
    assert not anchored()
    assert "cannot prove its growth" in attempt().fault


def test_a_witness_without_an_address_is_not_asked(settings: Any, witness: WitnessProcess) -> None:
    settings.VESTIGE_WITNESSES = f"witness W {witness.vkey}\nquorum W\n"
    log_with(10)
    assert due_places() == []


def test_an_outside_error_is_not_grave_by_itself() -> None:
    assert not OutsideError("x").grave
