"""The leaf: the exact bytes that are hashed (RFC 6962 calls them the leaf input).

    magic "VLG1" (4) | seq u64 | timestamp u64, microseconds since 1970 UTC |
    hash of the previous leaf (32) | the event as canonical JSON (RFC 8785)

Integers are big-endian. `seq` is the leaf's index in the tree and starts at 0. The previous
leaf's hash stands inside the leaf, so that the Merkle root commits to the chain as well. A leaf
has at most 65,535 bytes, the limit of a C2SP tlog-tiles entry bundle.
"""

from dataclasses import dataclass
from struct import Struct

from audit.ledger.hashing import HASH_BYTES

MAGIC = b"VLG1"
HEADER = Struct(">4sQQ32s")
GENESIS = bytes(HASH_BYTES)
MAX_LEAF_BYTES = 65_535
MAX_EVENT_BYTES = MAX_LEAF_BYTES - HEADER.size
MAX_U64 = 2**64 - 1


class LeafError(ValueError):
    """The bytes are no leaf, or the values do not fit into one."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf, taken apart. `event` is canonical JSON and stays bytes."""

    seq: int
    timestamp_us: int
    previous: bytes
    event: bytes


def pack(seq: int, timestamp_us: int, previous: bytes, event: bytes) -> bytes:
    """The leaf bytes. `previous` is the hash of leaf seq - 1, GENESIS for seq 0.

    Raises LeafError when a value does not fit.
    """
    if len(event) > MAX_EVENT_BYTES:
        raise LeafError(
            f"the event has {len(event):,} bytes of canonical JSON, at most"
            f" {MAX_EVENT_BYTES:,} fit into a leaf; send a digest and keep the rest elsewhere"
        )
    if not event:
        raise LeafError("the event is empty; a leaf holds a JSON object")
    if len(previous) != HASH_BYTES:
        raise LeafError(f"the previous leaf's hash has {len(previous)} bytes, it must have 32")
    if not (0 <= seq <= MAX_U64 and 0 <= timestamp_us <= MAX_U64):
        raise LeafError(f"seq {seq} and timestamp {timestamp_us} must fit into 64 bits unsigned")
    return HEADER.pack(MAGIC, seq, timestamp_us, previous) + event


def unpack(leaf: bytes) -> Leaf:
    """Take a leaf apart. Raises LeafError. The event is not decoded here."""
    if len(leaf) > MAX_LEAF_BYTES:
        raise LeafError(f"a leaf has at most {MAX_LEAF_BYTES:,} bytes, this one has {len(leaf):,}")
    if len(leaf) <= HEADER.size:
        raise LeafError(f"a leaf has more than {HEADER.size} bytes, this one has {len(leaf)}")
    magic, seq, timestamp_us, previous = HEADER.unpack_from(leaf)
    if magic != MAGIC:
        raise LeafError(f"a leaf starts with VLG1, this one with {magic!r}")
    return Leaf(seq, timestamp_us, previous, leaf[HEADER.size :])
