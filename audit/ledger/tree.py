"""The Merkle tree: RFC 6962 section 2.1, proofs as in RFC 9162 sections 2.1.3 and 2.1.4.

Sizes count leaves, hashes are 32 bytes, proofs are lists of hashes in the order of the RFCs.
A `HashSource` gives the hash of a complete subtree: get(level, index) covers the leaves from
index * 2**level on, 2**level of them.

Where the RFCs leave size 0 open: nothing is included in an empty tree; two trees of equal size,
0 included, are consistent when their roots are equal; a tree that grew from the empty one needs
EMPTY_ROOT as its first root and an empty proof.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Self

from audit.ledger.hashing import EMPTY_ROOT, HASH_BYTES, NODE_PREFIX, node_hash

HashSource = Callable[[int, int], bytes]

# Frontier.extend hashes this many leaves at a time: enough for tight loops, little memory.
_CHUNK = 4096
_SIZE_BYTES = 8


class InvalidProofError(ValueError):
    """The proof does not show what it claims."""


class ProofRangeError(ValueError):
    """There is no such proof: the index or the sizes do not fit together."""


class FrontierError(ValueError):
    """The bytes are no stored frontier."""


class Frontier:
    """The right edge of a growing tree: all that is needed to append and to know the root.

    `size` counts the leaves; `peaks` are the roots of the complete subtrees that make up the
    tree, largest first, one for each 1 bit of the size.
    """

    __slots__ = ("_peaks", "_root", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or len(peaks) != size.bit_count():
            raise FrontierError(
                f"a tree of {size} leaves has {max(size, 0).bit_count()} peaks, not {len(peaks)}"
            )
        if any(len(peak) != HASH_BYTES for peak in peaks):
            raise FrontierError("each peak must be a hash of 32 bytes")
        self.size = size
        self._peaks = [bytes(peak) for peak in peaks]
        self._root: bytes | None = None

    @classmethod
    def at(cls, size: int, get: HashSource) -> Self:
        """The right edge of the tree of the first `size` leaves."""
        return cls(size, _peaks(0, size, get))

    @property
    def peaks(self) -> tuple[bytes, ...]:
        return tuple(self._peaks)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf hash."""
        peaks = self._peaks
        node = leaf_hash
        size = self.size
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        peaks.append(node)
        self.size += 1
        self._root = None

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add many leaf hashes, level by level, which is faster than one by one."""
        for chunk in _chunks(leaf_hashes):
            self._extend_chunk(chunk)

    def _extend_chunk(self, nodes: list[bytes]) -> None:
        peaks = self._peaks
        new_peaks: list[bytes] = []
        size = self.size
        self.size += len(nodes)
        self._root = None
        while nodes:
            if size & 1:
                nodes.insert(0, peaks.pop())
            if len(nodes) & 1:
                new_peaks.append(nodes.pop())
            size >>= 1
            nodes = _parents(nodes)
        peaks.extend(reversed(new_peaks))

    def root(self) -> bytes:
        """The RFC 6962 root of all leaves so far; EMPTY_ROOT when there is none."""
        if self._root is None:
            self._root = _fold(self._peaks)
        return self._root

    def copy(self) -> "Frontier":
        made = Frontier(self.size, self._peaks)
        made._root = self._root
        return made

    def to_bytes(self) -> bytes:
        """Size as u64 big-endian, then the peaks."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`. Raises FrontierError."""
        body = data[_SIZE_BYTES:]
        if len(data) < _SIZE_BYTES or len(body) % HASH_BYTES:
            raise FrontierError(f"a stored frontier has 8 + 32 * n bytes, this one {len(data)}")
        peaks = [body[start : start + HASH_BYTES] for start in range(0, len(body), HASH_BYTES)]
        return cls(int.from_bytes(data[:_SIZE_BYTES], "big"), peaks)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The RFC 6962 root over these leaf hashes."""
    frontier = Frontier()
    frontier.extend(leaf_hashes)
    return frontier.root()


def tree_root(size: int, get: HashSource) -> bytes:
    """The root of the tree of the first `size` leaves."""
    _require_sizes(size)
    return _fold(_peaks(0, size, get))


def inclusion_proof(index: int, size: int, get: HashSource) -> list[bytes]:
    """The proof that leaf `index` is in the tree of the first `size` leaves: RFC 6962 PATH.

    Raises ProofRangeError when the tree has no such leaf.
    """
    _require_sizes(size)
    if not 0 <= index < size:
        raise ProofRangeError(f"there is no leaf {index} in a tree of {size} leaves")
    proof = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_fold(_peaks(middle, end, get)))
            end = middle
        else:
            proof.append(_fold(_peaks(start, middle, get)))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(size1: int, size2: int, get: HashSource) -> list[bytes]:
    """The proof that the tree of size1 leaves is a prefix of that of size2: RFC 6962 PROOF.

    Raises ProofRangeError unless 0 <= size1 <= size2.
    """
    _require_sizes(size1, size2)
    if not 0 < size1 < size2:
        return []
    proof = []
    start, end = 0, size2
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            proof.append(_fold(_peaks(middle, end, get)))
            end = middle
        else:
            proof.append(_fold(_peaks(start, middle, get)))
            start = middle
    if start > 0:  # otherwise the old root itself, which the verifier has
        proof.append(_fold(_peaks(start, end, get)))
    proof.reverse()
    return proof


def verify_inclusion(
    index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf hash stands at `index` of the tree of `size` leaves with this root.

    RFC 9162, section 2.1.3.2. Raises InvalidProofError.
    """
    _require_integers(index, size)
    if not 0 <= index < size:
        raise InvalidProofError(f"there is no leaf {index} in a tree of {size} leaves")
    _require_hashes("the leaf hash", [leaf_hash])
    _require_hashes("the root", [root])
    _require_hashes("the proof", proof)
    inner, border = _path_lengths(index, size)
    _require_length(proof, inner + border)
    node = _climb_inner(leaf_hash, proof[:inner], index)
    if _climb_border(node, proof[inner:]) != root:
        raise InvalidProofError("the proof leads to another root")


