"""Checks the whole log as it is stored: chain, tree, columns, tiles, checkpoints.

Shares nothing with the code that writes but the ledger core. Every entry's leaf is hashed and
must continue the chain (RFC 6962 tree, position, time), its columns must say what its leaf says,
and the tree must be the one that was signed, at every checkpoint that is kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from audit import projection, stored
from audit.append_only import missing_triggers
from audit.ledger import canonical
from audit.ledger.chain import ChainError, ChainVerifier
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, verify_note
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import HEADER, LeafError, unpack
from audit.ledger.tree import Frontier, root_of

_TILE = 256
_MAX_FINDINGS = 100

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: the entry at which it shows, if it shows at one, and a sentence."""

    seq: int | None
    sentence: str

    def __str__(self) -> str:
        if self.seq is None:
            return self.sentence[:1].upper() + self.sentence[1:]
        return f"Entry {self.seq}: {self.sentence}"


@dataclass(slots=True)
class Outcome:
    """What a run found. `entries` were checked and found right, of the `size` there must be.

    `state` is where the chain stands after the run: the next one may go on from there.
    """

    started_at: datetime
    finished_at: datetime
    size: int = 0
    entries: int = 0
    root: str = ""
    state: bytes = b""
    signed: Checkpoint | None = None
    checkpoints: int = 0
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def first_bad(self) -> int | None:
        return min((f.seq for f in self.findings if f.seq is not None), default=None)

    def fault(self, seq: int | None, sentence: str) -> None:
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(seq, sentence))


