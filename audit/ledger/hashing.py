"""Hashes of a Merkle tree: RFC 6962, section 2.1, with SHA-256.

The prefixes 0x00 and 0x01 keep a leaf from being passed off as an inner node.
"""

from collections.abc import Iterable
from hashlib import sha256

HASH_BYTES = 32
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf), 32 bytes."""
    return sha256(LEAF_PREFIX + leaf).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """The leaf hash of each, faster than one by one: to copy a hash that was begun costs less than
    to begin one."""
    begun = sha256(LEAF_PREFIX)
    hashes = []
    for leaf in leaves:
        hashed = begun.copy()
        hashed.update(leaf)
        hashes.append(hashed.digest())
    return hashes


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes."""
    return sha256(NODE_PREFIX + left + right).digest()
