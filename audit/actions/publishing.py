"""Publishing the log where VESTIGE_PUBLISH says, and keeping that it was done."""

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from audit.actions.anchoring import (
    claim_anchoring,
    note_anchor,
    note_anchor_fault,
    renew_anchoring,
)
from audit.logs import LogRef, log_of
from audit.models import MAIN_LOG, Anchor, AnchorAttempt
from audit.proofs import DamagedLogError
from audit.publication import (
    NothingToPublishError,
    Progress,
    PublicationRefusedError,
    Published,
    publish,
)
from audit.targets import TargetError, target_of

log = logging.getLogger(__name__)
KIND = Anchor.Kind.PUBLICATION.value
_LEASE = timedelta(minutes=2)
_RENEW_SECONDS = 20
_RETRY = timedelta(minutes=1)


class PublicationFailedError(RuntimeError):
    """Nothing was published; the message says why, and so does the log page."""


def publish_due(log_id: int = MAIN_LOG) -> Published | None:
    """Publish if it is time to, somewhere is named, and nobody else is at it."""
    if not settings.VESTIGE_PUBLISH or not _is_time(log_id):
        return None
    try:
        return publish_now(log_id)
    except PublicationFailedError as exc:
        log.warning("the log was not published: %s", exc)
        return None


def publish_now(log_id: int = MAIN_LOG, *, progress: Progress | None = None) -> Published | None:
    """Publish what is new; None when another worker is at it. Raises PublicationFailedError."""
    name = _name()
    if not claim_anchoring(log_id, KIND, name, lease=_LEASE):
        return None
    last = time.monotonic()

    def still_here(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > _RENEW_SECONDS:
            last = time.monotonic()
            renew_anchoring(log_id, KIND, name, lease=_LEASE)
        if progress:
            progress(done, total)

    try:
        made = publish(
            target_of(publication_place(log_of(log_id))),
            log_id,
            entries=settings.VESTIGE_PUBLISH_ENTRIES,
            progress=still_here,
        )
    except NothingToPublishError as exc:
        note_anchor_fault(log_id, KIND, name, fault="")
        raise PublicationFailedError(str(exc)) from exc
    except (TargetError, PublicationRefusedError, DamagedLogError) as exc:
        note_anchor_fault(log_id, KIND, name, fault=str(exc))
        raise PublicationFailedError(str(exc)) from exc
    except Exception as exc:
        note_anchor_fault(log_id, KIND, name, fault=f"Unexpected error ({type(exc).__name__}).")
        raise
    note_anchor(log_id, KIND, name, size=made.size, root=made.root, note=made.note)
    return made


def publication_place(log: LogRef) -> str:
    """The main log lies at VESTIGE_PUBLISH itself, those of units below it, by their names."""
    place = str(settings.VESTIGE_PUBLISH)
    return place if log.is_main else f"{place.rstrip('/')}/{log.name}"


def _name() -> str:
    return str(settings.VESTIGE_PUBLISH)[:200]


def _is_time(log_id: int) -> bool:
    last = AnchorAttempt.objects.filter(log_id=log_id, kind=KIND, name=_name()).first()
    if last is None or last.tried_at is None:
        return True
    every = timedelta(seconds=settings.VESTIGE_PUBLISH_SECONDS)
    return timezone.now() - last.tried_at >= (min(every, _RETRY) if last.fault else every)
