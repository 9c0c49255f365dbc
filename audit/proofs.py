"""Proofs over the stored log, from O(log n) rows: full tiles, and the tree's right edge.

A tile that is not full yet is put together from the leaf hashes of the newest entries (level 0)
or from the roots of the full tiles below it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from audit.ledger import tree
from audit.ledger.checkpoint import Checkpoint
from audit.ledger.tiles import TILE_WIDTH, ReadTile, TileHashSource, tile_width, updated_tiles
from audit.models import Entry, Tile

FULL_TILE_BYTES = TILE_WIDTH * 32


class DamagedLogError(RuntimeError):
    """The stored tree lacks a row that it must have."""


def tile_reader(log_id: int, size: int) -> ReadTile:
    """Reads the tiles of the tree of the first `size` entries. Raises DamagedLogError."""

    def read(level: int, index: int) -> bytes:
        width = tile_width(level, index, size)
        data = (
            _full_tile(log_id, level, index)
            if width == TILE_WIDTH
            else _right_edge(log_id, level, index * TILE_WIDTH, width)
        )
        if len(data) != width * 32:
            raise DamagedLogError(f"Tile {level}/{index} of the log is missing or cut.")
        return data

    return read


def leaf_hash_at(log_id: int, seq: int) -> bytes:
    """The leaf hash of an entry of a full tile, whether pruned or not. Raises DamagedLogError."""
    index, place = divmod(seq, TILE_WIDTH)
    read = tile_reader(log_id, (index + 1) * TILE_WIDTH)
    return read(0, index)[32 * place : 32 * place + 32]


def inclusion(log_id: int, seq: int, size: int) -> list[bytes]:
    """The proof of entry `seq` in the tree of `size` entries. Raises ProofRangeError."""
    return tree.inclusion_proof(seq, size, TileHashSource(tile_reader(log_id, size)))


def inclusions(log_id: int, seqs: list[int], size: int) -> list[list[bytes]]:
    """Proofs of several entries in one tree, reading each tile once."""
    source = TileHashSource(tile_reader(log_id, size))
    return [tree.inclusion_proof(seq, size, source) for seq in seqs]


def consistency(log_id: int, first: int, second: int) -> list[bytes]:
    """The proof between two sizes of the tree. Raises ProofRangeError."""
    return tree.consistency_proof(first, second, TileHashSource(tile_reader(log_id, second)))


def root_at(log_id: int, size: int) -> bytes:
    """The root of the first `size` entries, computed from what is stored."""
    return tree.tree_root(size, TileHashSource(tile_reader(log_id, size)))


def require_extension(log_id: int, signed: Checkpoint, size: int, root: bytes) -> None:
    """Raises InvalidProofError unless the tree (size, root) extends what was signed."""
    tree.verify_consistency(
        signed.size, size, signed.root, root, consistency(log_id, signed.size, size)
    )


# The tiles at the right edge of a tree that are not full yet: (level, index) -> their hashes.
Edges = dict[tuple[int, int], bytes]
FullTile = tuple[int, int, bytes, bytes]  # level, index, hashes, root


class Grown(NamedTuple):
    """What appending fills, and the right edge after it."""

    filled: list[FullTile]
    edges: Edges


def edges(log_id: int, size: int) -> Edges:
    """The right edge of the tree of `size` entries, from what is stored."""
    read, found, level = tile_reader(log_id, size), Edges(), 0
    while size:
        index, width = divmod(size, TILE_WIDTH)
        if width:
            found[level, index] = read(level, index)
        level, size = level + 1, index  # one level up every full tile is one hash
    return found


def grow(size: int, leaf_hashes: Sequence[bytes], edges: Edges) -> Grown:
    """The tree of `size` entries and this right edge, with these hashes appended."""
    edge = 0, size // TILE_WIDTH
    if edge[1] == (size + len(leaf_hashes)) // TILE_WIDTH:  # it fills none: nearly every batch
        return Grown([], edges | {edge: edges.get(edge, b"") + b"".join(leaf_hashes)})
    changed = updated_tiles(size, leaf_hashes, lambda level, index: edges[level, index])
    filled: list[FullTile] = []
    for (level, index), hashes in sorted(changed.items()):
        if len(hashes) == FULL_TILE_BYTES:
            # The level above holds this tile's root.
            above, place = divmod(index, TILE_WIDTH)
            root = changed[level + 1, above][place * 32 : place * 32 + 32]
            filled.append((level, index, hashes, root))
    known = edges | changed
    return Grown(filled, {at: part for at, part in known.items() if len(part) < FULL_TILE_BYTES})


def _full_tile(log_id: int, level: int, index: int) -> bytes:
    found = Tile.objects.filter(log_id=log_id, level=level, index=index)
    hashes = found.values_list("hashes", flat=True).first()
    return bytes(hashes or b"")


def _right_edge(log_id: int, level: int, start: int, width: int) -> bytes:
    end = start + width
    if level == 0:
        entries = Entry.objects.filter(log_id=log_id, seq__gte=start, seq__lt=end)
        hashes = b"".join(
            bytes(e) for e in entries.order_by("seq").values_list("leaf_hash", flat=True)
        )
        if len(hashes) == width * 32:
            return hashes
        # Of a tree that was smaller than the log is now: its entries may be pruned.
        return _full_tile(log_id, 0, start // TILE_WIDTH)[: width * 32]
    below = Tile.objects.filter(log_id=log_id, level=level - 1, index__gte=start, index__lt=end)
    return b"".join(bytes(t) for t in below.order_by("index").values_list("root", flat=True))
