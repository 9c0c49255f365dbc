"""Gives events their places: group commit.

Whoever submits puts its events into a queue. The first becomes the leader: it takes everything
that waits, appends it in one transaction on the locked head of the log, has the new tree signed,
and wakes the others with their receipts; then the next in the queue leads. With one submitter
that is a direct append; with many, the cost of a commit is shared by all who waited.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from django.db import IntegrityError, connection, transaction

from audit import intake, proofs, signer, storage
from audit.events import LOG_REFUSED
from audit.intake import Fault, Prepared, RepeatedEventError
from audit.ledger import canonical
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack
from audit.ledger.tree import Frontier

_MAX_EVENTS_A_BATCH = 4_000
_PENDING_A_BATCH = 1_000
SEQUENCER = "vestige:sequencer"


class InsideTransactionError(RuntimeError):
    """Appending commits; it cannot be a part of the caller's transaction."""


class Receipt(NamedTuple):
    """Where an event stands in the log."""

    id: str
    seq: int
    leaf_hash: bytes


class Sequenced(NamedTuple):
    """The receipts of one submission, and a checkpoint that covers them if one was signed."""

    receipts: list[Receipt]
    checkpoint: signer.Signed | None


@dataclass(slots=True, eq=False)
class _Submission:
    events: Sequence[Prepared] = ()
    drain: bool = False
    drained: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    checkpoint: signer.Signed | None = None
    error: BaseException | None = None
    done: bool = False
    wake: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class _Batch:
    """What one transaction appends."""

    head: storage.Head
    known: dict[str, storage.Known]
    rows: list[storage.Row] = field(default_factory=list)
    placed: dict[str, storage.Row] = field(default_factory=dict)


_Done = tuple[storage.Head, Frontier]


class GroupCommit:
    """The queue of one process."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[_Submission] = deque()
        self._led = False

    def submit(self, submission: _Submission) -> None:
        """Returns when the submission is done; raises what went wrong with it."""
        with self._mutex:
            self._waiting.append(submission)
            leads = not self._led
            self._led = True
        if not leads:
            self._wait(submission)
        if not submission.done:
            self._lead()
        if submission.error is not None:
            raise submission.error

    def _wait(self, submission: _Submission) -> None:
        try:
            submission.wake.wait()
        except BaseException:  # interrupted: the queue must not wait for us
            with self._mutex:
                if submission in self._waiting:
                    self._waiting.remove(submission)
                if submission.wake.is_set() and not submission.done:
                    self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Make the next in the queue the leader; the caller holds the mutex."""
        if self._waiting:
            self._waiting[0].wake.set()  # not done: it wakes up as the leader
        else:
            self._led = False

    def _lead(self) -> None:
        batch = self._take()
        try:
            _process(batch)
        except BaseException as exc:  # noqa: BLE001  # each submitter raises it
            for submission in batch:
                submission.error = submission.error or exc
        finally:
            for submission in batch:
                submission.done = True
                submission.wake.set()
            with self._mutex:
                self._pass_on()

    def _take(self) -> list[_Submission]:
        with self._mutex:
            taken = [self._waiting.popleft()]  # the leader itself
            room = _MAX_EVENTS_A_BATCH - len(taken[0].events)
            while self._waiting and len(self._waiting[0].events) <= room:
                room -= len(self._waiting[0].events)
                taken.append(self._waiting.popleft())
        return taken


_group = GroupCommit()
os.register_at_fork(after_in_child=_group.__init__)  # type: ignore[misc]  # the lock of a lost leader


def append(events: Sequence[Prepared]) -> Sequenced:
    """Append these events, all or none. Raises RepeatedEventError."""
    _require_no_transaction()
    submission = _Submission(events=events)
    _group.submit(submission)
    return Sequenced(submission.receipts, submission.checkpoint)


def drain() -> int:
    """Give all pending events their places; how many there were."""
    _require_no_transaction()
    total = 0
    while True:
        submission = _Submission(drain=True)
        _group.submit(submission)
        total += submission.drained
        if submission.drained < _PENDING_A_BATCH:
            return total


def _require_no_transaction() -> None:
    blocks = connection.atomic_blocks
    if blocks and not blocks[-1]._from_testcase:  # type: ignore[attr-defined]
        raise InsideTransactionError(
            "Appending to the log commits, so it cannot happen inside a transaction. Use `record`"
            " there, and append or sequence after the commit."
        )


