"""Compares the stored hash tiles (C2SP tlog-tiles) with the hashes of the leaves."""

from collections.abc import Iterable, Sequence
from typing import Any

from audit.ledger.chain import ChainVerifier
from audit.ledger.hashing import leaf_hash
from audit.ledger.tree import Frontier, root_of
from audit.verification import stored
from audit.verification.outcome import Outcome
from audit.verification.pruned import Pruned

TILE = 256


class Tiles:
    """Compares the stored hash tiles with the hashes of the leaves."""

    def __init__(self, log_id: int, outcome: Outcome, chain: ChainVerifier, pruned: Pruned) -> None:
        self._log_id, self._outcome = log_id, outcome
        start = chain.size
        self._first = start // TILE
        self._stored = stored.tiles(log_id, 0, self._first)
        self._peeked: tuple[Any, Any, Any] | None = None
        self._roots: list[bytes] = []
        # The entries of the tile that the earlier run left unfilled.
        if start % TILE and pruned.at(start) is not None:
            self._waiting = (self.next_hashes() or [])[: start % TILE]
            self._check_followed(chain)
        else:
            self._waiting = [
                leaf_hash(leaf)
                for chunk in stored.entries(log_id, self._first * TILE, start)
                for leaf in chunk.leaves
            ]

    def next_hashes(self) -> list[bytes] | None:
        """The hashes of the next tile as they are stored; None when it is not there."""
        if self._peeked is None:
            self._peeked = next(self._stored, (None, b"", b""))
        found, held, _ = self._peeked
        if found != self._first + len(self._roots) or not _is_full(held):
            return None
        return [held[at : at + 32] for at in range(0, len(held), 32)]

    def compare(self, hashes: Iterable[bytes]) -> None:
        self._waiting += hashes
        at = 0
        while len(self._waiting) - at >= TILE:
            self._compare_tile(self._first + len(self._roots), self._waiting[at : at + TILE])
            at += TILE
        del self._waiting[:at]

    def _check_followed(self, chain: ChainVerifier) -> None:
        """The part of a pruned tile that an earlier run saw must be what it saw."""
        edge = Frontier()
        edge.extend(self._waiting)
        if edge.peaks != chain.frontier.peaks[-len(edge.peaks) :]:
            self._outcome.fault(
                self._first * TILE, "the hash tile from this entry on is not what was seen before."
            )

    def _compare_tile(self, index: int, hashes: list[bytes]) -> None:
        found, held, root = self._peeked or next(self._stored, (None, b"", b""))
        self._peeked = None
        self._roots.append(root)
        if found != index or not _is_full(held):
            self._outcome.fault(index * TILE, "the hash tile from this entry on is missing.")
        elif held != b"".join(hashes):
            wrong = first_difference(hashes, [held[at : at + 32] for at in range(0, 8192, 32)])
            self._outcome.fault(
                index * TILE + (wrong or 0), "the hash tile holds another hash for it."
            )

    def finish(self, frontier: Frontier, *, roots_later: bool) -> None:
        """Check the roots beside the tiles and the tiles above, once the tree is known."""
        more = [index for index, _, _ in self._stored]
        if self._peeked is not None and self._peeked[0] is not None:
            more.insert(0, self._peeked[0])
        refuse_more_tiles(self._log_id, 0, more, self._outcome)
        if roots_later:
            return
        if self._first:
            _blame_roots(
                self._log_id, self._first, self._outcome
            )  # the earlier run has checked the tiles above
        else:
            check_tile_roots(self._log_id, self._roots, frontier, self._outcome)


def check_tile_roots(log_id: int, roots: list[bytes], frontier: Frontier, outcome: Outcome) -> None:
    """Check the roots beside all full tiles of level 0, and the tiles above, against the tree."""
    if any(type(root) is not bytes or len(root) != 32 for root in roots):
        outcome.fault(None, "a root beside a hash tile is no hash.")
        return
    # The roots of full tiles are the leaves of the tree's upper part: equal peaks, equal all.
    upper = Frontier()
    upper.extend(roots)
    if upper.peaks != frontier.peaks[: len(upper.peaks)]:
        _blame_roots(log_id, 0, outcome)
        return
    level, highest = 0, max(stored.tile_levels(log_id), default=0)
    while len(roots) >= TILE or level < highest:
        level += 1
        roots = _check_level(log_id, level, roots, outcome)


def _check_level(log_id: int, level: int, below: list[bytes], outcome: Outcome) -> list[bytes]:
    groups = [below[at : at + TILE] for at in range(0, len(below) - TILE + 1, TILE)]
    expected = [(at, b"".join(group), root_of(group)) for at, group in enumerate(groups)]
    found = list(stored.tiles(log_id, level))
    if found[: len(expected)] != expected:
        outcome.fault(None, f"the hash tiles of level {level} are not those of the tree.")
    refuse_more_tiles(log_id, level, [index for index, _, _ in found[len(expected) :]], outcome)
    return [root for _, _, root in expected]


def refuse_more_tiles(log_id: int, level: int, indexes: list[int], outcome: Outcome) -> None:
    """Tiles behind those that were checked must have been filled since the head was read."""
    head = stored.head(log_id)
    size = head.size if head is not None and type(head.size) is int else 0
    if any((index + 1) * TILE ** (level + 1) > size for index in indexes):
        outcome.fault(None, f"there are more hash tiles of level {level} than the log fills.")


def _blame_roots(log_id: int, first: int, outcome: Outcome) -> None:
    for index, held, root in stored.tiles(log_id, 0, first):
        if root_of([held[at : at + 32] for at in range(0, len(held), 32)]) != root:
            outcome.fault(index * TILE, "the root beside its hash tile is another.")


def _is_full(held: Any) -> bool:
    return type(held) is bytes and len(held) == 32 * TILE


def first_difference(ours: Sequence[bytes], theirs: Sequence[Any]) -> int | None:
    if list(ours) == list(theirs):
        return None
    return next(
        at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other
    )
