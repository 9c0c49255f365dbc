"""The chain: every leaf names its position and the hash of the leaf before it.

`ChainVerifier` reads leaves in order and checks position, chain and time while it builds the
RFC 6962 tree. Its state is small and can be stored, so that a run goes on where the last ended.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NoReturn, Self

from audit.ledger.hashing import HASH_BYTES, LEAF_PREFIX, leaf_hashes
from audit.ledger.leaf import GENESIS, HEADER, MAGIC, MAX_LEAF_BYTES, LeafError, unpack
from audit.ledger.tree import Frontier, FrontierError

_TIME_BYTES = 8
_STATE_BYTES = _TIME_BYTES + HASH_BYTES


class ChainError(ValueError):
    """Leaf `seq` does not continue the log; `reason` says why."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"entry {seq}: {reason}")
        self.seq = seq
        self.reason = reason


class ChainStateError(ValueError):
    """The bytes are no stored state of a ChainVerifier."""


class ChainVerifier:
    """Checks leaves in the order of the log, from the first or from a stored state on.

    `previous` is the hash of the last leaf read, `timestamp_us` its time, `frontier` the tree up
    to it. After a ChainError the state stands before the faulty leaf. The events inside the
    leaves are not decoded here.
    """

    __slots__ = ("frontier", "previous", "timestamp_us")

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.previous = GENESIS
        self.timestamp_us = 0

    @property
    def size(self) -> int:
        """How many leaves have been read, which is also the seq of the next one."""
        return self.frontier.size

    def feed(self, leaf: bytes) -> bytes:
        """Check the next leaf and return its hash. Raises ChainError.

        `feed_batch` does the same about twice as fast.
        """
        if not HEADER.size < len(leaf) <= MAX_LEAF_BYTES:
            self._refuse(leaf)
        magic, seq, timestamp, previous = HEADER.unpack_from(leaf)
        if (
            previous != self.previous
            or seq != self.frontier.size
            or timestamp < self.timestamp_us
            or magic != MAGIC
        ):
            self._refuse(leaf)
        self.previous = sha256(LEAF_PREFIX + leaf).digest()
        self.timestamp_us = timestamp
        self.frontier.append(self.previous)
        return self.previous

    def feed_batch(self, leaves: Iterable[bytes]) -> list[bytes]:
        """Check the next leaves and return their hashes: some thousands at once are fastest.

        Raises ChainError at the first leaf that does not continue the log.
        """
        leaves = list(leaves)
        hashes = leaf_hashes(leaves)
        unpack_header = HEADER.unpack_from
        seq, previous, last = self.frontier.size, self.previous, self.timestamp_us
        good = 0
        for leaf, leaf_hash in zip(leaves, hashes, strict=True):
            if not HEADER.size < len(leaf) <= MAX_LEAF_BYTES:
                break
            magic, leaf_seq, timestamp, leaf_previous = unpack_header(leaf)
            if leaf_previous != previous or leaf_seq != seq or timestamp < last or magic != MAGIC:
                break
            seq += 1
            last = timestamp
            previous = leaf_hash
            good += 1
        self.previous, self.timestamp_us = previous, last
        self.frontier.extend(hashes[:good] if good < len(hashes) else hashes)
        if good < len(leaves):
            self._refuse(leaves[good])
        return hashes

    def skip(self, leaf_hashes: Sequence[bytes], timestamp_us: int | None = None) -> None:
        """Follow leaves that are gone, by their hashes: the tree and the next `previous` go on.

        `timestamp_us` is the time of the last of them, where it is known; the caller vouches for
        both until a signed root is compared. Raises ChainError when that time runs backwards.
        """
        if timestamp_us is not None:
            if timestamp_us < self.timestamp_us:
                raise ChainError(
                    self.size + len(leaf_hashes) - 1,
                    f"its time is said to be {timestamp_us} microseconds, before that of an entry"
                    f" before it, {self.timestamp_us}",
                )
            self.timestamp_us = timestamp_us
        if leaf_hashes:
            self.frontier.extend(leaf_hashes)
            self.previous = leaf_hashes[-1]

    def root(self) -> bytes:
        """The RFC 6962 root of all leaves read so far."""
        return self.frontier.root()

    def to_bytes(self) -> bytes:
        """The state: time of the last leaf (u64), its hash (32 bytes), the frontier."""
        return (
            self.timestamp_us.to_bytes(_TIME_BYTES, "big")
            + self.previous
            + self.frontier.to_bytes()
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A verifier that goes on from a stored state. Raises ChainStateError."""
        try:
            frontier = Frontier.from_bytes(data[_STATE_BYTES:])
        except FrontierError as error:
            raise ChainStateError(f"no stored state: {error}") from error
        verifier = cls()
        verifier.frontier = frontier
        verifier.timestamp_us = int.from_bytes(data[:_TIME_BYTES], "big")
        verifier.previous = data[_TIME_BYTES:_STATE_BYTES]
        if frontier.size & 1 and frontier.peaks[-1] != verifier.previous:
            raise ChainStateError("the stored state's last hash is not the tree's last leaf")
        if not frontier.size and (verifier.previous, verifier.timestamp_us) != (GENESIS, 0):
            raise ChainStateError("the stored state of an empty log names a last leaf")
        return verifier

    def _refuse(self, leaf: bytes) -> NoReturn:
        seq = self.size
        try:
            found = unpack(leaf)
        except LeafError as error:
            raise ChainError(seq, str(error)) from error
        if found.seq != seq:
            raise ChainError(seq, f"the leaf at this position says that it is number {found.seq}")
        if found.previous != self.previous:
            raise ChainError(
                seq,
                f"it names {found.previous.hex()} as the hash of the entry before it,"
                f" which is {self.previous.hex()}",
            )
        raise ChainError(
            seq,
            f"its time, {found.timestamp_us} microseconds, is before that of the entry before it,"
            f" {self.timestamp_us}",
        )
