"""Data of others, against our code: SOURCES.md beside the data names where it is from."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.ledger import checkpoint, proof_file
from audit.ledger.checkpoint import InvalidNoteError
from audit.ledger.hashing import leaf_hash
from audit.ledger.tree import InvalidProofError
from tests.audit.ledger.builders import ORIGIN, log_of, vkey

VECTORS = Path(__file__).parents[2] / "data" / "ledger_vectors"
ED25519 = json.loads((VECTORS / "ed25519" / "wycheproof.json").read_text())
PEER: list[dict[str, Any]] = json.loads((VECTORS / "peer" / "tlog-proof.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "vector",
    ED25519["tests"],
    ids=[f"{item['tcId']} {item['flags'][0]}" for item in ED25519["tests"]],
)
def test_published_signatures_are_judged_as_published(vector: dict[str, Any]) -> None:
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(ED25519["publicKey"]))
    key = checkpoint.parse_vkey(checkpoint.vkey("vector.example", raw)).public_key
    signature, message = bytes.fromhex(vector["sig"]), bytes.fromhex(vector["msg"])
    if vector["result"] == "valid":
        key.verify(signature, message)
    else:
        with pytest.raises(InvalidSignature):
            key.verify(signature, message)


def test_a_notes_signature_cannot_be_spelled_in_another_way() -> None:
    """RFC 8032, 5.1.7: with S + L the equation holds too, and must not be enough."""
    order = 2**252 + 27742317777372353535851937790883648493
    note = log_of(3).note()
    body, _, line = note[:-1].rpartition("\n")
    blob = b64decode(line.split()[2])
    scalar = int.from_bytes(blob[36:], "little") + order
    twin = blob[:36] + scalar.to_bytes(32, "little")
    checkpoint.verify_note(note, [vkey()])
    with pytest.raises(InvalidNoteError):
        checkpoint.verify_note(f"{body}\n— {ORIGIN} {b64encode(twin).decode()}\n", [vkey()])


@pytest.mark.parametrize("vector", PEER, ids=range(len(PEER)))
def test_proofs_that_another_implementation_wrote_hold(vector: dict[str, Any]) -> None:
    leaf, proof = b64decode(vector["leaf"]), proof_file.loads(vector["proof"])
    assert proof.extra in (b"", leaf)
    assert proof_file.verify(proof, leaf_hash(leaf), [vector["vkey"]]).size == 13
    assert (
        proof_file.dumps(proof.index, proof.proof, proof.checkpoint, extra=proof.extra)
        == (vector["proof"])
    )
    with pytest.raises(InvalidProofError):
        proof_file.verify(proof, leaf_hash(leaf + b"x"), [vector["vkey"]])
    with pytest.raises(InvalidNoteError):
        proof_file.verify(proof, leaf_hash(leaf), [vkey()])


def test_a_proof_with_a_witness_beside_the_log_keeps_the_witness_line() -> None:
    proof = proof_file.loads(PEER[1]["proof"])
    _, signatures = checkpoint.parse(proof.checkpoint)
    assert [item.name for item in signatures] == ["peer.example/log", "witness.example/w1"]
    assert len(signatures[1].signature) == 8 + 64


# The examples in the texts of C2SP signed-note and tlog-checkpoint.
NOTE_EXAMPLE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU"
    "0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
CHECKPOINT_EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q"
    "1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
SUMDB_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def test_the_note_in_the_specification_is_read_with_its_empty_line() -> None:
    text, signatures = checkpoint.parse_note(NOTE_EXAMPLE)
    assert text.endswith(":\n\ned è subito sera.\n")
    assert signatures[0].name == "quasimodo.example/salvatore"
    assert (signatures[0].key_id.hex(), len(signatures[0].signature)) == ("367ba04b", 64)
    with pytest.raises(InvalidNoteError):
        checkpoint.verified_text(NOTE_EXAMPLE, [vkey()])


def test_the_checkpoint_in_the_specification_is_read_and_its_signature_holds() -> None:
    """It is one of the Go checksum database's, under another name."""
    head, _ = checkpoint.parse(CHECKPOINT_EXAMPLE)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20_852_163)
    original = CHECKPOINT_EXAMPLE.replace("— example.com/behind-the-sofa", "— sum.golang.org")
    original = original.replace("example.com/behind-the-sofa", "go.sum database tree")
    assert checkpoint.verify_note(original, [SUMDB_VKEY]).root == head.root


def test_every_vector_is_run() -> None:
    results = [item["result"] for item in ED25519["tests"]]
    assert (len(results), results.count("invalid"), len(PEER)) == (43, 37, 3)
