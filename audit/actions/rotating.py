"""Rotating the keys that wrap subjects' keys: a new epoch, all living keys in it, the old one gone.

Each step can be repeated, and what there is (epoch rows in the key store, files) says which comes
next, so a rotation that was killed goes on where it stood. It runs beside everything else:

1. the new epoch's key is on disk, then its row can be seen, then the log tells of it;
2. the older epochs are closed, which waits for those who are making keys in them;
3. living keys are wrapped anew in chunks, each a transaction;
4. an older epoch without a living key ends: its counts are kept, its file is destroyed, the log
   tells of it. From here on a copy of the key store from before is of no use.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from audit import epochs, keylog, sealing
from audit.actions.acting import KEEPER
from audit.actions.forgetting import destroy_due_keys
from audit.actions.keying import open_epoch, open_first_epoch
from audit.actions.recording import record, sequence
from audit.epochs import EpochKeyGoneError
from audit.events import KEK_CREATED, KEK_DESTROYED, KEYS_LOST
from audit.intake import RepeatedEventError
from audit.models import KeyEpoch, SubjectKey
from audit.routing import KEYS

_CHUNK = 500
_LOST_AN_EVENT = 200
Progress = Callable[[int, int], None]


class KeysUnreachableError(RuntimeError):
    """Living keys are wrapped in an epoch whose key is not there any more."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: the epoch that is open now, and those that were destroyed."""

    epoch: int
    rewrapped: int
    destroyed: list[int]
    left: list[int]


def rotate_epoch(
    *, progress: Progress | None = None, leave_old: bool = False, accept_loss: int | None = None
) -> Rotation:
    """Open a new epoch, or go on with the rotation that was begun, and destroy the older ones.

    `leave_old` keeps the older keys until the next call, so that a backup of the key store can be
    made in between. `accept_loss` is an epoch whose key is gone for good: the keys that are still
    wrapped in it are given up, and that is recorded.
    Commits. Raises KeysUnreachableError, SealError and KeyFileError; nothing is destroyed then.
    """
    destroy_due_keys()
    open_first_epoch()
    newest = _newest_epoch()
    if not _older(newest).exists():
        _require_usable(newest.number, accept_loss)
        newest = open_epoch(max(newest.number, keylog.highest_epoch()) + 1)
    announce_epochs()
    _close_older(newest)
    if accept_loss is not None:
        _give_up(accept_loss)
    rewrapped = _rewrap_all(newest.number, progress)
    older = [row.number for row in _older(newest)]
    if leave_old:
        return Rotation(newest.number, rewrapped, [], older)
    for number in older:
        _end(number)
    sequence()
    return Rotation(newest.number, rewrapped, older, [])


def rotate_due_epoch() -> Rotation | None:
    """What the schedule asks for: a new epoch after VESTIGE_EPOCH_DAYS, and the end of the one
    before it VESTIGE_EPOCH_GRACE_HOURS later, so that a backup of the key store falls between."""
    if not settings.VESTIGE_EPOCH_DAYS:
        return None
    newest = KeyEpoch.objects.filter(closed_at=None).order_by("-number").first()
    if newest is None:
        return None
    age = timezone.now() - newest.opened_at
    if _older(newest).exists():
        over = age >= timedelta(hours=settings.VESTIGE_EPOCH_GRACE_HOURS)
        return rotate_epoch(leave_old=not over)
    if age >= timedelta(days=settings.VESTIGE_EPOCH_DAYS):
        return rotate_epoch(leave_old=True)
    return None


def announce_epochs() -> int:
    """Record the epochs of which the log does not tell yet; how many."""
    unknown = list(KeyEpoch.objects.filter(announced_at=None).order_by("number"))
    for row in unknown:
        with transaction.atomic():
            record(
                KEK_CREATED,
                by=KEEPER,
                resource=f"kek:{row.number}",
                details={"epoch": row.number, "commitment": row.commitment},
                event_id=f"kek.epoch.created:{row.number}:{row.commitment[:32]}",
            )
        KeyEpoch.objects.filter(pk=row.pk).update(announced_at=timezone.now())
    return len(unknown)


def _newest_epoch() -> KeyEpoch:
    return KeyEpoch.objects.filter(closed_at=None).latest("number")


