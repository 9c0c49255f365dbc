from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import checkpoint, proof_file, tree
from audit.ledger.judge import judge_file
from audit.ledger.proof_file import ProofFile, ProofFileError
from tests.audit.ledger.builders import KEY, OTHER_KEY, SampleLog, log_of, vkey

LOG = log_of(12)


def proof_of(index: int, *, log: SampleLog = LOG, extra: bool = True) -> str:
    path = tree.inclusion_proof(index, len(log.leaves), log.get)
    return proof_file.dumps(index, path, log.note(), extra=log.leaves[index] if extra else b"")


TEXT = proof_of(7)


def test_a_proof_has_the_lines_of_the_specification() -> None:
    head, note = TEXT.split("\n\n", 1)
    lines = head.split("\n")

    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == f"extra {b64encode(LOG.leaves[7]).decode()}"
    assert lines[2] == "index 7"
    path = tree.inclusion_proof(7, 12, LOG.get)
    assert lines[3:] == [b64encode(item).decode() for item in path]
    assert note == LOG.note()
    assert proof_file.loads(TEXT.encode()) == ProofFile(7, tuple(path), note, LOG.leaves[7])


def test_the_only_entry_of_a_log_has_a_proof_without_hashes() -> None:
    text = proof_of(0, log=log_of(1))
    assert "\nindex 0\n\nvestige.example/log\n1\n" in text
    assert judge_file(text.encode(), trusted_vkey=vkey()).valid


def test_every_entry_is_proven_by_its_file_alone() -> None:
    for index in range(12):
        verdict = judge_file(proof_of(index).encode(), trusted_vkey=vkey())
        assert verdict.valid, verdict.checks
        assert verdict.entries == [index]
        assert verdict.checkpoint is not None


def test_the_leaf_may_travel_apart_and_counts_more_than_the_extra_line() -> None:
    bare = proof_of(7, extra=False).encode()
    assert not judge_file(bare, trusted_vkey=vkey()).valid
    assert "--leaf" in judge_file(bare, trusted_vkey=vkey()).faults[0].sentence
    assert judge_file(bare, trusted_vkey=vkey(), leaf=LOG.leaves[7]).valid
    assert not judge_file(TEXT.encode(), trusted_vkey=vkey(), leaf=LOG.leaves[8]).valid


def test_the_extra_line_is_believed_only_if_it_hashes_to_the_entry() -> None:
    path = tree.inclusion_proof(7, 12, LOG.get)
    other = proof_file.dumps(7, path, LOG.note(), extra=LOG.leaves[8])
    verdict = judge_file(other.encode(), trusted_vkey=vkey())
    assert not verdict.valid
    assert "Entry 7 is not in the signed log" in verdict.faults[0].sentence


def test_a_proof_is_judged_by_a_known_key_of_the_log_only() -> None:
    assert "names no key" in judge_file(TEXT.encode()).faults[0].sentence
    assert not judge_file(TEXT.encode(), trusted_vkey=vkey(OTHER_KEY)).valid
    assert not judge_file(TEXT.encode(), trusted_vkey="no key").valid
    assert judge_file(TEXT.encode(), trusted_vkey=[vkey(OTHER_KEY), vkey()]).valid


def test_a_witness_cannot_stand_for_the_log() -> None:
    name = "witness.example"
    blob = checkpoint.key_id(name, OTHER_KEY.public_key()) + OTHER_KEY.sign(
        TEXT.split("\n\n")[1].encode() + b"\n"
    )
    text = f"{TEXT}— {name} {b64encode(blob).decode()}\n"
    witness = checkpoint.vkey(name, OTHER_KEY.public_key())
    assert judge_file(text.encode(), trusted_vkey=vkey()).valid
    assert not judge_file(text.encode(), trusted_vkey=witness).valid


def test_a_leaf_of_another_log_that_says_another_number_is_named() -> None:
    """Included, but no entry that could stand there: a log that was built by hand."""
    log = log_of(4)
    swapped = SampleLog({})
    swapped.leaves, swapped.hashes = log.leaves[::-1], log.hashes[::-1]
    path = tree.inclusion_proof(0, 4, swapped.get)
    text = proof_file.dumps(0, path, swapped.note(), extra=swapped.leaves[0])
    verdict = judge_file(text.encode(), trusted_vkey=vkey())
    assert [check.name for check in verdict.faults] == ["leaf"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("c2sp.org/tlog-proof@v1\n", ""),
        ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v1\r\n"),
        ("index 7", "index 07"),
        ("index 7", "index -7"),
        ("index 7", "index \u0667"),
        ("index 7", "index 18446744073709551616"),
        ("index 7", "index"),
        ("index 7\n", ""),
        ("index 7", "index 7 "),
        ("index 7\n", "index 7\nindex 7\n"),
        ("extra ", "extra  "),
        ("extra ", "extra !"),
        ("extra ", "Extra "),
        ("\n\n", "\n"),
        ("\n\n", "\n\n\n"),
        ("=\n\n", "\n\n"),
        ("— vestige", "- vestige"),
    ],
)
def test_a_malformed_proof_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    changed = TEXT.replace(old, new, 1)
    with pytest.raises(ProofFileError):
        proof_file.loads(changed)
    assert not judge_file(changed.encode(), trusted_vkey=vkey()).valid


@pytest.mark.parametrize(
    "data",
    [b"c2sp.org/tlog-proof@v1\n", b"c2sp.org/tlog-proof@v1\n\xff", b"c2sp.org/tlog-proof@v1\n\n"],
)
def test_half_a_proof_is_no_crash(data: bytes) -> None:
    assert not judge_file(data, trusted_vkey=vkey()).valid


def test_hashes_of_another_length_or_too_many_of_them_are_refused() -> None:
    for hashes in ([bytes(31)], [bytes(33)], [b""], [bytes(32)] * 65):
        with pytest.raises(ProofFileError):
            proof_file.dumps(7, hashes, LOG.note())
    with pytest.raises(ProofFileError):
        proof_file.dumps(-1, [], LOG.note())
    with pytest.raises(ProofFileError):
        proof_file.dumps(1, [], "no checkpoint\n")


def test_a_proof_for_another_place_or_with_another_path_does_not_hold() -> None:
    path = tree.inclusion_proof(7, 12, LOG.get)
    for index, hashes in ((6, path), (7, path[::-1]), (7, path[:-1]), (7, [*path, path[0]])):
        text = proof_file.dumps(index, hashes, LOG.note(), extra=LOG.leaves[7])
        assert not judge_file(text.encode(), trusted_vkey=vkey()).valid


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(TEXT.encode()) - 1), st.integers(1, 255))
def test_no_changed_byte_leaves_a_proof_valid(at: int, change: int) -> None:
    data = bytearray(TEXT.encode())
    data[at] ^= change
    assert not judge_file(bytes(data), trusted_vkey=vkey()).valid


def test_a_truncated_proof_is_refused() -> None:
    data = TEXT.encode()
    for cut in range(len(data)):
        assert not judge_file(data[:cut], trusted_vkey=vkey()).valid


def test_a_checkpoint_signed_by_two_keys_is_carried_verbatim() -> None:
    note = LOG.note(KEY, OTHER_KEY)
    text = proof_file.dumps(7, tree.inclusion_proof(7, 12, LOG.get), note, extra=LOG.leaves[7])
    assert text.endswith(note)
    for key in (KEY, OTHER_KEY):
        assert judge_file(text.encode(), trusted_vkey=vkey(key)).valid
