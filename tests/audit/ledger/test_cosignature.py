import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger import checkpoint, cosignature
from audit.ledger.checkpoint import InvalidNoteError, parse_note
from audit.ledger.cosignature import (
    answered,
    cosign,
    cosignatures,
    parse_witness_vkey,
    verify_witnessed,
    with_cosignatures,
    witness_vkey,
)
from audit.ledger.verify import verify_bundle
from tests.audit.ledger.builders import (
    KEY,
    OTHER_KEY,
    certificate_bundle,
    log_of,
    vkey,
    with_digest,
)

W1 = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
W2 = Ed25519PrivateKey.from_private_bytes(bytes(range(3, 35)))
W1_KEY = parse_witness_vkey(witness_vkey("witness.example/w1", W1.public_key()))
W2_KEY = parse_witness_vkey(witness_vkey("witness.example/w2", W2.public_key()))
NOW = 1_790_000_000
NOTE = log_of(7).note()

# The example of C2SP tlog-cosignature.
SPEC_NOTE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2"
    "q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2"
    "oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
# A checkpoint as a public certificate log serves it, cosigned by public witnesses in May 2026.
PUBLIC_NOTE = (
    "arche2025h1.staging.ct.transparency.dev\n1432088532\n"
    "U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
    "— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPM"
    "HbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n"
    "— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3N"
    "ygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n"
    "— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2r"
    "hIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n"
    "— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sX"
    "Tynk5XeU/zZ0WBxtqB0DrAWfBw==\n"
)
PUBLIC_LOG_VKEY = (
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
)
PUBLIC_WITNESS_VKEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


def w1_line(note: str = NOTE, time: int = NOW) -> str:
    return cosign(note, "witness.example/w1", W1, time)


