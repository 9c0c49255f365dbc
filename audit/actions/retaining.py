"""How long entries are kept, and what keeps them longer: policies and holds."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.utils import timezone

from audit import storage
from audit.actions.acting import Actor
from audit.actions.recording import record_of_log
from audit.events import (
    GUIDE_TYPES,
    LOG_HOLD_PLACED,
    LOG_HOLD_RELEASED,
    LOG_RETENTION_ENDED,
    LOG_RETENTION_SET,
    PERMANENT,
    is_permanent,
)
from audit.models import MAIN_LOG, LogHold, RetentionPolicy

# Regulation (EU) 2024/1689 (AI Act), Art. 19(1) and 26(6): logs are kept at least six months.
LEAST_DAYS = 183
MOST_DAYS = 36_500
_CLASS = re.compile(r"\*|(?:[a-z][a-z0-9_]*\.)+\*|[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+", re.ASCII)
_PSEUDONYM = re.compile(r"[0-9a-f]{32}", re.ASCII)


class RetentionError(ValueError):
    """The policy or hold cannot be so; `field` says what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def set_policy(
    event_class: str,
    days: int,
    *,
    ground: str,
    shorter_because: str = "",
    by: Actor,
    log_id: int = MAIN_LOG,
) -> RetentionPolicy:
    """Keep entries of this class for so many days, from now on; what was set before ends.

    `ground`: the law or contract. Fewer days than LEAST_DAYS need a reason of their own.
    Nothing is deleted by this. Raises RetentionError.
    """
    event_class, ground = event_class.strip(), " ".join(ground.split())
    shorter_because = " ".join(shorter_because.split())
    _require_class(event_class)
    _require_days(days, shorter_because)
    _require_text("ground", ground, "Name the law or contract that this follows from.")
    _require_text("shorter_because", shorter_because or "-", "")
    with transaction.atomic():
        storage.lock_head(log_id)
        now = timezone.now()
        before = RetentionPolicy.objects.filter(
            log_id=log_id, event_class=event_class, ended_at=None
        ).first()
        if before is not None:
            RetentionPolicy.objects.filter(pk=before.pk).update(ended_at=now, ended_by=by.actor)
        policy = RetentionPolicy.objects.create(
            log_id=log_id,
            event_class=event_class,
            days=days,
            ground=ground,
            shorter_because=shorter_because if days < LEAST_DAYS else "",
            set_at=now,
            set_by=by.actor,
        )
        record_of_log(
            LOG_RETENTION_SET,
            log_id,
            by=by,
            details={
                "policy": policy.pk,
                "event_class": event_class,
                "days": days,
                "ground": ground,
                "shorter_because": policy.shorter_because,
                "was": before.days if before else None,
            },
        )
    return policy


def end_policy(event_class: str, *, by: Actor, log_id: int = MAIN_LOG) -> None:
    """From now on no such policy: what it let go is kept. Raises RetentionError."""
    with transaction.atomic():
        storage.lock_head(log_id)
        policy = RetentionPolicy.objects.filter(
            log_id=log_id, event_class=event_class, ended_at=None
        ).first()
        if policy is None:
            raise RetentionError("event_class", f"There is no policy for {event_class[:128]}.")
        RetentionPolicy.objects.filter(pk=policy.pk).update(
            ended_at=timezone.now(), ended_by=by.actor
        )
        record_of_log(
            LOG_RETENTION_ENDED,
            log_id,
            by=by,
            details={"policy": policy.pk, "event_class": event_class, "days": policy.days},
        )


def replace_policies(
    wanted: Iterable[Mapping[str, Any]], *, by: Actor, log_id: int = MAIN_LOG
) -> None:
    """These policies and no others: `event_class`, `days`, `ground`, `shorter_because`?

    Those that are in force as they are wanted stay untouched. Raises RetentionError.
    """
    wanted = list(wanted)
    new = {str(policy["event_class"]).strip(): policy for policy in wanted}
    if len(new) < len(wanted):
        raise RetentionError("event_class", "Each class can have one policy only.")
    with transaction.atomic():
        storage.lock_head(log_id)
        found = RetentionPolicy.objects.filter(log_id=log_id, ended_at=None)
        standing = {policy.event_class: policy for policy in found}
        for event_class in standing.keys() - new.keys():
            end_policy(event_class, by=by, log_id=log_id)
        for event_class, policy in new.items():
            shorter = str(policy.get("shorter_because", ""))
            there = standing.get(event_class)
            if there is None or (there.days, there.ground, there.shorter_because) != (
                policy["days"],
                policy["ground"],
                shorter,
            ):
                set_policy(
                    event_class,
                    policy["days"],
                    ground=policy["ground"],
                    shorter_because=shorter,
                    by=by,
                    log_id=log_id,
                )


