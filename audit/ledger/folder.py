"""Verification of a log as files: what `export_log` and publishing write, and any C2SP tlog-tiles
folder whose entries are Vestige leaves.

    checkpoint                    the signed note (C2SP tlog-checkpoint)
    vkey                          the keys that signed it, one a line
    tile/<L>/<N>[.p/<W>]          hashes
    tile/entries/<N>[.p/<W>]      the leaves; may be left out

One pass in bounded memory: every leaf must continue the chain, every hash tile must be that of
the leaves, and the tree must be the one that was signed. Broken input never raises.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from audit.ledger.chain import ChainError, ChainVerifier
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError
from audit.ledger.counting import Commitment, Counting, commitments_in
from audit.ledger.files import CHECKPOINT, VKEY, Files, FolderFiles
from audit.ledger.gone import tiles_told
from audit.ledger.hashing import HASH_BYTES, leaf_hash
from audit.ledger.keyring import Keyring
from audit.ledger.layout import Layout, split
from audit.ledger.stretches import STRETCH_TILES, followed
from audit.ledger.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileError,
    TileHashSource,
    parse_tile_path,
    tile_width,
)
from audit.ledger.tree import Frontier, root_of, tree_root
from audit.ledger.verdict import Verdict

Progress = Callable[[int, int], None]

# So many leaves are checked at a time: thousands are fastest; of large ones fewer are taken.
_BATCH_LEAVES = 16 * TILE_WIDTH
_BATCH_BYTES = 16 * 1024 * 1024
# Below this size, starting other processes takes longer than they save.
_WORTH_PROCESSES = 4 * STRETCH_TILES * TILE_WIDTH
_MAX_FAULTS = 100

_NOTE_NO_ENTRIES = (
    "The folder shows no entries: only hashes were checked, and what was hashed is not in it."
)
_NOTE_SINCE = "Entries before number {since:,} were not read, only their hashes."
_NOTE_PRUNED = (
    "{count:,} entries were past their retention and are gone; later entries (log.pruned) say so,"
    " and their hashes were followed."
)
_NOTE_COUNTS = (
    "That events are canonical, that every resource's entries are counted rightly, and that the"
    " heads the log commits to are those of its entries: read all of it with --full."
)
_NOTE_UNCOUNTED = "{count:,} entries of version 1 do not count themselves within their resource."
_NOTE_HEADS = (
    "Entries up to number {gone:,} are gone or not here: commitments to heads cannot be computed."
)
_NOTE_BEYOND = (
    "{count:,} files lie beyond what the checkpoint covers, so that it is older than they are:"
    " {first}."
)
_NOTE_EXTRA = "{count:,} files are no part of the log and were not looked at: {first}."
_NOTE_VIEW = (
    "That the log shows everybody the same tree, one folder cannot say: compare it with a"
    " checkpoint that somebody else keeps (--checkpoint)."
)


@dataclass(slots=True)
class FolderVerdict(Verdict):
    """`checked` leaves were read and hold; `first_bad` is the first entry that does not."""

    checked: int = 0
    first_bad: int | None = None

    def as_dict(self) -> dict[str, Any]:
        members = Verdict.as_dict(self)
        for name in ("purpose", "entries", "statement", "commitments"):
            del members[name]
        return members | {"entries_checked": self.checked, "first_bad": self.first_bad}


def verify_folder(
    files: Files,
    *,
    trusted_vkey: str | Iterable[str] | None = None,
    earlier: Iterable[str] = (),
    since: int = 0,
    full: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
) -> FolderVerdict:
    """Judge a log that lies in files. Never raises.

    `earlier` are signed notes that were kept: the log must still contain what they cover. With
    `since` the bundles before the one of that entry need not be there (`export_log --since`).
    `full` reads every event, too: its form, the count of each resource's entries, the heads that
    the log commits to (audit.ledger.counting). Where many entries of a folder are read from the
    first on, and not `full`, up to so many other `processes` share the work.
    """
    verdict, notes = FolderVerdict(), list(earlier)
    vkeys = [trusted_vkey] if isinstance(trusted_vkey, str) else trusted_vkey
    keys = Keyring(verdict, None if vkeys is None else list(vkeys))
    checkpoint = keys.check(files)
    if checkpoint is None:
        return verdict
    layout = Layout(files, checkpoint.size)
    collects = gc.isenabled()
    gc.disable()  # leaves make no cycles, and looking for some takes a good part of the time
    try:
        start = min(max(0, since), checkpoint.size)
        once = _Pass(layout, verdict, progress, full=full)
        if isinstance(files, FolderFiles) and processes > 1 and not (start or full):
            once.read_ahead(files, processes)
        once.read(checkpoint, start)
    finally:
        if collects:
            gc.enable()
    for note in notes:
        _check_earlier(verdict, keys, layout, checkpoint, note)
    _look_around(verdict, files, layout)
    if not notes:
        verdict.note(_NOTE_VIEW)
    return verdict


@dataclass(slots=True)
class _Faults:
    """Sentences, no more than somebody could read."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        if len(self.sentences) < _MAX_FAULTS and sentence not in self.sentences:
            self.sentences.append(sentence)


