"""What a verification found: named checks with sentences for people, and how far they reach."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from audit.ledger.checkpoint import Checkpoint

# A failed check names this many faults; the rest it counts.
_NAMED_FAULTS = 10


def printable(text: str) -> str:
    """Text without control, direction and surrogate characters.

    Sentences quote unverified files, which must not be able to steer a terminal.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked. `sentence` says what holds, or what is wrong and where."""

    name: str
    ok: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """An entry that commits to the statement: who recorded what, when."""

    seq: int
    type: str
    actor: str
    time: str


@dataclass(slots=True)
class Verdict:
    """The checks, in order, and notes that say what the evidence cannot show.

    The other members are filled as far as the checks got; rely on them only if `valid`. `promise`
    is for receipts: whether the log was shown to have kept its word, "" if nobody asked.
    """

    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    purpose: str = ""
    vkey: str = ""
    checkpoint: Checkpoint | None = None
    entries: list[int] = field(default_factory=list)
    statement: dict[str, Any] | None = None
    commitments: list[Commitment] = field(default_factory=list)
    promise: str = ""

    @property
    def valid(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def faults(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]

    def record(self, name: str, faults: Iterable[str], sentence: str = "") -> bool:
        """Add a check: ok with the sentence when there are no faults, else failed with them."""
        found = list(faults)
        if found:
            more = len(found) - _NAMED_FAULTS
            sentence = " ".join(found[:_NAMED_FAULTS]) + (f" And {more} more." if more > 0 else "")
        self.checks.append(Check(name, not found, printable(sentence)))
        return not found

    def note(self, sentence: str) -> None:
        """Add a sentence about what the evidence does not show."""
        self.notes.append(printable(sentence))

    def as_dict(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        checkpoint = self.checkpoint
        return {
            "valid": self.valid,
            "checks": [asdict(check) for check in self.checks],
            "notes": list(self.notes),
            "purpose": self.purpose,
            "vkey": self.vkey,
            "checkpoint": checkpoint
            and {
                "origin": checkpoint.origin,
                "size": checkpoint.size,
                "root": checkpoint.root.hex(),
            },
            "entries": list(self.entries),
            "statement": self.statement,
            "commitments": [asdict(item) for item in self.commitments],
            "promise": self.promise,
        }
