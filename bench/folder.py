"""Verification of an exported folder, beside a bare loop of leaf hash and Merkle root.

The bare loop hashes leaves that are in memory already; the verifier reads files, takes bundles
apart, checks numbers, times and chain, and compares every tile. The export itself is measured too.
"""

import tempfile
from pathlib import Path

from bench.report import Line, best_rate, table

SIZE = 200_000
_BATCH = 10_000


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    from accounts.queries import system_user
    from audit.actions import append
    from audit.ledger.files import FolderFiles
    from audit.ledger.folder import verify_folder
    from audit.ledger.hashing import leaf_hash
    from audit.ledger.tree import Frontier
    from audit.publication import publish
    from audit.queries import entries, head, verifier_key
    from audit.targets import FolderTarget
    from bench import events

    by = system_user("setup")
    log = head()
    missing = SIZE - (log.size if log else 0)
    for start in range(0, missing, _BATCH):
        count = min(_BATCH, missing - start)
        append([events.new(number, f"f{start}") for number in range(count)], by=by)
    leaves = [bytes(leaf) for leaf in entries().order_by("seq").values_list("leaf", flat=True)]

    def bare() -> None:
        frontier = Frontier()
        frontier.extend(leaf_hash(leaf) for leaf in leaves)
        frontier.root()

    with tempfile.TemporaryDirectory(prefix="vestige-bench-") as folder:

        def verify() -> None:
            verdict = verify_folder(FolderFiles(folder), trusted_vkey=verifier_key())
            if not verdict.valid or verdict.checked != len(leaves):
                raise RuntimeError(f"the folder does not hold: {verdict.faults[:3]}")

        def export() -> None:
            publish(FolderTarget(Path(folder)), entries=True, whole=True)

        exported = best_rate(len(leaves), export, runs=1)
        again = best_rate(len(leaves), export, runs=1)
        limit = best_rate(len(leaves), bare)
        verified = best_rate(len(leaves), verify)
    peer = "leaf hash + root"
    table(
        f"An exported folder of {len(leaves):,} entries, from {database}",
        [
            Line(f"{peer}, in memory", limit),
            Line("audit.ledger verify FOLDER, one process", verified, peer, verified / limit),
            Line("export_log, first", exported),
            Line("export_log, again (compares all)", again),
        ],
    )
