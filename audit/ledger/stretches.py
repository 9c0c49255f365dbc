"""Following a log that lies in files by several processes at once, a stretch of it each.

The first entry of a stretch continues what lies before it, which its process has not read. So it
starts from the state that the hash tiles claim for that place, and tells what it started from. The
stretches hold together when each one starts from the state at which the one before really arrived,
and the first from an empty log: then all of it is as if one process had read it in order.

That is the whole answer where nothing is wrong. What is wrong, one process has to say.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from audit.ledger.chain import ChainError, ChainStateError, ChainVerifier
from audit.ledger.files import Files
from audit.ledger.layout import Layout
from audit.ledger.leaf import LeafError, unpack
from audit.ledger.tiles import TILE_WIDTH, TileError, TileHashSource
from audit.ledger.tree import Frontier

STRETCH_TILES = 128  # 32,768 entries: a tenth of a second's work
_BATCH_TILES = 16

Progress = Callable[[int, int], None]
_Reached = tuple[bytes, bytes]  # the states before and behind a stretch
_FAULTS = (ChainError, ChainStateError, LeafError, TileError)


def followed(
    files: Files, size: int, *, processes: int, progress: Progress | None
) -> ChainVerifier | None:
    """The chain behind the first `size` entries, all of which hold, and the tiles of level 0.

    None when anything is wrong, missing or pruned, or a process could not do its part. `files`
    goes to other processes, so it must be one that can be pickled.
    """
    state = ChainVerifier().to_bytes()
    # "spawn": the caller may have threads, whose locks a forked process would inherit.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for stop, reached in _in_order(pool, files, size, ahead=2 * processes):
                if reached is None or reached[0] != state:
                    return None
                state = reached[1]
                if progress:
                    progress(stop, size)
        except BrokenProcessPool:
            return None
        finally:
            pool.shutdown(cancel_futures=True)
    return ChainVerifier.from_bytes(state)


def _in_order(
    pool: ProcessPoolExecutor, files: Files, size: int, *, ahead: int
) -> Iterator[tuple[int, _Reached | None]]:
    """(the entry behind it, what `_follow` found) of each stretch. Only some are begun before they
    are asked for: the size is what a file claims."""
    starts = iter(range(0, -(-size // TILE_WIDTH), STRETCH_TILES))
    coming: deque[tuple[int, Future[_Reached | None]]] = deque()
    while True:
        for start in islice(starts, ahead - len(coming)):
            stop = min((start + STRETCH_TILES) * TILE_WIDTH, size)
            coming.append((stop, pool.submit(_follow, files, size, start)))
        if not coming:
            return
        stop, future = coming.popleft()
        yield stop, future.result()


def _follow(files: Files, size: int, start: int) -> _Reached | None:
    """The states before and behind the stretch that begins with tile `start`; None when anything in
    it is wrong."""
    layout = Layout(files, size)
    try:
        before = _claimed(layout, start)
        chain = ChainVerifier.from_bytes(before)
        for tiles in _batches(layout, start):
            leaves = [leaf for index in tiles for leaf in layout.bundle(index)]
            hashes = chain.feed_batch(leaves)
            if b"".join(hashes) != b"".join(layout.tile(0, index) for index in tiles):
                return None
    except _FAULTS:
        return None
    return before, chain.to_bytes()


def _batches(layout: Layout, start: int) -> Iterator[range]:
    """The numbers of a stretch's tiles, a batch at a time."""
    tiles = layout.tiles(0)[start : start + STRETCH_TILES]
    for at in range(0, len(tiles), _BATCH_TILES):
        yield tiles[at : at + _BATCH_TILES]


def _claimed(layout: Layout, tile: int) -> bytes:
    """The state before a tile as the files have it, unverified. Raises those of _FAULTS."""
    chain = ChainVerifier()
    if tile:
        chain.frontier = Frontier.at(tile * TILE_WIDTH, TileHashSource(layout.tile))
        chain.previous = layout.tile(0, tile - 1)[-len(chain.previous) :]
        chain.timestamp_us = unpack(layout.bundle(tile - 1)[-1]).timestamp_us
    return chain.to_bytes()
