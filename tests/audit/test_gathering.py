"""How a group commit brings together those who submit, without a database."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from audit import group_commit
from audit.group_commit import GroupCommit, Submission

ROUNDS = 12
Process = Callable[[Sequence[Submission], GroupCommit], None]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE_SECONDS", 1.0)


@contextmanager
def group(process: Process) -> Iterator[GroupCommit]:
    made = GroupCommit(process)
    try:
        yield made
    finally:
        made.finish()
        assert made._thread is None


def submit_in_rounds(made: GroupCommit, crowd: int, done: set[Submission]) -> None:
    """Each of a crowd submits again and again; what is done is put into the set at once."""
    together = threading.Barrier(crowd)

    def submit() -> None:
        together.wait(timeout=60)
        for _ in range(ROUNDS):
            submission = Submission(log_id=1)
            made.submit(submission)
            done.add(submission)
            time.sleep(0.002)  # what it does before it comes back

    threads = [threading.Thread(target=submit) for _ in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_submitters_who_come_back_are_served_together() -> None:
    sizes: list[int] = []

    def process(batch: Sequence[Submission], _: GroupCommit) -> None:
        sizes.append(len(batch))
        time.sleep(0.005)

    with group(process) as made:
        submit_in_rounds(made, 8, set())
    assert sum(sizes) == 8 * ROUNDS
    # The first batches find the crowd; from then on nobody waits for a second one, until those
    # who were in the first ones are done. Without waiting they come in two halves, never together.
    assert sizes.count(8) >= ROUNDS // 2


def test_many_are_served_in_halves_and_woken_while_the_next_half_is_on_its_way() -> None:
    crowd = 2 * group_commit._TWO_HALVES
    done = set[Submission]()
    before = frozenset[Submission]()
    halves = []

    def process(batch: Sequence[Submission], queue: GroupCommit) -> None:
        nonlocal before
        time.sleep(0.005)  # whoever was woken too early would be done by now
        early = len(before & done)
        queue.sent()
        time.sleep(0.02)  # the database is at work
        if len(batch) == len(before) == crowd // 2:
            halves.append((early, len(before & done)))
        before = frozenset(batch)

    with group(process) as made:
        submit_in_rounds(made, crowd, done)
    assert len(done) == crowd * ROUNDS
    assert len(halves) >= ROUNDS
    assert {early for early, _ in halves} == {0}
    assert max(late for _, late in halves) == crowd // 2


def test_one_who_stays_alone_is_waited_for_once_at_most() -> None:
    with group(lambda batch, queue: None) as made:
        made._crowd = 8
        made.submit(Submission(log_id=1))
        assert made._crowd == 1


def test_what_fails_is_raised_by_each_and_the_next_is_served() -> None:
    def process(batch: Sequence[Submission], _: GroupCommit) -> None:
        if batch[0].drain:
            raise RuntimeError("no")

    with group(process) as made:
        with pytest.raises(RuntimeError, match="no"):
            made.submit(Submission(log_id=1, drain=True))
        made.submit(Submission(log_id=1))


class Interrupted(threading.Thread):
    """Submits, and is interrupted while it waits."""

    def __init__(self, made: GroupCommit) -> None:
        super().__init__()
        self.made, self.submission = made, Submission(log_id=1)
        self.waits, self.interrupted = threading.Event(), threading.Event()

    def run(self) -> None:
        asleep = self.submission.asleep

        class Lock:
            """What an interrupt does to a lock that is waited for."""

            def acquire(lock) -> None:  # noqa: N805
                self.waits.set()
                self.interrupted.wait(timeout=60)
                raise KeyboardInterrupt

            release = asleep.release

        self.submission.asleep = Lock()  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            self.made.submit(self.submission)


@pytest.mark.parametrize("taken", [True, False])
def test_one_who_is_interrupted_keeps_nobody_waiting(*, taken: bool) -> None:
    at_work, may_end = threading.Event(), threading.Event()

    def process(batch: Sequence[Submission], _: GroupCommit) -> None:
        at_work.set()
        may_end.wait(timeout=60)

    with group(process) as made:
        if not taken:  # the first batch is somebody else's
            other = threading.Thread(target=made.submit, args=(Submission(log_id=1),))
            other.start()
            at_work.wait(timeout=60)
        gone = Interrupted(made)
        gone.start()
        gone.waits.wait(timeout=60)
        if taken:
            at_work.wait(timeout=60)
        behind = threading.Thread(target=made.submit, args=(Submission(log_id=1),))
        behind.start()
        gone.interrupted.set()
        gone.join(timeout=60)
        may_end.set()
        behind.join(timeout=60)
        assert not behind.is_alive()
        assert gone.submission.gone


def test_a_thread_that_nobody_needs_ends_and_another_one_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "_IDLE_SECONDS", 0.01)
    with group(lambda batch, queue: None) as made:
        made.submit(Submission(log_id=1))
        first = made._thread
        if first is not None:
            first.join(timeout=60)
            assert not first.is_alive()
        made.submit(Submission(log_id=1))
