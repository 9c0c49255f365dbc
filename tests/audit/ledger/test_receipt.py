import struct
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import checkpoint, receipt, tree
from audit.ledger.receipt import Accepted, InvalidReceiptError, Receipt
from tests.audit.ledger.builders import KEY, ORIGIN, OTHER_KEY, vkey

TIME = "2026-11-20T10:00:00.000001Z"


def events(*seqs: int) -> list[Accepted]:
    return [Accepted(f"e-{seq}", seq, sha256(str(seq).encode()).digest()) for seq in seqs]


EVENTS = events(70, 71, 3)
NOTE = receipt.sign(ORIGIN, EVENTS, KEY, time=TIME)


def test_a_receipt_has_the_documented_text_and_verifies() -> None:
    text, _, signature = NOTE.partition("\n\n")
    leaves = [
        sha256(b"\x00" + struct.pack(">Q", seq) + hashed + name.encode()).digest()
        for name, seq, hashed in EVENTS
    ]
    pair = sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    root = b64encode(sha256(b"\x01" + pair + leaves[2]).digest()).decode()

    assert text == (f"vestige-receipt/1\nlog {ORIGIN}\nevents 3\nroot {root}\ntime {TIME}")
    assert signature.startswith(f"— {ORIGIN}/receipts ")
    assert receipt.verify(NOTE, EVENTS, [vkey()]) == receipt.parse(NOTE)


def test_an_outsider_verifies_a_receipt_by_the_signed_note_rules_alone() -> None:
    text, line = NOTE.split("\n\n")
    blob = b64decode(line.split(" ")[2])
    raw = b64decode(vkey().split("+", 2)[2])

    assert blob[:4] == sha256(f"{ORIGIN}/receipts\n".encode() + raw).digest()[:4]
    Ed25519PublicKey.from_public_bytes(raw[1:]).verify(blob[4:], f"{text}\n".encode())


def test_one_event_can_be_shown_by_a_path_to_the_receipts_root() -> None:
    many = events(*range(1000, 1300))
    made = receipt.parse(receipt.sign(ORIGIN, many, KEY, time=TIME))
    hashes = receipt.promise_hashes(many)

    def get(level: int, index: int) -> bytes:
        return tree.root_of(hashes[index << level : (index + 1) << level])

    path = tree.inclusion_proof(17, 300, get)
    tree.verify_inclusion(17, 300, receipt.promise_hashes(many[17:18])[0], path, made.root)


@pytest.mark.parametrize(
    "changed",
    [
        EVENTS[:2],
        [*EVENTS, EVENTS[0]],
        EVENTS[::-1],
        [EVENTS[0]._replace(seq=72), *EVENTS[1:]],
        [EVENTS[0]._replace(id="e-71"), *EVENTS[1:]],
        [EVENTS[0]._replace(leaf_hash=bytes(32)), *EVENTS[1:]],
        [EVENTS[0]._replace(id=""), *EVENTS[1:]],
        [EVENTS[0]._replace(id="\ud800"), *EVENTS[1:]],
        [EVENTS[0]._replace(seq=-1), *EVENTS[1:]],
        [EVENTS[0]._replace(seq=2**64), *EVENTS[1:]],
        [EVENTS[0]._replace(leaf_hash=bytes(31)), *EVENTS[1:]],
        [],
    ],
)
def test_a_receipt_is_about_its_own_events_only(changed: list[Accepted]) -> None:
    with pytest.raises(InvalidReceiptError):
        receipt.verify(NOTE, changed, [vkey()])


def test_bytes_cannot_move_from_the_hash_into_the_id() -> None:
    """Place and hash have a fixed length, so no two events have one and the same leaf."""
    one = Accepted("Aid", 1, b"x" * 32)
    other = Accepted("id", 1, b"x" * 31 + b"A")
    assert receipt.promise_hashes([one]) != receipt.promise_hashes([other])
    with pytest.raises(InvalidReceiptError):
        receipt.require_event(Accepted("id", 1, b"x" * 32 + b"A"))


def test_only_the_logs_own_key_signs_its_receipts() -> None:
    for keys in ([], [vkey(OTHER_KEY)], [checkpoint.vkey("other.example", KEY.public_key())]):
        with pytest.raises(InvalidReceiptError, match="none of the known keys"):
            receipt.verify(NOTE, EVENTS, keys)
    assert receipt.verify(NOTE, EVENTS, [vkey(OTHER_KEY), vkey()])
    with pytest.raises(InvalidReceiptError):
        receipt.verify(NOTE, EVENTS, ["no key"])


def under(name: str, text: str, key: Ed25519PrivateKey = KEY) -> str:
    """The text, signed by a log's key under whatever name an attacker likes."""
    blob = checkpoint.key_id(name, key.public_key()) + key.sign(text.encode())
    return f"{text}\n— {name} {b64encode(blob).decode()}\n"


