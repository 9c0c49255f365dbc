"""Verification of the whole stored log, beside a bare loop of leaf hash and Merkle root.

The bare loop hashes leaves that are in memory already; `verify_log` reads them from the database,
checks chain, positions, times, every column, the tiles and the signed checkpoints.
"""

from bench.report import Line, best_rate, table

SIZE = 300_000
_BATCH = 10_000


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    from accounts.queries import system_user
    from audit.actions import append
    from audit.ledger.hashing import leaf_hash
    from audit.ledger.tree import Frontier
    from audit.queries import entries, head, stored_log_outcome
    from bench import events

    by = system_user("setup")
    log = head()
    missing = SIZE - (log.size if log else 0)
    for start in range(0, missing, _BATCH):
        count = min(_BATCH, missing - start)
        append([events.new(number, f"v{start}") for number in range(count)], by=by)
    leaves = [bytes(leaf) for leaf in entries().order_by("seq").values_list("leaf", flat=True)]

    def bare() -> None:
        frontier = Frontier()
        frontier.extend(leaf_hash(leaf) for leaf in leaves)
        frontier.root()

    def verify(*, in_two: bool = False) -> None:
        outcome = stored_log_outcome(in_two=in_two)
        if not outcome.ok or outcome.entries != len(leaves):
            raise RuntimeError(f"the log does not hold: {outcome.findings[:3]}")

    limit = best_rate(len(leaves), bare)
    verified = best_rate(len(leaves), verify)
    by_two = best_rate(len(leaves), lambda: verify(in_two=True))
    peer = "leaf hash + root"
    table(
        f"Verification of {len(leaves):,} entries on {database}",
        [
            Line(f"{peer}, in memory", limit),
            Line("one process, as by Verify now", verified, peer, verified / limit),
            Line("verify_log, two processes", by_two, peer, by_two / limit, 0.3),
        ],
    )