@dataclass(slots=True)
class _Some:
    """How many there were of something, and the first of them."""

    count: int = 0
    first: str = ""

    def add(self, name: str) -> None:
        self.first = min(self.first, name) if self.count else name
        self.count += 1

    def tell(self, verdict: Verdict, words: str) -> None:
        if self.count:
            verdict.note(words.format(count=self.count, first=self.first[:200]))


class _Pass:
    """One pass over what the checkpoint covers."""

    def __init__(
        self, layout: Layout, verdict: FolderVerdict, progress: Progress | None, *, full: bool
    ) -> None:
        self._layout, self._verdict, self._progress = layout, verdict, progress
        self._size = layout.size
        self._chain = ChainVerifier()
        self._entries, self._tiles, self._events = _Faults(), _Faults(), _Faults()
        self._counting = Counting() if full else None
        self._told: dict[int, bytes] | None = None  # roots of the tiles that are gone
        self._gone = 0

    def read_ahead(self, files: FolderFiles, processes: int) -> None:
        """Let other processes read all entries first; when these hold, they need no reading."""
        if self._size < _WORTH_PROCESSES or not self._layout.has_entries():
            return
        chain = followed(files, self._size, processes=processes, progress=self._progress)
        if chain is not None:
            self._chain, self._verdict.checked = chain, chain.size

    def read(self, checkpoint: Checkpoint, since: int) -> None:
        verdict = self._verdict
        shows = self._layout.has_entries()
        start = since // TILE_WIDTH * TILE_WIDTH if shows else self._size
        if self._take_hashes(start) and shows:
            if self._counting:
                self._counting.expect(self._commitments(start))
                self._counting.skip(start)
            self._read_entries()
            verdict.record("entries", self._entries.sentences, self._count(start))
            self._tell_counting()
        good = self._chain.size == self._size and self._chain.root() == checkpoint.root
        faults = [] if good else list(self._blame(checkpoint.root, entries=shows))
        verdict.record("tree", faults, "The tree is the one that was signed.")
        if good:
            self._check_levels()
        if good or self._tiles.sentences:
            verdict.record("tiles", self._tiles.sentences, "All hash tiles are those of the tree.")
        if self._gone:
            verdict.note(_NOTE_PRUNED.format(count=self._gone))
        if self._size and not shows:
            verdict.note(_NOTE_NO_ENTRIES)
        elif start:
            verdict.note(_NOTE_SINCE.format(since=start))

    def _count(self, start: int) -> str:
        count = self._verdict.checked
        what = f"{count:,} {'entry' if count == 1 else 'entries'}"
        begin = f", from number {start:,} on" if start else ""
        return f"{what}{begin}: numbers, times and hashes agree."

    def _take_hashes(self, stop: int) -> bool:
        """Go up to entry `stop` by hashes alone. Whether all tiles were there."""
        for index in range(-(-stop // TILE_WIDTH)):
            tile = self._tile(0, index)
            if tile is None:
                return False
            self._chain.frontier.extend(split(tile))
            self._chain.previous = tile[-HASH_BYTES:]
            self._tell()
        return True

    def _read_entries(self) -> None:
        for leaves in self._batches(self._chain.size):
            begin, error = self._chain.size, None
            try:
                hashes = self._chain.feed_batch(leaves)
            except ChainError as exc:
                error = exc
                hashes = [leaf_hash(leaf) for leaf in leaves[: exc.seq - begin]]
            self._verdict.checked += len(hashes)
            if self._counting:
                self._read_events(self._counting, leaves[: len(hashes)])
            for at in range(0, len(hashes), TILE_WIDTH):
                self._compare(begin + at, hashes[at : at + TILE_WIDTH])
            if error is not None:
                self._bad(error.seq, error.reason)
                return
            self._tell()

    def _batches(self, begin: int) -> Iterator[list[bytes]]:
        """The leaves from a bundle's first on, until one cannot be read; none behind the last."""
        leaves: list[bytes] = []
        held = 0
        for index in range(-(-begin // TILE_WIDTH), len(self._layout.tiles(0))):
            try:
                bundle = self._layout.bundle(index)
            except TileError as error:
                yield leaves
                leaves, held = [], 0
                if not self._entries.sentences and self._skip_pruned(index):
                    continue
                self._bad(index * TILE_WIDTH, f"the file cannot be taken: {error}")
                return
            leaves += bundle
            held += sum(map(len, bundle))
            if len(leaves) >= _BATCH_LEAVES or held >= _BATCH_BYTES:
                yield leaves
                leaves, held = [], 0
        yield leaves

    def _skip_pruned(self, index: int) -> bool:
        """Follow a tile whose entries are gone by its hashes, if an entry behind it says so."""
        tile = self._tile(0, index)
        if tile is None or self._layout.has_bundle(index):
            return False
        if self._told is None:
            self._told = tiles_told(self._leaves_behind(index))
        root = self._told.get(index)
        if root is None or root_of(split(tile)) != root:
            return False
        self._chain.skip(split(tile))
        self._gone += len(split(tile))
        if self._counting:
            self._counting.skip(len(split(tile)))
        return True

    def _leaves_behind(self, index: int) -> Iterator[bytes]:
        for behind in self._layout.bundles():
            if behind > index:
                with suppress(TileError):
                    yield from self._layout.bundle(behind)

    def _read_events(self, counting: Counting, leaves: list[bytes]) -> None:
        for leaf in leaves:
            for seq, reason in counting.take(leaf):
                self._first_bad(seq)
                self._events.add(f"Entry {seq}: {reason}.")

    def _commitments(self, begin: int) -> Iterator[Commitment]:
        """What the log says of its heads, in a pass of its own: each says it some entries later."""
        for index in self._layout.bundles():
            if index * TILE_WIDTH >= begin:
                with suppress(TileError):
                    leaves = self._layout.bundle(index)
                    yield from commitments_in(enumerate(leaves, index * TILE_WIDTH))

    def _tell_counting(self) -> None:
        counting, verdict = self._counting, self._verdict
        if counting is None:
            verdict.note(_NOTE_COUNTS)
            return
        said = f"Events are canonical, and {counting.compared:,} commitments to heads are right."
        verdict.record("events", self._events.sentences, said)
        if counting.uncounted:
            verdict.note(_NOTE_UNCOUNTED.format(count=counting.uncounted))
        if counting.gone:
            verdict.note(_NOTE_HEADS.format(gone=counting.gone - 1))

    def _compare(self, begin: int, hashes: list[bytes]) -> None:
        """The hashes of a bundle's leaves, or of its first ones, with the tile above it."""
        tile = self._tile(0, begin // TILE_WIDTH)
        if tile is None or tile.startswith(b"".join(hashes)):
            return
        pairs = enumerate(zip(hashes, split(tile), strict=False), begin)
        wrong = [seq for seq, (one, other) in pairs if one != other]
        self._verdict.checked -= len(wrong)
        path = self._layout.path(0, begin // TILE_WIDTH)
        self._bad(wrong[0], f"{path} holds another hash for it than its bytes have")

    def _bad(self, seq: int, reason: str) -> None:
        self._first_bad(seq)
        path = self._layout.path(ENTRIES, seq // TILE_WIDTH)
        self._entries.add(f"Entry {seq} ({path}): {reason}.")

    def _first_bad(self, seq: int) -> None:
        known = self._verdict.first_bad
        self._verdict.first_bad = seq if known is None else min(seq, known)

    def _blame(self, signed: bytes, *, entries: bool) -> Iterator[str]:
        """Why the tree is not the one that was signed, as far as can be told."""
        if self._chain.size == self._size:
            yield "The tree is not the one that was signed."
        else:
            yield f"The tree is known only up to entry {self._chain.size:,}."
        try:
            if entries and self._layout.root() == signed:
                yield (
                    "The hash tiles of level 0 are those of the signed tree: it is the entries"
                    " that were changed or lost."
                )
                return
            for level in range(1, self._layout.levels):
                for above, below in self._layout.misfits(level):
                    self._tiles.add(f"{above} and {below} do not fit: one of the two was changed.")
        except TileError as error:
            self._tiles.add(f"{error}.")
        if self._tiles.sentences or self._entries.sentences:
            return
        if entries:
            yield "Entries and tiles agree with each other: the checkpoint is that of another tree."
        else:
            edge = ", ".join(self._layout.edge())
            yield f"Every full tile fits the one above it. What is wrong is one of {edge}."

    def _check_levels(self) -> None:
        """Level 0 is known to be right: the levels above must be made of it."""
        peaks = self._chain.frontier.peaks
        for level in range(1, self._layout.levels):
            # The hashes of a level are the leaves of the tree's upper part: equal peaks, equal all.
            upper = Frontier()
            for index in self._layout.tiles(level):
                tile = self._tile(level, index)
                if tile is None:
                    return
                upper.extend(split(tile))
            if upper.peaks != peaks[: (self._size >> TILE_HEIGHT * level).bit_count()]:
                for above, _ in self._layout.misfits(level):
                    self._tiles.add(f"{above} is not made of the tiles below it.")
                return

    def _tile(self, level: int, index: int) -> bytes | None:
        """The hashes of a tile; None, and a fault, if they cannot be had."""
        try:
            return self._layout.tile(level, index)
        except TileError as error:
            self._tiles.add(f"{error}.")
            return None

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._chain.size, self._size)


def _check_earlier(
    verdict: FolderVerdict, keys: Keyring, layout: Layout, checkpoint: Checkpoint, note: str
) -> None:
    """Whether the folder still contains what a checkpoint that somebody kept covers."""
    fault, size = "", 0
    try:
        kept = keys.verified(note, checkpoint.origin)
        size = kept.size
        if size > checkpoint.size:
            fault = (
                f"The checkpoint that you kept covers {size:,} entries, that of the folder"
                f" {checkpoint.size:,}: entries were taken away, or the folder is an older one."
            )
        elif tree_root(size, TileHashSource(layout.tile)) != kept.root:
            fault = (
                f"The first {size:,} entries are not those of the checkpoint that you kept: the log"
                " was rewritten."
            )
    except InvalidNoteError as error:
        fault = f"The checkpoint that you kept is not one of this log: {error}."
    except TileError as error:
        fault = f"The tree of the checkpoint that you kept cannot be computed: {error}."
    said = f"The log still holds the {size:,} entries of the checkpoint that you kept."
    verdict.record("earlier", [fault] if fault else [], said)


def _look_around(verdict: FolderVerdict, files: Files, layout: Layout) -> None:
    """Files that the checkpoint does not call for."""
    beyond, extra, faults = _Some(), _Some(), _Faults()
    for path in files.names():
        try:
            level, index, width = parse_tile_path(path)
        except TileError:
            if path not in (CHECKPOINT, VKEY):
                extra.add(path)
            continue
        covered = tile_width(level, index, layout.size)
        if width > covered:
            beyond.add(path)
        elif width < covered and not layout.begins_with(path, level, index, width):
            faults.add(f"{path} is not the beginning of the wider tile.")
    if faults.sentences:
        verdict.record("files", faults.sentences)
    beyond.tell(verdict, _NOTE_BEYOND)
    extra.tell(verdict, _NOTE_EXTRA)
