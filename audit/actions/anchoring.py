"""Having others outside hold the log's checkpoints, and keeping what they say."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit import signer
from audit.logs import log_of
from audit.models import MAIN_LOG, Anchor, AnchorAttempt, Checkpoint, Log
from audit.outside import ContradictionError, OutsideError
from audit.places import Place, places
from audit.timestamps import time_stamp
from audit.witnessing import WitnessAheadError, cosigned_by

# Longer than a place may take: three questions of ten seconds.
_LEASE = timedelta(seconds=60)
# The sweep comes at its own times: a place that is due within a second is due.
_SLACK = timedelta(seconds=1)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class _Held(NamedTuple):
    proof: bytes
    made_at: datetime


def due_places(log_id: int = MAIN_LOG) -> list[Place]:
    """The places that are to be asked now: the log has grown, and their interval is over.

    Keeps a checkpoint for all of them, so that they speak of the same tree. Raises PlacesError.
    """
    configured = places()
    log = Log.objects.filter(pk=log_id).first() if configured else None
    if log is None:
        return []
    attempts = {(row.kind, row.name): row for row in AnchorAttempt.objects.filter(log_id=log_id)}
    due = [
        place
        for place in configured
        if _held_size(log_id, place) < log.size
        and _is_due(place, attempts.get((place.kind, place.name)))
    ]
    if due and _kept_size(log_id) < log.size:
        signer.sign_head(keep=True, log=log_of(log_id))
    return [place for place in due if _held_size(log_id, place) < _kept_size(log_id)]


def anchor_at(log_id: int, kind: str, name: str) -> bool:
    """Have this place hold the newest kept checkpoint; whether it does now.

    False when it is not our turn, or the place failed: why stands in its AnchorAttempt. Any
    worker may run this at any time, and may die. Raises PlacesError.
    """
    place = next((p for p in places() if (p.kind, p.name) == (kind, name)), None)
    target = _newest_kept(log_id)
    if place is None or target is None or _held_size(log_id, place) >= target.size:
        return False
    if not claim_anchoring(log_id, kind, name, lease=_LEASE, pause=place.pause):
        return False
    try:
        held = _ask(log_id, place, target)
    except OutsideError as exc:
        note_anchor_fault(log_id, kind, name, fault=str(exc), grave=exc.grave)
        return False
    except Exception as exc:
        # The class only: a message might quote what the place has sent.
        note_anchor_fault(log_id, kind, name, fault=f"Unexpected error ({type(exc).__name__}).")
        raise
    note_anchor(
        log_id,
        kind,
        name,
        size=target.size,
        root=bytes(target.root),
        note=target.note,
        proof=held.proof,
        made_at=held.made_at,
    )
    return True


def claim_anchoring(
    log_id: int, kind: str, name: str, *, lease: timedelta, pause: timedelta = timedelta()
) -> bool:
    """Whether it is ours to try this place now: nobody else is at it, or was within the pause."""
    AnchorAttempt.objects.get_or_create(log_id=log_id, kind=kind, name=name)
    now = timezone.now()
    mine = AnchorAttempt.objects.filter(log_id=log_id, kind=kind, name=name).filter(
        Q(claimed_until=None) | Q(claimed_until__lt=now),
        Q(tried_at=None) | Q(tried_at__lte=now - pause + _SLACK) | Q(tried_at__gt=now),
    )
    return bool(mine.update(claimed_until=now + lease, tried_at=now))


def renew_anchoring(log_id: int, kind: str, name: str, *, lease: timedelta) -> None:
    """Keep the claim of a long try alive."""
    AnchorAttempt.objects.filter(log_id=log_id, kind=kind, name=name).update(
        claimed_until=timezone.now() + lease
    )


def note_anchor(
    log_id: int,
    kind: str,
    name: str,
    *,
    size: int,
    root: bytes,
    note: str,
    proof: bytes = b"",
    made_at: datetime | None = None,
) -> None:
    """Keep that somebody outside holds this checkpoint; once for each size."""
    now = timezone.now()
    with transaction.atomic():
        Anchor.objects.bulk_create(
            [
                Anchor(
                    log_id=log_id,
                    kind=kind,
                    name=name,
                    size=size,
                    root=root,
                    note=note,
                    proof=proof,
                    made_at=made_at or now,
                )
            ],
            ignore_conflicts=True,
        )
        AnchorAttempt.objects.update_or_create(
            log_id=log_id,
            kind=kind,
            name=name,
            defaults={"succeeded_at": now, "fault": "", "grave": False, "claimed_until": None},
        )


def note_anchor_fault(
    log_id: int, kind: str, name: str, *, fault: str, grave: bool = False
) -> None:
    """Keep why the last try at this place failed, and free it for the next.

    A grave fault stays until a try succeeds: whoever changed the log could also cut the line.
    """
    with transaction.atomic():
        AnchorAttempt.objects.get_or_create(log_id=log_id, kind=kind, name=name)
        row = AnchorAttempt.objects.filter(log_id=log_id, kind=kind, name=name)
        row.update(claimed_until=None)
        (row if grave else row.filter(grave=False)).update(fault=fault, grave=grave)


def _ask(log_id: int, place: Place, target: Checkpoint) -> _Held:
    if place.witness is not None:
        try:
            found = cosigned_by(log_id, place.witness, target.note, known=_held_size(log_id, place))
        except WitnessAheadError as exc:
            raise _ahead(log_id, exc) from exc
        return _Held(found.line.encode(), _moment(found.time))
    if place.authority is None:
        raise OutsideError("Nobody has said how to ask it.")
    stamped = time_stamp(target.note, place.authority)
    return _Held(stamped.token, stamped.made_at)


def _ahead(log_id: int, exc: WitnessAheadError) -> OutsideError:
    """What it means that the witness has more than the checkpoint: read what we have now."""
    log = Log.objects.get(pk=log_id)
    if exc.size <= log.size:
        return exc  # another worker had a newer checkpoint cosigned
    return ContradictionError(
        f"It has cosigned a checkpoint over {exc.size:,} entries, and the log now has"
        f" {log.size:,}. Entries were removed, or an old backup was restored."
    )


def _moment(seconds: int) -> datetime:
    """Raises OutsideError for a time that is still to come."""
    now = timezone.now()
    if seconds > min(now.timestamp() + 300, _LATEST):
        raise OutsideError("It cosigns with a time that is still to come: a clock is wrong.")
    return datetime.fromtimestamp(seconds, UTC)


def _is_due(place: Place, attempt: AnchorAttempt | None) -> bool:
    if attempt is None or attempt.tried_at is None:
        return True
    now = timezone.now()
    if attempt.claimed_until is not None and attempt.claimed_until >= now:
        return False
    pause = place.pause if attempt.fault or attempt.claimed_until else place.interval
    return not now - pause + _SLACK < attempt.tried_at <= now


def _newest_kept(log_id: int) -> Checkpoint | None:
    return Checkpoint.objects.filter(log_id=log_id).order_by("-size").first()


def _kept_size(log_id: int) -> int:
    kept = _newest_kept(log_id)
    return kept.size if kept else -1


def _held_size(log_id: int, place: Place) -> int:
    held = Anchor.objects.filter(log_id=log_id, kind=place.kind, name=place.name)
    size = held.order_by("-size").values_list("size", flat=True).first()
    return size or 0
