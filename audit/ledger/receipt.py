"""Receipts: the log's signed word that it accepted events, kept by whoever sent them.

A receipt is a C2SP signed-note with this text, one for a request however many its events:

    vestige-receipt/1
    log <the log's origin>
    events <how many>
    root <RFC 6962 root over the accepted events, base64>
    time <when it was signed, RFC 3339 in UTC with microseconds>

The root's leaves, in the order of the request, are seq (u64, big-endian) || leaf hash (32) || the
event's id. A list of places and not a range, because an event that was sent before keeps its
earlier place, so that the places of a request need not follow each other. A root and not a flat
digest, because then one event of ten thousand can be shown to others by a short path, without the
rest. The id is in it because the sender does not know the leaf's bytes and could otherwise not say
which of its events the promise is about.

The log's Ed25519 key signs, under the key name <origin>/receipts. A signature covers the text
alone, so the text keeps receipts and checkpoints apart: a checkpoint's second line is a number, a
receipt's never is.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger.checkpoint import (
    InvalidNoteError,
    key_id,
    parse_note,
    parse_vkey,
    verified_text,
    vkey,
)
from audit.ledger.hashing import HASH_BYTES, LEAF_PREFIX
from audit.ledger.leaf import MAX_U64
from audit.ledger.tree import root_of

FORMAT = "vestige-receipt/1"
KEY_SUFFIX = "/receipts"

_TEXT = re.compile(
    rf"{FORMAT}\nlog (?P<origin>[^\s+]+)\nevents (?P<count>[1-9][0-9]{{0,9}})\n"
    r"root (?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"time (?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)\n"
)
_EVENT_ID = re.compile(r"[!-~]{1,128}")


class InvalidReceiptError(ValueError):
    """The receipt is malformed, not signed by a known key, or speaks of other events."""


class Accepted(NamedTuple):
    """One accepted event: its id, its place in the log, the hash of its leaf."""

    id: str
    seq: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the log promises: these `count` events with this root were accepted by then."""

    origin: str
    count: int
    root: bytes
    time: str

    @property
    def text(self) -> str:
        """The signed text. Raises InvalidReceiptError when it could not be parsed again."""
        root = b64encode(self.root).decode()
        text = f"{FORMAT}\nlog {self.origin}\nevents {self.count}\nroot {root}\ntime {self.time}\n"
        if _parse_text(text) != self:
            raise InvalidReceiptError(f"{self!r} does not fit into a receipt")
        return text


def promise_hashes(events: Iterable[Accepted]) -> list[bytes]:
    """The hash of each accepted event as a leaf of the receipt's tree.

    Raises InvalidReceiptError for an event that cannot be in a log.
    """
    try:
        return [
            sha256(LEAF_PREFIX + seq.to_bytes(8, "big") + leaf_hash + name.encode()).digest()
            for name, seq, leaf_hash in events
        ]
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidReceiptError(f"an event has no place in a log: {error}") from error


def sign(origin: str, events: Sequence[Accepted], key: Ed25519PrivateKey, *, time: str) -> str:
    """The receipt of these events as a signed note. Raises InvalidReceiptError."""
    text = Receipt(origin, len(events), root_of(promise_hashes(events)), time).text
    name = f"{origin}{KEY_SUFFIX}"
    blob = _key_id(name, key) + key.sign(text.encode())
    return f"{text}\n— {name} {b64encode(blob).decode()}\n"


@lru_cache(maxsize=64)
def _key_id(name: str, key: Ed25519PrivateKey) -> bytes:
    """Remembered: computing it takes as long as signing, and each request needs it."""
    return key_id(name, key.public_key())


def receipt_vkey(log_vkey: str) -> str:
    """The verifier key of the log's receipts: the log's key under its name for receipts.

    Raises InvalidNoteError.
    """
    key = parse_vkey(log_vkey)
    return vkey(f"{key.name}{KEY_SUFFIX}", key.public_key)


def parse(note: str) -> Receipt:
    """Read a receipt without verifying it. Raises InvalidReceiptError."""
    try:
        return _parse_text(parse_note(note)[0])
    except InvalidNoteError as error:
        raise InvalidReceiptError(str(error)) from error


def verify_signature(note: str, log_vkeys: Iterable[str]) -> Receipt:
    """The receipt in the note, signed for its log by one of these keys of the log.

    Raises InvalidReceiptError.
    """
    receipt = parse(note)
    try:
        verified_text(
            note,
            [receipt_vkey(item) for item in log_vkeys if parse_vkey(item).name == receipt.origin],
        )
    except InvalidNoteError as error:
        raise InvalidReceiptError(str(error)) from error
    return receipt


def verify(note: str, events: Sequence[Accepted], log_vkeys: Iterable[str]) -> Receipt:
    """The receipt, shown to be the log's word about exactly these events, in this order.

    Raises InvalidReceiptError.
    """
    receipt = verify_signature(note, log_vkeys)
    require_events(receipt, events)
    return receipt


def require_events(receipt: Receipt, events: Sequence[Accepted]) -> None:
    """Raises InvalidReceiptError unless the receipt is about exactly these events."""
    if receipt.count != len(events):
        raise InvalidReceiptError(
            f"the receipt is about {receipt.count:,} events, not {len(events):,}"
        )
    for event in events:
        require_event(event)
    if root_of(promise_hashes(events)) != receipt.root:
        raise InvalidReceiptError("the receipt is about other events, places or hashes")


def require_event(event: Accepted) -> None:
    """Raises InvalidReceiptError for what no log could have accepted."""
    if not _EVENT_ID.fullmatch(event.id):
        raise InvalidReceiptError("an event's id has 1 to 128 visible ASCII characters")
    if not 0 <= event.seq <= MAX_U64 or len(event.leaf_hash) != HASH_BYTES:
        raise InvalidReceiptError(f"the event {event.id} has no place in a log, or no hash")


def _parse_text(text: str) -> Receipt:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidReceiptError(
            f"a receipt has the lines {FORMAT}, log, events, root and time, this text has not"
        )
    root = b64decode(match["root"])
    if b64encode(root).decode() != match["root"]:
        raise InvalidReceiptError("the receipt's root is not valid base64")
    return Receipt(match["origin"], int(match["count"]), root, match["time"])
