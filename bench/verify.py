"""Verification, beside a bare loop of leaf hash and Merkle root over leaves in memory.

From files: an exported folder (C2SP tlog-tiles, entries included) and an evidence bundle, as an
auditor has them, without a database. From PostgreSQL: `verify_log` reads the rows, checks chain,
positions, times, every column, the tiles and the signed checkpoints.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import django

from bench.biglog import grow
from bench.report import Line, beside, best_rates, table

SIZE, PROVEN, TURNS = 500_000, 5_000, 5
BARE = "leaf hash + root, in memory"
ONE, TWO = "from the database, one process", "from the database, two processes"
FOLDER, SHARED = "exported folder, one process", "exported folder, two processes"
EVIDENCE = f"evidence bundle of {PROVEN:,} entries with their proofs"


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    from audit.ledger.hashing import leaf_hash
    from audit.ledger.tree import Frontier
    from audit.publication import publish
    from audit.queries import entries
    from audit.targets import FolderTarget

    grow(SIZE)
    rows = entries().filter(seq__lt=SIZE).order_by("seq")
    leaves = [bytes(leaf) for leaf in rows.values_list("leaf", flat=True)]

    def bare(some: list[bytes]) -> None:
        frontier = Frontier()
        frontier.extend(leaf_hash(leaf) for leaf in some)
        frontier.root()

    with tempfile.TemporaryDirectory(prefix="vestige-bench-folder-") as name:
        folder = Path(name)
        publish(FolderTarget(folder), entries=True, whole=True)
        rates = best_rates(
            SIZE,
            {
                BARE: lambda: bare(leaves),
                ONE: lambda: _from_database(in_two=False),
                FOLDER: _folder_verifier(folder, processes=1),
                SHARED: _folder_verifier(folder, processes=2),
            },
            runs=TURNS,
        )
    # In new processes, as the command is: it forks only before polars has started its threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        rates[TWO] = SIZE / min(pool.submit(_seconds_by_two).result() for _ in range(TURNS))
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
            beside(FOLDER, BARE, rates),
            beside(SHARED, BARE, rates, 0.6),
            beside(ONE, BARE, rates, 0.5 if is_postgresql else None),
            beside(TWO, BARE, rates, 0.7 if is_postgresql else None),
            Line(few, rates[few]),
            beside(EVIDENCE, few, rates, 0.6),
        ],
    )


def _seconds_by_two() -> float:
    django.setup()
    began = time.perf_counter()
    _from_database(in_two=True)
    return time.perf_counter() - began


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


def _folder_verifier(folder: Path, *, processes: int) -> Callable[[], None]:
    """Judges the folder as `audit.ledger verify` does."""
    from audit.ledger.files import open_files
    from audit.ledger.folder import verify_folder

    def judge() -> None:
        files = open_files(folder)
        verdict = verify_folder(files, processes=processes) if files else None
        if verdict is None or not verdict.valid or verdict.checked < SIZE:
            raise RuntimeError(f"the folder does not hold: {verdict}")

    return judge