def test_another_trusted_log_cannot_give_receipts_for_this_one() -> None:
    other = "other.example/log"
    text = NOTE.partition("\n\n")[0] + "\n"
    note = under(f"{other}/receipts", text, OTHER_KEY)
    keys = [vkey(), checkpoint.vkey(other, OTHER_KEY.public_key())]
    with pytest.raises(InvalidReceiptError, match="none of the known keys"):
        receipt.verify(note, EVENTS, keys)


def test_a_receipt_of_a_log_whose_name_is_a_number_is_no_checkpoint_either() -> None:
    note = receipt.sign("7", EVENTS, KEY, time=TIME)
    assert receipt.verify(note, EVENTS, [checkpoint.vkey("7", KEY.public_key())])
    text = note.partition("\n\n")[0] + "\n"
    known = [checkpoint.vkey(receipt.FORMAT, KEY.public_key())]
    with pytest.raises(checkpoint.InvalidNoteError, match="not a tree size"):
        checkpoint.verify_note(under(receipt.FORMAT, text), known)


def test_a_receipt_is_never_a_checkpoint_and_no_checkpoint_is_a_receipt() -> None:
    """The signature covers the text and not the name beside it: the texts must differ."""
    text = NOTE.partition("\n\n")[0] + "\n"
    for name in (ORIGIN, f"{ORIGIN}/receipts", receipt.FORMAT):
        known = [checkpoint.vkey(name, KEY.public_key())]
        assert checkpoint.verified_text(under(name, text), known) == text
        with pytest.raises(checkpoint.InvalidNoteError):
            checkpoint.verify_note(under(name, text), known)
    for origin in (ORIGIN, receipt.FORMAT, f"log {ORIGIN}"):
        head = checkpoint.Checkpoint(origin, 3, bytes(32)).text
        with pytest.raises(InvalidReceiptError):
            receipt.verify(under(f"{ORIGIN}/receipts", head), EVENTS, [vkey()])


def test_a_receipt_signed_under_the_checkpoints_name_is_refused() -> None:
    text = NOTE.partition("\n\n")[0] + "\n"
    with pytest.raises(InvalidReceiptError):
        receipt.verify(under(ORIGIN, text), EVENTS, [vkey()])


@settings(deadline=None)
@given(st.data())
def test_no_changed_character_leaves_a_receipt_valid(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(NOTE) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != NOTE[at]))
    with pytest.raises(InvalidReceiptError):
        receipt.verify(NOTE[:at] + letter + NOTE[at + 1 :], EVENTS, [vkey()])


def test_a_truncated_receipt_is_refused() -> None:
    for cut in range(len(NOTE)):
        with pytest.raises(InvalidReceiptError):
            receipt.verify(NOTE[:cut], EVENTS, [vkey()])


GOOD = NOTE.partition("\n\n")[0] + "\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("receipt/1", "receipt/2"),
        ("events 3", "events 03"),
        ("events 3", "events 0"),
        ("events 3", "events \u0663"),
        ("log ", "log  "),
        ("log ", ""),
        ("time ", "time: "),
        ("000001Z", "000001"),
        ("000001Z", "000001+00:00"),
        ("Z\n", "Z\nextra 1\n"),
        ("Z\n", "Z\n\n"),
        ("root ", "root A"),
        ("=\n", "\n"),
    ],
)
def test_a_signed_text_that_is_no_receipt_is_refused(old: str, new: str) -> None:
    assert old in GOOD
    note = under(f"{ORIGIN}/receipts", GOOD.replace(old, new, 1))
    with pytest.raises(InvalidReceiptError):
        receipt.verify_signature(note, [vkey()])


def test_a_root_has_one_spelling_only() -> None:
    root = GOOD.split("root ")[1].split("\n")[0]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = root[:-2] + letters[letters.index(root[-2]) ^ 1] + "="
    assert b64decode(twin) == b64decode(root)
    with pytest.raises(InvalidReceiptError, match="base64"):
        receipt.parse(under(f"{ORIGIN}/receipts", GOOD.replace(root, twin)))


@pytest.mark.parametrize(
    "members",
    [
        {"origin": "two words"},
        {"origin": "with+plus"},
        {"origin": ""},
        {"count": 0},
        {"count": -1},
        {"root": bytes(31)},
        {"time": "yesterday"},
    ],
)
def test_what_could_not_be_read_back_is_not_signed(members: dict[str, Any]) -> None:
    parts: dict[str, Any] = {"origin": ORIGIN, "count": 1, "root": bytes(32), "time": TIME}
    assert Receipt(**parts).text
    with pytest.raises(InvalidReceiptError):
        _ = Receipt(**parts | members).text
    with pytest.raises(InvalidReceiptError):
        receipt.sign(ORIGIN, [], KEY, time=TIME)
