"""Making subjects' keys, in the key store.

The key store and the log's database cannot commit together. A key is made first, in a transaction
of its own; the event that announces and uses it comes after. If that is rolled back, the key stays
behind, seals nothing, and is announced at its next use.
"""

from collections.abc import Sequence

from django.db import connection, connections, transaction

from audit import epochs, sealing
from audit.models import FIRST_EPOCH, KeyEpoch, SubjectKey
from audit.routing import KEYS
from audit.subjects import SubjectRef

_AT_A_TIME = 400
_TRIES = 5


def make_keys(refs: Sequence[SubjectRef]) -> None:
    """A key for each of these persons, unless another process makes one at the same moment."""
    with transaction.atomic(using=KEYS):
        rows = sealing.new_rows(refs, epoch=_held_epoch())
        SubjectKey.objects.bulk_create(rows, ignore_conflicts=True, batch_size=_AT_A_TIME)


def note_subjects(keys: Sequence[tuple[str, str]]) -> set[str]:
    """Keep beside the log that it knows these (pseudonym, commitment); which it did not before."""
    added: set[str] = set()
    with connection.cursor() as cursor:
        for start in range(0, len(keys), _AT_A_TIME):
            some = keys[start : start + _AT_A_TIME]
            places = ", ".join(["(%s, %s)"] * len(some))
            cursor.execute(
                f"INSERT INTO audit_subject (pseudonym, commitment) VALUES {places}"  # noqa: S608
                " ON CONFLICT DO NOTHING RETURNING pseudonym",
                [value for key in some for value in key],
            )
            added |= {row[0] for row in cursor.fetchall()}
    return added


def open_epoch(number: int) -> KeyEpoch:
    """The epoch of this number, with its key on disk before its row can be seen."""
    secret = epochs.make_file(number)
    row = KeyEpoch(number=number, commitment=epochs.commitment(secret))
    KeyEpoch.objects.bulk_create([row], ignore_conflicts=True)
    return KeyEpoch.objects.get(number=number)


def open_first_epoch() -> None:
    """The epoch of an installation that has none. Files that are there already are used again."""
    if not KeyEpoch.objects.exists():
        open_epoch(max(epochs.numbers_on_disk(), default=FIRST_EPOCH))


def _held_epoch() -> int:
    """The epoch in which keys are made, held open until the transaction ends.

    Closing it waits for those who hold it, so that no key is made in an epoch that ends.
    """
    lock = " FOR SHARE" if connections[KEYS].features.has_select_for_update else ""
    for _ in range(_TRIES):
        with connections[KEYS].cursor() as cursor:
            cursor.execute(
                "SELECT number FROM audit_keyepoch WHERE closed_at IS NULL"  # noqa: S608
                f" ORDER BY number DESC LIMIT 1{lock}"
            )
            found = cursor.fetchone()
        if found is not None:
            return int(found[0])
        open_first_epoch()
    raise AssertionError("an installation has an epoch that is not closed")
