"""Gives events their places, in batches by group commit.

A batch is appended in one transaction behind the head of the log, then the new tree is signed and
everybody gets their receipts. Where nobody else has appended since this process did (on
PostgreSQL), the batch is one statement that moves the head only from where it was; in all other
cases the head is locked and read first.
"""

import atexit
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from hashlib import sha256
from typing import NamedTuple

from django.db import IntegrityError, connection, transaction

from audit import intake, postgresql, proofs, signer, storage
from audit.batches import Batch, Ends
from audit.events import LOG_REFUSED
from audit.group_commit import GroupCommit, Receipt, Sequenced, Submission
from audit.intake import Event, EventRefusedError, Fault, Prepared, RepeatedEventError
from audit.ledger import canonical
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack
from audit.ledger.tiles import TILE_WIDTH
from audit.ledger.tree import Frontier
from audit.models import MAIN_LOG
from audit.proofs import FullTile
from audit.rows import Known, Newest, Row

log = logging.getLogger(__name__)
_PENDING_A_BATCH = 1_000
_CHUNK = 32  # rows that are chained while the database takes those before
SEQUENCER = "vestige:sequencer"

# How the canonical form of an event goes on behind its last member, "v": its place among the
# entries of its resource, known only under the head's lock.
_WITHIN_FIRST = b',"within":{"nth":1}}'
_WITHIN = b',"within":{"nth":%d,"previous":%d}}'
_NONE = Newest(-1, 0)


class InsideTransactionError(RuntimeError):
    """Appending commits; it cannot be a part of the caller's transaction."""


# Where an event stands: in the log already, or at this index of the batch.
_Place = Known | int


class _Done(NamedTuple):
    """A batch that is durable, and the tree after it."""

    batch: Batch
    after: Frontier
    quick: bool = False  # in one statement


_ends = Ends()


# The queue of each log in this process.
_groups: defaultdict[int, GroupCommit] = defaultdict(lambda: GroupCommit(_process))


@atexit.register
def finish() -> None:
    """End the threads that append and their connections; the next append starts another."""
    for group in list(_groups.values()):
        group.finish()


# A child has none of the threads. SQLite's locks do not come along either, though a connection
# that is open would say so, and a commit of the child could be lost.
os.register_at_fork(before=finish, after_in_child=_groups.clear)


def append(events: Sequence[Event], log_id: int = MAIN_LOG) -> Sequenced:
    """Append these events, all or none. Raises RepeatedEventError, and what `prepared` raises."""
    submission = Submission(log_id, events=events)
    _submit(submission)
    return Sequenced(submission.receipts, submission.checkpoint)


def drain(log_id: int = MAIN_LOG) -> int:
    """Give all pending events of the log their places; how many there were."""
    total = 0
    while True:
        submission = Submission(log_id, drain=True)
        _submit(submission)
        total += submission.drained
        if submission.drained < _PENDING_A_BATCH:
            return total


def _submit(submission: Submission) -> None:
    """Returns when the submission is done; raises what went wrong with it."""
    blocks = connection.atomic_blocks
    if not blocks:
        _groups[submission.log_id].submit(submission)
        return
    if not blocks[-1]._from_testcase:  # type: ignore[attr-defined]
        raise InsideTransactionError(
            "Appending to the log commits, so it cannot happen inside a transaction. Use `record`"
            " there, and append or sequence after the commit."
        )
    _process([submission])  # no other thread can look into a test's transaction
    if submission.error is not None:
        raise submission.error


def _process(submissions: Sequence[Submission], queue: GroupCommit | None = None) -> None:
    done: _Done | None
    sent = queue.sent if queue else lambda: None
    try:
        done = _commit_behind(submissions, sent)
        if done is None:
            sent()
            done = _commit(submissions, look=False)
    except IntegrityError:
        # An event id is taken: look which, answer those with their earlier receipts.
        done = _commit_each(submissions)
    except EventRefusedError:
        if len(submissions) == 1:
            raise
        done = _commit_each(submissions)
    if done is None:
        return
    try:
        # Where others wait, the note is stored by the statement of their batch.
        store = not (done.quick and queue and queue.behind)
        checkpoint = signer.sign_batch(done.batch.head, done.after, store=store)
    except Exception:
        # The entries are durable: their submitters must not think that they are lost.
        log.exception("The log could not be signed; the sweep tries again.")
        _ends.forget(done.batch.head.log_id)
        return
    _ends.move(done.batch, done.after, checkpoint)
    for submission in submissions:
        submission.checkpoint = checkpoint


