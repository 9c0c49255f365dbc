"""Rotating the key that signs checkpoints.

The ring of keys (a file) is changed first, while the logs' heads are locked, so that no tree is
signed in between; then the log tells of it, under a checkpoint that old and new key sign. Each
step can be repeated, and the ring says which are still to come.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from audit import intake, keyring, signer
from audit.actions.acting import KEEPER
from audit.actions.recording import record, sequence
from audit.events import LOG_KEY_RETIRED, LOG_KEY_ROTATED
from audit.keyring import RingKey
from audit.models import MAIN_LOG, Log


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


def rotate_signing_key(*, overlap: timedelta) -> KeyRotation:
    """A new active key; the one before signs beside it for `overlap`. Commits.

    Without an overlap the old private key is destroyed at once, after the one checkpoint that
    both sign. Raises RotationUnderWayError and KeyFileError.
    """
    settle_signing_keys()
    before = keyring.ring().keys
    if any(key.signs for key in before[1:]):
        raise RotationUnderWayError(
            f"A rotation is under way: the key before this one signs until {before[1].signs_until}."
            " End it with --retire-now, or wait."
        )
    end = timezone.now() + overlap
    with transaction.atomic():
        keyring.add_key(_sizes_held(), signs_until=intake.time_text(end))
    retired = settle_signing_keys()
    now = keyring.ring().keys
    origin = _origin()
    return KeyRotation(now[1].vkey(origin), now[0].vkey(origin), end, retired)


def settle_signing_keys(*, retire_now: bool = False) -> list[str]:
    """Do what is due: tell of new keys, retire and destroy those whose overlap has ended.

    Gives the vkeys that were retired. Commits; may run twice.
    """
    for key in keyring.ring().keys:
        if not key.announced:
            _announce(key)
    retired = []
    for key in keyring.ring().keys[1:]:
        if key.signs and (retire_now or _is_over(key)):
            with transaction.atomic():
                key = keyring.change(key.public, until=_sizes_held())
        if key.until is not None and key.file:
            key = keyring.destroy(key)
        if key.until is not None and not key.retired:
            _tell_of_end(key)
            retired.append(key.vkey(_origin()))
    return retired


def _announce(key: RingKey) -> None:
    known = keyring.ring().keys
    before = known[[other.public for other in known].index(key.public) + 1]
    old, new = before.vkey(_origin()), key.vkey(_origin())
    with transaction.atomic():
        record(
            LOG_KEY_ROTATED,
            by=KEEPER,
            resource=f"log:{intake.LOG_NAME}",
            details={
                "old_key_id": _key_id(old),
                "new_key_id": _key_id(new),
                "old_vkey": old,
                "new_vkey": new,
                "overlap_until": before.signs_until,
                "size": key.since.get(_origin(), 0),
            },
            event_id=f"log.key.rotated:{_key_id(new)}:{key.public[:24]}",
        )
    sequence()
    signer.sign_head(keep=True)  # the checkpoint that both sign stays in the history
    keyring.change(key.public, announced=True)


def _tell_of_end(key: RingKey) -> None:
    text = key.vkey(_origin())
    with transaction.atomic():
        record(
            LOG_KEY_RETIRED,
            by=KEEPER,
            resource=f"log:{intake.LOG_NAME}",
            details={
                "key_id": _key_id(text),
                "vkey": text,
                "size": (key.until or {}).get(_origin(), 0),
            },
            event_id=f"log.key.retired:{_key_id(text)}:{key.public[:24]}",
        )
    sequence()
    keyring.change(key.public, retired=True)


def _sizes_held() -> dict[str, int]:
    """Each log's size by origin, its head locked until the transaction ends."""
    heads = Log.objects.select_for_update().order_by("pk")
    return {log.origin: log.size for log in heads}


def _is_over(key: RingKey) -> bool:
    return bool(key.signs_until) and intake.parse_time(key.signs_until) <= timezone.now()


def _key_id(vkey: str) -> str:
    return vkey.split("+")[1]


def _origin() -> str:
    log = Log.objects.filter(pk=MAIN_LOG).first()
    return log.origin if log else str(settings.VESTIGE_ORIGIN)
