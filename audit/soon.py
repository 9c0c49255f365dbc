"""Sequencing soon: a thread of each process gives recorded events their places.

Who records a change does not wait until its event is chained; many changes are then chained at
once. After each round the thread rests for some times as long: a round costs about the same for one
event as for a hundred, and without the rest, changes that follow each other closely would all pay
for a round of their own. Nothing is lost when the process dies: the events wait as rows, and the
sweep finds them.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
_LAST_PATIENCE_SECONDS = 10.0
_REST, _MOST_REST_SECONDS = 9, 0.05


class Soon:
    """Runs `work` in a thread of its own, once or more after each `wake`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._reset()
        # A fork waits for the round to end: a child would inherit half of a transaction of the
        # thread that appends.
        os.register_at_fork(
            before=lambda: self._round.acquire(),
            after_in_parent=lambda: self._round.release(),
            after_in_child=self._reset,
        )
        atexit.register(self.finish)

    def wake(self) -> None:
        """Return at once; `work` starts later than now."""
        self._awake.set()
        if self._thread is None:
            with self._mutex:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
                    self._thread.start()

    def _reset(self) -> None:
        self._awake, self._ending = threading.Event(), threading.Event()
        self._mutex, self._round = threading.Lock(), threading.Lock()
        self._thread = None

    def _run(self) -> None:
        ends = False
        while not ends:
            self._awake.wait()
            self._awake.clear()
            ends = self._ending.is_set()  # read before the work, which then sees all there is
            began = time.monotonic()
            try:
                with self._round:
                    self._work()
            except Exception:
                log.exception(
                    "What was recorded could not be sequenced yet; the sweep tries again."
                )
            self._ending.wait(min(_REST * (time.monotonic() - began), _MOST_REST_SECONDS))

    def finish(self) -> None:
        """A process that ends leaves nothing behind, if that is quickly done."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._ending.set()
            self._awake.set()
            thread.join(_LAST_PATIENCE_SECONDS)
