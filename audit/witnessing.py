"""Asking a witness for its cosignature: the client's side of C2SP tlog-witness."""

import re

from audit import proofs
from audit.ledger.checkpoint import Checkpoint, InvalidNoteError, parse
from audit.ledger.cosignature import Cosignature, answered
from audit.ledger.policy import Witness
from audit.ledger.tree import ProofRangeError
from audit.ledger.witness import request_body
from audit.outside import Answer, ContradictionError, OutsideError, post

_TRIES = 3  # the witness's size may be unknown at first, and others may ask it meanwhile
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,19})\n?")
_REFUSALS = {
    400: "It takes the request for malformed (400)",
    403: "It does not accept the log's signature (403): give it the log's verifier key",
    404: "It does not know this log (404): give it the log's verifier key",
}


class WitnessAheadError(OutsideError):
    """The witness has cosigned more entries than the checkpoint covers."""

    def __init__(self, size: int) -> None:
        super().__init__(f"It has cosigned a checkpoint over {size:,} entries already.")
        self.size = size


def cosigned_by(log_id: int, witness: Witness, note: str, *, known: int) -> Cosignature:
    """The witness's cosignature of this note, a checkpoint of the stored log.

    `known` is the size that it cosigned last as far as we know, or 0. Raises OutsideError, and
    ContradictionError when the witness holds another tree of the log.
    """
    made, _ = parse(note)
    old = min(known, made.size)
    for _ in range(_TRIES):
        answer = _ask(log_id, witness, note, made, old)
        if answer.status == 200:
            return _cosignature(answer, note, witness)
        if answer.status != 409:
            raise _refusal(answer.status, made, old)
        size = _size(answer)
        if size > made.size:
            raise WitnessAheadError(size)
        if size == old:
            raise _conflict(made, old)
        old = size
    raise OutsideError("Its size changes with every question; somebody else asks it as well.")


def _ask(log_id: int, witness: Witness, note: str, made: Checkpoint, old: int) -> Answer:
    try:
        proof = proofs.consistency(log_id, old, made.size)
    except (proofs.DamagedLogError, ProofRangeError) as exc:
        raise OutsideError(f"The log cannot prove its growth from {old:,} entries: {exc}") from exc
    return post(
        f"{witness.url.rstrip('/')}/add-checkpoint",
        request_body(old, proof, note),
        media_type="text/plain; charset=utf-8",
    )


def _cosignature(answer: Answer, note: str, witness: Witness) -> Cosignature:
    try:
        found = answered(note, answer.body.decode(), [witness.key])
    except (InvalidNoteError, UnicodeDecodeError) as exc:
        raise OutsideError(f"Its answer is no cosignature: {exc}.") from exc
    if not found:
        raise OutsideError("It cosigns with another key than the configured one.")
    return found[0]


def _size(answer: Answer) -> int:
    match = _SIZE.fullmatch(answer.body)
    if match is None:
        raise OutsideError("It answers 409 without the size that it has.")
    return int(match[1])


def _conflict(made: Checkpoint, old: int) -> OutsideError:
    if old == made.size:
        return ContradictionError(
            f"It has cosigned another tree of {made.size:,} entries than the one with root"
            f" {made.root.hex()} that was signed here. Entries were changed after they were signed."
        )
    return OutsideError(f"It answers 409 and the size {old} that it was asked from.")


def _refusal(status: int, made: Checkpoint, old: int) -> OutsideError:
    if status == 422:
        return ContradictionError(
            f"It refuses the checkpoint over {made.size:,} entries with root {made.root.hex()}: it"
            f" does not extend the {old:,} entries that it has cosigned. Entries were changed"
            " after they were signed."
        )
    return OutsideError(f"{_REFUSALS.get(status, f'It answers {status}')}.")
