"""Checkpoints: C2SP tlog-checkpoint as a C2SP signed-note with Ed25519 signatures (0x01).

    <origin>
    <tree size>
    <root hash, base64>

    — <key name> <base64 of key id (4 bytes) and signature (64 bytes)>

A note is valid when at least one known key signed it and no signature of a known key fails.
Signatures of unknown keys (witnesses, the key before or after a rotation) are kept and ignored.
A verifier key, "vkey", is written <name>+<key id, hex>+<base64 of 0x01 and the public key>.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.ledger.hashing import HASH_BYTES
from audit.ledger.leaf import MAX_U64

ED25519 = 0x01
COSIGNATURE = 0x04  # audit.ledger.cosignature
MAX_NOTE_CHARACTERS = 1_000_000
MAX_SIGNATURES = 64

_KINDS = {ED25519: "an Ed25519", COSIGNATURE: "a witness's"}
_KEY_ID_BYTES = 4
_KEY_BYTES = 32
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)")
_VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_SIZE = re.compile("0|[1-9][0-9]{0,19}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class InvalidNoteError(ValueError):
    """The note, checkpoint or key is malformed, or a signature does not hold."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the log commits to: its first `size` leaves have this RFC 6962 root (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The signed text. Raises InvalidNoteError when it could not be parsed again."""
        root = b64encode(self.root).decode()
        text = "".join(f"{line}\n" for line in (self.origin, self.size, root, *self.extensions))
        if _parse_text(text) != self:
            raise InvalidNoteError(f"{self!r} does not fit into a checkpoint")
        return text


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line; `signature` has 64 bytes if it is an Ed25519 signature."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name it signs under."""

    name: str
    key_id: bytes
    public_key: Ed25519PublicKey


def key_id(name: str, public_key: Ed25519PublicKey, kind: int = ED25519) -> bytes:
    """The 4 bytes by which a note refers to the key: SHA-256(name || LF || kind || key)[:4]."""
    hashed = name.encode() + b"\n" + bytes([kind]) + public_key.public_bytes_raw()
    return sha256(hashed).digest()[:_KEY_ID_BYTES]


def vkey(name: str, public_key: Ed25519PublicKey, kind: int = ED25519) -> str:
    """The verifier key as text. Raises InvalidNoteError for a name that no key may have."""
    material = b64encode(bytes([kind]) + public_key.public_bytes_raw()).decode()
    text = f"{name}+{key_id(name, public_key, kind).hex()}+{material}"
    parse_vkey(text, kind)
    return text


def parse_vkey(text: str, kind: int = ED25519) -> VerifierKey:
    """The key in a vkey text, which must be for this kind of signature. Raises InvalidNoteError."""
    match = _VKEY.fullmatch(text)
    if match is None or not _is_plain(text):
        raise InvalidNoteError("a verifier key is written name+id+base64, as in example+0a1b2c3d+…")
    material = _decode(match[3], "the verifier key")
    if len(material) != 1 + _KEY_BYTES or material[0] != kind:
        raise InvalidNoteError(
            f"the verifier key is not {_KINDS[kind]} key (0x{kind:02x} and 32 bytes)"
        )
    public_key = Ed25519PublicKey.from_public_bytes(material[1:])
    key = VerifierKey(match[1], bytes.fromhex(match[2]), public_key)
    if key.key_id != key_id(key.name, public_key, kind):
        raise InvalidNoteError("the verifier key's id does not belong to its name and key")
    return key


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey, *more: Ed25519PrivateKey) -> str:
    """The checkpoint as a signed note, signed under the log's origin by each of the keys.

    More than one key signs while keys are being rotated. Raises InvalidNoteError when origin or
    size do not fit the format.
    """
    text = checkpoint.text
    lines = []
    for signer in (key, *more):
        known_by = _signing_id(checkpoint.origin, signer.public_key().public_bytes_raw())
        lines.append(signature_line(checkpoint.origin, known_by, signer.sign(text.encode())))
    return f"{text}\n{''.join(lines)}"


