"""Checks that entries count their resource's entries without a gap, by the columns of the log."""

from collections.abc import Iterator

from audit.verification import stored
from audit.verification.outcome import Finding

_FIRST = 100  # findings


def findings(log_id: int) -> Iterator[Finding]:
    """Entries whose place within their resource is not the next one.

    The columns must have been compared with the leaves before.
    """
    for seq, nth, previous in stored.wrong_places(log_id, _FIRST):
        yield Finding(
            seq,
            f"it is entry {nth} of its resource and follows"
            f" {'none' if previous is None else f'entry {previous}'}, but says otherwise.",
        )
