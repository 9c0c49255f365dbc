"""Proof files: C2SP tlog-proof (c2sp.org/tlog-proof), one entry of a log and where it stands.

    c2sp.org/tlog-proof@v1
    extra <base64>                         (may be left out)
    index <the entry's index in the tree>
    <hash of the inclusion proof, base64>  (one a line, lowest sibling first; none in a tree of one)

    <the signed checkpoint, verbatim>

`extra` is not covered by any signature. Ours holds the entry's leaf, which the specification
allows as what is needed to reconstruct the record hash: the leaf is then proven by the hash, and a
reader that wants the leaf from elsewhere ignores the line.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, verify_note
from audit.ledger.checkpoint import parse as parse_checkpoint
from audit.ledger.hashing import HASH_BYTES
from audit.ledger.leaf import MAX_U64
from audit.ledger.tree import verify_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
MEDIA_TYPE = "text/plain; charset=utf-8"
SUFFIX = ".tlog-proof"

_MAX_HASHES = 64  # what a tree of 2**64 leaves needs
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,19})", re.ASCII)


class ProofFileError(ValueError):
    """The text is no tlog-proof."""


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A proof of the right form, of which nothing has been verified."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""


def dumps(index: int, proof: Sequence[bytes], checkpoint: str, *, extra: bytes = b"") -> str:
    """The proof as text. Raises ProofFileError when the parts do not make one."""
    lines = [HEADER]
    if extra:
        lines.append(f"extra {_base64(extra)}")
    lines += [f"index {index}", *map(_base64, proof), "", checkpoint]
    text = "\n".join(lines)
    if loads(text) != ProofFile(index, tuple(proof), checkpoint, extra):
        raise ProofFileError("the parts do not make a proof")
    return text


def is_proof(data: bytes) -> bool:
    """Whether a file says of itself that it is a tlog-proof of the version we know."""
    return data.startswith(HEADER.encode() + b"\n")


def loads(data: bytes | str) -> ProofFile:
    """Read a proof. Raises ProofFileError for everything that is none."""
    try:
        text = data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise ProofFileError(f"the file is no UTF-8 text: {error}") from error
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != HEADER or not separator:
        raise ProofFileError(f"a proof starts with {HEADER} and holds a checkpoint")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = _bytes(lines.pop(0).removeprefix("extra "), "the extra data")
    match = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if match is None or int(match[1]) > MAX_U64:
        raise ProofFileError("the proof has no line with the entry's index")
    if len(lines) > _MAX_HASHES:
        raise ProofFileError(f"a proof has at most {_MAX_HASHES} hashes, this one {len(lines)}")
    proof = tuple(_bytes(line, "a hash of the proof") for line in lines)
    if any(len(item) != HASH_BYTES for item in proof):
        raise ProofFileError("a hash of the proof has not 32 bytes")
    try:
        parse_checkpoint(note)
    except InvalidNoteError as error:
        raise ProofFileError(f"the proof holds no checkpoint: {error}") from error
    return ProofFile(int(match[1]), proof, note, extra)


def verify(proof: ProofFile, leaf_hash: bytes, vkeys: Iterable[str]) -> Checkpoint:
    """The signed checkpoint in whose tree the leaf hash stands at the proof's index.

    Raises InvalidNoteError when no key has signed it, InvalidProofError when the leaf hash is not
    there.
    """
    checkpoint = verify_note(proof.checkpoint, vkeys)
    verify_inclusion(proof.index, checkpoint.size, leaf_hash, proof.proof, checkpoint.root)
    return checkpoint


def _bytes(text: str, what: str) -> bytes:
    """Base64 in its one canonical spelling."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or _base64(data) != text:
        raise ProofFileError(f"{what} is not valid base64")
    return data


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
