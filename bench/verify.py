"""Verification, beside a bare loop of leaf hash and Merkle root over leaves in memory.

From files: an exported folder (C2SP tlog-tiles, entries included) and an evidence bundle, as an
auditor has them, without a database. From PostgreSQL: `verify_log` reads the rows, checks chain,
positions, times, every column, the tiles and the signed checkpoints.
"""

import importlib
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.biglog import grow
from bench.report import Line, beside, best_rates, say, table

SIZE, PROVEN, TURNS = 200_000, 5_000, 5
BARE = "leaf hash + root, in memory"
ONE, TWO = "from the database, one process", "from the database, two processes"
FOLDER, EVIDENCE = "exported folder", f"evidence bundle of {PROVEN:,} entries with their proofs"


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    from audit.ledger.hashing import leaf_hash
    from audit.ledger.tree import Frontier
    from audit.queries import entries

    grow(SIZE)
    rows = entries().filter(seq__lt=SIZE).order_by("seq")
    leaves = [bytes(leaf) for leaf in rows.values_list("leaf", flat=True)]

    def bare(some: list[bytes]) -> None:
        frontier = Frontier()
        frontier.extend(leaf_hash(leaf) for leaf in some)
        frontier.root()

    with tempfile.TemporaryDirectory(prefix="vestige-bench-folder-") as name:
        rates = best_rates(
            SIZE,
            {
                BARE: lambda: bare(leaves),
                ONE: lambda: _from_database(in_two=False),
                TWO: lambda: _from_database(in_two=True),
                FOLDER: _folder_verifier(Path(name)),
            },
            runs=TURNS,
        )
    few = f"{BARE}, of as many"
    judge = _evidence_verifier(leaves)
    rates |= best_rates(
        PROVEN, {few: lambda: bare(leaves[:PROVEN]), EVIDENCE: judge}, runs=3 * TURNS
    )
    is_postgresql = database == "PostgreSQL"
    table(
        f"Verification of {SIZE:,} entries, {database}: entries",
        [
            Line(BARE, rates[BARE]),
            beside(FOLDER, BARE, rates, 0.6),
            beside(ONE, BARE, rates, 0.5 if is_postgresql else None),
            beside(TWO, BARE, rates, 0.7 if is_postgresql else None),
            Line(few, rates[few]),
            beside(EVIDENCE, few, rates, 0.6),
        ],
    )


def _from_database(*, in_two: bool) -> None:
    from audit.queries import stored_log_outcome

    outcome = stored_log_outcome(in_two=in_two)
    if not outcome.ok or outcome.entries < SIZE:
        raise RuntimeError(f"the log does not hold: {outcome.findings[:3]}")


def _evidence_verifier(leaves: list[bytes]) -> Callable[[], None]:
    """Judges a bundle of the first entries, from its JSON on."""
    from audit.ledger import bundle
    from audit.ledger.verify import verify_file
    from audit.queries import evidence

    data = bundle.dumps(evidence(range(PROVEN), purpose="bench"))

    def judge() -> None:
        verdict = verify_file(data)
        if not verdict.valid or len(verdict.entries) != PROVEN:
            raise RuntimeError(f"the bundle does not hold: {verdict.checks}")

    return judge


def _folder_verifier(folder: Path) -> Callable[[], None]:
    _write_folder(folder)
    if importlib.util.find_spec("audit.ledger.folder") is None:
        say("There is no reader of exported folders: the chain over the entry bundles is timed.")
        return lambda: _chain_over(folder)
    folders: Any = importlib.import_module("audit.ledger.folder")
    files: Any = importlib.import_module("audit.ledger.files")

    def judge() -> None:
        verdict = folders.verify_folder(files.open_files(folder))
        if not verdict.valid or verdict.checked < SIZE:
            raise RuntimeError(f"the folder does not hold: {verdict.checks}")

    return judge


def _chain_over(folder: Path) -> None:
    from audit.ledger.chain import ChainVerifier
    from audit.ledger.tiles import ENTRIES, TILE_WIDTH, decode_entries, tile_path

    chain, held = ChainVerifier(), list[bytes]()
    for index in range(SIZE // TILE_WIDTH):
        held += decode_entries((folder / tile_path(ENTRIES, index)).read_bytes())
        if len(held) >= 4_096:
            chain.feed_batch(held)
            held = []
    chain.feed_batch(held)
    chain.root()


def _write_folder(folder: Path) -> None:
    """Checkpoint, key, hash tiles and entries, each file where C2SP tlog-tiles wants it."""
    from audit.ledger.tiles import ENTRIES, TILE_WIDTH, encode_entries, tile_path, tile_width
    from audit.models import MAIN_LOG
    from audit.proofs import tile_reader
    from audit.queries import covering_checkpoint, entries, verifier_key

    signed = covering_checkpoint()
    (folder / "checkpoint").write_text(signed.note)
    (folder / "vkey").write_text(verifier_key() + "\n")

    def write(path: str, data: bytes) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    read = tile_reader(MAIN_LOG, signed.size)
    level = 0
    while width := tile_width(level, 0, signed.size):
        index = 0
        while width := tile_width(level, index, signed.size):
            write(tile_path(level, index, width), read(level, index))
            index += 1
        level += 1
    for index in range(-(-signed.size // TILE_WIDTH)):
        first = index * TILE_WIDTH
        rows = entries().filter(seq__gte=first, seq__lt=min(first + TILE_WIDTH, signed.size))
        leaves = [bytes(leaf) for leaf in rows.order_by("seq").values_list("leaf", flat=True)]
        write(tile_path(ENTRIES, index, len(leaves)), encode_entries(leaves))
