from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import checkpoint
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError
from tests.audit.ledger.builders import KEY, ORIGIN, OTHER_KEY, vkey

ROOT = bytes(range(32))
HEAD = Checkpoint(ORIGIN, 70_000, ROOT)

# From the tests of golang.org/x/mod/sumdb/note: the reference implementation's own example.
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZ"
    "b6KE6RyyBwJnAM=\n"
)
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33"
    "WWd1RvMc+QQ=\n"
)
GO_NOTE = f"{GO_TEXT}\n{PETER_LINE}{ENOCH_LINE}"

# Checkpoints of the Go checksum database, published by https://sum.golang.org/latest.
SUMDB_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB_NOTE = (
    "go.sum database tree\n30055305\nmXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=\n\n"
    "— sum.golang.org Az3grpgEild5qw7+5dtV13Kf1C2Xurm8q4fhdxvcsDHnqNTaxL2AFjBY+2TyGKevucFcAAlWFJJY"
    "le3EJlDCrQ+y3A8=\n"
)


def test_the_note_of_the_reference_implementation_verifies_with_either_key() -> None:
    for keys in ([PETER_VKEY], [ENOCH_VKEY], [PETER_VKEY, ENOCH_VKEY], [SUMDB_VKEY, PETER_VKEY]):
        assert checkpoint.verified_text(GO_NOTE, keys) == GO_TEXT


def test_our_key_ids_and_signatures_equal_the_reference_implementations() -> None:
    key = Ed25519PrivateKey.from_private_bytes(PETER_SEED)

    assert checkpoint.vkey("PeterNeumann", key.public_key()) == PETER_VKEY
    blob = checkpoint.key_id("PeterNeumann", key.public_key()) + key.sign(GO_TEXT.encode())
    assert f"— PeterNeumann {b64encode(blob).decode()}\n" == PETER_LINE


def test_a_checkpoint_of_the_go_checksum_database_verifies() -> None:
    head = checkpoint.verify_note(SUMDB_NOTE, [SUMDB_VKEY])

    assert (head.origin, head.size) == ("go.sum database tree", 30_055_305)
    with pytest.raises(InvalidNoteError, match="does not hold"):
        checkpoint.verify_note(SUMDB_NOTE.replace("30055305", "30055306"), [SUMDB_VKEY])


def test_a_signed_checkpoint_has_the_documented_text_and_verifies() -> None:
    note = checkpoint.sign(HEAD, KEY)

    text, _, signatures = note.partition("\n\n")
    assert text == f"vestige.example/log\n70000\n{b64encode(ROOT).decode()}"
    assert signatures.startswith("— vestige.example/log ")
    assert checkpoint.verify_note(note, [vkey()]) == HEAD


def test_a_checkpoint_of_the_empty_log_can_be_signed() -> None:
    head = Checkpoint(ORIGIN, 0, ROOT)
    assert checkpoint.verify_note(checkpoint.sign(head, KEY), [vkey()]) == head


def test_during_a_rotation_the_old_key_and_the_new_key_both_verify() -> None:
    note = checkpoint.sign(HEAD, KEY, OTHER_KEY)

    head, signatures = checkpoint.parse(note)
    assert head == HEAD
    assert [item.name for item in signatures] == [ORIGIN, ORIGIN]
    for keys in ([vkey(KEY)], [vkey(OTHER_KEY)], [vkey(OTHER_KEY), vkey(KEY)]):
        assert checkpoint.verify_note(note, keys) == HEAD


def test_signatures_of_unknown_keys_are_kept_and_ignored() -> None:
    witness = f"— witness.example {b64encode(bytes(4) + bytes(72)).decode()}\n"
    note = checkpoint.sign(HEAD, KEY) + witness

    assert checkpoint.verify_note(note, [vkey()]) == HEAD
    _, signatures = checkpoint.parse(note)
    assert signatures[1] == checkpoint.NoteSignature("witness.example", bytes(4), bytes(72))


def test_a_note_signed_by_other_keys_only_is_refused() -> None:
    note = checkpoint.sign(HEAD, KEY)
    for keys in ([], [vkey(OTHER_KEY)], [checkpoint.vkey("other.example", KEY.public_key())]):
        with pytest.raises(InvalidNoteError, match="none of the known keys"):
            checkpoint.verify_note(note, keys)


def test_one_false_signature_of_a_known_key_refuses_the_whole_note() -> None:
    note = checkpoint.sign(HEAD, KEY, OTHER_KEY)
    head, _, line = note[:-1].rpartition("\n")
    blob = bytearray(b64decode(line.split()[2]))
    blob[40] ^= 1
    broken = f"{head}\n— {ORIGIN} {b64encode(blob).decode()}\n"

    assert checkpoint.verify_note(broken, [vkey(KEY)]) == HEAD
    with pytest.raises(InvalidNoteError, match="does not hold"):
        checkpoint.verify_note(broken, [vkey(KEY), vkey(OTHER_KEY)])


