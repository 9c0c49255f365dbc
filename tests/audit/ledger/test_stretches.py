"""A folder that several processes read: what they find is what one finds."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.ledger import checkpoint, folder, leaf, tiles
from audit.ledger.chain import ChainVerifier
from audit.ledger.files import FolderFiles
from audit.ledger.folder import verify_folder
from audit.ledger.hashing import leaf_hash
from audit.ledger.layout import split
from audit.ledger.stretches import STRETCH_TILES, followed
from audit.ledger.tree import Frontier
from tests.audit.ledger.builders import KEY, ORIGIN, log_of, write_folder

SIZE = 66_000  # three stretches, the last of which ends with a tile that is not full
FIRST = STRETCH_TILES * tiles.TILE_WIDTH  # of the second


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(log_of(SIZE), tmp_path_factory.mktemp("log"))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[ChainVerifier | None]:
    """What the processes found, each time that they were asked."""
    answers: list[ChainVerifier | None] = []

    def kept(*args: object, **how: object) -> ChainVerifier | None:
        answers.append(followed(*args, **how))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr(folder, "followed", kept)
    monkeypatch.setattr(folder, "_WORTH_PROCESSES", SIZE)
    return answers


def test_a_whole_log_is_read_once(
    original: Path, found: list[ChainVerifier | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = verify_folder(FolderFiles(original))
    monkeypatch.setattr(ChainVerifier, "feed_batch", _not_here)
    told: list[tuple[int, int]] = []
    shared = verify_folder(FolderFiles(original), processes=2, progress=lambda *at: told.append(at))
    assert shared.valid
    assert shared.checked == SIZE
    assert shared.as_dict() == alone.as_dict()
    assert told[:3] == [(FIRST, SIZE), (2 * FIRST, SIZE), (SIZE, SIZE)]
    assert [chain and chain.size for chain in found] == [SIZE]


def _not_here(_self: ChainVerifier, leaves: list[bytes]) -> list[bytes]:
    assert not leaves, "the entries were read again"
    return []


def a_changed_leaf(root: Path) -> None:
    path = root / tiles.tile_path(tiles.ENTRIES, STRETCH_TILES + 3)
    path.write_bytes(path.read_bytes().replace(b"user:7", b"user:8", 1))


def a_missing_bundle_before_a_stretch(root: Path) -> None:
    (root / tiles.tile_path(tiles.ENTRIES, STRETCH_TILES - 1)).unlink()


def a_changed_tile(root: Path) -> None:
    path = root / tiles.tile_path(0, 5)
    path.write_bytes(path.read_bytes()[:-64] + bytes(64))


def a_missing_tile(root: Path) -> None:
    (root / tiles.tile_path(0, STRETCH_TILES)).unlink()


def a_time_that_runs_backwards(root: Path) -> None:
    """Between two stretches: each of the two is in order."""
    log = log_of(FIRST)
    for seq in range(FIRST, SIZE):
        packed = leaf.pack(seq, seq, log.hashes[-1], b"{}")
        log.leaves.append(packed)
        log.hashes.append(leaf_hash(packed))
    shutil.rmtree(root)
    write_folder(log, root)


def a_signed_tree_of_other_leaves(root: Path) -> None:
    """Whoever holds the key can sign any root, and make the upper tiles fit it."""
    forged = bytes(32)
    (root / tiles.tile_path(2, 0, 1)).write_bytes(forged)
    edge = Frontier(FIRST * 2, [forged])
    for path in (tiles.tile_path(0, 256), tiles.tile_path(0, 257, SIZE % 256)):
        edge.extend(split((root / path).read_bytes()))
    head = checkpoint.Checkpoint(ORIGIN, SIZE, edge.root())
    (root / "checkpoint").write_text(checkpoint.sign(head, KEY))


@pytest.mark.parametrize(
    "spoil",
    [
        a_changed_leaf,
        a_missing_bundle_before_a_stretch,
        a_changed_tile,
        a_missing_tile,
        a_time_that_runs_backwards,
        a_signed_tree_of_other_leaves,
    ],
)
def test_what_is_wrong_is_named_by_one(
    spoil: Callable[[Path], None],
    original: Path,
    tmp_path: Path,
    found: list[ChainVerifier | None],
) -> None:
    root = shutil.copytree(original, tmp_path / "log")
    spoil(root)
    alone = verify_folder(FolderFiles(root))
    shared = verify_folder(FolderFiles(root), processes=2)
    assert not shared.valid
    assert shared.as_dict() == alone.as_dict()
    assert found == [None]


class Deadly(FolderFiles):
    """Ends every process that reads a bundle, but the first."""

    def read(self, path: str, limit: int) -> bytes | None:
        if "entries" in path and multiprocessing.parent_process():
            os._exit(9)
        return super().read(path, limit)


def test_a_process_that_dies_changes_no_verdict(
    original: Path, found: list[ChainVerifier | None]
) -> None:
    verdict = verify_folder(Deadly(original), processes=2)
    assert verdict.valid
    assert verdict.checked == SIZE
    assert found == [None]
