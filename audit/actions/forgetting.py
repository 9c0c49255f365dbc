"""Destroying the keys of persons.

The log's database and the key store cannot commit together. The event subject.erased and a due
row (Subject, erased but not destroyed) are one transaction; from its commit on nobody uses the
key. It is destroyed right after, and by the sweep if a crash came between.
"""

import logging

from django.db import connection, connections, transaction
from django.utils import timezone

from audit.actions.acting import Actor
from audit.actions.recording import announce_keys, record
from audit.events import SUBJECT_ERASED
from audit.models import Entry, Subject, SubjectKey
from audit.routing import KEYS
from audit.sealing import living_rows

log = logging.getLogger(__name__)
_AT_A_TIME = 500
_PATIENCE_MS = 200


class SubjectUnknownError(ValueError):
    """No living key belongs to this person: nothing was sealed, or they were forgotten already."""


def forget_subject(subject_lookup: str | bytes, *, by: Actor) -> str:
    """Destroy the person's key: all that was sealed under it is unreadable from now on.

    `subject_lookup` is `audit.subjects.lookup(ref)`. Returns the id of the event subject.erased.
    Runs inside the caller's transaction; the key goes once that is committed. Raises
    SubjectUnknownError.
    """
    name = subject_lookup.hex() if isinstance(subject_lookup, bytes) else subject_lookup
    rows = living_rows(name)
    announce_keys([(row.pseudonym, row.commitment) for row in rows], by=by)
    erased = [row for row in rows if _mark_erased(row)]
    if not erased:
        raise SubjectUnknownError(
            "No key of this person is kept: nothing was sealed for them, or they were forgotten."
        )
    recorded = [_record(row, by=by) for row in erased]
    _destroy_after_commit()
    return recorded[0]


def destroy_due_keys() -> int:
    """Destroy every key whose erasure was recorded, and say so beside the log; how many.

    May run twice and beside itself: a key that is gone already stays gone.
    """
    count = 0
    due = Subject.objects.filter(erased_at__isnull=False, destroyed_at=None).order_by("erased_at")
    while rows := list(due[:_AT_A_TIME]):
        names = [row.pseudonym for row in rows]
        now, kept = timezone.now(), SubjectKey.objects.filter(pseudonym__in=names)
        kept.filter(destroyed_at=None).update(lookup=None, wrapped_key=None, destroyed_at=now)
        epochs = dict(kept.values_list("pseudonym", "epoch"))  # a dead key stays in its epoch
        for row in rows:
            row.epoch, row.destroyed_at = epochs.get(row.pseudonym, row.epoch), now
        Subject.objects.bulk_update(rows, ["epoch", "destroyed_at"])
        count += len(rows)
    if count:
        _overwrite_journal()
    return count


def _mark_erased(row: SubjectKey) -> bool:
    """Make the due row, unless another transaction was first."""
    mine = Subject.objects.filter(pseudonym=row.pseudonym, erased_at=None)
    return bool(mine.update(erased_at=timezone.now(), epoch=row.epoch))


def _record(row: SubjectKey, *, by: Actor) -> str:
    return record(
        SUBJECT_ERASED,
        by=by,
        resource=f"subject:{row.pseudonym}",
        details={
            "pseudonym": row.pseudonym,
            "commitment": row.commitment,
            "sealed_entries": Entry.objects.filter(subject=row.pseudonym).count(),
            "epoch": row.epoch,
        },
    )


def _destroy_after_commit() -> None:
    here = set(connection.savepoint_ids)
    for savepoints, callback, *_ in connection.run_on_commit:
        if callback is _destroy_quietly and set(savepoints) <= here:
            return
    transaction.on_commit(_destroy_quietly)


def _destroy_quietly() -> None:
    """The erasure is committed; if the key cannot be destroyed now, the sweep does it."""
    try:
        destroy_due_keys()
    except Exception:
        log.exception("A key that was to be destroyed could not be yet; the sweep tries again.")


def _overwrite_journal() -> None:
    """SQLite: the write-ahead log still holds the page as it was. Readers may put it off."""
    store = connections[KEYS]
    if store.vendor == "sqlite" and not store.in_atomic_block:
        with store.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute(
                f"PRAGMA busy_timeout = {store.settings_dict['OPTIONS']['timeout'] * 1000}"
            )
