"""Tiles: C2SP tlog-tiles (c2sp.org/tlog-tiles).

A tile of level L holds up to 256 hashes, each the root of a complete subtree of 256**L leaves.
Tile N of a level starts at hash 256 * N. A tile with fewer than 256 hashes is partial; only full
tiles count towards the level above. An entry bundle holds the up to 256 leaves under one level 0
tile, each behind its length as u16 big-endian.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from audit.ledger.hashing import HASH_BYTES, node_hash

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
ENTRIES: Literal["entries"] = "entries"
MAX_LEVEL = 63

TileLevel = int | Literal["entries"]
ReadTile = Callable[[int, int], bytes]

_MAX_ENTRY_BYTES = 0xFFFF
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class TileError(ValueError):
    """The tile, bundle or path is malformed, or too short for what is asked of it."""


def tile_path(level: TileLevel, index: int, width: int = TILE_WIDTH) -> str:
    """The path below the log's prefix, as in tile/0/x001/x234/067.p/12. Raises TileError."""
    if level != ENTRIES and not 0 <= level <= MAX_LEVEL:
        raise TileError(f"a tile level is {ENTRIES!r} or 0 to {MAX_LEVEL}, not {level!r}")
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise TileError(f"no tile has index {index} and width {width}")
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    path = "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{path}{partial}"


def parse_tile_path(path: str) -> tuple[TileLevel, int, int]:
    """Level, index and width: the inverse of `tile_path`. Raises TileError for other spellings."""
    match = _PATH.fullmatch(path) if len(path) < 64 else None
    if match is None:
        raise TileError(f"{path[:80]!r} is no tile path")
    level: TileLevel = ENTRIES if match["level"] == ENTRIES else int(match["level"])
    index = int(re.sub("[x/]", "", match["index"]))
    width = int(match["width"]) if match["width"] else TILE_WIDTH
    # Writing it again refuses levels and widths out of range, and padding beyond what is needed.
    if tile_path(level, index, width) != path:
        raise TileError(f"{path!r} is not how this tile's path is written")
    return level, index, width


def tile_width(level: TileLevel, index: int, size: int) -> int:
    """How wide the tile is in a tree of `size` leaves, 0 to 256."""
    height = 0 if level == ENTRIES else TILE_HEIGHT * level
    return min(TILE_WIDTH, max(0, (size >> height) - index * TILE_WIDTH))


def encode_entries(leaves: Iterable[bytes]) -> bytes:
    """An entry bundle of these leaves. Raises TileError for more than 256 or too long ones."""
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > _MAX_ENTRY_BYTES:
            raise TileError(f"an entry has at most 65,535 bytes, this one has {len(leaf):,}")
        parts += (len(leaf).to_bytes(2, "big"), leaf)
    if len(parts) > 2 * TILE_WIDTH:
        raise TileError(f"a bundle holds at most {TILE_WIDTH} entries, not {len(parts) // 2}")
    return b"".join(parts)


def decode_entries(data: bytes) -> list[bytes]:
    """The leaves of an entry bundle. Raises TileError when it is cut or too long."""
    leaves: list[bytes] = []
    position, end = 0, len(data)
    try:
        while position < end:
            start = position + 2
            position = start + (data[position] << 8 | data[position + 1])
            leaves.append(data[start:position])
    except IndexError:
        position = end + 1
    if position > end:
        raise TileError("the entry bundle ends in the middle of an entry")
    if len(leaves) > TILE_WIDTH:
        raise TileError(f"a bundle holds at most {TILE_WIDTH} entries, not {len(leaves)}")
    return leaves


class TileHashSource:
    """A `tree.HashSource` over tiles: a proof reads about log256(size) tiles, each once.

    `read_tile(level, index)` gives the tile's bytes as far as it is filled; a tile wider than the
    proof's tree serves as well. What was read is kept as long as this object lives, so make one
    for a proof or a request, not for a process.
    """

    def __init__(self, read_tile: ReadTile) -> None:
        self._read_tile = read_tile
        self._rows: dict[tuple[int, int], list[list[bytes]]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        return self.get(level, index)

    def get(self, level: int, index: int) -> bytes:
        """The root of the complete subtree `index` of 2**level leaves. Raises TileError."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, offset = divmod(index << height, TILE_WIDTH)
        row = self._tile(tile_level, tile_index)[height]
        position = offset >> height
        if position >= len(row):
            raise TileError(
                f"tile {tile_path(tile_level, tile_index)} is too short for the subtree"
                f" {index} of 2**{level} leaves"
            )
        return row[position]

    def _tile(self, level: int, index: int) -> list[list[bytes]]:
        """The tile's hashes and the levels between them and the next tile level."""
        rows = self._rows.get((level, index))
        if rows is None:
            rows = [_hashes(self._read_tile(level, index))]
            for _ in range(1, TILE_HEIGHT):
                below = rows[-1]
                rows.append(
                    [node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)]
                )
            self._rows[level, index] = rows
        return rows


def updated_tiles(
    size: int, leaf_hashes: Sequence[bytes], read_tile: ReadTile
) -> dict[tuple[int, int], bytes]:
    """The tiles that change when leaf hashes are appended to a tree of `size` leaves.

    (level, index) -> the tile's new bytes, full or partial. Reads only the partial tiles at the
    tree's right edge.
    """
    changed: dict[tuple[int, int], bytes] = {}
    level, start, hashes = 0, size, list(leaf_hashes)
    while hashes:
        index, width = divmod(start, TILE_WIDTH)
        if width:
            hashes = _hashes(read_tile(level, index))[:width] + hashes
            if len(hashes) < width:
                raise TileError(f"tile {tile_path(level, index)} is shorter than the tree")
        above: list[bytes] = []
        for at in range(0, len(hashes), TILE_WIDTH):
            tile = hashes[at : at + TILE_WIDTH]
            changed[level, index + at // TILE_WIDTH] = b"".join(tile)
            if len(tile) == TILE_WIDTH:
                above.append(_root(tile))
        level, start, hashes = level + 1, index, above
    return changed


def _root(nodes: list[bytes]) -> bytes:
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]


def _hashes(tile: bytes) -> list[bytes]:
    if len(tile) % HASH_BYTES or len(tile) > TILE_WIDTH * HASH_BYTES:
        raise TileError(f"a tile holds up to 256 hashes of 32 bytes, not {len(tile)} bytes")
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
