"""Checks that each checkpoint was signed by a key that was in use at its size.

A key of the past may have been stolen: what bears its signature alone and covers more than the log
had when the key was retired was not signed by the log.
"""

from collections.abc import Iterator

from audit.keyring import Ring
from audit.verification import stored
from audit.verification.outcome import Finding


def findings(log_id: int, ring: Ring) -> Iterator[Finding]:
    """That the signatures hold must have been verified before."""
    head = stored.head(log_id)
    if head is None or len(ring.keys) == 1:
        return
    notes = [(size, note) for size, _, note in stored.checkpoints(log_id)]
    if head.note:
        notes.append((head.note_size, head.note))
    for size, note in notes:
        try:
            counted = ring.counted(note, str(head.origin))
        except (ValueError, TypeError):
            continue  # the check of the signatures has named it
        if not counted:
            yield Finding(
                None,
                f"the checkpoint over {size} entries bears only signatures of keys that were not"
                " in use at that size.",
            )
