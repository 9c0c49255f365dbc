"""After a restore: what the log says was destroyed is destroyed again.

A key store that was restored is a copy from some moment: it lacks the newest erasures and has all
older ones. So the newest ones that were carried out tell whether it was restored at all.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from audit import epochs, keylog
from audit.actions.acting import KEEPER
from audit.actions.forgetting import destroy_due_keys
from audit.actions.recording import record, sequence
from audit.events import KEK_DESTRUCTION_REPLAYED, SUBJECT_ERASURE_REPLAYED
from audit.models import KeyEpoch, Subject, SubjectKey

log = logging.getLogger(__name__)
_AT_A_TIME = 500
_NEWEST = 50


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found: erasures in the log, keys that were alive in spite of them (and are
    destroyed now), epochs' files alike, and living persons whose keys the store does not have."""

    erasures: int
    replayed: int
    files: int
    missing: int


def replay_erasures() -> Replay:
    """Destroy every key that is alive though the log says that its person was erased. Commits."""
    destroy_due_keys()
    sequence()
    seen = replayed = 0
    batch: list[keylog.Told] = []
    for erasure in keylog.erasures():
        seen += 1
        batch.append(erasure)
        if len(batch) == _AT_A_TIME:
            replayed += _replay(batch)
            batch = []
    replayed += _replay(batch)
    files = sum(_replay_epoch(number, told) for number, told in keylog.epochs_destroyed().items())
    if replayed or files:
        log.error(
            "The key store had %d keys of erased persons and %d destroyed epochs: a backup was"
            " restored. They were destroyed again.",
            replayed,
            files,
        )
        sequence()
    return Replay(seen, replayed, files, len(keylog.missing_keys()))


def replay_if_restored() -> Replay | None:
    """What `replay_erasures` found, if the key store looks restored; else None, at little cost."""
    newest = Subject.objects.filter(destroyed_at__isnull=False).order_by("-destroyed_at")
    names = list(newest.values_list("pseudonym", flat=True)[:_NEWEST])
    back = SubjectKey.objects.filter(pseudonym__in=names, destroyed_at=None).exists()
    ended = KeyEpoch.objects.filter(destroyed_at__isnull=False, number__in=epochs.numbers_on_disk())
    if back or any(_is_file_of(row.number, row.commitment) for row in ended):
        return replay_erasures()
    return None


def _replay(batch: Sequence[keylog.Told]) -> int:
    """How many of the keys in this batch of erasures were alive."""
    entries = {told.of: told for told in batch}
    alive = list(SubjectKey.objects.filter(pseudonym__in=entries, destroyed_at=None))
    for row in alive:
        told, now = entries[row.pseudonym], timezone.now()
        with transaction.atomic():
            Subject.objects.update_or_create(
                pseudonym=row.pseudonym,
                defaults={"erased_at": now, "destroyed_at": None, "commitment": told.commitment},
            )
            record(
                SUBJECT_ERASURE_REPLAYED,
                by=KEEPER,
                resource=f"subject:{row.pseudonym}",
                details={
                    "pseudonym": row.pseudonym,
                    "commitment": told.commitment,
                    "epoch": row.epoch,
                    "entry": told.entry,
                },
            )
    if alive:
        destroy_due_keys()
    return len(alive)


def _replay_epoch(number: int, told: keylog.Told) -> bool:
    if not _is_file_of(number, told.commitment):
        return False
    epochs.destroy_file(number)
    with transaction.atomic():
        record(
            KEK_DESTRUCTION_REPLAYED,
            by=KEEPER,
            resource=f"kek:{number}",
            details={"epoch": number, "commitment": told.commitment, "entry": told.entry},
        )
    return True


def _is_file_of(number: int, commitment: str) -> bool:
    path = epochs.epoch_file(number)
    return path.exists() and epochs.commitment(path.read_bytes()) == commitment
