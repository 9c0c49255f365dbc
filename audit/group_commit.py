"""Group commit: whoever submits first leads, and appends for all who wait.

With one submitter that is a direct append; with many, the cost of a commit is shared by all of
them, and the next in the queue leads.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from audit.intake import Prepared
from audit.signer import Signed

_MAX_EVENTS_A_BATCH = 4_000


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

    def _lead(self) -> None:
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
                self._pass_on()

    def _take(self) -> list[Submission]:
        with self._mutex:
            taken = [self._waiting.popleft()]  # the leader itself
            room = _MAX_EVENTS_A_BATCH - len(taken[0].events)
            while self._waiting and len(self._waiting[0].events) <= room:
                room -= len(self._waiting[0].events)
                taken.append(self._waiting.popleft())
        return taken
