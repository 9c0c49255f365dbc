"""One pass over the stored log: chain, tree, columns, tiles, signatures, head."""

import gc
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection
from django.utils import timezone

from audit.guards import failing_guards
from audit.ledger import canonical
from audit.ledger.chain import ChainError, ChainVerifier
from audit.ledger.hashing import leaf_hash, leaf_hashes
from audit.ledger.leaf import HEADER, LeafError, unpack
from audit.ledger.tree import root_of
from audit.verification import columns, stored
from audit.verification.chunks import Chunk
from audit.verification.outcome import Outcome
from audit.verification.pruned import TILE, Pruned
from audit.verification.signatures import Signatures
from audit.verification.tiles import Tiles, first_difference

_SWITCH_SECONDS = 0.0002

Progress = Callable[[int, int], None]


def verify_log(
    log_id: int,
    *,
    vkeys: Sequence[str],
    remembered: str = "",
    full: bool = False,
    state: bytes = b"",
    end: int | None = None,
    roots_later: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Check the stored log against the log's public keys (C2SP vkeys).

    `remembered` is a signed note kept outside the database: the log must still contain what it
    covers. `full` also checks that the bytes of every event are canonical JSON. With the `state`
    of an earlier run only what was added since is read; old entries that were changed meanwhile
    are not found that way. With `end` only the entries below it are read, and what lies above the
    entries (head, roots beside tiles) is left out. `roots_later`: the caller checks the roots
    beside the tiles. Raises ChainStateError.
    """
    now = timezone.now()
    outcome = Outcome(started_at=now, finished_at=now)
    head = stored.head(log_id)
    if head is None:
        low, _, strays = stored.stray_entries(log_id)
        if low is not None or strays or stored.checkpoints(log_id) or remembered:
            outcome.fault(None, "the head of the log is missing, and there was a log.")
    elif type(head.size) is not int or head.size < 0:
        outcome.fault(None, f"the head says that the log has {head.size!r} entries.")
    else:
        outcome.size = head.size
        chain = ChainVerifier.from_bytes(state) if state else ChainVerifier()
        stop = head.size if end is None else min(end, head.size)
        signatures = Signatures(head, vkeys, outcome, start=chain.size, end=stop)
        signatures.collect(log_id, remembered)
        run = _Run(log_id, head, signatures, outcome, chain, full=full, progress=progress)
        run.read(stop)
        if end is None:
            run.finish(roots_later=roots_later)
    _check_guards(log_id, outcome)
    outcome.findings.sort(key=lambda finding: (finding.seq is None, finding.seq or 0))
    outcome.finished_at = timezone.now()
    return outcome


def _check_guards(log_id: int, outcome: Outcome) -> None:
    low, high, strays = stored.stray_entries(log_id)
    # Read after the rows: entries that were added meanwhile moved the head first.
    head = stored.head(log_id)
    size = head.size if head is not None and type(head.size) is int else 0
    if low is not None and not (type(low) is int and low >= 0):
        outcome.fault(None, f"a row has {low!r} for its number; somebody inserted it.")
    if high is not None and type(high) is not int:
        outcome.fault(None, f"a row has {high!r} for its number; somebody inserted it.")
    elif high is not None and high >= size:
        outcome.fault(high, "it lies behind the head of the log; somebody inserted it.")
    if strays:
        outcome.fault(None, f"{strays} rows of audit_entry belong to no log.")
    failing = failing_guards(connection)
    if failing:
        outcome.warnings.append(
            f"The database does not guard the log: {', '.join(failing)} missing, disabled or"
            " changed."
        )


class _Run:
    """One pass over the entries, in order, until the chain breaks."""

    def __init__(
        self,
        log_id: int,
        head: stored.Head,
        signatures: Signatures,
        outcome: Outcome,
        chain: ChainVerifier,
        *,
        full: bool,
        progress: Progress | None,
    ) -> None:
        self._log_id, self._head, self._outcome = log_id, head, outcome
        self._signatures, self._full, self._progress = signatures, full, progress
        self._chain = chain
        self._pruned = Pruned(log_id, outcome, head.size)
        self._tiles = Tiles(log_id, outcome, chain, self._pruned)
        self._leftovers, self._end = 0, 0
        self._broken = False

    def read(self, end: int) -> None:
        """The entries up to `end`."""
        outcome, self._end = self._outcome, end
        outcome.entries, outcome.pruned = self._chain.size, self._pruned.entries
        if end < self._chain.size:
            self._break(end, "it is missing: the check before this one has seen it.")
        self._compare_signed()
        self._read_all(end)
        if self._chain.size < end and not self._broken:
            self._break(self._chain.size, "it is missing.")
        if self._leftovers:
            outcome.warnings.append(
                f"{self._leftovers} entries of pruned ranges are not deleted yet: a pruning runs or"
                " has stopped."
            )
        outcome.root, outcome.state = self._chain.root().hex(), self._chain.to_bytes()

    def finish(self, *, roots_later: bool) -> None:
        """What stands beside and above the entries, once all were read."""
        if self._chain.size == self._head.size:
            self._check_head()
        if not self._broken:
            self._tiles.finish(self._chain.frontier, roots_later=roots_later)

    def _read_all(self, size: int) -> None:
        collects, switches = gc.isenabled(), sys.getswitchinterval()
        # The thread that reads ahead would wait for its turn longer than it works.
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.disable()  # the rows make no cycles, and looking for some takes a tenth of the time
        try:
            for chunk in stored.entries(self._log_id, self._chain.size, size):
                # The head may claim any number: do not look for all of them.
                if not chunk and not self._is_pruned_up_to(chunk.stop):
                    self._break(self._chain.size, "it is missing.")
                    return
                self._read(chunk)
                if self._broken:
                    return
                if self._progress:
                    self._progress(self._chain.size, size)
            self._is_pruned_up_to(size)
        except stored.UnreadableRowError as exc:
            self._break(exc.seq, f"the database cannot deliver it: {exc}.")
        finally:
            sys.setswitchinterval(switches)
            if collects:
                gc.enable()

    def _read(self, chunk: Chunk) -> None:
        """The rows of a chunk; what is pruned before, between and behind them is followed."""
        at = 0
        while at < len(chunk) and not self._broken:
            self._skip_pruned()
            if self._broken:
                return
            behind = bisect_left(chunk.numbers, self._chain.size, at)
            self._check_leftovers(chunk.part(at, behind))
            gap = self._pruned.next_start(self._chain.size)
            stop = len(chunk) if gap is None else bisect_left(chunk.numbers, gap, behind)
            at = behind + self._read_rows(chunk.part(behind, stop))
            if at == behind < len(chunk) and not self._broken and not self._is_pruned_by_now():
                self._break(*_misplaced(chunk.numbers[behind], self._chain.size))

    def _is_pruned_up_to(self, stop: int) -> bool:
        self._skip_pruned()
        if self._chain.size < stop and not self._broken and self._is_pruned_by_now():
            self._skip_pruned()
        return self._broken or self._chain.size >= stop

    def _is_pruned_by_now(self) -> bool:
        """Whether the next entry went while this run was reading."""
        self._pruned = Pruned(self._log_id, self._outcome, self._head.size)
        self._outcome.pruned = self._pruned.entries
        return self._pruned.at(self._chain.size) is not None

    def _skip_pruned(self) -> None:
        """Follow the pruned ranges that start here by the hashes of their tiles."""
        while not self._broken and self._chain.size < self._end:
            found = self._pruned.at(self._chain.size)
            if found is None:
                return
            index, offset = divmod(self._chain.size, TILE)
            hashes = self._tiles.next_hashes()
            if hashes is None:
                self._break(index * TILE, "it is pruned, and its hash tile is missing.")
                return
            if self._pruned.root(index) not in (None, root_of(hashes)):
                self._break(
                    index * TILE, "the hash tile from this entry on is not that of what was pruned."
                )
                return
            rest = hashes[offset : self._end - index * TILE]
            last = found.newest_us if self._chain.size + len(rest) == found.stop else None
            self._skip(rest, last)
            self._tiles.compare(rest)

    def _skip(self, hashes: list[bytes], newest_us: int | None) -> None:
        at = 0
        while at < len(hashes) and not self._broken:
            size, signed = self._chain.size, self._signatures.next_size()
            stop = len(hashes) if signed is None else min(len(hashes), at + signed - size)
            try:
                self._chain.skip(hashes[at:stop], newest_us if stop == len(hashes) else None)
            except ChainError as exc:
                self._break(exc.seq, f"{exc.reason}.")
                return
            self._outcome.entries += stop - at
            at = stop
            self._compare_signed()

    def _check_leftovers(self, chunk: Chunk) -> None:
        """Rows of a pruned range that are there still must be those that were there before."""
        for seq, leaf in zip(chunk.numbers, chunk.leaves, strict=True):
            there = self._pruned.hash_of(seq) if type(seq) is int else b""
            if type(leaf) is not bytes or leaf_hash(leaf) != there:
                self._break(int(seq), "it is pruned, and another entry stands in its place.")
                return
        self._check_events(chunk, len(chunk))
        self._leftovers += len(chunk)

    def _read_rows(self, chunk: Chunk) -> int:
        """How many rows, none of them pruned, were followed."""
        start = self._chain.size
        placed = chunk.well_placed(start)
        hashes, error = self._follow(chunk, placed)
        changed = first_difference(hashes, chunk.hashes[: len(hashes)])
        good = len(hashes) if changed is None else changed
        found = len(self._outcome.findings)
        self._check_events(chunk, good)
        self._tiles.compare(hashes[:good])
        if changed is not None:
            self._break(start + changed, "its leaf and the hash beside it do not belong together.")
        elif error is not None:
            self._blame(error, chunk.hashes[good], chunk.leaves[good])
        elif placed < len(chunk) and not self._broken and not self._is_pruned_by_now():
            self._break(*_misplaced(chunk.numbers[placed], start + placed))
        bad = {f.seq for f in self._outcome.findings[found:] if f.seq is not None}
        self._outcome.entries += good - len([seq for seq in bad if start <= seq < start + good])
        return good

    def _follow(self, chunk: Chunk, count: int) -> tuple[list[bytes], ChainError | None]:
        """The hashes of the first `count` leaves, as far as they continue the chain up to what was
        signed."""
        hashes: list[bytes] = []
        while len(hashes) < count and not self._broken:
            at, size = len(hashes), self._chain.size
            signed = self._signatures.next_size()
            stop = count if signed is None else min(count, at + signed - size)
            try:
                hashes += self._feed(chunk, at, stop)
            except ChainError as exc:
                good = at + self._chain.size - size
                return hashes + [leaf_hash(leaf) for leaf in chunk.leaves[at:good]], exc
            self._compare_signed()
        return hashes, None

    def _feed(self, chunk: Chunk, start: int, stop: int) -> list[bytes]:
        """As `ChainVerifier.feed_batch`; headers need not be read one by one where they fit the
        hashes in the rows, and these are the leaves' own."""
        first, rest = chunk.leaves[start], chunk.leaves[start + 1 : stop]
        if not rest or not chunk.is_chained(start, stop):
            return self._chain.feed_batch(chunk.leaves[start:stop])
        hashes = leaf_hashes(rest)
        before = self._chain.feed(first)
        if [before, *hashes] != chunk.hashes[start:stop]:
            return [before, *self._chain.feed_batch(rest)]
        self._chain.skip(hashes, unpack(rest[-1]).timestamp_us)
        return [before, *hashes]

    def _compare_signed(self) -> None:
        if self._signatures.next_size() == self._chain.size:
            wrong = self._signatures.compare(self._chain.size, self._chain.root())
            if wrong:
                first, last = self._signatures.last_good, self._chain.size - 1
                self._break(last if first == last else None, wrong)

    def _blame(self, error: ChainError, stored_hash: Any, leaf: bytes) -> None:
        """Name the entry that was changed: the one that breaks the chain, or the one before."""
        if leaf_hash(leaf) != stored_hash:
            self._break(error.seq, "its leaf and the hash beside it do not belong together.")
        elif _names_another_predecessor(leaf, error.seq, self._chain.previous):
            self._break(
                max(0, error.seq - 1),
                f"it is not the entry that entry {error.seq} was chained to. One of the two was"
                " changed.",
            )
        else:
            self._break(error.seq, f"{error.reason}.")  # its number, time or form

    def _check_events(self, chunk: Chunk, count: int) -> None:
        for seq, sentence in columns.faults(chunk, count):
            self._outcome.fault(seq, sentence)
        if self._full:
            for seq, leaf in zip(chunk.numbers[:count], chunk.leaves[:count], strict=True):
                if not _is_canonical(leaf[HEADER.size :]):
                    self._outcome.fault(seq, "its event is not canonical JSON.")

    def _check_head(self) -> None:
        chain, head = self._chain, self._head
        if head.last_hash != chain.previous:
            self._outcome.fault(
                chain.size - 1 if chain.size else None,
                "it is not the entry whose hash stands in the head of the log.",
            )
        for name, said, true in (
            ("tree", head.frontier, chain.frontier.to_bytes()),
            ("last time", head.last_timestamp_us, chain.timestamp_us),
        ):
            if said != true:
                self._outcome.fault(None, f"the {name} in the head is not that of the entries.")

    def _break(self, seq: int | None, sentence: str) -> None:
        """What follows in the chain cannot be judged."""
        self._outcome.fault(seq, sentence)
        self._broken = True


def _names_another_predecessor(leaf: bytes, seq: int, previous: bytes) -> bool:
    try:
        found = unpack(leaf)
    except LeafError:
        return False
    return found.seq == seq and found.previous != previous


def _is_canonical(event: bytes) -> bool:
    try:
        return canonical.encode_strict(canonical.decode(event)) == event
    except canonical.CanonicalError:
        return False


def _misplaced(number: Any, expected: int) -> tuple[int, str]:
    if number == expected:
        return expected, "its leaf is no string of bytes any more."
    return expected, f"it is missing; entry {number} follows."
