"""A check of the whole log in parts, so that a run that was killed goes on from its last one."""

from dataclasses import dataclass, field

from audit.ledger.chain import ChainVerifier
from audit.logs import MAIN, LogRef
from audit.queries import stored_log_outcome
from audit.verification import stored
from audit.verification.outcome import Outcome
from audit.verification.run import Progress
from audit.verification.tiles import TILE, check_tile_roots

# Every part reads the kept checkpoints and looks for strays: not too many parts.
SEGMENT = 200_000
_MOST_SEGMENTS = 20
_MAX_FAULTS = 100


@dataclass(slots=True)
class Progressed:
    """How far a check is, and what it has found. `state` is a few hundred bytes."""

    entries: int = 0
    state: bytes = b""
    root: str = ""
    size: int = 0
    first_bad: int | None = None
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def ok(self) -> bool:
        return self.done and not self.faults


def next_segment(
    so_far: Progressed, *, full: bool, log: LogRef = MAIN, progress: Progress | None = None
) -> Progressed:
    """The check after one more part; `done` when nothing is left, or the chain is broken.

    What lies above the entries (head, tiles, keys) is looked at in the last part. `progress` gets
    entries read and the size that the log had when the check began. Raises ChainStateError.
    """
    begin = ChainVerifier.from_bytes(so_far.state).size if so_far.state else 0
    size = so_far.size
    end = begin + max(SEGMENT, -(-size // _MOST_SEGMENTS))
    last = end >= size

    def told(done: int, _: int) -> None:
        if progress:
            progress(done, max(done, size))

    outcome = stored_log_outcome(
        log=log,
        full=full,
        state=so_far.state,
        end=None if last else end,
        roots_later=bool(so_far.state),
        progress=told,
    )
    reached = ChainVerifier.from_bytes(outcome.state) if outcome.state else ChainVerifier()
    if last and so_far.state and reached.size == outcome.size:
        _check_tiles(log.id, reached, outcome)
    return _merged(so_far, outcome, begin, done=last or reached.size < end)


def _check_tiles(log_id: int, chain: ChainVerifier, outcome: Outcome) -> None:
    held = {index: root for index, _, root in stored.tiles(log_id, 0)}
    roots = [held.get(index, b"") for index in range(chain.size // TILE)]
    check_tile_roots(log_id, roots, chain.frontier, outcome)


def _merged(so_far: Progressed, outcome: Outcome, begin: int, *, done: bool) -> Progressed:
    faults = so_far.faults.copy()
    for finding in outcome.findings:
        if str(finding) not in faults and len(faults) < _MAX_FAULTS:
            faults.append(str(finding))
    if outcome.size < so_far.size:
        faults.append(
            f"The log had {so_far.size} entries when this check began, and has {outcome.size}."
        )
    bad = [seq for seq in (so_far.first_bad, outcome.first_bad) if seq is not None]
    return Progressed(
        # An outcome counts what lies before its part as good.
        entries=so_far.entries + outcome.entries - min(begin, outcome.entries),
        state=outcome.state,
        root=outcome.root,
        size=max(so_far.size, outcome.size) if done else so_far.size,
        first_bad=min(bad, default=None),
        faults=faults,
        warnings=outcome.warnings,
        done=done,
    )
