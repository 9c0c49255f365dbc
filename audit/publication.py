"""Writes the log as static files (C2SP tlog-tiles), for mirrors, witnesses and auditors.

    checkpoint, vkey, tile/<L>/<N>[.p/<W>], and if wanted tile/entries/<N>[.p/<W>]

Entries and tiles come first and the checkpoint last, so that a reader never sees one whose tiles
are not there. Everything follows from the log: a run that was killed is simply run again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from audit import proofs, signer
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, parse
from audit.ledger.hashing import leaf_hash
from audit.ledger.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileError,
    TileLevel,
    decode_entries,
    encode_entries,
    tile_path,
    tile_width,
)
from audit.models import MAIN_LOG, Entry, Log, Tile
from audit.proofs import DamagedLogError
from audit.retention import pruned_tiles
from audit.targets import Target

Progress = Callable[[int, int], None]

_TILES_A_QUERY = 256
_BUNDLES_A_QUERY = 16


class NothingToPublishError(RuntimeError):
    """The log has no signed checkpoint yet."""


class PublicationRefusedError(RuntimeError):
    """What lies at the place contradicts the log: one of the two was changed or exchanged."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a place holds now, and how many files were written for it."""

    note: str
    size: int
    root: bytes
    files: int


def publish(
    place: Target,
    log_id: int = MAIN_LOG,
    *,
    entries: bool,
    since: int = 0,
    whole: bool = False,
    progress: Progress | None = None,
) -> Published:
    """Bring the files at the place up to the newest signed checkpoint.

    Only what is new since the checkpoint that lies there is written; with `whole` everything is
    looked at, and what is missing or differs is written. `entries`: also the leaves, from the
    bundle of entry `since` on. `progress` gets (files looked at, files). Raises
    NothingToPublishError, PublicationRefusedError, DamagedLogError and TargetError.
    """
    log = Log.objects.filter(pk=log_id).first()
    if log is None or not log.note:
        raise NothingToPublishError("The log has no signed checkpoint yet.")
    made, _ = parse(log.note)
    vkey = f"{signer.verifier_key(made.origin, log.name)}\n".encode()
    if proofs.root_at(log_id, made.size) != made.root:
        raise DamagedLogError("The stored tree is not the one that was signed.")
    with place.held():
        there = _there(place, log_id, made)
        run = _Run(place, log_id, made.size, progress)
        run.plan(there.size if there and not whole else 0, entries=entries, since=since)
        if there is None or whole or there.size < made.size or run.planned:
            run.write()
            run.put("vkey", vkey)
            place.settle()
            _there(place, log_id, made)  # nobody was faster
            run.put("checkpoint", log.note.encode())
            place.settle()
            if there is not None:
                run.clear_partial(there.size)
        elif place.read("checkpoint") != log.note.encode():  # signed again, by other keys
            run.put("vkey", vkey)
            run.put("checkpoint", log.note.encode())
    return Published(log.note, made.size, made.root, run.written)


def _there(place: Target, log_id: int, made: Checkpoint) -> Checkpoint | None:
    """The checkpoint at the place. It need not be signed: that its tree is ours says more.

    Raises PublicationRefusedError when it is not a part of the log that we are about to publish.
    """
    data = place.read("checkpoint")
    if data is None:
        return None
    try:
        found, _ = parse(data.decode())
    except (UnicodeDecodeError, InvalidNoteError) as exc:
        raise PublicationRefusedError(
            f"The file checkpoint at {place.name} is no checkpoint. Somebody changed it: find out"
            " who, and move what lies there away."
        ) from exc
    if found.origin != made.origin:
        raise PublicationRefusedError(
            f"At {place.name} lies another log, {found.origin:.200}. Name another place."
        )
    if found.size > made.size:
        raise PublicationRefusedError(
            f"The copy at {place.name} covers {found.size} entries, the log's newest checkpoint"
            f" {made.size}: entries were removed here, or an old backup was restored."
        )
    if proofs.root_at(log_id, found.size) != found.root:
        raise PublicationRefusedError(
            f"The copy at {place.name} covers another tree of {found.size} entries: the log was"
            " changed since, or the copy was."
        )
    return found


