"""Group commit: one thread appends for all who wait, and they share the cost of a commit.

Each log has such a thread in each process that appends to it. It has a database connection of its
own, and ends when nobody has needed it for a while.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec
from django.db import connection

from audit.intake import Event
from audit.signer import Signed

_MAX_EVENTS_A_BATCH = 4_000
# From so many submitters on, they are served in two halves that take turns.
_TWO_HALVES = 32
# A batch waits at most so long for those who were there last time.
_PATIENCE_SECONDS = 0.002
# After so long a connection is looked at before it is used, and given back.
_REST_SECONDS, _IDLE_SECONDS = 1.0, 10.0
_LAST_PATIENCE_SECONDS = 10.0


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands in the log."""

    id: str
    seq: int
    leaf_hash: bytes


class Sequenced(NamedTuple):
    """The receipts of one submission, and a checkpoint that covers them if one was signed."""

    receipts: list[Receipt]
    checkpoint: Signed | None


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class Submission:
    log_id: int
    events: Sequence[Event] = ()
    drain: bool = False
    drained: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    checkpoint: Signed | None = None
    error: BaseException | None = None
    # Released when the submission is done. A bare lock: an Event costs ten times it.
    asleep: threading.Lock = field(default_factory=_locked)
    wakes: "Submission | None" = None  # whose submitter is woken by the submitter of this one
    gone: bool = False  # its submitter does not wait any more


def _look_after_connection() -> None:
    """Close it if the server is gone, so that the next statement opens another."""
    if connection.connection is not None and not connection.is_usable():
        connection.close()
    connection.errors_occurred = False


class GroupCommit:
    """The queue of one log in one process. `process` appends what was submitted, all at once.

    It gets a batch and this queue; it calls `sent` as soon as the database is at work on the
    batch, and may ask whether others wait `behind` it. Those of the batch before are woken then,
    if there are many, so that what they do falls into the time of the database.
    """

    def __init__(self, process: Callable[[Sequence[Submission], "GroupCommit"], None]) -> None:
        self._process = process
        self._mutex = threading.Lock()
        self._waiting: deque[Submission] = deque()
        self._thread: threading.Thread | None = None
        self._ending = False
        # The thread sleeps until as many wait as are wanted, and the bell is rung.
        self._wanted, self._bell = 0, _locked()
        # Of the thread alone:
        self._served: list[Submission] = []  # done, and not woken yet
        self._crowd = 1  # how many were served by the last batch, or waited behind it

    def submit(self, submission: Submission) -> None:
        """Returns when the submission is done; raises what went wrong with it."""
        with self._mutex:
            self._waiting.append(submission)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()
            elif self._wanted and len(self._waiting) >= self._wanted:
                self._ring()
        try:
            submission.asleep.acquire()
        except BaseException:  # interrupted: the others must not wait for us
            with self._mutex:
                submission.gone = True
                if submission in self._waiting:  # not taken yet: taken back
                    self._waiting.remove(submission)
            raise
        finally:
            if submission.wakes is not None:
                submission.wakes.asleep.release()
        if submission.error is not None:
            raise submission.error

    def finish(self) -> None:
        """End the thread once nobody waits any more."""
        with self._mutex:
            thread, self._ending = self._thread, True
            if self._wanted:
                self._ring()
        if thread is not None:
            thread.join(_LAST_PATIENCE_SECONDS)
        self._ending = False

    @property
    def behind(self) -> bool:
        """Whether somebody waits for the next batch."""
        return bool(self._waiting)

    def sent(self) -> None:
        """The database is at work: wake those whom the batch before has served.

        Each wakes the next. All at once would push each other, and the database's process, off
        the processors.
        """
        with self._mutex:
            served = [submission for submission in self._served if not submission.gone]
            self._served = []
            for submission, following in pairwise(served):
                submission.wakes = following
        if served:
            served[0].asleep.release()

    def _run(self) -> None:
        used = time.monotonic()
        try:
            while self._is_needed():
                if connection.errors_occurred or time.monotonic() - used > _REST_SECONDS:
                    _look_after_connection()
                # Those whom a batch has just served are about to submit again. Without them the
                # submitters would fall into parts that take turns, at the cost of more batches.
                usual = self._crowd if self._crowd < _TWO_HALVES else self._crowd // 2
                self._sleep_until(usual, _PATIENCE_SECONDS)
                self._serve(self._take())
                used = time.monotonic()
        finally:
            connection.close()

    def _is_needed(self) -> bool:
        """Sleep until somebody waits; False when that is long, and the thread is to end."""
        self._sleep_until(1, _IDLE_SECONDS)
        with self._mutex:
            if not self._waiting:
                self._thread = None  # the next one to submit starts another
            return bool(self._waiting)

    def _sleep_until(self, wanted: int, seconds: float) -> None:
        """Sleep until so many wait, at most so long."""
        with self._mutex:
            if len(self._waiting) >= wanted or self._ending:
                return
            self._wanted = wanted
        rung = self._bell.acquire(timeout=seconds)
        with self._mutex:
            if not rung and not self._wanted:
                self._bell.acquire()  # it was rung in this very moment
            self._wanted = 0

    def _ring(self) -> None:
        self._wanted = 0
        self._bell.release()

    def _take(self) -> list[Submission]:
        """The next batch: all who wait, or half of them and of those who were just served."""
        with self._mutex:
            most = len(self._waiting)
            if most + len(self._served) >= _TWO_HALVES:
                most = (most + len(self._served) + 1) // 2
            taken: list[Submission] = []
            room = _MAX_EVENTS_A_BATCH
            while self._waiting and len(taken) < most:
                room -= len(self._waiting[0].events)
                if taken and room < 0:
                    break
                taken.append(self._waiting.popleft())
        return taken

    def _serve(self, batch: list[Submission]) -> None:
        try:
            if batch:  # not all were interrupted
                self._process(batch, self)
        except BaseException as exc:  # noqa: BLE001  # each submitter raises it
            for submission in batch:
                submission.error = submission.error or exc
        self.sent()  # where it did not come to that
        self._served = batch
        self._crowd = len(batch) + len(self._waiting)
        if not self._waiting or self._crowd < _TWO_HALVES:
            self.sent()
