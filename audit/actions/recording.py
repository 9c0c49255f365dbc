"""Into the log: what the application records of itself, and what outsiders report."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from audit import intake, sealing, sequencer, storage
from audit.actions.acting import Actor
from audit.actions.keying import make_keys, note_subjects
from audit.events import KEYS_CREATED, EventType, require_declared
from audit.group_commit import Receipt, Sequenced
from audit.intake import (
    Event,
    EventRefusedError,
    Fault,
    NewEvent,
    Prepared,
    RepeatedEventError,
    Unprepared,
)
from audit.logs import MAIN, LogRef, log_of
from audit.models import Pending
from audit.soon import Soon
from audit.subjects import SubjectRef, normalise

_KEYS_AN_EVENT = 200
# From so many events on they are prepared while PostgreSQL takes in those before.
_MANY = 1_024
_NO_KEY = sealing.LiveKey("0" * 32, bytes(32))


class NotInTransactionError(RuntimeError):
    """A change and its record belong into one transaction."""


def record(
    event: EventType,
    *,
    by: Actor,
    resource: str,
    resource_version: str = "",
    details: Mapping[str, Any] | None = None,
    subject: SubjectRef | None = None,
    sealed: Mapping[str, Any] | None = None,
    parent_id: str = "",
    occurred_at: datetime | None = None,
    event_id: str | None = None,
    log: LogRef = MAIN,
) -> str:
    """Record a change in the transaction that makes it, and return the event's id.

    The event is in the log milliseconds after the commit (who reads the log lets it be placed
    first), and nowhere if the transaction rolls back. With
    an `event_id` that was recorded before, the same content is no second event; other content
    raises RepeatedEventError. What the application does stands in the main log; only what a unit's
    log says of itself stands in that one. Raises NotInTransactionError, UnknownEventTypeError,
    UndeclaredFactError and EventRefusedError.
    """
    if not connection.in_atomic_block:
        raise NotInTransactionError(
            f"{event} must be recorded inside transaction.atomic, with the change it speaks of."
        )
    require_declared(event, frozenset(details or ()))
    new = NewEvent(
        type=event.name,
        actor=by.actor,
        resource=resource,
        id=event_id or intake.new_id(),
        resource_version=resource_version,
        parent_id=parent_id,
        occurred_at=intake.time_text(occurred_at) if occurred_at else "",
        details=dict(details or {}),
        subject=subject,
        sealed=dict(sealed or {}),
    )
    keys = _keys_for({normalise(subject)}, by=by) if subject else {}
    prepared = intake.prepare(new, by=by.actor, index=0, keys=keys, log=log.name)
    _wait(prepared, log, given=event_id is not None)
    return prepared.event_id


def record_of_log(
    event: EventType,
    log_id: int,
    *,
    by: Actor,
    details: Mapping[str, Any],
    event_id: str | None = None,
) -> str:
    """Record in a log what it says of itself, as `record` does."""
    log = log_of(log_id)
    return record(event, by=by, resource=log.resource, details=details, event_id=event_id, log=log)


def append(events: Sequence[NewEvent], *, by: Actor, log: LogRef = MAIN) -> list[Receipt]:
    """What outsiders report, into the log at once, all or nothing; commits.

    Raises EventRefusedError, EventTooLargeError or RepeatedEventError, which name the event and
    the field. An event that is in the log already, same id and content, gets its earlier receipt.
    """
    return append_signed(events, by=by, log=log).receipts


def append_signed(events: Sequence[NewEvent], *, by: Actor, log: LogRef = MAIN) -> Sequenced:
    """As `append`, with the checkpoint that covers the receipts, if one could be signed."""
    if not events:
        raise EventRefusedError([Fault(0, "events", "There is no event in the request.")])
    for index, event in enumerate(events):
        intake.require_outside_type(event, index)
    return _append(events, by=by, log=log)


def append_declared(event: EventType, new: Sequence[NewEvent], *, by: Actor) -> list[Receipt]:
    """As `append`, for an app's own declared type: what its hot doors take in by the thousand."""
    for item in new:
        require_declared(event, frozenset(item.details))
        if item.type != event.name:
            raise ValueError(f"An event of type {item.type} is not a {event.name}.")
    return _append(new, by=by, log=MAIN).receipts


def sequence(log: LogRef = MAIN) -> int:
    """Give every recorded event that waits its place; how many there were. Commits."""
    return sequencer.drain(log.id)


def _append(events: Sequence[NewEvent], *, by: Actor, log: LogRef) -> Sequenced:
    faults: list[Fault] = []
    for index, event in enumerate(events):
        if (event.subject or event.sealed) and (fault := intake.subject_fault(event)):
            faults.append(Fault(index, *fault))
    if faults:
        raise EventRefusedError(faults)
    name, keys = by.actor, _keys_of_batch(events, by=by, log=log)
    waiting: list[Event] = [
        Unprepared(event, name, index, keys, log.name) for index, event in enumerate(events)
    ]
    if len(events) < _MANY or connection.vendor != "postgresql":
        waiting = [event.prepared() for event in waiting]
    return sequencer.append(waiting, log.id)