@settings(deadline=None)
@given(st.data())
def test_no_changed_character_leaves_a_note_valid(data: st.DataObject) -> None:
    note = checkpoint.sign(HEAD, KEY)
    at = data.draw(st.integers(0, len(note) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != note[at]))
    with pytest.raises(InvalidNoteError):
        checkpoint.verify_note(note[:at] + letter + note[at + 1 :], [vkey()])


def test_a_truncated_note_is_refused() -> None:
    note = checkpoint.sign(HEAD, KEY)
    for cut in range(len(note)):
        with pytest.raises(InvalidNoteError):
            checkpoint.verify_note(note[:cut], [vkey()])


def signed(text: str) -> str:
    blob = checkpoint.key_id(ORIGIN, KEY.public_key()) + KEY.sign(text.encode())
    return f"{text}\n— {ORIGIN} {b64encode(blob).decode()}\n"


ROOT_TEXT = b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\n",
        f"\n7\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n07\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n-7\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n+7\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n\u0667\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n18446744073709551616\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n7\n{ROOT_TEXT[:-4]}\n",
        f"{ORIGIN}\n7\n{ROOT_TEXT.replace('8=', '9=')}\n",
        f"{ORIGIN}\n7\nnot base64\n",
        f"{ORIGIN}\n7\n{ROOT_TEXT}\n\nextension after an empty line\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidNoteError):
        checkpoint.verify_note(signed(text), [vkey()])


def test_extension_lines_of_other_logs_are_read() -> None:
    head = checkpoint.verify_note(signed(f"{ORIGIN}\n7\n{ROOT_TEXT}\nTimestamp: 1\n"), [vkey()])

    assert head.extensions == ("Timestamp: 1",)
    assert head.text.endswith("\nTimestamp: 1\n")


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        f"{GO_TEXT}\n",
        f"{GO_TEXT}\n{PETER_LINE[:-1]}",
        f"{GO_TEXT}\n{PETER_LINE}\n",
        f"{GO_TEXT}\n{PETER_LINE.replace('—', '-')}",
        f"{GO_TEXT}\n{PETER_LINE.replace(' x', '  x')}",
        f"{GO_TEXT}\n{PETER_LINE.replace('=', '')}",
        f"{GO_TEXT}\n— PeterNeumann AAAA\n",
        f"{GO_TEXT}\n— Peter+Neumann {PETER_LINE.split()[2]}\n",
        f"{GO_TEXT}\n{PETER_LINE * 65}",
        f"{GO_TEXT}\t\n{PETER_LINE}",
        f"{GO_TEXT}\ud800\n\n{PETER_LINE}",
        f"{'x' * 1_000_001}\n\n{PETER_LINE}",
    ],
)
def test_a_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(InvalidNoteError):
        checkpoint.verified_text(note, [PETER_VKEY])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        PETER_VKEY[:-1],
        PETER_VKEY.replace("c74f20a3", "c74f20a4"),
        PETER_VKEY.replace("PeterNeumann", "PeterNewmann"),
        PETER_VKEY.replace("Peter", "Peter "),
        PETER_VKEY.replace("c74f20a3", "C74F20A3"),
        PETER_VKEY.replace("+ARpc", "+BRpc"),
        PETER_VKEY + "\n",
        "x+00000000+" + b64encode(b"\x01" + bytes(31)).decode(),
    ],
)
def test_a_malformed_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidNoteError):
        checkpoint.parse_vkey(text)


def test_a_verifier_key_names_its_key() -> None:
    key = checkpoint.parse_vkey(vkey())

    assert isinstance(key.public_key, Ed25519PublicKey)
    assert (key.name, key.public_key) == (ORIGIN, KEY.public_key())


@pytest.mark.parametrize(
    "head",
    [
        Checkpoint("", 1, ROOT),
        Checkpoint("two\nlines", 1, ROOT),
        Checkpoint("with space", 1, ROOT),
        Checkpoint("with+plus", 1, ROOT),
        Checkpoint(ORIGIN, -1, ROOT),
        Checkpoint(ORIGIN, 2**64, ROOT),
        Checkpoint(ORIGIN, 1, ROOT[:31]),
    ],
)
def test_what_could_not_be_read_back_is_not_signed(head: Checkpoint) -> None:
    with pytest.raises(InvalidNoteError):
        checkpoint.sign(head, KEY)
