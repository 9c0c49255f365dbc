"""The quick comparison of columns with leaves confirms what fits, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import GENESIS, HEADER, MAGIC, MAX_LEAF_BYTES
from audit.verification.chunks import Chunk, chunk_of_rows

TIME = 1_700_000_000_000_000


def test_what_fits_is_confirmed_at_once_and_nothing_else(installation: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compare_quickly.py"))],
        env=installation,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    size = said["size"]
    # Sealed facts stand between the members that the columns foretell.
    assert len(said["sealed"]) == 2
    assert said["whole"] == said["sealed"]
    assert said["escaped"] == [*said["sealed"], size, size + 1]  # but not the name with a trema
    assert said["before"] == said["after"] == [None, []]
    for column, first_bad, sentences in said["edited"]:
        assert first_bad == 123, column
        assert column in sentences[0]
    assert said["cut"][0] == 123
    assert "resource, resource_version" in said["cut"][1][0]


def chunk(change: dict[str, Any] | None = None, *, at: int = 2, count: int = 4) -> Chunk:
    """Chained rows; in the header of one, members are changed, and its hash fits it again."""
    rows: list[tuple[object, ...]] = []
    previous = GENESIS
    for seq in range(count):
        header: dict[str, Any] = {
            "magic": MAGIC,
            "seq": seq,
            "time": TIME + seq // 2,
            "previous": previous,
        }
        if seq == at:
            header |= change or {}
        body = header.pop("body", b"{}")
        leaf = HEADER.pack(*header.values()) + body
        previous = leaf_hash(leaf)
        rows.append((seq, leaf, previous, *[""] * 8, None, None, 1, None))
    return chunk_of_rows(rows)


def test_headers_that_continue_the_rows_before_are_seen_at_once() -> None:
    assert chunk().is_chained(0, 4)
    assert chunk().part(1, 3).is_chained(0, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"magic": b"VLG2"},
        {"seq": 3},
        {"time": TIME - 1},
        {"previous": GENESIS},
        {"body": b""},
        {"body": b" " * MAX_LEAF_BYTES},
    ],
    ids=["magic", "number", "time", "predecessor", "empty", "too long"],
)
def test_a_header_that_does_not_continue_the_row_before_is_seen(
    change: dict[str, Any],
) -> None:
    assert not chunk(change).is_chained(0, 4)
    assert chunk(change).is_chained(0, 2)


def test_a_time_beyond_63_bits_is_not_taken_for_an_early_one() -> None:
    # Of the first row nothing is said: whoever asks has looked at it.
    assert not chunk({"time": 2**63}).is_chained(2, 4)


def test_rows_whose_hash_beside_them_is_another_are_not_chained() -> None:
    rows = [(0, b"", b"", *[""] * 8, None, None, 1, None)] * 2
    assert not chunk_of_rows(rows).is_chained(0, 2)
