"""What a signed tree holds at given places, out of whatever somebody has kept of the log.

Accepted are an evidence bundle (JSON, or inside a PDF or a JSON document), the answer of
`GET /api/v1/events/{seq}/proof`, that of `GET /log/consistency`, a tlog-proof file with its leaf,
and a folder with `checkpoint` and `tile/…` by C2SP tlog-tiles. Each ends in a checkpoint that the
log has signed, and in what is proven of its tree: leaf hashes by place, also those that somebody
did not expect there, and roots that the tree had when it was smaller.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.ledger.attachment import AttachmentError, attached_evidence
from audit.ledger.bundle import BundleError, decode, parse
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, parse_vkey, verify_note
from audit.ledger.document import EVIDENCE_MEMBER
from audit.ledger.hashing import HASH_BYTES, leaf_hash
from audit.ledger.proof_file import ProofFileError, is_proof, loads
from audit.ledger.proof_file import verify as verify_proof
from audit.ledger.tiles import TILE_WIDTH, TileError, TileHashSource, tile_path, tile_width
from audit.ledger.tree import (
    InvalidProofError,
    consistency_proof,
    inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from audit.ledger.verify import verify_bundle

_PROOF_MEMBERS = {"seq", "leaf_hash", "size", "root", "proof", "checkpoint"}
_GROWTH_MEMBERS = {"first", "second", "first_root", "second_root", "proof", "checkpoint"}
_MAX_TILE_BYTES = TILE_WIDTH * HASH_BYTES
_FAULTS = (
    AttachmentError,
    BundleError,
    InvalidNoteError,
    InvalidProofError,
    ProofFileError,
    TileError,
)


class HoldingError(ValueError):
    """Nothing is proven by what was given; a sentence without its full stop says why."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A signed tree: leaf hashes proven to stand in it, by place; roots it had before, by size."""

    checkpoint: Checkpoint
    leaf_hashes: dict[int, bytes] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)


def holding(
    source: bytes | Path,
    *,
    seqs: Collection[int],
    origin: str,
    vkeys: Sequence[str],
    before: int | None = None,
) -> Holding:
    """What the log `origin` holds at these places, by its own signature. Raises HoldingError.

    `source`: the bytes of a file, or the path of a folder with checkpoint and tiles, of which also
    the root `before`, at this size, is taken.
    """
    known = [vkey for vkey in vkeys if parse_vkey(vkey).name == origin]
    try:
        if isinstance(source, Path):
            found = _folder(source, seqs, before, known)
        else:
            found = _file(source, known)
    except _FAULTS as error:
        raise HoldingError(str(error).rstrip(".")) from error
    if found.checkpoint.origin != origin:
        raise HoldingError(f"it is of the log {found.checkpoint.origin}, not of {origin}")
    return found


def _file(source: bytes, vkeys: Sequence[str]) -> Holding:
    if is_proof(source):
        return _proof_file(source, vkeys)
    if b"%PDF-" in source[:1024]:
        return _bundle(decode(attached_evidence(source)), vkeys)
    value = decode(source)
    if isinstance(value, dict) and value.keys() == _PROOF_MEMBERS:
        return _proof_answer(value, vkeys)
    if isinstance(value, dict) and value.keys() == _GROWTH_MEMBERS:
        return _growth_answer(value, vkeys)
    if isinstance(value, dict) and EVIDENCE_MEMBER in value:
        value = value[EVIDENCE_MEMBER]
    return _bundle(value, vkeys)


def _bundle(value: object, vkeys: Sequence[str]) -> Holding:
    parsed = parse(value)
    verdict = verify_bundle(value, trusted_vkey=vkeys)
    if not verdict.valid or verdict.checkpoint is None:
        raise HoldingError(verdict.faults[0].sentence.rstrip("."))
    return Holding(
        verdict.checkpoint, {entry.seq: leaf_hash(entry.leaf) for entry in parsed.entries}
    )


def _proof_file(data: bytes, vkeys: Sequence[str]) -> Holding:
    proof = loads(data)
    if not proof.extra:
        raise HoldingError("the proof file carries no leaf, so that it proves no entry by itself")
    hashed = leaf_hash(proof.extra)
    return Holding(verify_proof(proof, hashed, vkeys), {proof.index: hashed})


def _proof_answer(value: dict[str, Any], vkeys: Sequence[str]) -> Holding:
    note, seq = value["checkpoint"], value["seq"]
    if not isinstance(note, str):
        raise HoldingError("no signed checkpoint is with the proof; ask without ?size=")
    checkpoint = verify_note(note, vkeys)
    if not isinstance(value["proof"], list):
        raise HoldingError("proof must be a list of hashes")
    hashed = _unhex(value["leaf_hash"])
    path = [_unhex(item) for item in value["proof"]]
    verify_inclusion(seq, checkpoint.size, hashed, path, checkpoint.root)
    return Holding(checkpoint, {seq: hashed})


def _growth_answer(value: dict[str, Any], vkeys: Sequence[str]) -> Holding:
    note, first = value["checkpoint"], value["first"]
    if not isinstance(note, str):
        raise HoldingError("no signed checkpoint is with the proof; ask without &second=")
    checkpoint = verify_note(note, vkeys)
    if not isinstance(value["proof"], list):
        raise HoldingError("proof must be a list of hashes")
    root = _unhex(value["first_root"])
    path = [_unhex(item) for item in value["proof"]]
    verify_consistency(first, checkpoint.size, root, checkpoint.root, path)
    return Holding(checkpoint, roots={first: root})


def _folder(
    folder: Path, seqs: Collection[int], before: int | None, vkeys: Sequence[str]
) -> Holding:
    """By the hash tiles alone: entries need not be there."""
    try:
        checkpoint = verify_note((folder / "checkpoint").read_text("utf-8"), vkeys)
    except (OSError, UnicodeDecodeError) as error:
        raise HoldingError(f"the folder has no readable file named checkpoint ({error})") from error
    source = TileHashSource(lambda level, index: _tile(folder, level, index, checkpoint.size))
    found = Holding(checkpoint)
    for seq in seqs:
        if seq < checkpoint.size:
            hashed = source.get(0, seq)
            path = inclusion_proof(seq, checkpoint.size, source)
            verify_inclusion(seq, checkpoint.size, hashed, path, checkpoint.root)
            found.leaf_hashes[seq] = hashed
    if before is not None and before <= checkpoint.size:
        root = tree_root(before, source)
        path = consistency_proof(before, checkpoint.size, source)
        verify_consistency(before, checkpoint.size, root, checkpoint.root, path)
        found.roots[before] = root
    return found


def _tile(folder: Path, level: int, index: int, size: int) -> bytes:
    """The tile, or the full one that has taken its place since (tlog-tiles, Partial Tiles)."""
    width = tile_width(level, index, size)
    for wide in dict.fromkeys((width, TILE_WIDTH)):
        path = folder / tile_path(level, index, wide)
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_MAX_TILE_BYTES + 1)
    raise TileError(f"the folder lacks {tile_path(level, index, width)}")


def _unhex(value: object) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""  # no hash: the proof does not hold
