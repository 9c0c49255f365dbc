"""Rotating the key that signs the checkpoints of a log.

The ring of keys (a file) is changed first, while the log's head is locked, so that no tree is
signed in between; then the log itself tells of it, under a checkpoint that old and new key sign.
Each step can be repeated, and the ring says which are still to come.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from audit import intake, keyring, signer
from audit.actions.acting import KEEPER
from audit.actions.recording import record, sequence
from audit.events import LOG_KEY_RETIRED, LOG_KEY_ROTATED
from audit.keyring import RingKey
from audit.logs import MAIN, LogRef, all_logs, origin_of
from audit.models import Log


class RotationUnderWayError(RuntimeError):
    """The key before this one still signs: one rotation at a time."""


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """The new active key and the one before it, as vkeys; until when both sign. `retired` are
    those whose private halves were destroyed already."""

    old_vkey: str
    new_vkey: str
    overlap_until: datetime
    retired: list[str]


def rotate_signing_key(*, overlap: timedelta, log: LogRef = MAIN) -> KeyRotation:
    """A new active key of a log; the one before signs beside it for `overlap`. Commits.

    Without an overlap the old private key is destroyed at once, after the one checkpoint that
    both sign. Raises RotationUnderWayError and KeyFileError.
    """
    settle_signing_keys(log=log)
    before = keyring.ring(log.name).keys
    if any(key.signs for key in before[1:]):
        raise RotationUnderWayError(
            f"A rotation is under way: the key before this one signs until {before[1].signs_until}."
            " End it with --retire-now, or wait."
        )
    end = timezone.now() + overlap
    with transaction.atomic():
        keyring.add_key(_size_held(log), signs_until=intake.time_text(end), log=log.name)
    retired = settle_signing_keys(log=log)
    now = keyring.ring(log.name).keys
    origin = origin_of(log)
    return KeyRotation(now[1].vkey(origin), now[0].vkey(origin), end, retired)


def settle_signing_keys(*, retire_now: bool = False, log: LogRef | None = None) -> list[str]:
    """Do what is due: tell of new keys, retire and destroy those whose overlap has ended.

    Of all logs, or of one. Gives the vkeys that were retired. Commits; may run twice.
    """
    logs = all_logs() if log is None else [log]
    return [vkey for one in logs for vkey in _settle(one, retire_now=retire_now)]


def _settle(log: LogRef, *, retire_now: bool) -> list[str]:
    for key in keyring.ring(log.name).keys:
        if not key.announced:
            _announce(log, key)
    retired = []
    for key in keyring.ring(log.name).keys[1:]:
        if key.signs and (retire_now or _is_over(key)):
            with transaction.atomic():
                key = keyring.change(key.public, log=log.name, until=_size_held(log))
        if key.until is not None and key.file:
            key = keyring.destroy(key, log=log.name)
        if key.until is not None and not key.retired:
            _tell_of_end(log, key)
            retired.append(key.vkey(origin_of(log)))
    return retired


def _announce(log: LogRef, key: RingKey) -> None:
    known, origin = keyring.ring(log.name).keys, origin_of(log)
    before = known[[other.public for other in known].index(key.public) + 1]
    old, new = before.vkey(origin), key.vkey(origin)
    with transaction.atomic():
        record(
            LOG_KEY_ROTATED,
            by=KEEPER,
            resource=log.resource,
            details={
                "old_key_id": _key_id(old),
                "new_key_id": _key_id(new),
                "old_vkey": old,
                "new_vkey": new,
                "overlap_until": before.signs_until,
                "size": key.since.get(origin, 0),
            },
            event_id=f"log.key.rotated:{_key_id(new)}:{key.public[:24]}",
            log=log,
        )
    sequence(log)
    signer.sign_head(keep=True, log=log)  # the checkpoint that both sign stays in the history
    keyring.change(key.public, log=log.name, announced=True)


def _tell_of_end(log: LogRef, key: RingKey) -> None:
    origin = origin_of(log)
    text = key.vkey(origin)
    with transaction.atomic():
        record(
            LOG_KEY_RETIRED,
            by=KEEPER,
            resource=log.resource,
            details={
                "key_id": _key_id(text),
                "vkey": text,
                "size": (key.until or {}).get(origin, 0),
            },
            event_id=f"log.key.retired:{_key_id(text)}:{key.public[:24]}",
            log=log,
        )
    sequence(log)
    keyring.change(key.public, log=log.name, retired=True)


def _size_held(log: LogRef) -> dict[str, int]:
    """The log's size by its origin, its head locked until the transaction ends."""
    heads = Log.objects.select_for_update().filter(pk=log.id)
    return {head.origin: head.size for head in heads}


def _is_over(key: RingKey) -> bool:
    return bool(key.signs_until) and intake.parse_time(key.signs_until) <= timezone.now()


def _key_id(vkey: str) -> str:
    return vkey.split("+")[1]
