"""Checks the subjects' keys against the log, and that what is sealed under living keys opens."""

from collections.abc import Iterator
from datetime import timedelta

from django.utils import timezone

from audit import epochs, keylog
from audit.keys import KeyFileError
from audit.ledger import canonical
from audit.ledger.leaf import unpack
from audit.logs import MAIN, LogRef
from audit.models import Entry, KeyEpoch, Pending, Subject, SubjectKey
from audit.sealing import LiveKey, SealError, unseal, unwrap
from audit.verification.outcome import Finding

_AT_A_TIME = 500
_NAMED = 20  # so many are named one by one; a restored key store would fill pages
# Right after an erasure its key may still be there; the sweep runs every half minute.
_IN_PROGRESS = timedelta(minutes=5)


def findings(log: LogRef) -> Iterator[Finding]:
    """What is wrong with keys and sealed facts. The log itself must have been verified before.

    All keys are compared with the main log, which tells of them; in a unit's log only what is
    sealed is left to be looked at.
    """
    if not log.is_main:
        yield from _few(_sealed_findings(log))
        return
    log_id = log.id
    waits = Pending.objects.filter(log_id=log_id).exists()
    yield from _epoch_findings(log_id, waits=waits)
    yield from _few(_key_findings(log_id, waits=waits))
    missing = keylog.missing_keys(log_id)
    if waits:  # the erasures of some may wait for their places
        told = Subject.objects.filter(erased_at__isnull=False, pseudonym__in=missing[:_AT_A_TIME])
        gone = set(told.values_list("pseudonym", flat=True))
        missing = [name for name in missing if name not in gone]
    if missing:
        yield Finding(
            None,
            f"the key store lacks the keys of {len(missing)} persons whom the log has not erased,"
            f" {missing[0]} among them: it is older than the log. Restore the newest copy.",
        )


def _key_findings(log_id: int, *, waits: bool) -> Iterator[Finding]:
    committed, lost = keylog.committed(log_id), keylog.lost(log_id)
    erased = {told.of: told.entry for told in keylog.erasures(log_id)}
    due = _in_progress()
    for row in SubjectKey.objects.order_by("pk").iterator(_AT_A_TIME):
        name, logged = row.pseudonym, committed.get(row.pseudonym)
        if logged is None and not waits and row.destroyed_at is None and not _is_known(name):
            continue  # made for an event that was rolled back: it seals nothing
        if logged != row.commitment and not (logged is None and waits):
            yield Finding(None, f"the log knows another key of subject {name}, or none.")
        if row.destroyed_at is not None:
            if name not in erased and name not in lost and not waits:
                yield Finding(None, f"no entry tells that {name} was erased.")
        elif name in erased and name not in due:
            yield Finding(
                erased[name],
                f"it tells that {name} was erased, and the key lives: a restored copy of the key"
                " store brought it back. Run `python manage.py replay_erasures`.",
            )
        elif name not in erased:
            yield from _openable(MAIN, row)


def _sealed_findings(log: LogRef) -> Iterator[Finding]:
    """What does not open of what a unit's log has sealed under keys that live."""
    gone = {told.of for told in keylog.erasures()} | keylog.lost() | _in_progress()
    for row in SubjectKey.objects.filter(destroyed_at=None).order_by("pk").iterator(_AT_A_TIME):
        if row.pseudonym not in gone:
            yield from _openable(log, row)


def _openable(log: LogRef, row: SubjectKey) -> Iterator[Finding]:
    try:
        key = unwrap(row)
    except (SealError, KeyFileError, epochs.EpochKeyGoneError) as exc:
        yield Finding(None, f"the key of subject {row.pseudonym} cannot be used: {exc}")
    else:
        yield from _unreadable(log, key)


def _epoch_findings(log_id: int, *, waits: bool) -> Iterator[Finding]:
    created, destroyed = keylog.epochs_created(log_id), keylog.epochs_destroyed(log_id)
    for row in KeyEpoch.objects.order_by("number"):
        told = created.get(row.number) or destroyed.get(row.number)
        if told is not None and told.commitment != row.commitment:
            yield Finding(told.entry, f"it tells of another key of epoch {row.number}.")
        if row.destroyed_at is not None and row.number not in destroyed and not waits:
            yield Finding(None, f"no entry tells that the key of epoch {row.number} was destroyed.")
    for number, told in destroyed.items():
        path = epochs.epoch_file(number)
        if path.exists() and epochs.commitment(path.read_bytes()) == told.commitment:
            yield Finding(
                told.entry,
                f"it tells that the key of epoch {number} was destroyed, and the file {path.name}"
                " is there. Run `python manage.py replay_erasures`.",
            )


def _few(found: Iterator[Finding]) -> Iterator[Finding]:
    more = 0
    for number, finding in enumerate(found):
        if number < _NAMED:
            yield finding
        else:
            more += 1
    if more:
        yield Finding(None, f"{more} more faults of subjects' keys and sealed facts.")


def _in_progress() -> set[str]:
    """The persons whose keys are about to be destroyed."""
    since = timezone.now() - _IN_PROGRESS
    due = Subject.objects.filter(erased_at__gt=since, destroyed_at=None)
    return set(due.values_list("pseudonym", flat=True))


def _is_known(name: str) -> bool:
    return Subject.objects.filter(pseudonym=name).exists()


def _unreadable(log: LogRef, key: LiveKey) -> Iterator[Finding]:
    rows = Entry.objects.filter(log_id=log.id, subject=key.pseudonym).order_by("seq")
    for seq, leaf in rows.values_list("seq", "leaf").iterator(_AT_A_TIME):
        event = canonical.decode(unpack(bytes(leaf)).event)
        if "sealed" not in event:
            continue
        try:
            unseal(event["sealed"], key=key, log=log.name, event_id=event["id"])
        except SealError as exc:
            yield Finding(seq, str(exc))