def verify_consistency(
    size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree (size1, root1) is a prefix of the tree (size2, root2).

    RFC 9162, section 2.1.4.2. Raises InvalidProofError.
    """
    _require_integers(size1, size2)
    if not 0 <= size1 <= size2:
        raise InvalidProofError(f"a tree of {size2} leaves cannot extend one of {size1}")
    _require_hashes("the proof", proof)
    if size1 in {0, size2}:
        _require_length(proof, 0)
    if size1 == size2:
        if root1 != root2:
            raise InvalidProofError("two trees of one size have different roots")
        return
    _require_hashes("the roots", [root1, root2])
    if size1:
        _verify_growth(size1, size2, root1, root2, proof)
    elif root1 != EMPTY_ROOT:
        raise InvalidProofError("the root of the empty tree is not the hash of nothing")


def _verify_growth(
    size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]
) -> None:
    # The proof starts at the smallest complete subtree at the old tree's right edge. When that is
    # the whole old tree, its root is known and the proof leaves it out.
    height = (size1 & -size1).bit_length() - 1
    path = [root1, *proof] if size1 == 1 << height else list(proof)
    inner, border = _path_lengths(size1 - 1, size2)
    inner -= height
    _require_length(path, 1 + inner + border)
    seed, siblings, edge = path[0], path[1 : 1 + inner], path[1 + inner :]
    position = (size1 - 1) >> height
    if _climb_border(_climb_left(seed, siblings, position), edge) != root1:
        raise InvalidProofError("the proof does not lead to the first root")
    if _climb_border(_climb_inner(seed, siblings, position), edge) != root2:
        raise InvalidProofError("the proof does not lead to the second root")


def _path_lengths(index: int, size: int) -> tuple[int, int]:
    """Hashes of an inclusion path below and above where it joins the tree's right edge."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _climb_inner(node: bytes, siblings: Sequence[bytes], position: int) -> bytes:
    """Hash up from `position`: each bit says on which side the sibling is."""
    for sibling in siblings:
        node = node_hash(sibling, node) if position & 1 else node_hash(node, sibling)
        position >>= 1
    return node


def _climb_left(node: bytes, siblings: Sequence[bytes], position: int) -> bytes:
    """As `_climb_inner`, but only with what lies to the left: the tree as it was before."""
    for sibling in siblings:
        if position & 1:
            node = node_hash(sibling, node)
        position >>= 1
    return node


def _climb_border(node: bytes, siblings: Sequence[bytes]) -> bytes:
    """Hash up the tree's right edge, where every sibling is on the left."""
    for sibling in siblings:
        node = node_hash(sibling, node)
    return node


def _chunks(hashes: Iterable[bytes]) -> Iterator[list[bytes]]:
    items = iter(hashes)
    while chunk := list(islice(items, _CHUNK)):
        yield chunk


def _parents(nodes: list[bytes]) -> list[bytes]:
    """The hashes of neighbouring pairs. Inlined: this loop is half of verifying a log."""
    pairs = iter(nodes)
    prefix = NODE_PREFIX
    return [sha256(prefix + left + right).digest() for left, right in zip(pairs, pairs)]  # noqa: B905  # strict= would cost


def _fold(peaks: Sequence[bytes]) -> bytes:
    """The root over peaks given largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in peaks[-2::-1]:
        root = node_hash(peak, root)
    return root


def _peaks(start: int, end: int, get: HashSource) -> list[bytes]:
    """The complete subtrees that make up leaves start..end; `start` is aligned to all of them."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(get(level, start >> level))
        start += 1 << level
    return peaks


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 6962 calls it k)."""
    return 1 << (size - 1).bit_length() - 1


def _require_sizes(*sizes: int) -> None:
    if sizes[0] < 0 or list(sizes) != sorted(sizes):
        raise ProofRangeError(f"tree sizes must be 0 or more and ascending, not {sizes}")


def _require_integers(*numbers: int) -> None:
    if any(type(number) is not int for number in numbers):
        raise InvalidProofError("index and sizes must be whole numbers")


def _require_length(proof: Sequence[bytes], length: int) -> None:
    if len(proof) != length:
        fault = "short" if len(proof) < length else "long"
        raise InvalidProofError(f"the proof is too {fault} for these sizes")


def _require_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if any(not isinstance(item, bytes | bytearray) or len(item) != HASH_BYTES for item in hashes):
        raise InvalidProofError(f"{what} must consist of hashes of 32 bytes")
