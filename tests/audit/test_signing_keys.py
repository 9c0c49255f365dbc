"""Rotating the key that signs checkpoints, and verifying what the keys before it signed."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit import keyring, keys, signer
from audit.actions import (
    RotationUnderWayError,
    append,
    rotate_signing_key,
    sequence,
    settle_signing_keys,
)
from audit.ledger.checkpoint import Checkpoint as SignedTree
from audit.ledger.checkpoint import InvalidNoteError, parse, sign, verify_note
from audit.ledger.judge import judge_file
from audit.ledger.receipt import InvalidReceiptError, verify_signature
from audit.ledger.verify import verify_bundle
from audit.models import Checkpoint, Entry, Log
from audit.queries import (
    covering_checkpoint,
    entries,
    event_of,
    evidence,
    latest_checkpoint,
    verifier_key,
    verifier_keys,
)
from tests.audit.builders import as_database_owner, event, sql, verified
from tests.builders import Api

pytestmark = pytest.mark.django_db
MONTH = timedelta(days=30)


@pytest.fixture(autouse=True)
def own_keys(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """Keys of its own for each test: a ring outlives the rollback of the database."""
    settings.VESTIGE_KEYS = tmp_path
    yield
    signer._verified.clear()


def grow(by: User, count: int = 3) -> str:
    """Entries, and the newest note."""
    append([event(n) for n in range(count)], by=by)
    return Log.objects.get().note


def signed_by(note: str, vkey: str) -> bool:
    try:
        verify_note(note, [vkey])
    except InvalidNoteError:
        return False
    return True


def overlap_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    later = timezone.now() + timedelta(days=31)
    monkeypatch.setattr("audit.actions.resigning.timezone.now", lambda: later)


def test_both_keys_sign_while_they_overlap_and_then_the_new_one_alone(
    analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = grow(analyst)
    done = rotate_signing_key(overlap=MONTH)
    assert verifier_keys() == (done.new_vkey, done.old_vkey)
    for _ in range(2):  # the second is signed without the lock
        overlapping = grow(analyst)
        assert signed_by(overlapping, done.old_vkey)
        assert signed_by(overlapping, done.new_vkey)
    assert settle_signing_keys() == []  # it is not over yet
    with monkeypatch.context() as patched:
        overlap_ends(patched)
        assert settle_signing_keys() == [done.old_vkey]
        assert settle_signing_keys() == []
    last = grow(analyst)
    assert signed_by(last, done.new_vkey)
    assert not signed_by(last, done.old_vkey)
    assert not keys.log_key_file().exists()
    ring = keyring.ring()
    assert len(ring.signing) == 1
    for note in (first, overlapping, last):
        ring.checkpoint(note, Log.objects.get().origin)
    assert verified().ok


def test_the_checkpoint_over_the_rotations_entry_is_signed_by_both_and_kept(
    analyst: User,
) -> None:
    grow(analyst)
    done = rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    entry = entries().get(type="log.key.rotated")
    told = event_of(entry)["details"]
    assert (told["old_vkey"], told["new_vkey"]) == (done.old_vkey, done.new_vkey)
    kept = Checkpoint.objects.filter(size__gt=entry.seq).order_by("size")[0]
    assert signed_by(kept.note, done.old_vkey)
    assert signed_by(kept.note, done.new_vkey)
    assert entries().filter(type="log.key.retired").count() == 1


def test_a_bundle_made_before_verifies_with_the_key_of_the_past(analyst: User) -> None:
    grow(analyst)
    old = verifier_key()
    before = evidence([0, 1], purpose="test")
    rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    after = evidence([0, 1], purpose="test")
    assert verify_bundle(before, trusted_vkey=verifier_keys()).valid
    assert verify_bundle(before, trusted_vkey=old).valid
    assert verify_bundle(after, trusted_vkey=verifier_keys()).valid
    assert after["log"]["vkey"] == verifier_key() != old
    assert not verify_bundle(after, trusted_vkey=old).valid


def test_a_receipt_is_signed_by_the_active_key_from_the_rotation_on(
    analyst: User, pipeline: User, api: Api
) -> None:
    grow(analyst)
    old = verifier_key()

    def sent() -> dict[str, Any]:
        one = {"type": "READ", "actor": "service:etl", "resource": "dataset:shop:orders"}
        answer = api(pipeline).post("/api/v1/events", json.dumps(one), "application/json")
        verdict = judge_file(answer.content, trusted_vkey=answer.json()["vkey"])
        assert verdict.valid, verdict.checks
        return dict(answer.json())

    before = sent()
    done = rotate_signing_key(overlap=MONTH)
    during = sent()  # both keys sign checkpoints: of a receipt one is enough
    settle_signing_keys(retire_now=True)
    after = sent()
    for answer, active, other in (
        (before, old, done.new_vkey),
        (during, done.new_vkey, old),
        (after, done.new_vkey, old),
    ):
        assert answer["vkey"] == active
        verify_signature(answer["receipt"], [active])
        with pytest.raises(InvalidReceiptError):
            verify_signature(answer["receipt"], [other])
    # Who held the first receipt before shows it now, to somebody who knows the keys of today.
    assert judge_file(json.dumps(before).encode(), trusted_vkey=verifier_keys()).valid


def test_evidence_names_a_key_that_signed_its_checkpoint(analyst: User) -> None:
    grow(analyst)
    note = covering_checkpoint().note
    old = verifier_key()
    keyring.add_key({Log.objects.get().origin: 3}, signs_until="")
    assert signer.verifier_key_of(note, Log.objects.get().origin) == old


def test_the_published_keys_name_the_active_one_first(analyst: User, client: Client) -> None:
    grow(analyst)
    done = rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    newest = rotate_signing_key(overlap=MONTH)
    said = client.get("/log/vkey").content.decode()
    assert said.splitlines() == [newest.new_vkey, newest.old_vkey, done.old_vkey]
    assert newest.old_vkey == done.new_vkey


def test_a_second_rotation_waits_for_the_first(analyst: User) -> None:
    grow(analyst)
    rotate_signing_key(overlap=MONTH)
    with pytest.raises(RotationUnderWayError, match="under way"):
        rotate_signing_key(overlap=MONTH)
    settle_signing_keys(retire_now=True)
    rotate_signing_key(overlap=MONTH)
    grow(analyst)
    assert verified().ok


def test_a_key_of_the_past_signs_nothing_new(analyst: User) -> None:
    grow(analyst)
    stolen = keys.read_signing_key(keys.log_key_file())
    rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    grow(analyst)
    log = Log.objects.get()
    said, _ = parse(log.note)
    forged = sign(SignedTree(said.origin, said.size, said.root), stolen)
    with as_database_owner():
        sql("UPDATE audit_log SET note = %s", forged)
        sql("UPDATE audit_checkpoint SET note = %s WHERE size = %s", forged, said.size)
    findings = [finding.sentence for finding in verified().findings]
    assert any("not in use at that size" in sentence for sentence in findings)
    append([event(9)], by=analyst)
    assert "not in use" in Log.objects.get().refusal
    assert "log's key" in Log.objects.get().refusal


def test_a_forged_note_with_the_active_key_of_later_is_not_taken_for_an_earlier_size(
    analyst: User,
) -> None:
    grow(analyst, 10)
    rotate_signing_key(overlap=MONTH)
    origin = Log.objects.get().origin
    note = sign(SignedTree(origin, 4, bytes(32)), keyring.ring().signing[0])
    with pytest.raises(InvalidNoteError, match="not in use"):
        keyring.ring().checkpoint(note, origin)


class KilledError(BaseException):
    """The process died here."""


def _killed(*args: object, **kwargs: object) -> None:
    raise KilledError


@pytest.mark.parametrize(
    "step",
    [
        "audit.keyring.add_key",
        "audit.keyring._write",
        "audit.actions.resigning._announce",
        "audit.actions.resigning.record",
        "audit.actions.resigning.sequence",
        "audit.actions.resigning.signer.sign_head",
        "audit.keyring.destroy",
        "audit.keys.destroy_file",
        "audit.actions.resigning._tell_of_end",
    ],
)
def test_a_rotation_that_was_killed_goes_on(
    analyst: User, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    grow(analyst)
    old = verifier_key()
    with monkeypatch.context() as patched:
        patched.setattr(step, _killed)
        with pytest.raises(KilledError):
            rotate_signing_key(overlap=timedelta(0))
    grow(analyst)  # the signer signs whatever there is
    settle_signing_keys()
    if verifier_key() == old:
        rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    sequence()
    assert [
        entries().filter(type=f"log.key.{what}").count() for what in ("rotated", "retired")
    ] == [
        1,
        1,
    ]
    assert verifier_key() != old
    assert not keys.log_key_file().exists()
    assert latest_checkpoint() is not None
    assert Log.objects.get().refusal == ""
    assert verified().ok


def test_another_process_takes_up_a_rotation_at_its_next_signature(analyst: User) -> None:
    grow(analyst)
    known = keyring.ring()
    rotate_signing_key(overlap=MONTH)
    assert keyring.ring() is not known
    assert keyring.ring() is keyring.ring()


def test_a_lost_ring_is_said_instead_of_making_a_new_key(analyst: User) -> None:
    grow(analyst)
    rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    keyring.ring_file().unlink()
    with pytest.raises(keys.KeyFileError, match="Restore the ring"):
        keyring.ring()
    append([event(1)], by=analyst)
    assert "Restore the ring" in Log.objects.get().refusal


def test_a_rings_key_that_was_swapped_is_refused(analyst: User) -> None:
    grow(analyst)
    rotate_signing_key(overlap=timedelta(0))
    settle_signing_keys()
    keyring.add_key({}, signs_until="")
    path = keyring.ring_file()
    active, former = keyring.ring().keys[:2]
    (path.parent / active.file).write_bytes((path.parent / former.file).read_bytes())
    path.write_text(path.read_text() + "\n")
    with pytest.raises(keys.KeyFileError, match="is not the key"):
        keyring.ring()


def test_the_command_rotates_and_destroys_a_compromised_key_at_once(
    analyst: User, capsys: pytest.CaptureFixture[str]
) -> None:
    grow(analyst)
    old = verifier_key()
    call_command("rotate_keys", "--signing-key", "--dry-run")
    assert "would be made" in capsys.readouterr().out
    assert verifier_key() == old
    call_command("rotate_keys", "--signing-key", "--now")
    said = capsys.readouterr().out
    assert verifier_key() in said
    assert "Destroyed" in said
    assert not keys.log_key_file().exists()
    assert Entry.objects.filter(type="log.key.retired").exists()
    call_command("rotate_keys", "--signing-key")
    with pytest.raises(SystemExit):
        call_command("rotate_keys", "--signing-key")
    assert "under way" in capsys.readouterr().err
    call_command("rotate_keys", "--retire-now")
    assert len(keyring.ring().signing) == 1


def test_without_a_rotation_one_key_signs(analyst: User) -> None:
    note: Any = grow(analyst)
    assert len(parse(note)[1]) == 1
    assert verifier_keys() == (verifier_key(),)
    assert not keyring.ring_file().exists()
