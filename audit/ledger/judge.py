"""Judges whatever file somebody holds: evidence, a saved receipt, a proof of one entry."""

from collections.abc import Iterable
from pathlib import Path

from audit.ledger.answer import is_answer
from audit.ledger.bundle import BundleError, decode
from audit.ledger.canonical import CanonicalError
from audit.ledger.checkpoint import InvalidNoteError, parse_vkey
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import LeafError
from audit.ledger.promise import verify_receipt
from audit.ledger.proof_file import ProofFile, ProofFileError, is_proof, loads
from audit.ledger.proof_file import verify as verify_proof
from audit.ledger.tree import InvalidProofError
from audit.ledger.verdict import Verdict
from audit.ledger.verify import read_leaf, verify_file

_NOTE_ONE = "The proof shows that this entry is in the log, not that the log holds nothing else."


def judge_file(
    data: bytes,
    *,
    trusted_vkey: str | Iterable[str] | None = None,
    against: Iterable[bytes | Path] = (),
    leaf: bytes | None = None,
) -> Verdict:
    """Judge a file by its content: what `verify_file` knows, a receipt, a tlog-proof. Never raises.

    `against` is for receipts (see audit.ledger.promise), `leaf` for a proof without its leaf.
    """
    if is_proof(data):
        return verify_proof_file(data, trusted_vkey=trusted_vkey, leaf=leaf)
    if data.lstrip()[:1] == b"{":
        try:
            value = decode(data)
        except BundleError:
            value = None
        if is_answer(value):
            return verify_receipt(value, trusted_vkey=trusted_vkey, against=against)
    return verify_file(data, trusted_vkey=trusted_vkey)


def verify_proof_file(
    data: bytes | str,
    *,
    trusted_vkey: str | Iterable[str] | None,
    leaf: bytes | None = None,
) -> Verdict:
    """Judge a tlog-proof by the leaf that is given, or the one in its `extra` line. Never raises.

    A proof file names no key, so that it cannot be judged without one.
    """
    verdict = Verdict(purpose="proof")
    try:
        proof = loads(data)
    except ProofFileError as error:
        verdict.record("format", [f"This is no tlog-proof: {error}."])
        return verdict
    verdict.record("format", [], f"This is a proof of entry {proof.index} (tlog-proof).")
    if trusted_vkey is None:
        verdict.record("key", ["A proof file names no key: give the log's (--vkey)."])
        return verdict
    leaf = leaf or proof.extra
    if not leaf:
        verdict.record("leaf", ["The file does not hold the entry's leaf: give it (--leaf)."])
        return verdict
    vkeys = [trusted_vkey] if isinstance(trusted_vkey, str) else list(trusted_vkey)
    _check_inclusion(verdict, proof, leaf, vkeys)
    try:
        read_leaf(proof.index, leaf)
    except (LeafError, CanonicalError) as error:
        verdict.record("leaf", [f"Entry {proof.index} is no entry of a log: {error}."])
    else:
        verdict.record("leaf", [], "The entry is well formed, with a canonical event.")
    verdict.note(_NOTE_ONE)
    return verdict


def _check_inclusion(verdict: Verdict, proof: ProofFile, leaf: bytes, vkeys: list[str]) -> None:
    try:
        checkpoint = verify_proof(proof, leaf_hash(leaf), vkeys)
        if checkpoint.origin not in {parse_vkey(vkey).name for vkey in vkeys}:
            raise InvalidNoteError(f"the keys are not those of the log {checkpoint.origin}")
    except InvalidNoteError as error:
        verdict.record("checkpoint", [f"The signed checkpoint does not hold: {error}."])
    except InvalidProofError as error:
        verdict.record("inclusion", [f"Entry {proof.index} is not in the signed log: {error}."])
    else:
        verdict.checkpoint, verdict.entries = checkpoint, [proof.index]
        verdict.record(
            "inclusion",
            [],
            f"Entry {proof.index} proven to be in the log {checkpoint.origin}, which has signed"
            f" {checkpoint.size:,} entries.",
        )
