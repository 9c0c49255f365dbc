"""Group commit: whoever submits first leads, and appends for all who wait.

With one submitter that is a direct append; with many, the cost of a commit is shared by all of
them, and the next in the queue leads.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from audit.intake import Prepared
from audit.signer import Signed

_MAX_EVENTS_A_BATCH = 4_000
# A leader waits for the others at most so long, and looks so often.
_PATIENCE_SECONDS, _GLANCE_SECONDS = 0.002, 0.000_05


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
    events: Sequence[Prepared] = ()
    drain: bool = False
    drained: int = 0
    receipts: list[Receipt] = field(default_factory=list)
    checkpoint: Signed | None = None
    error: BaseException | None = None
    done: bool = False
    # Released when the submission is done, or is to lead. A bare lock: an Event costs ten times it.
    asleep: threading.Lock = field(default_factory=_locked)


class GroupCommit:
    """The queue of one log in one process. `process` appends what was submitted, all at once."""

    def __init__(self, process: Callable[[Sequence[Submission]], None]) -> None:
        self._process = process
        self._mutex = threading.Lock()
        self._waiting: deque[Submission] = deque()
        self._led = False
        self._crowd = 1  # how many were served by the last batch, or waited behind it

    def submit(self, submission: Submission) -> None:
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

    def _wait(self, submission: Submission) -> None:
        try:
            submission.asleep.acquire()
        except BaseException:  # interrupted: the queue must not wait for us
            with self._mutex:
                if submission in self._waiting:
                    self._waiting.remove(submission)
                if not submission.asleep.locked() and not submission.done:
                    self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Make the next in the queue the leader; the caller holds the mutex."""
        if self._waiting:
            self._waiting[0].asleep.release()  # not done: it wakes up as the leader
        else:
            self._led = False

    def _gather(self) -> None:
        """Wait shortly until as many are here as there were last time.

        Those whom a batch has just served are about to submit again. Without them the submitters
        would fall into two halves that take turns, at the cost of twice as many batches.
        """
        if self._crowd == 1:
            return
        deadline = time.monotonic() + _PATIENCE_SECONDS
        try:
            while len(self._waiting) < self._crowd and time.monotonic() < deadline:
                time.sleep(_GLANCE_SECONDS)
        except BaseException:  # interrupted: the queue must not wait for us
            with self._mutex:
                self._waiting.popleft()
                self._pass_on()
            raise

    def _lead(self) -> None:
        self._gather()
        batch = self._take()
        try:
            self._process(batch)
        except BaseException as exc:  # noqa: BLE001  # each submitter raises it
            for submission in batch:
                submission.error = submission.error or exc
        finally:
            for submission in batch:
                submission.done = True
                submission.asleep.release()
            with self._mutex:
                self._crowd = len(batch) + len(self._waiting)
                self._pass_on()

    def _take(self) -> list[Submission]:
        with self._mutex:
            taken = [self._waiting.popleft()]  # the leader itself
            room = _MAX_EVENTS_A_BATCH - len(taken[0].events)
            while self._waiting and len(self._waiting[0].events) <= room:
                room -= len(self._waiting[0].events)
                taken.append(self._waiting.popleft())
        return taken
