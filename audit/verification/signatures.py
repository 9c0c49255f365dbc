"""The signed checkpoints that the stored log must live up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, verify_note
from audit.models import MAIN_LOG
from audit.verification import outside, parent, stored
from audit.verification.outcome import Outcome


@dataclass(frozen=True, slots=True)
class _Root:
    """What was signed: the tree of `size` leaves has this root."""

    size: int
    root: bytes
    where: str


class Signatures:
    """The signed checkpoints that the log must live up to, by size."""

    def __init__(
        self,
        head: stored.Head,
        vkeys: Sequence[str],
        outcome: Outcome,
        *,
        start: int,
        end: int,
    ) -> None:
        self._head, self._vkeys, self._outcome, self._end = head, vkeys, outcome, end
        self._roots: list[_Root] = []
        self._kept: dict[Any, Any] = {}  # the notes in the history, by size
        self.last_good = start

    def collect(self, log_id: int, remembered: str) -> None:
        head, outcome = self._head, self._outcome
        newest = self._verified(head.note, "the newest checkpoint") if head.note else None
        if (newest.size if newest else -1) != head.note_size:
            outcome.fault(
                None,
                f"the head says that its newest checkpoint covers {head.note_size!r} entries; the"
                f" checkpoint covers {newest.size if newest else 'none'}.",
            )
        outcome.signed = newest
        if head.size and (newest is None or newest.size < head.size):
            unsigned = head.size - (newest.size if newest else 0)
            outcome.warnings.append(f"The newest {unsigned} entries are not signed yet.")
        for size, root, note in stored.checkpoints(log_id):
            self._kept[size] = note
            kept = self._verified(note, f"the checkpoint kept for {size} entries")
            outcome.checkpoints += kept is not None
            if kept is not None and (kept.size, kept.root) != (size, root):
                outcome.fault(
                    None,
                    f"the checkpoint kept for {size} entries covers {kept.size}, or its root"
                    " is not the one beside it.",
                )
        if remembered:
            self._verified(remembered, "the checkpoint remembered beside the key")
        self._collect_outside(log_id)
        if log_id != MAIN_LOG:
            self._collect_parent()
        start = self.last_good
        self._roots = sorted(
            (signed for signed in self._roots if signed.size >= start),
            key=lambda signed: signed.size,
        )
        # Others may append while this runs: what was signed since the head was read is not judged.
        now = stored.head(log_id)
        grown = now.size if now is not None and type(now.size) is int else head.size
        beyond = [signed for signed in self._roots if signed.size > grown]
        if beyond:
            outcome.fault(
                head.size,
                f"it is missing: {beyond[-1].where} covers {beyond[-1].size} entries, and the log"
                f" has {head.size}.",
            )
        self._roots = [signed for signed in self._roots if signed.size <= self._end]

    def _collect_outside(self, log_id: int) -> None:
        for held in outside.held(log_id, self.last_good):
            self._verified(held.note, held.where)
            if held.fault:
                self._outcome.fault(None, held.fault)

    def _collect_parent(self) -> None:
        """What the main log holds of this one binds it, whoever has its key."""
        for told in parent.told(self._head.name, self.last_good):
            self._roots.append(_Root(told.size, told.root, told.where))
            note = self._kept.get(told.size)
            if not isinstance(note, str) or sha256(note.encode()).hexdigest() != told.note_sha256:
                self._outcome.fault(
                    None,
                    f"the checkpoint over {told.size} entries that {told.where} names is not kept.",
                )

    def next_size(self) -> int | None:
        """The size at which the next signed root is to be compared."""
        return self._roots[0].size if self._roots else None

    def compare(self, size: int, root: bytes) -> str:
        """What is wrong when the tree of this size has this root; empty when nothing is."""
        while self._roots and self._roots[0].size == size:
            signed = self._roots.pop(0)
            if signed.root != root:
                first, last = self.last_good, size - 1
                which = f"entry {last}" if first == last else f"an entry of {first} to {last}"
                return f"{signed.where} covers another tree: {which} is not what was signed."
        self.last_good = size
        return ""

    def _verified(self, note: Any, where: str) -> Checkpoint | None:
        try:
            if not isinstance(note, str):
                raise InvalidNoteError("it is no text")
            made = verify_note(note, self._vkeys)
            if made.origin != self._head.origin:
                raise InvalidNoteError(f"it is that of {made.origin}")
        except InvalidNoteError as exc:
            self._outcome.fault(None, f"{where} is not signed by this log: {exc}.")
            return None
        self._roots.append(_Root(made.size, made.root, where))
        return made