def place_hold(
    *,
    resource: str = "",
    subject: str = "",
    start: int | None = None,
    stop: int | None = None,
    reason: str,
    by: Actor,
    log_id: int = MAIN_LOG,
) -> LogHold:
    """Keep the entries of a resource, of a pseudonym, or start <= seq < stop, until released.

    What is pruned already does not come back. Raises RetentionError.
    """
    resource, subject, reason = resource.strip(), subject.strip(), " ".join(reason.split())
    _require_one_kind(resource, subject, start, stop)
    if not 0 < len(reason) <= 500:
        raise RetentionError("reason", "Say in up to 500 characters why they must be kept.")
    with transaction.atomic():
        # A pruning looks at the holds under this lock before it opens a stretch for deletion.
        storage.lock_head(log_id)
        hold = LogHold.objects.create(
            log_id=log_id,
            resource=resource,
            subject=subject,
            start=start,
            stop=stop,
            reason=reason,
            placed_at=timezone.now(),
            placed_by=by.actor,
        )
        record_of_log(
            LOG_HOLD_PLACED,
            log_id,
            by=by,
            details={
                "hold": hold.pk,
                "resource": resource,
                "subject": subject,
                "start": start,
                "stop": stop,
                "reason_sha256": sha256(reason.encode()).hexdigest(),
            },
        )
    return hold


def release_hold(hold_id: int, *, by: Actor, log_id: int = MAIN_LOG) -> None:
    """The hold ends; its entries go when their policies say so. Raises RetentionError."""
    with transaction.atomic():
        released = LogHold.objects.filter(pk=hold_id, log_id=log_id, released_at=None).update(
            released_at=timezone.now(), released_by=by.actor
        )
        if not released:
            raise RetentionError("hold", f"No hold {hold_id} stands.")
        record_of_log(LOG_HOLD_RELEASED, log_id, by=by, details={"hold": hold_id})


def _require_class(event_class: str) -> None:
    if event_class not in GUIDE_TYPES and (
        not _CLASS.fullmatch(event_class) or len(event_class) > 128
    ):
        raise RetentionError(
            "event_class",
            "Write a type (lineage.received, READ), a prefix with a star (lineage.*), or *.",
        )
    if is_permanent(event_class) or event_class in {f"{prefix}*" for prefix in PERMANENT}:
        raise RetentionError(
            "event_class",
            f"Entries of {event_class} are kept for ever: the log or its documents rest on them.",
        )


def _require_days(days: int, shorter_because: str) -> None:
    if type(days) is not int or not 1 <= days <= MOST_DAYS:
        raise RetentionError("days", f"A whole number from 1 to {MOST_DAYS:,} is needed.")
    if days < LEAST_DAYS and not shorter_because:
        raise RetentionError(
            "shorter_because",
            f"Logs of high-risk AI systems are kept at least six months ({LEAST_DAYS} days;"
            " Regulation (EU) 2024/1689, Art. 19(1), 26(6)). Say why less is lawful here.",
        )


def _require_text(field: str, text: str, reason: str) -> None:
    if not text:
        raise RetentionError(field, reason)
    if len(text) > 200 or "\x00" in text:
        raise RetentionError(field, "At most 200 characters, none of them NUL.")


def _require_one_kind(resource: str, subject: str, start: int | None, stop: int | None) -> None:
    stretch = start is not None or stop is not None
    if bool(resource) + bool(subject) + stretch != 1:
        raise RetentionError(
            "resource", "Name one of: a resource, a pseudonym, or a stretch of entry numbers."
        )
    if len(resource) > 512 or "\x00" in resource:
        raise RetentionError("resource", "At most 512 characters, none of them NUL.")
    if subject and not _PSEUDONYM.fullmatch(subject):
        raise RetentionError("subject", "A pseudonym of the log has 32 hexadecimal digits.")
    if stretch and not (type(start) is int and type(stop) is int and 0 <= start < stop < 2**63):
        raise RetentionError(
            "start", "A stretch needs its first entry and the one behind its last."
        )
