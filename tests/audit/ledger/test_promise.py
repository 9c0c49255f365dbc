"""A pipeline's saved receipt, a year later, against what the log shows by then."""

import copy
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import bundle, checkpoint, proof_file, tree
from audit.ledger.checkpoint import key_id
from audit.ledger.judge import judge_file
from audit.ledger.promise import verify_receipt
from audit.ledger.verdict import Verdict
from tests.audit.ledger.builders import (
    KEY,
    ORIGIN,
    OTHER_KEY,
    SampleLog,
    answer_of,
    certificate_bundle,
    certificate_log,
    grown,
    growth_answer,
    log_of,
    proof_answer,
    tlog_proof,
    vkey,
    without,
    write_folder,
)

LOG = log_of(12)
ANSWER = answer_of(LOG, 7, 8, 3)


def data(value: Any) -> bytes:
    return json.dumps(value).encode()


def faults(verdict: Verdict) -> str:
    return " ".join(check.sentence for check in verdict.faults)


def test_a_saved_answer_is_recognised_and_holds() -> None:
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey())

    assert verdict.valid, verdict.checks
    assert [check.name for check in verdict.checks] == [
        "format",
        "receipt",
        "key",
        "events",
        "checkpoint",
    ]
    assert (verdict.promise, verdict.entries) == ("", [7, 8, 3])
    assert any("not that it still holds them" in note for note in verdict.notes)


def test_without_a_key_from_elsewhere_the_answer_itself_names_it() -> None:
    verdict = judge_file(data(ANSWER))
    assert verdict.valid
    assert any("the answer itself names it" in note for note in verdict.notes)


CHANGES: list[tuple[Any, str]] = [
    (lambda a: a["receipts"][0].update(id="id-9"), "events"),
    (lambda a: a["receipts"][0].update(seq=9), "events"),
    (lambda a: a["receipts"][0].update(leaf_hash="00" * 32), "events"),
    (lambda a: a["receipts"].pop(), "events"),
    (lambda a: a["receipts"].reverse(), "events"),
    (lambda a: a["receipts"].append(a["receipts"][0]), "events"),
    (lambda a: a.update(receipt=None), "receipt"),
    (lambda a: a.update(receipt=""), "receipt"),
    (lambda a: a.update(receipt=a["checkpoint"]), "receipt"),
    (lambda a: a.update(log="other.example/log"), "receipt"),
    (lambda a: a.update(vkey=vkey(OTHER_KEY)), "receipt"),
    (lambda a: a.update(vkey=None), "receipt"),
    (lambda a: a.update(vkey="no key"), "receipt"),
    (lambda a: a.update(checkpoint=a["receipt"]), "checkpoint"),
    (lambda a: a.update(checkpoint=log_of(7).note()), "checkpoint"),
    (lambda a: a.update(checkpoint=LOG.note(OTHER_KEY)), "checkpoint"),
    (lambda a: a.update(events=[]), "format"),
    (lambda a: a.pop("log"), "format"),
    (lambda a: a.update(log=7), "format"),
    (lambda a: a.update(checkpoint=7), "format"),
    (lambda a: a.update(receipts=[]), "format"),
    (lambda a: a.update(receipts={}), "format"),
    (lambda a: a["receipts"][0].update(note="paid"), "format"),
    (lambda a: a["receipts"][0].pop("id"), "format"),
    (lambda a: a["receipts"][0].update(seq="7"), "format"),
    (lambda a: a["receipts"][0].update(seq=True), "format"),
    (lambda a: a["receipts"][0].update(seq=-1), "format"),
    (lambda a: a["receipts"][0].update(leaf_hash="xyz"), "format"),
    (lambda a: a["receipts"][0].update(leaf_hash="AB" * 32), "format"),
    (lambda a: a["receipts"][0].update(leaf_hash="ab" * 31), "format"),
    (lambda a: a["receipts"][0].update(id="a b"), "format"),
    (lambda a: a["receipts"].insert(0, 7), "format"),
]


