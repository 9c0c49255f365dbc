"""Whether a log's receipt is genuine, and whether the log has kept what it promises.

What is judged is a saved answer (audit.ledger.answer); what it is compared with, signed trees
(audit.ledger.holding). Broken input never raises: it ends in a Verdict that says what failed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from audit.ledger.answer import Answer, AnswerError, parse_answer
from audit.ledger.bundle import BundleError, decode
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, parse_vkey, verify_note
from audit.ledger.holding import Holding, HoldingError, holding
from audit.ledger.receipt import (
    Accepted,
    InvalidReceiptError,
    Receipt,
    require_events,
    verify_signature,
)
from audit.ledger.verdict import Verdict

KEPT, BROKEN, OPEN = "kept", "broken", "not shown"

_NOTE_KEY = (
    "Whose key this is, the receipt cannot say: the answer itself names it. Compare {vkey} with the"
    " key that the organisation publishes, or give that key (--vkey)."
)
_NOTE_NOW = (
    "A receipt shows that the log accepted the events, not that it still holds them: compare it"
    " with evidence, a proof or a copy of the log (--against)."
)
_NOTE_CONTENT = (
    "What the events say is not in a receipt: the leaf hash of each stands for it, and the entry's"
    " leaf shows it."
)
_NOTE_NO_CHECKPOINT = (
    "The answer holds no checkpoint: the log could not be signed then. The receipt stands without."
)


def verify_receipt(
    answer: object,
    *,
    trusted_vkey: str | Iterable[str] | None = None,
    against: Iterable[bytes | Path] = (),
) -> Verdict:
    """Judge a saved answer of the log, given as JSON text or as the object in it. Never raises.

    `against`: what somebody has kept of the log, see audit.ledger.holding. The verdict's `promise`
    then says whether the log has kept its word. It is not valid if the log has not: one of its
    checks says for which event, and that is the proof.
    """
    verdict = Verdict(purpose="receipt")
    try:
        saved = parse_answer(decode(answer) if isinstance(answer, bytes | str) else answer)
    except (AnswerError, BundleError) as error:
        verdict.record("format", [f"This is no saved answer of the log: {error}."])
        return verdict
    count = _count(len(saved.events))
    verdict.record("format", [], f"This is the answer of a log to {count}.")
    verdict.vkey, verdict.entries = saved.vkey, [event.seq for event in saved.events]
    receipt = _check_signature(verdict, saved)
    if receipt is None:
        return verdict
    vkeys = _check_key(verdict, saved, trusted_vkey)
    faults = [
        f"The receipt does not belong to the events: {fault}." for fault in _unfit(saved, receipt)
    ]
    verdict.record("events", faults, f"The receipt names id, place and hash of {count}.")
    _check_checkpoint(verdict, saved)
    sources = list(against)
    if not verdict.valid:
        return verdict
    verdict.note(_NOTE_CONTENT)
    if sources:
        judge(verdict, saved.events, _holdings(verdict, saved, vkeys, sources))
    else:
        verdict.note(_NOTE_NOW)
    return verdict


def judge(verdict: Verdict, events: Sequence[Accepted], holdings: Sequence[Holding]) -> None:
    """Compare what was promised with what signed trees hold; adds the check `promise`.

    `events` must be those of a verified receipt, the holdings those of its log, and the verdict's
    checkpoint the one that came with the receipt.
    """
    kept, faults = _places(events, holdings)
    faults = [*_forks(verdict.checkpoint, holdings), *faults]
    missing = len(events) - len(kept)
    if faults:
        verdict.promise = BROKEN
    else:
        verdict.promise = OPEN if missing else KEPT
        grown = _grown(verdict.checkpoint, holdings)
        if grown:
            verdict.record("growth", [], grown)
        elif not kept:
            faults = [_unshown(events, holdings)]
    if kept or faults:
        shown = "It stands" if len(events) == 1 else f"{len(kept):,} of {_count(len(events))} stand"
        verdict.record("promise", faults, f"{shown} in the signed log where the receipt says.")
    if verdict.promise == OPEN and not faults:
        other = "other " if kept else ""
        verdict.note(f"Nothing was given that shows the {other}{_count(missing)} in place.")


def _places(events: Sequence[Accepted], holdings: Sequence[Holding]) -> tuple[set[int], list[str]]:
    """Which of the events (by their index) were shown in place, and which are proven not to be."""
    kept: set[int] = set()
    faults = []
    for found in holdings:
        for at, event in enumerate(events):
            hashed = found.leaf_hashes.get(event.seq)
            if hashed == event.leaf_hash:
                kept.add(at)
            elif hashed is not None:
                faults.append(_left_out(event, found))
    return kept, faults


def _left_out(event: Accepted, found: Holding) -> str:
    return (
        f"The log accepted the event {event.id} as entry {event.seq}, and the signed log of"
        f" {_count(found.checkpoint.size, 'entry', 'entries')} holds another entry there: the event"
        " was left out or rewritten, and that is proven."
    )


def _grown(own: Checkpoint | None, holdings: Sequence[Holding]) -> str | None:
    """That the log still extends the tree which it signed with the receipt, if that is shown."""
    sizes = [
        found.checkpoint.size for found in holdings if own is not None and own.size in found.roots
    ]
    if own is None or not sizes:
        return None
    return (
        f"The signed log of {_count(max(sizes), 'entry', 'entries')} still begins with the"
        f" {_count(own.size, 'entry', 'entries')} that were signed with the receipt."
    )


def _holdings(
    verdict: Verdict, saved: Answer, vkeys: Sequence[str], sources: Sequence[bytes | Path]
) -> list[Holding]:
    seqs = {event.seq for event in saved.events}
    before = verdict.checkpoint.size if verdict.checkpoint else None
    found, faults = [], []
    for source in sources:
        try:
            found.append(
                holding(source, seqs=seqs, origin=saved.origin, vkeys=vkeys, before=before)
            )
        except HoldingError as error:
            faults.append(f"What the receipt was to be compared with does not hold: {error}.")
    sizes = " and ".join(f"{item.checkpoint.size:,}" for item in found)
    verdict.record("against", faults, f"Compared with the signed log of {sizes} entries.")
    return found


def _forks(own: Checkpoint | None, holdings: Sequence[Holding]) -> Iterable[str]:
    """Sizes for which the log's signature stands under two trees, directly or by their growth."""
    trees = [(own.size, own.root)] if own else []
    for found in holdings:
        trees += [(found.checkpoint.size, found.checkpoint.root), *found.roots.items()]
    roots: dict[int, bytes] = {}
    for size, root in trees:
        if roots.setdefault(size, root) != root:
            yield (
                f"Two different trees of {_count(size, 'entry', 'entries')} bear the log's"
                " signature: it shows different people different things, and that is proven."
            )