def _keys_of_batch(
    events: Sequence[NewEvent], *, by: Actor, log: LogRef
) -> dict[SubjectRef, sealing.LiveKey]:
    """The keys of the events' subjects. Before one is made, the batch is checked as a whole, so
    that a refused request leaves no key behind."""
    refs = {normalise(event.subject) for event in events if event.subject}
    if not refs:
        return {}
    found = sealing.live_keys(refs)
    if not refs - found.keys() and all(key.announced for key in found.values()):
        return found
    _rehearse(events, found, by=by, log=log)
    with transaction.atomic():
        return _keys_for(refs, by=by)


def _rehearse(
    events: Sequence[NewEvent],
    keys: Mapping[SubjectRef, sealing.LiveKey],
    *,
    by: Actor,
    log: LogRef,
) -> None:
    """Raises what appending these events would raise, before keys are made for new subjects."""
    known = storage.known_entries(log.id, [event.id for event in events if event.id])
    seen: dict[str, bytes] = {event_id: entry.event for event_id, entry in known.items()}
    everyone = defaultdict(lambda: _NO_KEY, keys)
    faults = []
    for index, event in enumerate(events):
        prepared = intake.prepare(event, by=by.actor, index=index, keys=everyone, log=log.name)
        if not event.id:
            continue
        if not intake.same_content(seen.setdefault(event.id, prepared.event), prepared.event):
            faults.append(
                Fault(
                    index,
                    "id",
                    f"The id {event.id} was used for other content.",
                    "Give this event an id of its own.",
                )
            )
    if faults:
        raise RepeatedEventError(faults)


def _keys_for(refs: Iterable[SubjectRef], *, by: Actor) -> dict[SubjectRef, sealing.LiveKey]:
    """The keys of these persons (normalised); who has none gets one. New ones are recorded.

    A key that was made for an event that was rolled back is there already, and recorded now.
    """
    found = sealing.live_keys(refs)
    missing = sorted(set(refs) - found.keys(), key=lambda ref: (ref.type, ref.value))
    if missing:
        make_keys(missing)
        # Another transaction may have been first for some of them; its key is the one that counts.
        found |= sealing.live_keys(missing)
    announce_keys(
        [(key.pseudonym, key.commitment) for key in found.values() if not key.announced], by=by
    )
    return found


def announce_keys(keys: Sequence[tuple[str, str]], *, by: Actor) -> None:
    """Record (pseudonym, commitment) of keys that the log does not know yet.

    In the main log, whichever log they seal in: a person has one key.
    """
    added = note_subjects(keys)
    ours = [key for key in keys if key[0] in added]
    for start in range(0, len(ours), _KEYS_AN_EVENT):
        record(
            KEYS_CREATED,
            by=by,
            resource=MAIN.resource,
            details={
                "keys": [
                    {"pseudonym": pseudonym, "commitment": commitment}
                    for pseudonym, commitment in ours[start : start + _KEYS_AN_EVENT]
                ]
            },
        )


def _wait(prepared: Prepared, log: LogRef, *, given: bool) -> None:
    """Put the event into the queue of the log, unless it is there."""
    if given:
        # Two transactions may record the same event at once: the second waits for the first.
        if _recorded(log, prepared.event_id) is None:
            waiting = Pending(log_id=log.id, event_id=prepared.event_id, event=prepared.event)
            Pending.objects.bulk_create([waiting], ignore_conflicts=True)
        earlier = _recorded(log, prepared.event_id)
        if earlier is not None and not intake.same_content(earlier, prepared.event):
            raise RepeatedEventError(
                [Fault(0, "id", f"The event {prepared.event_id} was recorded with other content.")]
            )
    else:
        storage.insert_pending(log.id, prepared.event_id, prepared.event)
    if log.is_main:
        _sequence_after_commit()
    else:  # seldom: no thread waits for it
        transaction.on_commit(partial(sequence, log), robust=True)


def _recorded(log: LogRef, event_id: str) -> bytes | None:
    waiting = Pending.objects.filter(log_id=log.id, event_id=event_id).first()
    if waiting is not None:
        return bytes(waiting.event)
    known = storage.known_entries(log.id, [event_id]).get(event_id)
    return known.event if known else None


def _sequence_after_commit() -> None:
    default = connections[DEFAULT_DB_ALIAS]  # Django's `connection` looks it up at each access
    here = set(default.savepoint_ids)
    for savepoints, callback, *_ in default.run_on_commit:
        if callback is _committed and set(savepoints) <= here:
            return  # one wake-up serves all that this transaction recorded
    default.on_commit(_committed)


_soon = Soon(sequence)


def _committed() -> None:
    if connection.in_atomic_block:  # a test's own transaction, which no other thread can look into
        sequence()
    else:
        _soon.wake()
