"""Gives events their places: group commit.

Whoever submits puts its events into a queue. The first becomes the leader: it takes everything
that waits, appends it in one transaction on the locked head of the log, has the new tree signed,
and wakes the others with their receipts; then the next in the queue leads. With one submitter
that is a direct append; with many, the cost of a commit is shared by all who waited.
"""

import logging
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

import msgspec
from django.db import IntegrityError, connection, transaction

from audit import intake, proofs, signer, storage
from audit.events import LOG_REFUSED
from audit.intake import Fault, Prepared, RepeatedEventError
from audit.ledger import canonical
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack
from audit.ledger.tree import Frontier
from audit.models import MAIN_LOG

log = logging.getLogger(__name__)
_MAX_EVENTS_A_BATCH = 4_000
_PENDING_A_BATCH = 1_000
_CHUNK = 512  # rows that are chained while the database takes those before
SEQUENCER = "vestige:sequencer"

# How the canonical form of an event goes on behind its last member, "v": its place among the
# entries of its resource, known only under the head's lock.
_WITHIN_FIRST = b',"within":{"nth":1}}'
_WITHIN = b',"within":{"nth":%d,"previous":%d}}'
_NONE = storage.Newest(-1, 0)


class InsideTransactionError(RuntimeError):
    """Appending commits; it cannot be a part of the caller's transaction."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
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
    log_id: int
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
    """What one transaction appends: events in their order, and rows once they are chained."""

    head: storage.Head
    known: dict[str, storage.Known]
    events: list[Prepared] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # event id -> index in `events`
    rows: list[storage.Row] = field(default_factory=list)
    newest: dict[str, storage.Newest] = field(default_factory=dict)  # by resource


# Where an event stands: in the log already, or at this index of the batch.
_Place = storage.Known | int
_Done = tuple[storage.Head, Frontier]


class _Places:
    """The newest entries of resources, as this process left them; another's append outdates all."""

    _MOST = 20_000

    def __init__(self) -> None:
        # log id -> the hash of the log's last entry then, and the newest entry of each resource
        self._seen: dict[int, tuple[bytes, dict[str, storage.Newest]]] = {}

    def newest(self, head: storage.Head, resources: set[str]) -> dict[str, storage.Newest]:
        """The newest entry of each of these resources that has one."""
        last_hash, seen = self._seen.get(head.log_id, (b"", {}))
        known = {r: seen[r] for r in resources & seen.keys()} if last_hash == head.last_hash else {}
        unknown = list(resources - known.keys()) if head.size else []
        return known | storage.newest_of(head.log_id, unknown) if unknown else known

    def moved(
        self, head: storage.Head, last_hash: bytes, newest: dict[str, storage.Newest]
    ) -> None:
        """What was appended to `head` is durable."""
        before, seen = self._seen.get(head.log_id, (b"", {}))
        if before != head.last_hash or len(seen) >= self._MOST:
            seen = {}
        seen.update(newest)
        self._seen[head.log_id] = (last_hash, seen)


_places = _Places()


class GroupCommit:
    """The queue of one log in one process."""

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


# The queue of each log. A forked process starts without them: their leaders did not come along.
_groups: defaultdict[int, GroupCommit] = defaultdict(GroupCommit)
os.register_at_fork(after_in_child=_groups.clear)


def append(events: Sequence[Prepared], log_id: int = MAIN_LOG) -> Sequenced:
    """Append these events, all or none. Raises RepeatedEventError."""
    _require_no_transaction()
    submission = _Submission(log_id, events=events)
    _groups[log_id].submit(submission)
    return Sequenced(submission.receipts, submission.checkpoint)


def drain(log_id: int = MAIN_LOG) -> int:
    """Give all pending events of the log their places; how many there were."""
    _require_no_transaction()
    total = 0
    while True:
        submission = _Submission(log_id, drain=True)
        _groups[log_id].submit(submission)
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
    try:
        checkpoint = signer.sign_batch(*done)
    except Exception:
        # The entries are durable: their submitters must not think that they are lost.
        log.exception("The log could not be signed; the sweep tries again.")
        return
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
        head = storage.lock_head(submissions[0].log_id)
        waiting = (
            storage.pending(head.log_id, _PENDING_A_BATCH)
            if any(submission.drain for submission in submissions)
            else []
        )
        pending = [intake.from_bytes(event) for _, event in waiting]
        ids = [event.event_id for event in pending]
        ids += [e.event_id for s in submissions for e in s.events if e.given]
        batch = _Batch(head, storage.known_entries(head.log_id, ids) if look and ids else {})
        _place_pending(batch, pending)
        placed = []
        for submission in submissions:
            if submission.drain:
                submission.drained = len(waiting)
            try:
                placed.append((submission, _place(batch, submission.events)))
            except RepeatedEventError as exc:
                submission.error = exc
        after = _write(batch) if batch.events else head.frontier
        if waiting:
            storage.delete_pending([row_id for row_id, _ in waiting])
    if batch.rows:
        _places.moved(head, batch.rows[-1].leaf_hash, batch.newest)
    for submission, places in placed:
        submission.receipts = _receipts(batch, submission.events, places)
    return head, after


