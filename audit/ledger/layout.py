"""A log of a given size as it lies in files (C2SP tlog-tiles): its bundles, tiles and edges.

A tile that is missing at the width of this size is read from the full one, which the specification
lets a log keep instead.
"""

from collections.abc import Iterator
from contextlib import suppress

from audit.ledger.files import Files, UnreadableError
from audit.ledger.hashing import HASH_BYTES
from audit.ledger.leaf import MAX_LEAF_BYTES
from audit.ledger.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileError,
    TileLevel,
    decode_entries,
    parse_tile_path,
    tile_path,
    tile_width,
)
from audit.ledger.tree import Frontier, root_of

_LIMIT = TILE_WIDTH * HASH_BYTES
_BUNDLE_LIMIT = TILE_WIDTH * (2 + MAX_LEAF_BYTES)


class Layout:
    """The files of a log, read as those of its first `size` entries."""

    def __init__(self, files: Files, size: int) -> None:
        self._files, self.size = files, size

    @property
    def levels(self) -> int:
        """How many levels of tiles there are."""
        return -(-self.size.bit_length() // TILE_HEIGHT)

    def path(self, level: TileLevel, index: int) -> str:
        return tile_path(level, index, tile_width(level, index, self.size))

    def tiles(self, level: int) -> range:
        """The numbers of the tiles of a level, the last of which may be partial."""
        return range(-(-(self.size >> TILE_HEIGHT * level) // TILE_WIDTH))

    def has_entries(self) -> bool:
        return any(True for _ in self._files.names(f"tile/{ENTRIES}/"))

    def bundles(self) -> list[int]:
        """The numbers of the bundles that there are files for, in order: a size can claim more."""
        found = set()
        for name in self._files.names(f"tile/{ENTRIES}/"):
            with suppress(TileError):
                found.add(parse_tile_path(name)[1])
        return sorted(found)

    def has_bundle(self, index: int) -> bool:
        """Whether there is a file with the entries below a tile, whatever is in it."""
        try:
            return self._files.read(self.path(ENTRIES, index), _BUNDLE_LIMIT) is not None
        except UnreadableError:
            return True

    def bundle(self, index: int) -> list[bytes]:
        """The leaves below a tile. Raises TileError."""
        data, width = self._read(ENTRIES, index)
        leaves = decode_entries(data)
        if len(leaves) != width:
            raise TileError(f"it holds {len(leaves)} entries, not {width}")
        return leaves[: tile_width(ENTRIES, index, self.size)]

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile. Raises TileError."""
        try:
            data, width = self._read(level, index)
            if len(data) != width * HASH_BYTES:
                raise TileError(f"it has {len(data):,} bytes, not {width * HASH_BYTES:,}")
        except TileError as error:
            raise TileError(f"{self.path(level, index)}: {error}") from error
        return data[: tile_width(level, index, self.size) * HASH_BYTES]

    def begins_with(self, path: str, level: TileLevel, index: int, width: int) -> bool:
        """Whether the partial tile at this path is the beginning of the one of this size."""
        try:
            part = self._files.read(path, _BUNDLE_LIMIT) or b""
            whole, _ = self._read(level, index)
            held = len(decode_entries(part)) if level == ENTRIES else len(part) / HASH_BYTES
        except (UnreadableError, TileError):
            return False
        return whole.startswith(part) and held == width

    def root(self) -> bytes:
        """The root by the tiles of level 0. Raises TileError."""
        frontier = Frontier()
        for index in self.tiles(0):
            frontier.extend(split(self.tile(0, index)))
        return frontier.root()

    def misfits(self, level: int) -> Iterator[tuple[str, str]]:
        """(tile, tile below) where a tile of this level holds another root than the one below has.

        At most one for each tile. Raises TileError.
        """
        for index in self.tiles(level):
            for place, said in enumerate(split(self.tile(level, index)), index * TILE_WIDTH):
                if root_of(split(self.tile(level - 1, place))) != said:
                    yield self.path(level, index), self.path(level - 1, place)
                    break

    def edge(self) -> list[str]:
        """The tiles that no tile above vouches for: those that are not full, one a level."""
        found = []
        for level in range(self.levels):
            index, width = divmod(self.size >> TILE_HEIGHT * level, TILE_WIDTH)
            if width:
                found.append(self.path(level, index))
        return found

    def _read(self, level: TileLevel, index: int) -> tuple[bytes, int]:
        """The content and its width. Raises TileError."""
        limit = _BUNDLE_LIMIT if level == ENTRIES else _LIMIT
        covered = tile_width(level, index, self.size)
        try:
            for width in (covered, TILE_WIDTH):
                data = self._files.read(tile_path(level, index, width), limit)
                if data is not None:
                    return data, width
        except UnreadableError as error:
            raise TileError(str(error)) from error
        raise TileError("it is missing")


def split(tile: bytes) -> list[bytes]:
    """The hashes in a tile."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
