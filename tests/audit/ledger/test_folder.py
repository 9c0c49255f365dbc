"""A log as files, verified by an auditor: what is cut, changed, lost or swapped is found."""

import json
import os
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from audit.ledger import checkpoint, leaf, tiles
from audit.ledger.files import UnreadableError, open_files
from audit.ledger.folder import FolderVerdict, verify_folder
from audit.ledger.hashing import leaf_hash
from tests.audit.ledger.builders import (
    OTHER_KEY,
    SampleLog,
    log_of,
    vkey,
    write_folder,
)
from tests.audit.ledger.test_command import ledger

SIZE = 66_000  # three levels: 258 tiles of level 0, two of level 1, one of level 2


@pytest.fixture(scope="module")
def log() -> SampleLog:
    return log_of(SIZE)


@pytest.fixture(scope="module")
def original(log: SampleLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(log, tmp_path_factory.mktemp("log"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of 700 entries, which a test may spoil."""
    return write_folder(log_of(700), tmp_path / "log")


def verified(folder: Path, **how: object) -> FolderVerdict:
    files = open_files(folder)
    assert files is not None
    return verify_folder(files, **how)  # type: ignore[arg-type]


def said(verdict: FolderVerdict) -> str:
    return " ".join([*(check.sentence for check in verdict.checks), *verdict.notes])


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_whole_log_holds(original: Path) -> None:
    told: list[tuple[int, int]] = []
    verdict = verified(original, progress=lambda *at: told.append(at))
    assert verdict.valid, verdict.faults
    assert [check.name for check in verdict.checks] == ["checkpoint", "entries", "tree", "tiles"]
    assert verdict.checked == SIZE
    assert told[-1] == (SIZE, SIZE)
    assert len(told) > 10
    assert "its own file names it" in said(verdict)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537])
def test_every_size_holds(size: int, log: SampleLog, tmp_path: Path) -> None:
    part = SampleLog([])
    part.leaves, part.hashes = log.leaves[:size], log.hashes[:size]
    verdict = verified(write_folder(part, tmp_path), trusted_vkey=vkey())
    assert verdict.valid, verdict.faults
    assert verdict.checked == size


@pytest.mark.parametrize("entries", [True, False])
def test_one_changed_byte_anywhere_is_found(entries: bool, tmp_path: Path) -> None:  # noqa: FBT001
    folder = write_folder(log_of(700), tmp_path / "log", entries=entries)
    dice = random.Random(7)  # noqa: S311
    found = 0
    for path in files_of(folder):
        whole = path.read_bytes()
        for _ in range(40):
            at, flip = dice.randrange(len(whole)), dice.randrange(1, 256)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            verdict = verified(folder)
            assert not verdict.valid, (path, at, flip)
            found += 1
        path.write_bytes(whole)
    assert verified(folder).valid
    assert found >= 200


def test_a_changed_byte_of_a_large_log_is_found_and_named(original: Path) -> None:
    dice = random.Random(11)  # noqa: S311
    for level in ("entries", "0", "1", "2"):
        for path in dice.sample(files := files_of(original / "tile" / level), min(3, len(files))):
            whole = path.read_bytes()
            at = dice.randrange(len(whole))
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            verdict = verified(original)
            path.write_bytes(whole)
            assert not verdict.valid
            assert path.relative_to(original).as_posix() in said(verdict)


def test_the_first_bad_entry_is_named(folder: Path, log: SampleLog) -> None:
    path = folder / "tile" / "entries" / "001"
    leaves = tiles.decode_entries(path.read_bytes())
    for at in (0, 44, 255):
        changed = leaves.copy()
        changed[at] = changed[at].replace(b"user:7", b"user:8")
        path.write_bytes(tiles.encode_entries(changed))
        verdict = verified(folder)
        assert verdict.first_bad == 256 + at
        assert f"Entry {256 + at} (tile/entries/001)" in said(verdict)
        assert "it is the entries that were changed" in said(verdict)


@pytest.mark.parametrize("entries", [True, False])
def test_every_file_that_is_missing_cut_or_longer_is_found(
    entries: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    folder = write_folder(log_of(700), tmp_path / "log", entries=entries)
    for path in files_of(folder):
        whole = path.read_bytes()
        for content in (None, b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0"):
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            verdict = verified(folder)
            assert not verdict.valid, (path, content and len(content))
            assert path.relative_to(folder).as_posix() in said(verdict)
        path.write_bytes(whole)


def test_missing_entries_are_no_smaller_log(folder: Path) -> None:
    (folder / "tile" / "entries" / "000").unlink()
    verdict = verified(folder)
    assert not verdict.valid
    assert verdict.first_bad == 0
    # Who exported from an entry on asks for it, and is told what that leaves out.
    assert verified(folder, since=300).valid
    assert "Entries before number 256 were not read" in said(verified(folder, since=300))
    assert verified(folder, since=300).checked == 700 - 256
    assert not verified(folder, since=255).valid
    (folder / "tile" / "0" / "000").unlink()
    assert not verified(folder, since=300).valid


def test_a_folder_of_hashes_says_that_it_shows_no_entries(folder: Path) -> None:
    shutil.rmtree(folder / "tile" / "entries")
    verdict = verified(folder)
    assert verdict.valid
    assert verdict.checked == 0
    assert "shows no entries" in said(verdict)


def test_a_tile_that_was_published_before_must_be_the_beginning_of_its_successor(
    folder: Path,
) -> None:
    for level, data in (("0", b"x" * 32 * 12), ("entries", tiles.encode_entries([b"x"] * 12))):
        narrow = folder / "tile" / level / "002.p" / "12"
        whole = (folder / "tile" / level / "002.p" / "188").read_bytes()
        leaves = [] if level == "0" else tiles.decode_entries(whole)
        right = whole[: 32 * 12] if level == "0" else tiles.encode_entries(leaves[:12])
        narrow.write_bytes(right)
        assert verified(folder).valid
        narrow.write_bytes(data)
        assert not verified(folder).valid
        assert f"tile/{level}/002.p/12" in said(verified(folder))
        narrow.write_bytes(right[: len(right) // 2])
        assert not verified(folder).valid
        narrow.unlink()


def test_files_that_do_not_belong_are_noted(folder: Path) -> None:
    (folder / "README").write_text("hello")
    os.mkfifo(folder / "pipe")
    (folder / "tile" / "0" / "07").write_bytes(b"")
    assert verified(folder).valid
    assert "3 files are no part of the log and were not looked at: README" in said(verified(folder))


def test_a_pipe_or_folder_in_the_place_of_a_file_is_no_trap(folder: Path) -> None:
    for name in ("checkpoint", "tile/0/000", "tile/entries/001"):
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert not verified(folder).valid
        (folder / name).unlink()
        (folder / name).mkdir()
        assert not verified(folder).valid
        (folder / name).rmdir()
        (folder / name).write_bytes(whole)
    assert verified(folder).valid


# Checkpoints


def test_the_checkpoint_of_another_log_is_found(folder: Path, tmp_path: Path) -> None:
    other = log_of(699)
    other.append({"rows": "another"})
    (folder / "checkpoint").write_text(other.note())
    verdict = verified(folder)
    assert not verdict.valid
    assert "the checkpoint is that of another tree" in said(verdict)
    (folder / "checkpoint").write_text(log_of(700).note(OTHER_KEY))
    assert [check.name for check in verified(folder).faults] == ["checkpoint"]
    (folder / "vkey").write_text(f"{vkey(OTHER_KEY)}\n")
    assert verified(folder).valid  # the folder is consistent with itself …
    assert [check.name for check in verified(folder, trusted_vkey=vkey()).faults] == ["key"]


def test_an_older_checkpoint_covers_less_and_the_rest_is_noted(folder: Path) -> None:
    (folder / "checkpoint").write_text(log_of(512).note())
    verdict = verified(folder)
    assert verdict.valid
    assert verdict.checked == 512
    assert "lie beyond what the checkpoint covers" in said(verdict)
    # Inside a tile that was full since, which the specification serves for the partial one.
    (folder / "checkpoint").write_text(log_of(300).note())
    assert verified(folder).checked == 300
    # Half of a tile that is not full: there is no file for it.
    (folder / "checkpoint").write_text(log_of(600).note())
    assert not verified(folder).valid


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 512, 699, 700])
def test_a_folder_is_consistent_with_a_checkpoint_that_was_kept(folder: Path, size: int) -> None:
    verdict = verified(folder, earlier=[log_of(size).note()])
    assert verdict.valid, verdict.faults
    assert f"still holds the {size} entries" in said(verdict)


def test_a_rewritten_or_shortened_log_contradicts_the_checkpoint_that_was_kept(
    tmp_path: Path,
) -> None:
    rewritten = log_of(100)
    rewritten.append({"rows": "another"})
    for number in range(101, 700):
        rewritten.append({"rows": number})
    folder = write_folder(rewritten, tmp_path)
    assert verified(folder).valid  # by itself there is nothing to see
    assert verified(folder, earlier=[log_of(100).note()]).valid
    for size in (101, 256, 500, 700):
        verdict = verified(folder, earlier=[log_of(size).note()])
        assert [check.name for check in verdict.faults] == ["earlier"]
        assert "rewritten" in said(verdict)
    verdict = verified(folder, earlier=[log_of(701).note()])
    assert "entries were taken away" in said(verdict)
    assert not verified(folder, earlier=[log_of(100).note(OTHER_KEY)]).valid
    assert not verified(folder, earlier=["rubbish"]).valid


def test_sizes_that_no_disk_could_hold_end_at_once(tmp_path: Path) -> None:
    huge = checkpoint.Checkpoint("vestige.example/log", 2**63, bytes(32))
    for entries in (True, False):
        folder = write_folder(log_of(700), tmp_path / str(entries), entries=entries)
        (folder / "checkpoint").write_text(checkpoint.sign(huge, OTHER_KEY))
        (folder / "vkey").write_text(f"{vkey(OTHER_KEY)}\n")
        assert not verified(folder).valid
        assert not verified(folder, earlier=[checkpoint.sign(huge, OTHER_KEY)]).valid


def test_leaves_out_of_order_or_time_are_found_though_tree_and_tiles_agree(
    tmp_path: Path,
) -> None:
    for fault in ("number", "time"):
        log = log_of(300)
        seq = len(log.leaves) + (fault == "number")
        stamp = 5 if fault == "time" else leaf.unpack(log.leaves[-1]).timestamp_us
        packed = leaf.pack(seq, stamp, log.hashes[-1], b"{}")
        log.leaves.append(packed)
        log.hashes.append(leaf_hash(packed))
        verdict = verified(write_folder(log, tmp_path / fault))
        assert not verdict.valid
        assert verdict.first_bad == 300


# Archives and the command


def test_a_tar_or_zip_of_the_folder_verifies_as_it_is(folder: Path, tmp_path: Path) -> None:
    tar, flat, zipped = tmp_path / "log.tar", tmp_path / "flat.tar", tmp_path / "log.zip"
    with tarfile.open(tar, "w") as archive:
        archive.add(folder, "my/log")
    with tarfile.open(flat, "w") as archive:
        archive.add(folder, ".")
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as pack:
        for path in files_of(folder):
            pack.write(path, path.relative_to(folder))
    for archive_file in (tar, flat, zipped):
        verdict = verified(archive_file)
        assert verdict.valid, (archive_file, verdict.faults)
        assert verdict.checked == 700
    whole = tar.read_bytes()
    at = whole.index(b"user:7")
    tar.write_bytes(whole[:at] + b"user:8" + whole[at + 6 :])
    assert verified(tar).first_bad == 0


def test_an_archive_that_may_mean_two_things_is_refused(folder: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.tar"
    with tarfile.open(twice, "w") as archive:
        archive.add(folder, "log")
        archive.add(folder / "checkpoint", "log/checkpoint")
    with pytest.raises(UnreadableError, match="twice"):
        open_files(twice)
    packed = tmp_path / "log.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(folder, "log")
    with pytest.raises(UnreadableError, match="unpack it"):
        open_files(packed)
    done = ledger("verify", str(packed))
    assert (done.returncode, "unpack it" in done.stderr) == (2, True)


def test_the_command_verifies_a_folder(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(log_of(500).note())
    done = ledger("verify", str(folder), "--vkey", vkey(), "--checkpoint", str(kept))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"VALID  {folder}\n")
    assert "700 entries read in" in done.stdout
    (folder / "tile" / "entries" / "001").unlink()
    done = ledger("verify", str(folder), "--json")
    assert done.returncode == 1
    verdict = json.loads(done.stdout)
    assert (verdict["valid"], verdict["first_bad"], verdict["entries_checked"]) == (False, 256, 256)
    assert verdict["checkpoint"]["size"] == 700
    assert ledger("verify", str(folder), "--since", "512").returncode == 0
    assert ledger("verify", str(folder), "--checkpoint", "/nothing/here").returncode == 2
    assert ledger("verify", str(tmp_path)).returncode == 2