def _write(batch: _Batch) -> Frontier:
    head, count = batch.head, len(batch.events)
    edges = proofs.edges(head.log_id, head.size, count)
    batch.newest = _places.newest(head, {event.resource for event in batch.events})
    after = head.frontier.copy()
    tiles: list[tuple[int, int, bytes, bytes]] = []

    def finish() -> bytes:
        hashes = [row.leaf_hash for row in batch.rows]
        after.extend(hashes)
        tiles.extend(proofs.full_tiles(head.size, hashes, edges))
        return after.to_bytes()

    storage.append_rows(head, count, _chained(batch), finish)
    if tiles:
        storage.insert_tiles(head.log_id, tiles)
    return after


def _chained(batch: _Batch) -> Iterator[list[storage.Row]]:
    """The rows in chunks. Each leaf holds its place, its time and the hash of the one before."""
    seq, previous, newest = batch.head.size, batch.head.last_hash, batch.newest
    # The clock may be set back; the log's time never runs backwards.
    timestamp_us = max(time.time_ns() // 1000, batch.head.last_timestamp_us)
    for start in range(0, len(batch.events), _CHUNK):
        chunk = []
        for event in batch.events[start : start + _CHUNK]:
            before = newest.get(event.resource, _NONE)
            place = _WITHIN_FIRST if before is _NONE else _WITHIN % (before.nth + 1, before.seq)
            leaf = pack(seq, timestamp_us, previous, event.event[:-1] + place)
            previous = leaf_hash(leaf)
            newest[event.resource] = storage.Newest(seq, before.nth + 1)
            chunk.append(
                storage.Row(
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


def _receipts(batch: _Batch, events: Sequence[Prepared], places: Sequence[_Place]) -> list[Receipt]:
    rows = batch.rows
    receipts = []
    for event, place in zip(events, places, strict=True):
        at = rows[place] if isinstance(place, int) else place
        receipts.append(Receipt(event.event_id, at.seq, at.leaf_hash))
    return receipts


def _place(batch: _Batch, events: Sequence[Prepared]) -> list[_Place]:
    """Places for these events; those that are there keep theirs. Raises RepeatedEventError.

    When it raises, none of the events has a place.
    """
    fresh: list[Prepared] = []
    places: list[_Place] = []
    mine: dict[str, int] = {}
    faults: list[Fault] = []
    following = len(batch.events)
    for index, event in enumerate(events):
        place = _earlier(batch, event.event_id, mine) if event.given else None
        if place is None:
            place = following + len(fresh)
            mine[event.event_id] = place
            fresh.append(event)
        elif not intake.same_content(_bytes_at(batch, fresh, place), event.event):
            faults.append(_repeated(index, event, place))
        places.append(place)
    if faults:
        raise RepeatedEventError(faults)
    batch.events += fresh
    batch.places |= mine
    return places


def _earlier(batch: _Batch, event_id: str, mine: dict[str, int]) -> _Place | None:
    known = batch.known.get(event_id)
    if known is not None:
        return known
    place = batch.places.get(event_id)
    return mine.get(event_id) if place is None else place


def _bytes_at(batch: _Batch, fresh: Sequence[Prepared], place: _Place) -> bytes:
    if isinstance(place, storage.Known):
        return place.event
    before = len(batch.events)
    return (batch.events[place] if place < before else fresh[place - before]).event


def _repeated(index: int, event: Prepared, place: _Place) -> Fault:
    where = f"entry {place.seq}" if isinstance(place, storage.Known) else "another event"
    return Fault(
        index,
        "id",
        f"The id {event.event_id} is that of {where}, which says something else.",
        "Give this event an id of its own.",
    )


def _place_pending(batch: _Batch, events: Sequence[Prepared]) -> None:
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
