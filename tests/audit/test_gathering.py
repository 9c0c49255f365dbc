"""The leader of a group commit waits for those whom the last batch has just served."""

import threading
import time
from collections.abc import Sequence

import pytest

from audit import group_commit
from audit.group_commit import GroupCommit, Submission

CROWD, ROUNDS = 8, 12


def _submit_in_rounds(group: GroupCommit) -> None:
    together = threading.Barrier(CROWD)

    def submit() -> None:
        together.wait(timeout=60)
        for _ in range(ROUNDS):
            group.submit(Submission(log_id=1))
            time.sleep(0.002)  # what it does before it comes back

    threads = [threading.Thread(target=submit) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_submitters_who_come_back_are_served_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE_SECONDS", 1.0)
    sizes: list[int] = []

    def process(batch: Sequence[Submission]) -> None:
        sizes.append(len(batch))
        time.sleep(0.005)

    _submit_in_rounds(GroupCommit(process))
    assert sum(sizes) == CROWD * ROUNDS
    # The first batches find the crowd; from then on nobody waits for a second one, until those
    # who were in the first ones are done. Without waiting they come in two halves, never together.
    assert sizes.count(CROWD) >= ROUNDS // 2


def test_one_who_stays_alone_is_waited_for_once_at_most() -> None:
    group = GroupCommit(lambda batch: None)
    group._crowd = CROWD
    group.submit(Submission(log_id=1))
    assert group._crowd == 1


def test_an_interrupted_leader_passes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    group = GroupCommit(lambda batch: None)
    group._crowd = 2

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audit.group_commit.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        group.submit(Submission(log_id=1))
    monkeypatch.undo()
    group.submit(Submission(log_id=1))
