"""Verification by two processes: each reads half of the log, on a connection of its own.

The second half starts from the state that the stored rows claim for the middle. When the first
half really arrives at that state, and both find nothing wrong, the whole log holds. In every
other case one process reads it all again and names what is wrong.
"""

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from django.db import connection, connections

from audit.ledger.chain import ChainStateError, ChainVerifier
from audit.ledger.leaf import LeafError, unpack
from audit.ledger.tree import Frontier, FrontierError
from audit.verification import stored
from audit.verification.outcome import Outcome
from audit.verification.run import verify_log
from audit.verification.tiles import TILE, check_tile_roots

_ALIGNED = 4096  # entries; a multiple of a tile
_WORTH_IT = 16 * _ALIGNED


def verify_in_two(log_id: int, **how: Any) -> Outcome:
    """As `verify_log`. For processes with one thread only, outside of transactions: it forks."""
    size = getattr(stored.head(log_id), "size", None)
    # The threads that polars starts at its first use would be missing in a fork.
    if "polars" in sys.modules or connection.in_atomic_block:
        return verify_log(log_id, **how)
    if type(size) is not int or size < _WORTH_IT:
        return verify_log(log_id, **how)
    middle = _middle(log_id, size)
    try:
        claimed = _claimed_state(log_id, middle)
    except (LeafError, ChainStateError, FrontierError, IndexError, TypeError, ValueError):
        return verify_log(log_id, **how)
    return _by_two(log_id, middle, claimed, how) or verify_log(log_id, **how)


def _middle(log_id: int, size: int) -> int:
    """Where the second half begins: at a tile, and inside of no pruned range."""
    middle = size // 2 // _ALIGNED * _ALIGNED
    for start, stop, *_ in stored.pruned_ranges(log_id):
        if type(start) is int and type(stop) is int and start < middle < stop:
            return min(stop, size) // TILE * TILE
    return middle


def _by_two(log_id: int, middle: int, claimed: bytes, how: dict[str, Any]) -> Outcome | None:
    """The outcome when both halves hold; None when anything is wrong, or cannot be judged so."""
    connections.close_all()  # a forked process must not share a connection
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    second = fork.Process(target=_second_half, args=(theirs, log_id, claimed, how), daemon=True)
    second.start()
    theirs.close()
    first = verify_log(log_id, **how, end=middle)
    try:
        rest: Outcome = ours.recv()
    except EOFError:  # it failed where one process will say how
        return None
    finally:
        second.join()
    if not (first.ok and rest.ok and first.state == claimed):
        return None
    roots = [root for _, _, root in stored.tiles(log_id, 0)][: rest.size // TILE]
    check_tile_roots(log_id, roots, ChainVerifier.from_bytes(rest.state).frontier, rest)
    rest.started_at = first.started_at
    rest.warnings += [warning for warning in first.warnings if warning not in rest.warnings]
    return rest if rest.ok else None


def _second_half(answer: Connection, log_id: int, claimed: bytes, how: dict[str, Any]) -> None:
    how = how | {"progress": None, "state": claimed, "roots_later": True}
    with answer:
        answer.send(verify_log(log_id, **how))
    connections.close_all()


def _claimed_state(log_id: int, size: int) -> bytes:
    """The state after `size` entries as the stored rows have it, unverified."""
    roots: Sequence[bytes] = [root for _, _, root in stored.tiles(log_id, 0)][: size // TILE]
    upper = Frontier()
    upper.extend(roots)
    chain = ChainVerifier()
    chain.frontier = Frontier(size, upper.peaks)
    chain.previous, chain.timestamp_us = _claimed_last(log_id, size - 1)
    return chain.to_bytes()


def _claimed_last(log_id: int, seq: int) -> tuple[bytes, int]:
    """The hash and the time of an entry; of a pruned one, as the tile and the range have them."""
    for start, stop, _, newest_us in stored.pruned_ranges(log_id):
        if start <= seq < stop:
            return stored.tile(log_id, seq // TILE)[-32:], newest_us
    leaf, leaf_hash = stored.leaf(log_id, seq)
    return leaf_hash, unpack(leaf).timestamp_us
