"""The log commits to the newest entry of every resource."""

from typing import Any

from django.db import transaction

from audit import heads
from audit.actions.acting import Actor
from audit.actions.recording import record_of_log, sequence
from audit.completeness import Span, require_few
from audit.events import LOG_HEADS
from audit.heads import HeadsMissingError
from audit.logs import MAIN, LogRef
from audit.queries import evidence

_TRIES = 3  # others may record heads between ours and the evidence


def record_heads(*, by: Actor, log: LogRef = MAIN) -> None:
    """Record what the heads of the log are, unless nothing has happened since the last time.

    Commits. Afterwards the newest entry of each resource can be proven to be the newest.
    """
    sequence(log)
    if not heads.are_due(log.id):
        return
    heads.gather(log.id)
    with transaction.atomic():
        record_of_log(LOG_HEADS, log.id, by=by, details=heads.commitment(log.id))
    sequence(log)


def complete_evidence(span: Span, *, by: Actor) -> dict[str, Any]:
    """The evidence bundle that proves all entries of a span; records the heads if need be.

    Without an `until` it reaches up to the newest entry. Commits. Raises TooManyEntriesError,
    NotShownError, HeadsMissingError and NothingSignedError.
    """
    require_few(span)
    if span.until is None:
        record_heads(by=by, log=span.log)
    for _ in range(_TRIES - 1):
        try:
            return evidence([], purpose="completeness", complete=[span], log=span.log)
        except HeadsMissingError:
            record_heads(by=by, log=span.log)
    return evidence([], purpose="completeness", complete=[span], log=span.log)