def verify_log(
    log_id: int,
    *,
    vkeys: Sequence[str],
    remembered: str = "",
    full: bool = False,
    state: bytes = b"",
    progress: Progress | None = None,
) -> Outcome:
    """Check the stored log against the log's public keys (C2SP vkeys).

    `remembered` is a signed note kept outside the database: the log must still contain what it
    covers. `full` also checks that the bytes of every event are canonical JSON. With the `state`
    of an earlier run only what was added since is read; old entries that were changed meanwhile
    are not found that way. Raises ChainStateError.
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
        signatures = _Signatures(head, vkeys, outcome, chain.size)
        signatures.collect(log_id, remembered)
        _Run(log_id, head, signatures, outcome, chain, full=full, progress=progress).check()
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
    missing = missing_triggers(connection)
    if missing:
        outcome.warnings.append(
            f"The database does not guard the log: {', '.join(missing)} missing or disabled."
        )


@dataclass(frozen=True, slots=True)
class _Root:
    """What was signed: the tree of `size` leaves has this root."""

    size: int
    root: bytes
    where: str


class _Signatures:
    """The signed checkpoints that the log must live up to, by size."""

    def __init__(
        self, head: stored.Head, vkeys: Sequence[str], outcome: Outcome, start: int
    ) -> None:
        self._head, self._vkeys, self._outcome = head, vkeys, outcome
        self._roots: list[_Root] = []
        self.last_good = start

    def collect(self, log_id: int, remembered: str) -> None:
        head, outcome = self._head, self._outcome
        newest = self._verified(head.note, "the newest checkpoint") if head.note else None
        if (newest.size if newest else -1) != head.note_size:
            outcome.fault(
                None,
                f"the head says that its newest checkpoint covers {head.note_size!r} entries; the"
                f" checkpoint covers {newest.size if newest else 'none'}.",
            )
        outcome.signed = newest
        if head.size and (newest is None or newest.size < head.size):
            unsigned = head.size - (newest.size if newest else 0)
            outcome.warnings.append(f"The newest {unsigned} entries are not signed yet.")
        for size, root, note in stored.checkpoints(log_id):
            kept = self._verified(note, f"the checkpoint kept for {size} entries")
            outcome.checkpoints += kept is not None
            if kept is not None and (kept.size, kept.root) != (size, root):
                outcome.fault(
                    None,
                    f"the checkpoint kept for {size} entries covers {kept.size}, or its root"
                    " is not the one beside it.",
                )
        if remembered:
            self._verified(remembered, "the checkpoint remembered beside the key")
        start = self.last_good
        self._roots = sorted(
            (signed for signed in self._roots if signed.size >= start),
            key=lambda signed: signed.size,
        )
        beyond = [signed for signed in self._roots if signed.size > head.size]
        if beyond:
            outcome.fault(
                head.size,
                f"it is missing: {beyond[-1].where} covers {beyond[-1].size} entries, and the log"
                f" has {head.size}.",
            )

    def next_size(self) -> int | None:
        """The size at which the next signed root is to be compared."""
        return self._roots[0].size if self._roots else None

    def compare(self, size: int, root: bytes) -> str:
        """What is wrong when the tree of this size has this root; empty when nothing is."""
        while self._roots and self._roots[0].size == size:
            signed = self._roots.pop(0)
            if signed.root != root:
                first, last = self.last_good, size - 1
                which = f"entry {last}" if first == last else f"an entry of {first} to {last}"
                return f"{signed.where} covers another tree: {which} is not what was signed."
        self.last_good = size
        return ""

    def _verified(self, note: Any, where: str) -> Checkpoint | None:
        try:
            if not isinstance(note, str):
                raise InvalidNoteError("it is no text")
            made = verify_note(note, self._vkeys)
            if made.origin != self._head.origin:
                raise InvalidNoteError(f"it is that of {made.origin}")
        except InvalidNoteError as exc:
            self._outcome.fault(None, f"{where} is not signed by this log: {exc}.")
            return None
        self._roots.append(_Root(made.size, made.root, where))
        return made


class _Run:
    """One pass over the entries, in order, until the chain breaks."""

    def __init__(
        self,
        log_id: int,
        head: stored.Head,
        signatures: _Signatures,
        outcome: Outcome,
        chain: ChainVerifier,
        *,
        full: bool,
        progress: Progress | None,
    ) -> None:
        self._log_id, self._head, self._outcome = log_id, head, outcome
        self._signatures, self._full, self._progress = signatures, full, progress
        self._chain = chain
        self._tiles = _Tiles(log_id, outcome, chain.size)
        self._broken = False

    def check(self) -> None:
        size, outcome = self._head.size, self._outcome
        outcome.entries = self._chain.size
        if size < self._chain.size:
            self._break(size, "it is missing: the check before this one has seen it.")
        self._compare_signed()
        self._read_all(size)
        if self._chain.size == size:
            self._check_head()
        elif not self._broken:
            self._break(self._chain.size, "it is missing.")
        if not self._broken:
            self._tiles.finish(self._chain.frontier)
        outcome.root, outcome.state = self._chain.root().hex(), self._chain.to_bytes()

    def _read_all(self, size: int) -> None:
        try:
            for rows in stored.entries(self._log_id, self._chain.size, size):
                self._read(rows)
                if self._broken:
                    return
                if self._progress:
                    self._progress(self._chain.size, size)
        except stored.UnreadableRowError as exc:
            self._break(exc.seq, f"the database cannot deliver it: {exc}.")

    def _read(self, rows: list[stored.Row]) -> None:
        start = self._chain.size
        placed = _well_placed(rows, start)
        leaves = [bytes(row[1]) for row in rows[:placed]]
        hashes, error = self._follow(leaves)
        changed = _first_difference(hashes, [row[2] for row in rows[: len(hashes)]])
        good = len(hashes) if changed is None else changed
        found = len(self._outcome.findings)
        self._check_columns(rows[:good])
        self._tiles.compare(hashes[:good])
        if changed is not None:
            self._break(start + changed, "its leaf and the hash beside it do not belong together.")
        elif error is not None:
            self._blame(error, rows[good], leaves[good])
        elif placed < len(rows) and not self._broken:
            self._break(*_misplaced(rows[placed], start + placed))
        bad = {f.seq for f in self._outcome.findings[found:] if f.seq is not None}
        self._outcome.entries += good - len([seq for seq in bad if start <= seq < start + good])

    def _follow(self, leaves: list[bytes]) -> tuple[list[bytes], ChainError | None]:
        """The hashes of the leaves, as far as they continue the chain up to what was signed."""
        hashes: list[bytes] = []
        while len(hashes) < len(leaves) and not self._broken:
            at, size = len(hashes), self._chain.size
            signed = self._signatures.next_size()
            stop = len(leaves) if signed is None else min(len(leaves), at + signed - size)
            try:
                hashes += self._chain.feed_batch(leaves[at:stop])
            except ChainError as exc:
                good = at + self._chain.size - size
                return hashes + [leaf_hash(leaf) for leaf in leaves[at:good]], exc
            self._compare_signed()
        return hashes, None

    def _compare_signed(self) -> None:
        if self._signatures.next_size() == self._chain.size:
            wrong = self._signatures.compare(self._chain.size, self._chain.root())
            if wrong:
                first, last = self._signatures.last_good, self._chain.size - 1
                self._break(last if first == last else None, wrong)

    def _blame(self, error: ChainError, row: stored.Row, leaf: bytes) -> None:
        """Name the entry that was changed: the one that breaks the chain, or the one before."""
        if leaf_hash(leaf) != row[2]:
            self._break(error.seq, "its leaf and the hash beside it do not belong together.")
        elif _names_another_predecessor(leaf, error.seq, self._chain.previous):
            self._break(
                max(0, error.seq - 1),
                f"it is not the entry that entry {error.seq} was chained to. One of the two was"
                " changed.",
            )
        else:
            self._break(error.seq, f"{error.reason}.")  # its number, time or form

    def _check_columns(self, rows: list[stored.Row]) -> None:
        for seq, sentence in projection.faults(rows, connection.vendor):
            self._outcome.fault(seq, sentence)
        if self._full:
            for row in rows:
                if not _is_canonical(row[1][HEADER.size :]):
                    self._outcome.fault(row[0], "its event is not canonical JSON.")

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


class _Tiles:
    """Compares the stored hash tiles with the hashes of the leaves."""

    def __init__(self, log_id: int, outcome: Outcome, start: int) -> None:
        self._log_id, self._outcome = log_id, outcome
        self._first = start // _TILE
        self._stored = stored.tiles(log_id, 0, self._first)
        # The entries of the tile that the earlier run left unfilled.
        self._waiting = [
            leaf_hash(bytes(row[1]))
            for rows in stored.entries(log_id, self._first * _TILE, start)
            for row in rows
        ]
        self._roots: list[bytes] = []

    def compare(self, hashes: Iterable[bytes]) -> None:
        self._waiting += hashes
        at = 0
        while len(self._waiting) - at >= _TILE:
            self._compare_tile(self._first + len(self._roots), self._waiting[at : at + _TILE])
            at += _TILE
        del self._waiting[:at]

    def _compare_tile(self, index: int, hashes: list[bytes]) -> None:
        found, held, root = next(self._stored, (None, b"", b""))
        self._roots.append(root)
        if found != index or type(held) is not bytes or len(held) != 32 * _TILE:
            self._outcome.fault(index * _TILE, "the hash tile from this entry on is missing.")
        elif held != b"".join(hashes):
            wrong = _first_difference(hashes, [held[at : at + 32] for at in range(0, 8192, 32)])
            self._outcome.fault(
                index * _TILE + (wrong or 0), "the hash tile holds another hash for it."
            )

    def finish(self, frontier: Frontier) -> None:
        """Check the roots beside the tiles and the tiles above, once the tree is known."""
        if next(self._stored, None) is not None:
            self._outcome.fault(None, "there are more hash tiles than the log fills.")
        roots, level = self._roots, 0
        if any(type(root) is not bytes or len(root) != 32 for root in roots):
            self._outcome.fault(None, "a root beside a hash tile is no hash.")
            return
        if self._first:
            self._blame_root()  # the earlier run has checked the tiles above
            return
        # The roots of full tiles are the leaves of the tree's upper part: equal peaks, equal all.
        upper = Frontier()
        upper.extend(roots)
        if upper.peaks != frontier.peaks[: len(upper.peaks)]:
            self._blame_root()
            return
        while len(roots) >= _TILE or level < max(stored.tile_levels(self._log_id), default=0):
            level += 1
            roots = self._check_level(level, roots)

    def _check_level(self, level: int, below: list[bytes]) -> list[bytes]:
        groups = [below[at : at + _TILE] for at in range(0, len(below) - _TILE + 1, _TILE)]
        expected = [(at, b"".join(group), root_of(group)) for at, group in enumerate(groups)]
        if list(stored.tiles(self._log_id, level)) != expected:
            self._outcome.fault(None, f"the hash tiles of level {level} are not those of the tree.")
        return [root for _, _, root in expected]

    def _blame_root(self) -> None:
        for index, held, root in stored.tiles(self._log_id, 0, self._first):
            if root_of([held[at : at + 32] for at in range(0, len(held), 32)]) != root:
                self._outcome.fault(index * _TILE, "the root beside its hash tile is another.")


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


def _well_placed(rows: Sequence[stored.Row], start: int) -> int:
    """How many rows have the number that they must have, and bytes for a leaf."""
    if [row[0] for row in rows] == list(range(start, start + len(rows))):
        return next((at for at, row in enumerate(rows) if type(row[1]) is not bytes), len(rows))
    return next(
        at for at, row in enumerate(rows) if row[0] != start + at or type(row[1]) is not bytes
    )


def _misplaced(row: stored.Row, expected: int) -> tuple[int, str]:
    if row[0] == expected:
        return expected, "its leaf is no string of bytes any more."
    return expected, f"it is missing; entry {row[0]} follows."


def _first_difference(ours: Sequence[bytes], theirs: Sequence[Any]) -> int | None:
    if list(ours) == list(theirs):
        return None
    return next(
        at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other
    )