def _commit_each(submissions: Sequence[Submission]) -> _Done | None:
    try:
        return _commit(submissions, look=True)
    except Exception:
        if len(submissions) == 1:
            raise
    # One of them cannot be written; let it fail alone.
    done = None
    for submission in submissions:
        try:
            done = _commit([submission], look=True)
        except Exception as exc:  # noqa: BLE001  # handed to its submitter
            submission.error = exc
    return done


def _commit_behind(submissions: Sequence[Submission], sent: Callable[[], None]) -> _Done | None:
    """The usual case on PostgreSQL, a single statement: nobody else has appended meanwhile.

    None where something else is the case, to be looked into under the lock.
    """
    end = _ends.get(submissions[0].log_id)
    if end is None or connection.vendor != "postgresql":
        return None
    waiting = _waiting(submissions)
    count = len(waiting) + sum(len(submission.events) for submission in submissions)
    fills = end.head.size % TILE_WIDTH + count >= TILE_WIDTH
    if count > TILE_WIDTH or (fills and end.edges is None):
        return None
    batch = Batch(end.head)
    placed = _place_all(batch, submissions, waiting)
    if not batch.events:
        return None
    batch.newest = _ends.newest(batch)
    rows = [row for chunk in _chained(batch) for row in chunk]  # they are the batch's now
    after, hashes = batch.head.frontier.copy(), [row.leaf_hash for row in rows]
    after.extend(hashes)
    filled: list[FullTile] = []
    if end.edges is not None:
        filled, batch.edges = proofs.grow(batch.head.size, hashes, end.edges)
    # A statement is a transaction of its own; inside one (in tests) it must be able to fail alone.
    with transaction.atomic() if connection.in_atomic_block else nullcontext():
        if not postgresql.append_behind(
            batch.head,
            rows,
            after.to_bytes(),
            filled=filled,
            taken=[row_id for row_id, _ in waiting],
            stored_note=end.stored_note,
            sent=sent,
        ):
            _ends.forget(batch.head.log_id)
            return None
    _give_receipts(batch, placed)
    return _Done(batch, after, quick=True)


def _waiting(submissions: Sequence[Submission]) -> list[tuple[int, bytes]]:
    """The recorded events that are to be placed with these submissions, as `storage.pending`."""
    if not any(submission.drain for submission in submissions):
        return []
    return storage.pending(submissions[0].log_id, _PENDING_A_BATCH)


def _commit(submissions: Sequence[Submission], *, look: bool) -> _Done:
    """One transaction for all of them, under the lock on the head."""
    with transaction.atomic(durable=True):
        head = storage.lock_head(submissions[0].log_id)
        waiting = _waiting(submissions)
        batch = Batch(head)
        if look:
            ids = [intake.from_bytes(event).event_id for _, event in waiting]
            ids += [e.event_id for s in submissions for e in s.events if e.given]
            batch.known = storage.known_entries(head.log_id, ids) if ids else {}
        placed = _place_all(batch, submissions, waiting)
        after = _write(batch) if batch.events else head.frontier
        if waiting:
            storage.delete_pending([row_id for row_id, _ in waiting])
    _give_receipts(batch, placed)
    return _Done(batch, after)


def _place_all(
    batch: Batch, submissions: Sequence[Submission], waiting: Sequence[tuple[int, bytes]]
) -> list[tuple[Submission, list[_Place]]]:
    """Places for what waits, then for what was submitted."""
    _place_pending(batch, [intake.from_bytes(event) for _, event in waiting])
    placed = []
    for submission in submissions:
        submission.receipts, submission.error = [], None
        submission.drained = len(waiting) if submission.drain else 0
        try:
            placed.append((submission, _place(batch, submission.events)))
        except RepeatedEventError as exc:
            submission.error = exc
    return placed


def _give_receipts(batch: Batch, placed: list[tuple[Submission, list[_Place]]]) -> None:
    for submission, places in placed:
        submission.receipts = _receipts(batch, submission.events, places)


def _write(batch: Batch) -> Frontier:
    head, count = batch.head, len(batch.events)
    edges = _ends.edges(head)
    if edges is None and head.size % TILE_WIDTH + count >= TILE_WIDTH:
        edges = proofs.edges(head.log_id, head.size)
    batch.newest = _ends.newest(batch)
    after = head.frontier.copy()
    filled: list[FullTile] = []

    def finish() -> bytes:
        hashes = [row.leaf_hash for row in batch.rows]
        after.extend(hashes)
        if edges is not None:
            tiles, batch.edges = proofs.grow(head.size, hashes, edges)
            filled.extend(tiles)
        return after.to_bytes()

    storage.append_rows(head, count, _chained(batch), finish)
    storage.insert_tiles(head.log_id, filled)
    return after