def _older(newest: KeyEpoch) -> QuerySet[KeyEpoch]:
    found = KeyEpoch.objects.filter(number__lt=newest.number, destroyed_at=None)
    return found.order_by("number")


def _close_older(newest: KeyEpoch) -> None:
    """Waits for those who hold one of them open to make a key in it."""
    _older(newest).filter(closed_at=None).update(closed_at=timezone.now())


def _rewrap_all(number: int, progress: Progress | None) -> int:
    living = SubjectKey.objects.filter(destroyed_at=None)
    total, done, last = living.filter(epoch__lt=number).count(), 0, 0
    while True:
        with transaction.atomic(using=KEYS):
            rows = list(
                living.select_for_update()
                .filter(epoch__lt=number, pk__gt=last)
                .order_by("pk")[:_CHUNK]
            )
            if not rows:
                break
            _rewrap(rows, number)
        done, last = done + len(rows), rows[-1].pk
        if progress:
            progress(done, total)
    return done


def _rewrap(rows: list[SubjectKey], number: int) -> None:
    moved: dict[int, int] = {}
    for row in rows:
        moved[row.epoch] = moved.get(row.epoch, 0) + 1
        try:
            sealing.wrap(row, sealing.unwrap(row).secret, epoch=number)
        except EpochKeyGoneError as exc:
            raise _unreachable(row.epoch) from exc
    SubjectKey.objects.bulk_update(rows, ["wrapped_key", "epoch"])
    for epoch, count in moved.items():
        KeyEpoch.objects.filter(number=epoch).update(rewrapped=F("rewrapped") + count)


def _end(number: int) -> None:
    """Destroy the epoch's key, then let the log tell of it."""
    with transaction.atomic(using=KEYS):
        row = KeyEpoch.objects.select_for_update().get(number=number)
        keys = SubjectKey.objects.filter(epoch=number)
        if keys.filter(destroyed_at=None).exists():
            raise AssertionError(f"keys live in epoch {number}, which was to end")
        if row.ended_at is None:
            row.ended_at = timezone.now()
            row.erased = keys.filter(destroyed_at__isnull=False).count()
            row.save(update_fields=["ended_at", "erased"])
    epochs.destroy_file(number)
    # In a key store that was restored the epoch ends a second time: the log told it at the first.
    with contextlib.suppress(RepeatedEventError), transaction.atomic():
        record(
            KEK_DESTROYED,
            by=KEEPER,
            resource=f"kek:{number}",
            details={
                "epoch": number,
                "commitment": row.commitment,
                "rewrapped": row.rewrapped,
                "erased": row.erased,
            },
            event_id=f"kek.epoch.destroyed:{number}:{row.commitment[:32]}",
        )
    KeyEpoch.objects.filter(number=number).update(destroyed_at=timezone.now())


def _require_usable(number: int, accept_loss: int | None) -> None:
    """No epoch follows one whose key is not here: its folder may just not be mounted."""
    if number != accept_loss and not epochs.epoch_file(number).exists():
        raise _unreachable(number)


def _unreachable(number: int) -> KeysUnreachableError:
    return KeysUnreachableError(
        f"The key of epoch {number} is not there, and keys are wrapped in it. If that epoch was"
        " destroyed, the key store is an old copy: restore the newest one. Otherwise bring the"
        " file back. If neither can be had, give those keys up with --accept-loss"
        f" {number}."
    )


def _give_up(number: int) -> None:
    """Empty the keys of an epoch whose key is gone; what they sealed is lost, as the log says."""
    if epochs.epoch_file(number).exists():
        raise KeysUnreachableError(f"The key of epoch {number} is there: nothing of it is lost.")
    living = SubjectKey.objects.filter(destroyed_at=None, epoch=number).order_by("pk")
    while rows := list(living[:_LOST_AN_EVENT]):
        with transaction.atomic():
            record(
                KEYS_LOST,
                by=KEEPER,
                resource=f"kek:{number}",
                details={"epoch": number, "keys": [row.pseudonym for row in rows]},
            )
        SubjectKey.objects.filter(pk__in=[row.pk for row in rows]).update(
            lookup=None, wrapped_key=None, destroyed_at=timezone.now()
        )
