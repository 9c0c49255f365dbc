"""Destroying the keys of persons."""

from django.db import connection
from django.utils import timezone

from audit.actions.acting import Actor
from audit.actions.recording import record
from audit.events import SUBJECT_ERASED
from audit.models import Entry, SubjectKey


class SubjectUnknownError(ValueError):
    """No living key belongs to this person: nothing was sealed, or they were forgotten already."""


def forget_subject(subject_lookup: str | bytes, *, by: Actor) -> str:
    """Destroy the person's key: all that was sealed under it is unreadable from now on.

    `subject_lookup` is `audit.subjects.lookup(ref)`. Returns the id of the event subject.erased.
    Runs inside the caller's transaction. Raises SubjectUnknownError.
    """
    name = subject_lookup.hex() if isinstance(subject_lookup, bytes) else subject_lookup
    key = SubjectKey.objects.select_for_update().filter(lookup=name).first()
    if key is None:
        raise SubjectUnknownError(
            "No key of this person is kept: nothing was sealed for them, or they were forgotten."
        )
    if connection.vendor == "sqlite":
        # Overwrite the row's bytes on disk instead of only unlinking them.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")
    SubjectKey.objects.filter(pk=key.pk).update(
        lookup=None, wrapped_key=None, destroyed_at=timezone.now()
    )
    return record(
        SUBJECT_ERASED,
        by=by,
        resource=f"subject:{key.pseudonym}",
        details={
            "pseudonym": key.pseudonym,
            "commitment": key.commitment,
            "sealed_entries": Entry.objects.filter(subject=key.pseudonym).count(),
        },
    )