@pytest.mark.parametrize(
    ("change", "check"),
    CHANGES,
    ids=[f"{check} {number}" for number, (_, check) in enumerate(CHANGES)],
)
def test_a_changed_answer_is_not_valid_and_the_check_is_named(change: Any, check: str) -> None:
    changed = copy.deepcopy(ANSWER)
    change(changed)
    verdict = judge_file(data(changed), trusted_vkey=vkey(), against=[tlog_proof(LOG, 7)])
    assert not verdict.valid
    assert [item.name for item in verdict.faults] == [check]


def test_an_answer_without_a_checkpoint_still_holds() -> None:
    verdict = judge_file(data(ANSWER | {"checkpoint": None}), trusted_vkey=vkey())
    assert verdict.valid
    assert any("no checkpoint" in note for note in verdict.notes)


def test_a_receipt_of_a_forger_is_caught_by_the_key_that_is_trusted() -> None:
    forged = answer_of(LOG, 7, key=OTHER_KEY)
    assert judge_file(data(forged)).valid
    verdict = judge_file(data(forged), trusted_vkey=vkey(), against=[tlog_proof(LOG, 7)])
    assert [check.name for check in verdict.faults] == ["key"]
    assert not judge_file(data(ANSWER), trusted_vkey=["no key"]).valid


def kept_everywhere(tmp_path: Path, log: SampleLog, seqs: list[int]) -> dict[str, Any]:
    return {
        "bundle": bundle.dumps(log.bundle(sorted(seqs))),
        "proof": data(proof_answer(log, seqs[0])),
        "tlog-proof": tlog_proof(log, seqs[0]),
        "folder": write_folder(log, tmp_path / "copy"),
        "tiles alone": write_folder(log, tmp_path / "tiles", entries=False),
    }


@pytest.mark.parametrize("kind", ["bundle", "proof", "tlog-proof", "folder", "tiles alone"])
def test_a_log_that_grew_has_kept_its_promise(tmp_path: Path, kind: str) -> None:
    source = kept_everywhere(tmp_path, grown(LOG, 600), [7, 8, 3])[kind]
    single = answer_of(LOG, 7)
    verdict = judge_file(data(single), trusted_vkey=vkey(), against=[source])
    assert verdict.valid, verdict.checks
    assert verdict.promise == "kept"
    whole = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[source])
    assert whole.valid, whole.checks
    assert whole.promise == ("not shown" if "proof" in kind else "kept")


@pytest.mark.parametrize("kind", ["bundle", "proof", "tlog-proof", "folder", "tiles alone"])
def test_an_event_that_was_left_out_afterwards_is_proven(tmp_path: Path, kind: str) -> None:
    """Everything is sealed again and signed with the true key: only the receipt tells."""
    source = kept_everywhere(tmp_path, without(LOG, 7), [7, 8, 3])[kind]
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[source])
    assert not verdict.valid
    assert verdict.promise == "broken"
    assert [check.name for check in verdict.faults] == ["promise"]
    assert "accepted the event id-7 as entry 7" in faults(verdict)
    assert "holds another entry there" in faults(verdict)


def test_a_pdf_and_a_json_document_serve_as_evidence(tmp_path: Path) -> None:
    from io import BytesIO

    import pikepdf

    made = certificate_bundle()
    target = BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.attachments["evidence.json"] = bundle.dumps(made)
        pdf.save(target)
    answer = answer_of(certificate_log(), 9)
    for source in (target.getvalue(), data({"evidence": made})):
        verdict = judge_file(data(answer), trusted_vkey=vkey(), against=[source])
        assert verdict.promise == "kept", verdict.checks


def test_two_signed_trees_of_one_size_are_a_proven_fork() -> None:
    other = without(LOG, 11)
    fork = SampleLog({"rows": number, "other": 1} for number in range(12))
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[tlog_proof(fork, 0)])
    assert verdict.promise == "broken"
    assert "Two different trees of 12 entries" in faults(verdict)
    both = [tlog_proof(other, 0), tlog_proof(grown(fork, len(other.leaves) - 12), 0)]
    assert verify_receipt(ANSWER, trusted_vkey=vkey(), against=both).promise == "broken"