def _unshown(events: Sequence[Accepted], holdings: Sequence[Holding]) -> str:
    size = max((item.checkpoint.size for item in holdings), default=0)
    if holdings and size <= min(event.seq for event in events):
        return (
            f"The signed log of {_count(size, 'entry', 'entries')} ends before the events' places."
            " If it is older than the receipt, get a newer one; if it is newer, the log was cut."
        )
    return "What was given shows nothing about the events' places."


def _check_signature(verdict: Verdict, saved: Answer) -> Receipt | None:
    """The signed receipt, or None when nothing below it is worth checking."""
    if saved.receipt is None:
        verdict.record(
            "receipt",
            [
                "The answer holds no receipt: the log's key was not at hand then. Send the events"
                " again under the same ids; they keep their places and get one."
            ],
        )
        return None
    try:
        receipt = verify_signature(saved.receipt, [saved.vkey])
        if receipt.origin != saved.origin:
            raise InvalidReceiptError(f"it is of the log {receipt.origin}, not of {saved.origin}")
    except (InvalidReceiptError, InvalidNoteError) as error:
        verdict.record("receipt", [f"The signed receipt does not hold: {error}."])
        return None
    verdict.record(
        "receipt",
        [],
        f"The log {receipt.origin} has signed a receipt for {_count(receipt.count)} at"
        f" {receipt.time} with the key {parse_vkey(saved.vkey).key_id.hex()}.",
    )
    return receipt


def _check_key(
    verdict: Verdict, saved: Answer, trusted_vkey: str | Iterable[str] | None
) -> list[str]:
    """The keys to go on with: those that are trusted, or the answer's own."""
    if trusted_vkey is None:
        verdict.note(_NOTE_KEY.format(vkey=saved.vkey[:200]))
        return [saved.vkey]
    vkeys = [trusted_vkey] if isinstance(trusted_vkey, str) else list(trusted_vkey)
    try:
        verify_signature(saved.receipt or "", vkeys)
    except (InvalidReceiptError, InvalidNoteError) as error:
        verdict.record("key", [f"The key that you trust has not signed the receipt: {error}."])
    else:
        verdict.record("key", [], "A key that you trust has signed the receipt.")
    return vkeys


def _unfit(saved: Answer, receipt: Receipt) -> Iterable[str]:
    try:
        require_events(receipt, saved.events)
    except InvalidReceiptError as error:
        yield str(error)


def _check_checkpoint(verdict: Verdict, saved: Answer) -> None:
    if saved.checkpoint is None:
        verdict.note(_NOTE_NO_CHECKPOINT)
        return
    faults = []
    try:
        checkpoint = verify_note(saved.checkpoint, [saved.vkey])
    except InvalidNoteError as error:
        faults.append(f"The signed checkpoint does not hold: {error}.")
    else:
        verdict.checkpoint = checkpoint
        if checkpoint.origin != saved.origin:
            faults.append(
                f"The checkpoint is of the log {checkpoint.origin}, not of the receipt's."
            )
        elif checkpoint.size <= max(verdict.entries):
            faults.append("The checkpoint does not cover the events.")
    size = verdict.checkpoint.size if verdict.checkpoint else 0
    verdict.record(
        "checkpoint",
        faults,
        f"A signed checkpoint of {_count(size, 'entry', 'entries')} covers them.",
    )


def _count(number: int, one: str = "event", many: str = "events") -> str:
    return f"{number:,} {one if number == 1 else many}"