@lru_cache(maxsize=256)
def _signing_id(origin: str, public: bytes) -> bytes:
    """The id of a log's own key. Raises InvalidNoteError for an origin that is no key name."""
    return parse_vkey(vkey(origin, Ed25519PublicKey.from_public_bytes(public))).key_id


def signature_line(name: str, key_id: bytes, signature: bytes) -> str:
    """One line of a note's signatures, with its LF."""
    return f"— {name} {b64encode(key_id + signature).decode()}\n"


def parse_signature_lines(block: str) -> list[NoteSignature]:
    """The signature lines that end a note, or that a witness answers with. InvalidNoteError."""
    if not block.endswith("\n"):
        raise InvalidNoteError("the signature lines do not end with a newline")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InvalidNoteError(f"the note has more than {MAX_SIGNATURES} signatures")
    return [_parse_signature(line) for line in lines]


def parse(note: str) -> tuple[Checkpoint, list[NoteSignature]]:
    """Read a note without verifying it. Raises InvalidNoteError."""
    text, signatures = parse_note(note)
    return _parse_text(text), signatures


def verify_note(note: str, vkeys: Iterable[str]) -> Checkpoint:
    """The checkpoint in the note, signed by at least one of these keys. Raises InvalidNoteError."""
    return _parse_text(verified_text(note, vkeys))


def parse_note(note: str) -> tuple[str, list[NoteSignature]]:
    """Any signed note, as its text and signatures, unverified. Raises InvalidNoteError."""
    if len(note) > MAX_NOTE_CHARACTERS:
        raise InvalidNoteError(f"the note is longer than {MAX_NOTE_CHARACTERS:,} characters")
    if not _is_plain(note):
        raise InvalidNoteError("the note holds control characters or is not UTF-8")
    body, separator, block = note.rpartition("\n\n")
    if not separator or not block.endswith("\n"):
        raise InvalidNoteError("the note has no signature lines after an empty line")
    return body + "\n", parse_signature_lines(block)


def verified_text(note: str, vkeys: Iterable[str]) -> str:
    """The text of a signed note, by the rules of C2SP signed-note. Raises InvalidNoteError."""
    text, signatures = parse_note(note)
    known = {(key.name, key.key_id): key for key in map(parse_vkey, vkeys)}
    verified = 0
    for signature in signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        try:
            key.public_key.verify(signature.signature, text.encode())
        except InvalidSignature:
            raise InvalidNoteError(
                f"the signature of {key.name} ({key.key_id.hex()}) does not hold"
            ) from None
        verified += 1
    if not verified:
        raise InvalidNoteError("none of the known keys has signed the note")
    return text


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if lines.pop() or len(lines) < 3 or not all(lines):
        raise InvalidNoteError(
            "a checkpoint has the lines origin, size and root, none of them empty"
        )
    origin, size, root, *extensions = lines
    if not _is_plain(text) or not _SIZE.fullmatch(size) or int(size) > MAX_U64:
        raise InvalidNoteError("the checkpoint's second line is not a tree size")
    root_hash = _decode(root, "the checkpoint's root hash")
    if len(root_hash) != HASH_BYTES:
        raise InvalidNoteError(f"the checkpoint's root hash has {len(root_hash)} bytes, not 32")
    return Checkpoint(origin, int(size), root_hash, tuple(extensions))


def _parse_signature(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise InvalidNoteError(f"this is no signature line: {line[:120]!r}")
    blob = _decode(match[2], "a signature")
    if len(blob) <= _KEY_ID_BYTES:
        raise InvalidNoteError("a signature is too short")
    return NoteSignature(match[1], blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


def _decode(text: str, what: str) -> bytes:
    """Base64 in its one canonical spelling, so that no two notes mean the same bytes."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or b64encode(data).decode() != text:
        raise InvalidNoteError(f"{what} is not valid base64")
    return data


def _is_plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not _CONTROL.search(text)