def test_a_log_that_still_extends_what_it_signed_then_is_said_to(tmp_path: Path) -> None:
    later = grown(LOG, 600)
    verdict = judge_file(
        data(ANSWER), trusted_vkey=vkey(), against=[data(growth_answer(later, 12))]
    )
    assert (verdict.valid, verdict.promise) == (True, "not shown")
    assert "612 entries still begins with the 12 entries" in verdict.checks[-1].sentence
    assert any("shows the 3 events in place" in note for note in verdict.notes)
    copied = write_folder(later, tmp_path / "copy", entries=False)
    whole = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[copied])
    assert [check.name for check in whole.checks[-2:]] == ["growth", "promise"]
    elsewhere = [data(growth_answer(later, 11))]
    assert not judge_file(data(ANSWER), trusted_vkey=vkey(), against=elsewhere).valid


def test_an_older_entry_that_was_rewritten_is_proven_by_the_answers_checkpoint(
    tmp_path: Path,
) -> None:
    """The events are where they were; what was before them is not."""
    forged = copy.deepcopy(LOG)
    forged.hashes[1] = bytes(32)
    later = grown(forged, 40)
    sources: list[bytes | Path] = [
        data(growth_answer(later, 12)),
        write_folder(later, tmp_path / "copy", entries=False),
    ]
    for source in sources:
        verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[source])
        assert verdict.promise == "broken"
        assert "Two different trees of 12 entries" in faults(verdict)


def test_what_says_nothing_about_the_events_is_no_proof_either_way() -> None:
    elsewhere = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[tlog_proof(grown(LOG), 2)])
    assert (elsewhere.valid, elsewhere.promise) == (False, "not shown")
    assert "shows nothing about the events' places" in faults(elsewhere)
    short = answer_of(LOG, 7) | {"checkpoint": None}
    older = judge_file(data(short), trusted_vkey=vkey(), against=[tlog_proof(log_of(5), 2)])
    assert (older.valid, older.promise) == (False, "not shown")
    assert "ends before the events' places" in faults(older)


def test_some_events_shown_are_said_to_be_some() -> None:
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[tlog_proof(LOG, 7)])
    assert verdict.valid
    assert "1 of 3 events stand" in verdict.checks[-1].sentence
    assert any("shows the other 2 events" in note for note in verdict.notes)
    three = [tlog_proof(LOG, seq) for seq in (7, 8, 3)]
    assert judge_file(data(ANSWER), trusted_vkey=vkey(), against=three).promise == "kept"


def test_evidence_that_does_not_hold_accuses_nobody(tmp_path: Path) -> None:
    wrong = proof_answer(without(LOG, 7), 7) | {"checkpoint": LOG.note()}
    bare = proof_file.dumps(7, tree.inclusion_proof(7, 12, LOG.get), LOG.note())
    broken = write_folder(LOG, tmp_path / "broken")
    tile = broken / "tile/0/000.p/12"
    tile.write_bytes(tile.read_bytes()[:-1] + b"\0")
    cut = write_folder(LOG, tmp_path / "cut")
    (cut / "tile/0/000.p/12").unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    forged = without(LOG, 7).bundle([7], key=OTHER_KEY)
    sources: list[bytes | Path] = [
        b"",
        b"{}",
        b"%PDF-1.7 torn",
        data(wrong),
        data(wrong | {"proof": 7}),
        data(wrong | {"seq": []}),
        data(wrong | {"proof": [7]}),
        data(proof_answer(LOG, 7) | {"checkpoint": None}),
        data(growth_answer(grown(LOG), 12) | {"checkpoint": None}),
        data(growth_answer(grown(LOG), 12) | {"first_root": "00" * 32}),
        data(growth_answer(grown(LOG), 12) | {"proof": None}),
        data(growth_answer(grown(LOG), 12) | {"first": []}),
        bare.encode(),
        broken,
        cut,
        empty,
        data(forged),
        data(LOG.bundle([7]) | {"digest": "0"}),
    ]
    for source in sources:
        verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[source])
        assert not verdict.valid, source
        assert verdict.promise != "broken", source
        assert "against" in [check.name for check in verdict.faults], source


