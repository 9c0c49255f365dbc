"""What a verification of the stored log found."""

from dataclasses import dataclass, field
from datetime import datetime

from audit.ledger.checkpoint import Checkpoint

_MAX_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: the entry at which it shows, if it shows at one, and a sentence."""

    seq: int | None
    sentence: str

    def __str__(self) -> str:
        if self.seq is None:
            return self.sentence[:1].upper() + self.sentence[1:]
        return f"Entry {self.seq}: {self.sentence}"


@dataclass(slots=True)
class Outcome:
    """What a run found. `entries` were checked and found right, of the `size` there must be.

    `pruned` of them are gone and were followed by their hashes.
    `state` is where the chain stands after the run: the next one may go on from there.
    """

    started_at: datetime
    finished_at: datetime
    size: int = 0
    entries: int = 0
    pruned: int = 0
    root: str = ""
    state: bytes = b""
    signed: Checkpoint | None = None
    checkpoints: int = 0
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def first_bad(self) -> int | None:
        return min((f.seq for f in self.findings if f.seq is not None), default=None)

    def fault(self, seq: int | None, sentence: str) -> None:
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(seq, sentence))
