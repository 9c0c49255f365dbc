"""What witnesses add to a checkpoint: C2SP tlog-cosignature, Ed25519 (signature type 0x04).

A witness signs the note's text behind two lines of its own:

    cosignature/v1
    time <POSIX time>
    <the checkpoint's text>

and what stands in the note is key id (4 bytes), time (u64, big-endian) and signature (64 bytes).
It says: at this time, the largest tree of this log that I have seen is this one, and it extends
all that I saw before. Key id = SHA-256(name || LF || 0x04 || public key)[:4].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.ledger.checkpoint import (
    COSIGNATURE,
    Checkpoint,
    InvalidNoteError,
    NoteSignature,
    VerifierKey,
    key_id,
    parse,
    parse_note,
    parse_signature_lines,
    parse_vkey,
    signature_line,
    verify_note,
    vkey,
)

MAX_TIME = 2**63 - 1

_TIME_BYTES = 8
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Cosignature:
    """Who has cosigned, and when they say that they did (POSIX time)."""

    key: VerifierKey
    time: int
    line: str


def witness_vkey(name: str, public_key: Ed25519PublicKey) -> str:
    """A witness's verifier key as text. Raises InvalidNoteError for a name no key may have."""
    return vkey(name, public_key, COSIGNATURE)


def parse_witness_vkey(text: str) -> VerifierKey:
    """The key in a witness's vkey text (type 0x04). Raises InvalidNoteError."""
    return parse_vkey(text, COSIGNATURE)


def cosign(note: str, name: str, key: Ed25519PrivateKey, time: int) -> str:
    """The witness's signature line for this note's checkpoint. Raises InvalidNoteError."""
    parse(note)
    witness_vkey(name, key.public_key())  # refuses what is no key name
    signature = key.sign(_message(parse_note(note)[0], time))
    known_by = key_id(name, key.public_key(), COSIGNATURE)
    return signature_line(name, known_by, time.to_bytes(_TIME_BYTES, "big") + signature)


def cosignatures(note: str, witnesses: Iterable[VerifierKey]) -> list[Cosignature]:
    """Which of these witnesses have cosigned the note, each once, in the note's order.

    Lines of others are ignored, the log's own among them: it is not checked here. Raises
    InvalidNoteError when the cosignature of a known witness does not hold.
    """
    text, signatures = parse_note(note)
    return _verified(text, signatures, witnesses)


def answered(note: str, lines: str, witnesses: Iterable[VerifierKey]) -> list[Cosignature]:
    """As `cosignatures`, of lines that a witness has answered with. Raises InvalidNoteError."""
    text, _ = parse_note(note)
    return _verified(text, parse_signature_lines(lines), witnesses)


def verify_witnessed(
    note: str, vkeys: Iterable[str], witnesses: Iterable[VerifierKey]
) -> tuple[Checkpoint, list[Cosignature]]:
    """The checkpoint, signed by one of the log's keys, and who cosigned it. InvalidNoteError.

    Whether they are enough says `audit.ledger.policy`.
    """
    return verify_note(note, vkeys), cosignatures(note, witnesses)


def with_cosignatures(note: str, lines: Iterable[str]) -> str:
    """The note with these cosignature lines behind its signatures, each once."""
    _, signatures = parse_note(note)
    for line in lines:
        (signature,) = parse_signature_lines(line)
        if signature not in signatures:
            signatures.append(signature)
            note += line
    return note


def _verified(
    text: str, signatures: Sequence[NoteSignature], witnesses: Iterable[VerifierKey]
) -> list[Cosignature]:
    known = {(key.name, key.key_id): key for key in witnesses}
    found: dict[tuple[str, bytes], Cosignature] = {}
    for signature in signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            found.setdefault((key.name, key.key_id), _verify(text, signature, key))
    return list(found.values())


def _verify(text: str, signature: NoteSignature, key: VerifierKey) -> Cosignature:
    blob = signature.signature
    if len(blob) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise InvalidNoteError(f"the cosignature of {key.name} has {len(blob)} bytes, not 72")
    time = int.from_bytes(blob[:_TIME_BYTES], "big")
    try:
        key.public_key.verify(blob[_TIME_BYTES:], _message(text, time))
    except InvalidSignature:
        raise InvalidNoteError(
            f"the cosignature of {key.name} ({key.key_id.hex()}) does not hold"
        ) from None
    return Cosignature(key, time, signature_line(signature.name, signature.key_id, blob))


def _message(text: str, time: int) -> bytes:
    if not 0 <= time <= MAX_TIME:
        raise InvalidNoteError(f"{time} is no time that a cosignature can have")
    return f"cosignature/v1\ntime {time}\n{text}".encode()