def note_of(origin: str, name: str, key: Ed25519PrivateKey, log: SampleLog = LOG) -> str:
    """A checkpoint of `origin`, signed under any name."""
    root = b64encode(tree.root_of(log.hashes)).decode()
    text = f"{origin}\n{len(log.hashes)}\n{root}\n"
    blob = key_id(name, key.public_key()) + key.sign(text.encode())
    return f"{text}\n— {name} {b64encode(blob).decode()}\n"


def test_evidence_of_another_log_is_refused() -> None:
    note = note_of("other.example/log", ORIGIN, KEY)
    proof = proof_answer(LOG, 7) | {"checkpoint": note}
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[data(proof)])
    assert "of the log other.example/log" in faults(verdict)
    beside = judge_file(data(ANSWER | {"checkpoint": note}), trusted_vkey=vkey())
    assert [check.name for check in beside.faults] == ["checkpoint"]


def test_another_trusted_log_cannot_speak_for_this_one() -> None:
    name = "other.example/log"
    forged = without(LOG, 7)
    proof = proof_answer(forged, 7) | {"checkpoint": note_of(ORIGIN, name, OTHER_KEY, forged)}
    keys = [vkey(), checkpoint.vkey(name, OTHER_KEY.public_key())]
    verdict = judge_file(data(ANSWER), trusted_vkey=keys, against=[data(proof)])
    assert [check.name for check in verdict.faults] == ["against", "promise"]
    assert verdict.promise == "not shown"


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("tile", ["0/000", "0/001", "0/002.p/88", "1/000.p/2"])
def test_a_damaged_copy_of_the_log_accuses_nobody(tmp_path: Path, tile: str, noted: bool) -> None:  # noqa: FBT001
    log = log_of(300)
    answer = answer_of(log, 7) | ({} if noted else {"checkpoint": None})
    copied = write_folder(grown(log, 300), tmp_path / "copy", entries=False)
    assert judge_file(data(answer), trusted_vkey=vkey(), against=[copied]).promise == "kept"
    file = copied / "tile" / tile
    content = bytearray(file.read_bytes())
    for at in range(0, len(content), 32):
        content[at] ^= 1
    file.write_bytes(content)
    verdict = judge_file(data(answer), trusted_vkey=vkey(), against=[copied])
    assert verdict.promise != "broken", verdict.checks


def test_a_partial_tile_may_have_become_a_full_one_since(tmp_path: Path) -> None:
    later = grown(LOG, 600)
    copied = write_folder(later, tmp_path / "copy")
    (copied / "checkpoint").write_text(LOG.note())
    verdict = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[copied])
    assert verdict.promise == "kept", verdict.checks


def test_after_a_rotation_the_receipts_key_and_the_new_one_are_both_given() -> None:
    later = grown(LOG)
    proof = proof_answer(later, 7) | {"checkpoint": later.note(OTHER_KEY)}
    one = judge_file(data(ANSWER), trusted_vkey=vkey(), against=[data(proof)])
    assert "against" in [check.name for check in one.faults]
    keys = [vkey(), vkey(OTHER_KEY)]
    assert judge_file(data(ANSWER), trusted_vkey=keys, against=[data(proof)]).valid


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(data(ANSWER)) - 1), st.integers(1, 127))
def test_no_changed_byte_leaves_an_answer_valid(at: int, change: int) -> None:
    changed = bytearray(data(ANSWER))
    changed[at] ^= change
    try:
        if json.loads(bytes(changed)) == ANSWER:
            return  # another spelling of the same JSON
    except ValueError:
        pass
    assert not judge_file(bytes(changed), trusted_vkey=vkey()).valid


def test_ten_thousand_events_have_one_signature_and_are_judged_at_once() -> None:
    log = log_of(10_000)
    answer = answer_of(log, *range(10_000))
    assert len(answer["receipt"]) < 500
    assert judge_file(data(answer), trusted_vkey=vkey()).valid
