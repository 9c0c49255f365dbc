"""An auditor who holds the whole log finds out whether it counted rightly."""

import random
from pathlib import Path

import pytest

from audit.ledger.counting import Counting
from audit.ledger.files import open_files
from audit.ledger.folder import FolderVerdict, verify_folder
from tests.audit.ledger.builders import vkey, write_folder
from tests.audit.ledger.heads import CountingLog
from tests.audit.ledger.test_command import ledger
from tests.audit.ledger.test_folder import said


def log_of(count: int, *, old: int = 0) -> CountingLog:
    chosen = random.Random(count)  # noqa: S311  # a draw that can be repeated
    log = CountingLog((f"dataset:{chosen.randrange(40)}" for _ in range(count)), old=old)
    for size in (None, count // 2, 0):
        log.add_heads(size)
        log.add("dataset:7")
    return log


def verified(log: CountingLog, folder: Path, **how: object) -> FolderVerdict:
    files = open_files(write_folder(log, folder))
    assert files is not None
    return verify_folder(files, full=True, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("old", [0, 20, 300])
def test_a_log_that_counts_rightly_holds(old: int, tmp_path: Path) -> None:
    verdict = verified(log_of(600, old=old), tmp_path)
    assert verdict.valid, said(verdict)
    assert "3 commitments to heads are right" in said(verdict)
    assert ("version 1" in said(verdict)) is (old > 0)


@pytest.mark.parametrize(
    "within",
    [
        {"nth": 9, "previous": 3},  # some left out
        {"nth": 2, "previous": 2},  # behind another's
        {"nth": 3, "previous": 3},
        {"nth": 2},
        {"nth": 1},
    ],
)
def test_an_entry_that_counts_itself_wrongly_is_named(
    within: dict[str, int], tmp_path: Path
) -> None:
    log = CountingLog(["a", "b", "b", "c"])
    assert log.add("c", within=within) == 4
    verdict = verified(log, tmp_path)
    assert not verdict.valid
    assert verdict.first_bad == 4
    assert "Entry 4: it says that it is entry" in said(verdict)
    files = open_files(tmp_path)
    assert files is not None
    assert verify_folder(files).valid  # chain and tree hold: only who counts finds it


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"root": "00" * 32}, "are not those it names"),
        ({"resources": 4}, "are not those it names"),
        ({"more": 1}, "are not those it names"),
        ({"size": 5}, "of how many entries"),
        ({"size": "4"}, "of how many entries"),
        ({"size": -1}, "of how many entries"),
    ],
)
def test_a_commitment_to_other_heads_is_named(
    wrong: dict[str, object], reason: str, tmp_path: Path
) -> None:
    log = CountingLog(["a", "b", "a", "c"])
    assert log.add_heads(wrong=wrong) == 4
    log.add("a")
    verdict = verified(log, tmp_path)
    assert not verdict.valid
    assert verdict.first_bad == 4
    assert reason in said(verdict)


def test_where_the_beginning_is_not_shown_the_count_goes_on_from_there(tmp_path: Path) -> None:
    log = log_of(600)
    verdict = verified(log, tmp_path, since=256)
    assert verdict.valid, said(verdict)
    assert "Entries up to number 255 are gone or not here" in said(verdict)
    log.add("dataset:3", within={"nth": 2, "previous": 300})
    assert verified(log, tmp_path / "wrong", since=256).first_bad == len(log.leaves) - 1


def test_entries_that_are_gone_may_have_been_counted_and_no_others() -> None:
    log = CountingLog(["a", "b", "a", "a", "b", "a"])
    counting = Counting()
    counting.skip(3)
    assert [fault for leaf in log.leaves[3:] for fault in counting.take(leaf)] == []
    log = CountingLog(["a", "b", "a"])
    log.add("a", within={"nth": 9, "previous": 2})
    counting = Counting()
    counting.skip(3)
    assert next(iter(counting.take(log.leaves[3])))[0] == 3


def test_who_does_not_ask_is_told_what_was_not_read(tmp_path: Path) -> None:
    write_folder(log_of(30), tmp_path)
    done = ledger("verify", str(tmp_path), "--vkey", vkey())
    assert (done.returncode, "--full" in done.stdout) == (0, True)
    done = ledger("verify", str(tmp_path), "--vkey", vkey(), "--full")
    assert (done.returncode, "--full" in done.stdout) == (0, False)
    assert "3 commitments to heads are right" in done.stdout
    bundle = tmp_path / "bundle.json"
    bundle.write_text("{}")
    assert ledger("verify", str(bundle), "--full").returncode == 2