def test_the_specifications_example_has_the_time_that_the_specification_says() -> None:
    _, signatures = parse_note(SPEC_NOTE)
    assert len(signatures[1].signature) == 72
    assert int.from_bytes(signatures[1].signature[:8], "big") == 1_679_315_147
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosignature._message(text, 1_679_315_147).decode() == (
        "cosignature/v1\n"
        "time 1679315147\n"
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_a_checkpoint_of_a_public_log_cosigned_by_a_public_witness_verifies() -> None:
    key = parse_witness_vkey(PUBLIC_WITNESS_VKEY)
    assert witness_vkey(key.name, key.public_key) == PUBLIC_WITNESS_VKEY
    made, (found,) = verify_witnessed(PUBLIC_NOTE, [PUBLIC_LOG_VKEY], [key])
    assert (made.size, found.key, found.time) == (1_432_088_532, key, 1_779_573_024)
    with pytest.raises(InvalidNoteError, match=r"remora\.n621\.de .* does not hold"):
        cosignatures(PUBLIC_NOTE.replace("1432088532", "1432088533"), [key])


def test_a_cosigned_note_says_who_cosigned_and_when() -> None:
    note = with_cosignatures(NOTE, [w1_line(), cosign(NOTE, "witness.example/w2", W2, NOW + 5)])
    made, found = verify_witnessed(note, [vkey()], [W1_KEY, W2_KEY])
    assert made.size == 7
    assert [(item.key.name, item.time) for item in found] == [
        ("witness.example/w1", NOW),
        ("witness.example/w2", NOW + 5),
    ]
    assert [item.key for item in cosignatures(note, [W2_KEY])] == [W2_KEY]
    assert cosignatures(NOTE, [W1_KEY]) == []


def test_a_cosigned_note_still_verifies_where_nobody_knows_the_witness() -> None:
    note = with_cosignatures(NOTE, [w1_line()])
    assert checkpoint.verify_note(note, [vkey()]) == checkpoint.verify_note(NOTE, [vkey()])
    members = certificate_bundle()
    members["checkpoint"] = with_cosignatures(
        members["checkpoint"], [w1_line(members["checkpoint"])]
    )
    members["digest"] = None
    assert verify_bundle(with_digest(members), trusted_vkey=vkey()).valid


def test_a_cosignature_alone_does_not_make_a_checkpoint() -> None:
    text, _ = parse_note(NOTE)
    note = f"{text}\n{w1_line()}"
    with pytest.raises(InvalidNoteError, match="none of the known keys"):
        verify_witnessed(note, [vkey()], [W1_KEY])


def test_a_logs_key_and_a_witnesss_key_do_not_pass_for_each_other() -> None:
    with pytest.raises(InvalidNoteError, match="not a witness's key"):
        parse_witness_vkey(vkey())
    with pytest.raises(InvalidNoteError, match="not an Ed25519 key"):
        checkpoint.parse_vkey(witness_vkey("witness.example/w1", W1.public_key()))
    # The log's key signing as if it were a witness has another key id, and another message.
    both = with_cosignatures(NOTE, [cosign(NOTE, "vestige.example/log", KEY, NOW)])
    assert checkpoint.verify_note(both, [vkey()]).size == 7
    as_witness = parse_witness_vkey(witness_vkey("vestige.example/log", KEY.public_key()))
    assert len(cosignatures(both, [as_witness])) == 1


def test_a_cosignature_of_another_checkpoint_is_refused() -> None:
    other = with_cosignatures(NOTE, [w1_line(log_of(8).note())])
    with pytest.raises(InvalidNoteError, match=r"witness\.example/w1 .* does not hold"):
        cosignatures(other, [W1_KEY])
    assert cosignatures(other, [W2_KEY]) == []


@given(st.integers(0, 71), st.integers(0, 7))
def test_one_changed_bit_of_a_cosignature_is_refused(at: int, bit: int) -> None:
    line = checkpoint.parse_signature_lines(w1_line())[0]
    blob = bytearray(line.signature)
    blob[at] ^= 1 << bit
    changed = checkpoint.signature_line(line.name, line.key_id, bytes(blob))
    with pytest.raises(InvalidNoteError):
        answered(NOTE, changed, [W1_KEY])


@pytest.mark.parametrize("length", [1, 8, 64, 71, 73, 80])
def test_a_cosignature_of_another_length_is_refused(length: int) -> None:
    line = checkpoint.signature_line(W1_KEY.name, W1_KEY.key_id, bytes(length))
    with pytest.raises(InvalidNoteError, match="bytes, not 72"):
        answered(NOTE, line, [W1_KEY])


@pytest.mark.parametrize("time", [-1, 2**63])
def test_a_time_that_no_cosignature_may_have_is_refused(time: int) -> None:
    with pytest.raises(InvalidNoteError, match="no time"):
        w1_line(time=time)


def test_a_time_beyond_the_limit_is_refused_even_where_the_signature_would_hold() -> None:
    blob = (2**63).to_bytes(8, "big") + bytes(64)
    line = checkpoint.signature_line(W1_KEY.name, W1_KEY.key_id, blob)
    with pytest.raises(InvalidNoteError, match="no time"):
        answered(NOTE, line, [W1_KEY])


def test_a_witness_counts_once_however_often_it_stands_there() -> None:
    note = with_cosignatures(NOTE, [w1_line(), w1_line(time=NOW + 60), w1_line()])
    assert note.count("witness.example/w1") == 2
    assert len(cosignatures(note, [W1_KEY])) == 1


def test_a_key_of_another_witness_under_the_same_name_is_unknown() -> None:
    impostor = cosign(NOTE, "witness.example/w1", OTHER_KEY, NOW)
    assert answered(NOTE, impostor, [W1_KEY]) == []


@pytest.mark.parametrize("lines", ["", "\n", "no line\n", "— witness.example/w1 AAAA", "— a b\n\n"])
def test_an_answer_that_is_no_signature_line_is_refused(lines: str) -> None:
    with pytest.raises(InvalidNoteError):
        answered(NOTE, lines, [W1_KEY])


def test_extension_lines_are_covered() -> None:
    head = checkpoint.Checkpoint("vestige.example/log", 7, bytes(32), ("more",))
    note = checkpoint.sign(head, KEY)
    cosigned = with_cosignatures(note, [w1_line(note)])
    assert len(cosignatures(cosigned, [W1_KEY])) == 1
    with pytest.raises(InvalidNoteError, match="does not hold"):
        cosignatures(cosigned.replace("\nmore\n", "\nless\n"), [W1_KEY])