class _Run:
    """The files of one publication, in their order."""

    def __init__(self, place: Target, log_id: int, size: int, progress: Progress | None) -> None:
        self._place, self._log_id, self._size, self._progress = place, log_id, size, progress
        self._levels: list[tuple[TileLevel, range]] = []
        self._compare = False
        self._seen = 0
        self.written = 0

    @property
    def planned(self) -> int:
        return sum(len(tiles) for _, tiles in self._levels)

    def plan(self, before: int, *, entries: bool, since: int) -> None:
        """What has to be looked at, when the first `before` entries are there."""
        self._compare = not before
        if entries:
            start = before if before and self._has_entries(before) else 0
            self._compare |= start < before
            self._levels.append((ENTRIES, self._tiles_after(ENTRIES, start, since)))
        level = 0
        while self._size >> TILE_HEIGHT * level:
            self._levels.append((level, self._tiles_after(level, before)))
            level += 1

    def _tiles_after(self, level: TileLevel, before: int, since: int = 0) -> range:
        height = 0 if level == ENTRIES else TILE_HEIGHT * level
        if before >> height == self._size >> height:
            return range(0)
        end = -(-(self._size >> height) // TILE_WIDTH)
        return range(max(before >> height, since) // TILE_WIDTH, end)

    def _has_entries(self, before: int) -> bool:
        index = (before - 1) // TILE_WIDTH
        path = tile_path(ENTRIES, index, tile_width(ENTRIES, index, before))
        return self._place.read(path) is not None

    def write(self) -> None:
        for level, tiles in self._levels:
            if level == ENTRIES:
                self._write_bundles(tiles)
            else:
                for index, data in _tiles(self._log_id, int(level), tiles, self._size):
                    self._write_tile(tile_path(level, index, len(data) // 32), data)

    def _write_tile(self, path: str, data: bytes) -> None:
        if not self._compare or self._place.read(path) != data:
            self.put(path, data)
        self._tell()

    def _write_bundles(self, tiles: range) -> None:
        for start in range(tiles.start, tiles.stop, _BUNDLES_A_QUERY):
            some = range(start, min(start + _BUNDLES_A_QUERY, tiles.stop))
            wanted = {
                index: hashes
                for index, hashes in _tiles(self._log_id, 0, some, self._size)
                if not (self._compare and self._holds(index, hashes))
            }
            for index, leaves in _bundles(self._log_id, list(wanted), self._size):
                if b"".join(map(leaf_hash, leaves)) != wanted[index]:
                    raise DamagedLogError(
                        f"An entry of {index * TILE_WIDTH} to {index * TILE_WIDTH + 255} was"
                        " changed; verify_log says which. It is not published."
                    )
                self.put(tile_path(ENTRIES, index, len(leaves)), encode_entries(leaves))
            self._tell(len(some))

    def _holds(self, index: int, hashes: bytes) -> bool:
        """Whether the bundle lies at the place already, leaf for leaf."""
        data = self._place.read(tile_path(ENTRIES, index, len(hashes) // 32))
        try:
            return data is not None and hashes == b"".join(map(leaf_hash, decode_entries(data)))
        except TileError:
            return False

    def put(self, path: str, data: bytes) -> None:
        self._place.write(path, data)
        self.written += 1

    def _tell(self, count: int = 1) -> None:
        self._seen += count
        if self._progress and count:
            self._progress(self._seen, self.planned)

    def clear_partial(self, before: int) -> None:
        """Partial tiles of the earlier checkpoint that are full by now: the full one serves."""
        for level, _ in self._levels:
            index = (before >> (0 if level == ENTRIES else TILE_HEIGHT * level)) // TILE_WIDTH
            if (
                tile_width(level, index, before) % TILE_WIDTH
                and tile_width(level, index, self._size) == TILE_WIDTH
            ):
                self._place.clear(f"{tile_path(level, index)}.p")


def _tiles(log_id: int, level: int, wanted: range, size: int) -> Iterator[tuple[int, bytes]]:
    """(index, hashes) of tiles of a level, the last of which may be partial."""
    full = min(wanted.stop, size >> TILE_HEIGHT * (level + 1))
    for start in range(wanted.start, full, _TILES_A_QUERY):
        indexes = range(start, min(start + _TILES_A_QUERY, full))
        found = dict(
            Tile.objects.filter(
                log_id=log_id, level=level, index__gte=indexes.start, index__lt=indexes.stop
            ).values_list("index", "hashes")
        )
        for index in indexes:
            data = bytes(found.get(index, b""))
            if len(data) != proofs.FULL_TILE_BYTES:
                raise DamagedLogError(f"Tile {level}/{index} of the log is missing or cut.")
            yield index, data
    if full < wanted.stop:
        yield full, proofs.tile_reader(log_id, size)(level, full)


def _bundles(log_id: int, indexes: list[int], size: int) -> Iterator[tuple[int, list[bytes]]]:
    """(index, leaves) of bundles that lie close together."""
    if indexes:  # what is pruned has no bundle any more
        gone = pruned_tiles(
            log_id, indexes[0] * TILE_WIDTH, min(size, (indexes[-1] + 1) * TILE_WIDTH)
        )
        indexes = [index for index in indexes if index not in gone]
    if not indexes:
        return
    found = dict(
        Entry.objects.filter(
            log_id=log_id,
            seq__gte=indexes[0] * TILE_WIDTH,
            seq__lt=min(size, (indexes[-1] + 1) * TILE_WIDTH),
        ).values_list("seq", "leaf")
    )
    for index in indexes:
        start = index * TILE_WIDTH
        stop = min(start + TILE_WIDTH, size)
        leaves = [bytes(found[seq]) for seq in range(start, stop) if seq in found]
        if len(leaves) < stop - start:
            raise DamagedLogError(f"Entries {start} to {stop - 1} of the log are not complete.")
        yield index, leaves
