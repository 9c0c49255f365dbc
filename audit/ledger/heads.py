"""The heads of a log: of every resource its newest entry, and how many entries it has.

One hash commits to all of them, so that a file can show what the newest entry of one resource is.
Heads stand in 4096 buckets, by the first 12 bits of SHA-256(name of the resource). A bucket's root
is the RFC 6962 root over its heads in ascending order of that hash, with as leaf

    SHA-256 of the name (32) | nth u64 | seq u64, integers big-endian

and the root of all is the RFC 6962 root over the 4096 bucket roots, in order, taken as they are
for leaf hashes; an empty bucket has the root of the empty tree. What is shown of one resource is
its whole bucket and the 12 hashes from the bucket's root up.

The log commits to that root in entries of the type HEADS_TYPE, whose details are
{"size", "root", "resources"}: the heads of the first `size` entries.
"""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from struct import Struct
from typing import Any, NamedTuple

from audit.ledger.hashing import EMPTY_ROOT, HASH_BYTES, LEAF_PREFIX, node_hash
from audit.ledger.tree import InvalidProofError, inclusion_proof, root_of, verify_inclusion

HEADS_TYPE = "log.heads"
BUCKETS = 4096
PATH_HASHES = 12
EMPTY_BUCKETS = EMPTY_ROOT * BUCKETS

_LEAF = Struct(">32sQQ")
_PLACE = Struct(">QQ")  # nth and seq, packed: there may be millions of resources


class Head(NamedTuple):
    """The newest entry of a resource, and which of the resource's entries it is, from 1."""

    key: bytes
    nth: int
    seq: int


def key_of(resource: str) -> bytes:
    """SHA-256 of the name, by which a resource is found."""
    return sha256(resource.encode()).digest()


def bucket_of(key: bytes) -> int:
    """The bucket, 0 to 4095: the first 12 bits."""
    return int.from_bytes(key[:2], "big") >> 4


def bucket_root(heads: Sequence[Head]) -> bytes:
    """The root of a bucket, its heads given in ascending order of their keys."""
    return root_of(sha256(LEAF_PREFIX + _LEAF.pack(*head)).digest() for head in heads)


def map_root(roots: bytes) -> bytes:
    """The root of all, from the 4096 bucket roots one after the other (131,072 bytes)."""
    return root_of(_split(roots))


def bucket_path(bucket: int, roots: bytes) -> list[bytes]:
    """The 12 hashes from a bucket's root up to the root of all, lowest first."""
    level = _split(roots)
    levels = [level]
    while len(level) > 1:
        level = [node_hash(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
        levels.append(level)

    return inclusion_proof(bucket, BUCKETS, lambda height, index: levels[height][index])


def head_in(
    resource: str, bucket: Sequence[Head], path: Sequence[bytes], root: bytes
) -> Head | None:
    """What a bucket shows of a resource: its head, or None when it has no entry.

    Raises InvalidProofError unless it is the whole bucket of this resource under this root.
    """
    key = key_of(resource)
    index = bucket_of(key)
    if any(bucket_of(head.key) != index or len(head.key) != HASH_BYTES for head in bucket):
        raise InvalidProofError("these are the heads of other resources")
    if any(later.key <= earlier.key for earlier, later in pairwise(bucket)):
        raise InvalidProofError("the heads do not stand in ascending order, each once")
    if any(not 1 <= head.nth <= head.seq + 1 < 2**64 for head in bucket):
        raise InvalidProofError("a head counts more entries than there can be")
    verify_inclusion(index, BUCKETS, bucket_root(bucket), path, root)
    return next((head for head in bucket if head.key == key), None)


class GatheredHeads:
    """The heads of more and more entries, in memory: about 250 bytes for each resource."""

    def __init__(self) -> None:
        self.resources = 0
        self._buckets: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        self._roots = bytearray(EMPTY_BUCKETS)
        self._changed: set[int] = set()

    def place_of(self, key: bytes) -> tuple[int, int] | None:
        """(nth, seq) of the resource's newest entry; None when it has none yet."""
        place = self._buckets[bucket_of(key)].get(key)
        if place is None:
            return None
        nth, seq = _PLACE.unpack(place)
        return nth, seq

    def put(self, head: Head) -> None:
        """This is the newest entry of its resource now."""
        index = bucket_of(head.key)
        bucket = self._buckets[index]
        self.resources += head.key not in bucket
        bucket[head.key] = _PLACE.pack(head.nth, head.seq)
        self._changed.add(index)

    def details(self, size: int) -> dict[str, Any]:
        """What an entry says that commits to these heads as those of the first `size` entries."""
        for index in self._changed:
            places = sorted(self._buckets[index].items())
            root = bucket_root([Head(key, *_PLACE.unpack(place)) for key, place in places])
            self._roots[index * HASH_BYTES : (index + 1) * HASH_BYTES] = root
        self._changed.clear()
        root = map_root(bytes(self._roots))
        return {"size": size, "root": root.hex(), "resources": self.resources}


def _split(roots: bytes) -> list[bytes]:
    if len(roots) != BUCKETS * HASH_BYTES:
        raise ValueError(f"there are {BUCKETS} bucket roots of 32 bytes, not {len(roots)} bytes")
    return [roots[at : at + HASH_BYTES] for at in range(0, len(roots), HASH_BYTES)]