def _process(submissions: Sequence[_Submission]) -> None:
    done: _Done | None
    try:
        done = _commit(submissions, look=False)
    except IntegrityError:
        # An event id is taken: look which, answer those with their earlier receipts.
        done = _commit_each(submissions)
    if done is None:
        return
    checkpoint = signer.sign_batch(*done)
    for submission in submissions:
        submission.checkpoint = checkpoint


def _commit_each(submissions: Sequence[_Submission]) -> _Done | None:
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


def _commit(submissions: Sequence[_Submission], *, look: bool) -> _Done:
    """One transaction for all of them: the head as it was locked, and the tree after it."""
    for submission in submissions:
        submission.receipts, submission.drained, submission.error = [], 0, None
    with transaction.atomic(durable=True):
        head = storage.lock_head()
        waiting = (
            storage.pending(_PENDING_A_BATCH)
            if any(submission.drain for submission in submissions)
            else []
        )
        pending = [intake.from_bytes(event) for _, event in waiting]
        ids = [event.event_id for event in pending]
        ids += [e.event_id for s in submissions for e in s.events if e.given]
        batch = _Batch(head, storage.known_entries(head.log_id, ids) if look and ids else {})
        _place_pending(batch, pending)
        for submission in submissions:
            if submission.drain:
                submission.drained = len(waiting)
            try:
                submission.receipts = _place(batch, submission.events)
            except RepeatedEventError as exc:
                submission.error = exc
        after = _write(batch) if batch.rows else head.frontier
        if waiting:
            storage.delete_pending([row_id for row_id, _ in waiting])
    return head, after


def _write(batch: _Batch) -> Frontier:
    head, rows = batch.head, batch.rows
    hashes = [row.leaf_hash for row in rows]
    tiles = proofs.full_tiles(head.log_id, head.size, hashes)
    frontier = head.frontier.copy()
    frontier.extend(hashes)
    storage.append_rows(head, rows, frontier)
    if tiles:
        storage.insert_tiles(head.log_id, tiles)
    return frontier


def _place(batch: _Batch, events: Sequence[Prepared]) -> list[Receipt]:
    """Places for these events; those that are there keep theirs. Raises RepeatedEventError."""
    _chain(batch, _fresh(batch, events))
    receipts = []
    for event in events:
        at = batch.known.get(event.event_id) or batch.placed[event.event_id]
        receipts.append(Receipt(event.event_id, at.seq, at.leaf_hash))
    return receipts


def _fresh(batch: _Batch, events: Sequence[Prepared]) -> list[Prepared]:
    """Those of the events that are not in the log, nor in this batch. Raises RepeatedEventError."""
    fresh: list[Prepared] = []
    mine: dict[str, Prepared] = {}
    faults = []
    for index, event in enumerate(events):
        if not event.given:
            fresh.append(event)
            continue
        earlier = batch.known.get(event.event_id) or batch.placed.get(event.event_id)
        first = mine.setdefault(event.event_id, event)
        if earlier is None and first is event:
            fresh.append(event)
            continue
        if not intake.same_content(_bytes_of(earlier) if earlier else first.event, event.event):
            where = f"entry {earlier.seq}" if earlier else "an earlier event of this request"
            faults.append(
                Fault(
                    index,
                    "id",
                    f"The id {event.event_id} is that of {where}, which says something else.",
                    "Give this event an id of its own.",
                )
            )
    if faults:
        raise RepeatedEventError(faults)
    return fresh


def _bytes_of(earlier: storage.Known | storage.Row) -> bytes:
    return earlier.event if isinstance(earlier, storage.Known) else earlier.prepared.event


def _chain(batch: _Batch, events: Iterable[Prepared]) -> None:
    """Pack the leaves: each holds its place, its time and the hash of the one before it."""
    rows, placed = batch.rows, batch.placed
    head = batch.head
    seq = head.size + len(rows)
    previous = rows[-1].leaf_hash if rows else head.last_hash
    # The clock may be set back; the log's time never runs backwards.
    timestamp_us = max(time.time_ns() // 1000, head.last_timestamp_us)
    if rows:
        timestamp_us = max(timestamp_us, rows[-1].timestamp_us)
    for event in events:
        leaf = pack(seq, timestamp_us, previous, event.event)
        previous = leaf_hash(leaf)
        row = storage.Row(seq, timestamp_us, leaf, previous, event)
        rows.append(row)
        placed[event.event_id] = row
        seq += 1


def _place_pending(batch: _Batch, events: Sequence[Prepared]) -> None:
    for event in events:
        try:
            _place(batch, [event])
        except RepeatedEventError as exc:
            # The change is committed and cannot be refused any more, so that the log says so.
            _chain(batch, [_refusal(event, exc)])


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
