"""The ranges of the log that are pruned: each must be what an entry of the log says.

A row of audit_prunedrange opens a range for deletion; whoever may insert one could take out what
they like. So the log itself must tell: its entry log.pruned names the range's tiles, their roots,
and when their last entries were recorded, and counts no type that is kept for ever.
"""

from bisect import bisect_right
from typing import Any, NamedTuple

import msgspec
from django.db import DatabaseError

from audit.events import is_permanent
from audit.ledger.leaf import HEADER
from audit.verification import stored
from audit.verification.layout import microseconds_of_event
from audit.verification.outcome import Outcome

TILE = 256
_LOG_PRUNED = "log.pruned"


class _Tile(msgspec.Struct, frozen=True, gc=False):
    """What is said of a tile that went."""

    tile: int
    root: str
    newest: str


class _Details(msgspec.Struct, frozen=True):
    tiles: list[_Tile]
    types: dict[str, int]


class _Event(msgspec.Struct, frozen=True):
    type: str
    details: _Details


_decode = msgspec.json.Decoder(_Event).decode


class Range(NamedTuple):
    """Entries start <= seq < stop are gone; the last of them was recorded at `newest_us`."""

    start: int
    stop: int
    newest_us: int


class Pruned:
    """The pruned ranges of the first `end` entries, in order, as the stored rows have them."""

    def __init__(self, log_id: int, outcome: Outcome, end: int) -> None:
        self._log_id, self._outcome = log_id, outcome
        self._roots: dict[int, bytes] = {}  # of tiles, as the log says
        self._said: dict[int, dict[int, _Tile]] = {}  # by the number of the entry
        self._tile = -1, b""  # the one that was looked at last
        self.ranges: list[Range] = []
        for start, stop, entry, newest_us in stored.pruned_ranges(log_id):
            numbers = (start, stop, entry, newest_us)
            last = self.ranges[-1].stop if self.ranges else 0
            if any(type(number) is not int for number in numbers):
                outcome.fault(None, "a pruned range has other things than numbers for its bounds.")
            elif not last <= start < stop <= min(entry, end) or start % TILE or stop % TILE:
                outcome.fault(
                    None, f"the pruned range {start} to {stop - 1} does not fit into the log."
                )
            else:
                self._check(Range(start, stop, newest_us), entry)
                self.ranges.append(Range(start, stop, newest_us))
        self._starts = [found.start for found in self.ranges]

    @property
    def entries(self) -> int:
        return sum(found.stop - found.start for found in self.ranges)

    def at(self, seq: int) -> Range | None:
        """The range that this entry went with."""
        place = bisect_right(self._starts, seq) - 1
        found = self.ranges[place] if place >= 0 else None
        return found if found is not None and seq < found.stop else None

    def next_start(self, seq: int) -> int | None:
        """Where the first range behind this entry starts."""
        place = bisect_right(self._starts, seq)
        return self._starts[place] if place < len(self._starts) else None

    def root(self, tile: int) -> bytes | None:
        """The root over a tile that went, as the log says."""
        return self._roots.get(tile)

    def hash_of(self, seq: int) -> bytes:
        """What the stored tile says is the hash of this entry; empty when there is no such tile."""
        index, place = divmod(seq, TILE)
        if self._tile[0] != index:
            self._tile = index, stored.tile(self._log_id, index)
        return self._tile[1][32 * place : 32 * place + 32]

    def _check(self, found: Range, entry: int) -> None:
        said = self._tiles_said(entry)
        where = f"entries {found.start} to {found.stop - 1} are pruned"
        if said is None:
            self._outcome.fault(found.start, f"{where}, and no entry tells why.")
            return
        tiles = [said.get(index) for index in range(found.start // TILE, found.stop // TILE)]
        if None in tiles:
            self._outcome.fault(found.start, f"{where}, but entry {entry} does not say so.")
            return
        for tile in tiles:
            if tile is not None:
                self._roots[tile.tile] = bytes.fromhex(tile.root)
        if _microseconds(tiles[-1]) != found.newest_us:
            self._outcome.fault(
                found.stop - 1,
                f"it is pruned, and entry {entry} says otherwise when it was recorded.",
            )

    def _tiles_said(self, entry: int) -> dict[int, _Tile] | None:
        """What the entry says of tiles; None when it is no log.pruned, or speaks of no tile.

        Its leaf is verified with all others.
        """
        if entry not in self._said:
            self._said[entry] = {}
            event = self._event(entry)
            if event is not None:
                self._said[entry] = {tile.tile: tile for tile in event.details.tiles}
                for name in filter(is_permanent, event.details.types):
                    self._outcome.fault(entry, f"it tells that entries of type {name} were pruned.")
        return self._said[entry] or None

    def _event(self, entry: int) -> _Event | None:
        try:
            leaf, _ = stored.leaf(self._log_id, entry)
            event = _decode(leaf[HEADER.size :])
        except (DatabaseError, TypeError, ValueError):  # no such entry, or no such event
            return None
        wrong = (tile for tile in event.details.tiles if not _is_well_formed(tile))
        return event if event.type == _LOG_PRUNED and next(wrong, None) is None else None


def _microseconds(tile: Any) -> int:
    return microseconds_of_event(tile.newest)


def _is_well_formed(tile: _Tile) -> bool:
    try:
        microseconds_of_event(tile.newest)
        return len(bytes.fromhex(tile.root)) == 32
    except ValueError:
        return False