def _chained(batch: Batch) -> Iterator[list[Row]]:
    """The rows in chunks. Each leaf holds its place, its time and the hash of the one before."""
    seq, previous, newest = batch.head.size, batch.head.last_hash, batch.newest
    # The clock may be set back; the log's time never runs backwards.
    timestamp_us = max(time.time_ns() // 1000, batch.head.last_timestamp_us)
    for start in range(0, len(batch.events), _CHUNK):
        chunk = []
        for waiting in batch.events[start : start + _CHUNK]:
            event = waiting.prepared()
            before = newest.get(event.resource, _NONE)
            place = _WITHIN_FIRST if before is _NONE else _WITHIN % (before.nth + 1, before.seq)
            leaf = pack(seq, timestamp_us, previous, event.event[:-1] + place)
            previous = leaf_hash(leaf)
            newest[event.resource] = Newest(seq, before.nth + 1)
            chunk.append(
                Row(
                    seq,
                    timestamp_us,
                    leaf,
                    previous,
                    event,
                    before.nth + 1,
                    None if before is _NONE else before.seq,
                )
            )
            seq += 1
        batch.rows += chunk
        yield chunk


def _receipts(batch: Batch, events: Sequence[Event], places: Sequence[_Place]) -> list[Receipt]:
    rows = batch.rows
    receipts = []
    for event, place in zip(events, places, strict=True):
        if isinstance(place, int):
            row = rows[place]
            receipts.append(Receipt(row.prepared.event_id, row.seq, row.leaf_hash))
        else:
            receipts.append(Receipt(event.event_id, place.seq, place.leaf_hash))
    return receipts


def _place(batch: Batch, events: Sequence[Event]) -> list[_Place]:
    """Places for these events; those that are there keep theirs. Raises RepeatedEventError.

    When it raises, none of the events has a place.
    """
    fresh: list[Event] = []
    places: list[_Place] = []
    mine: dict[str, int] = {}
    faults: list[Fault] = []
    following = len(batch.events)
    for index, event in enumerate(events):
        place = _earlier(batch, event.event_id, mine) if event.given else None
        if place is None:
            place = following + len(fresh)
            if event.given:
                mine[event.event_id] = place
            fresh.append(event)
        elif not intake.same_content(_bytes_at(batch, fresh, place), event.prepared().event):
            faults.append(_repeated(index, event, place))
        places.append(place)
    if faults:
        raise RepeatedEventError(faults)
    batch.events += fresh
    batch.places |= mine
    return places


def _earlier(batch: Batch, event_id: str, mine: dict[str, int]) -> _Place | None:
    known = batch.known.get(event_id)
    if known is not None:
        return known
    place = batch.places.get(event_id)
    return mine.get(event_id) if place is None else place


def _bytes_at(batch: Batch, fresh: Sequence[Event], place: _Place) -> bytes:
    if isinstance(place, Known):
        return place.event
    before = len(batch.events)
    return (batch.events[place] if place < before else fresh[place - before]).prepared().event


def _repeated(index: int, event: Event, place: _Place) -> Fault:
    where = f"entry {place.seq}" if isinstance(place, Known) else "another event"
    return Fault(
        index,
        "id",
        f"The id {event.event_id} is that of {where}, which says something else.",
        "Give this event an id of its own.",
    )


def _place_pending(batch: Batch, events: Sequence[Prepared]) -> None:
    for event in events:
        try:
            _place(batch, [event])
        except RepeatedEventError as exc:
            # The change is committed and cannot be refused any more, so that the log says so.
            batch.events.append(_refusal(event, exc))


def _refusal(event: Prepared, exc: RepeatedEventError) -> Prepared:
    body = {
        "v": intake.VERSION,
        "id": intake.new_id(),
        "type": LOG_REFUSED.name,
        "actor": SEQUENCER,
        "by": SEQUENCER,
        "resource": event.resource,
        "details": {
            "event_id": event.event_id,
            "digest": sha256(event.event).hexdigest(),
            "entry": exc.faults[0].reason,
        },
    }
    return intake.from_bytes(canonical.encode_strict(body))
