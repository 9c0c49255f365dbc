"""Keeping what others outside hold of the log."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit.models import Anchor, AnchorAttempt


def claim_anchoring(log_id: int, kind: str, name: str, *, lease: timedelta) -> bool:
    """Whether it is ours to try this place now: nobody else is at it. Rows are the queue."""
    AnchorAttempt.objects.get_or_create(log_id=log_id, kind=kind, name=name)
    now = timezone.now()
    mine = AnchorAttempt.objects.filter(log_id=log_id, kind=kind, name=name).filter(
        Q(claimed_until=None) | Q(claimed_until__lt=now)
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
            defaults={"succeeded_at": now, "fault": "", "claimed_until": None},
        )


def note_anchor_fault(log_id: int, kind: str, name: str, *, fault: str) -> None:
    """Keep why the last try at this place failed, and free it for the next."""
    AnchorAttempt.objects.update_or_create(
        log_id=log_id, kind=kind, name=name, defaults={"fault": fault, "claimed_until": None}
    )
