"""Receipts of destruction: evidence that a person's key was made and destroyed."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from audit import keylog
from audit.actions.acting import Actor
from audit.actions.forgetting import SubjectUnknownError, destroy_due_keys
from audit.actions.recording import record, sequence
from audit.events import ERASURE_RECEIPTED
from audit.ledger.bundle import STATEMENT_FIELD, statement_digest
from audit.models import MAIN_LOG, Entry, Subject, SubjectKey
from audit.queries import evidence

PURPOSE = "receipt of a destroyed key"


class KeyLivesError(RuntimeError):
    """The key is still there, so there is nothing to receipt."""


def erasure_receipt(pseudonym: str, *, by: Actor) -> dict[str, Any]:
    """The evidence bundle of a person's destroyed key, ready for JSON. Commits.

    The same receipt again is no second entry. Raises SubjectUnknownError and KeyLivesError.
    """
    destroy_due_keys()
    sequence()
    erased = keylog.erasure_of(pseudonym)
    if not erased:
        raise SubjectUnknownError(f"The log tells of no erasure of {pseudonym}.")
    if SubjectKey.objects.filter(pseudonym=pseudonym, destroyed_at=None).exists():
        raise KeyLivesError(
            f"The key of {pseudonym} lives though the log says that it was destroyed. Run"
            " `python manage.py replay_erasures`."
        )
    statement = _statement(pseudonym, *erased[0])
    event_id = f"subject.erasure_receipted:{statement_digest(statement)}"
    with transaction.atomic():
        record(
            ERASURE_RECEIPTED,
            by=by,
            resource=f"subject:{pseudonym}",
            details={
                "pseudonym": pseudonym,
                STATEMENT_FIELD: statement_digest(statement),
            },
            event_id=event_id,
        )
    sequence()
    commits = Entry.objects.get(log_id=MAIN_LOG, event_id=event_id).seq
    return evidence([*statement["entries"], commits], purpose=PURPOSE, statement=statement)


def _statement(pseudonym: str, entry: int, erased: dict[str, Any]) -> dict[str, Any]:
    made = keylog.creation_of(pseudonym)
    epoch = Subject.objects.values_list("epoch", flat=True).get(pseudonym=pseudonym)
    destroyed = keylog.epochs_destroyed()
    # Which of them wrapped the key is not in the log; that all up to the last are gone, is.
    ended = [destroyed[n] for n in sorted(destroyed) if epoch is not None and n <= epoch]
    covered = epoch is not None and {int(told.of) for told in ended} == set(range(1, epoch + 1))
    replays = keylog.replays_of(pseudonym)
    told = [made.entry] if made else []
    return {
        "purpose": PURPOSE,
        "pseudonym": pseudonym,
        "commitment": erased["commitment"],
        "key_made": {"entry": made.entry} if made else None,
        "key_destroyed": {"entry": entry, "sealed_entries": erased["sealed_entries"]},
        "destroyed_again_after_a_restore": [{"entry": seq} for seq in replays],
        "epoch": epoch,
        "epochs_destroyed": [{"epoch": int(e.of), "entry": e.entry} for e in ended],
        "backups_are_useless": covered,
        "entries": sorted({*told, entry, *replays, *(e.entry for e in ended)}),
        "shows": list(_shows(covered=covered)),
        "does_not_show": [
            "That nobody copied the key itself, or the files of the epochs' keys, while they were"
            " there.",
            "That the storage device has overwritten every block that once held them.",
            "That data about the person outside of this log's sealed facts are gone; a certificate"
            " of erasure speaks of those.",
        ],
    }


def _shows(*, covered: bool) -> Iterable[str]:
    yield (
        "The log knew the person's key by its commitment before the erasure, and tells of its"
        " destruction. What was sealed under it cannot be opened without it."
    )
    if covered:
        yield (
            "The keys of all epochs in which it can have been wrapped were destroyed as well:"
            " copies of the key store from before then hold nothing that can be opened."
        )
    else:
        yield (
            "The key of an epoch in which it was wrapped still exists: a copy of the key store"
            " from before the erasure could still be opened, until that epoch ends."
        )
