"""Run by test_logs_at_once in a process of its own: one log is held up, another appended to.

Of each way in which a log can be held up and of each log it writes one JSON line: `gate`, `shut`
(the log that is held up), `before` (which logs an append had come back from while it was held up),
`after` (the same, when it no longer was).
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

    from django.db import connection, transaction

    from accounts.queries import system_user
    from audit import signer, storage
    from audit.actions import append_signed, create_log, sequence
    from audit.intake import NewEvent
    from audit.ledger.tree import Frontier
    from audit.logs import MAIN, LogRef
    from audit.rows import Head
    from audit.signer import Signed

    PATIENCE_SECONDS = 30  # an append takes a thousandth of it
    by = system_user("setup")
    Gate = AbstractContextManager[Callable[[], Any]]

    @contextmanager
    def signer_waits(log: LogRef) -> Iterator[Callable[[], Any]]:
        """Whoever leads the queue of this log has committed, and does not get on with signing.

        Gives, as each gate does, what returns when somebody stands before it.
        """
        reached, opened, sign_batch = threading.Event(), threading.Event(), signer.sign_batch

        def held_up(head: Head, after: Frontier, *, store: bool) -> Signed | None:
            if head.log_id == log.id:
                reached.set()
                opened.wait()
            return sign_batch(head, after, store=store)

        with patch.object(signer, "sign_batch", held_up):
            try:
                yield lambda: reached.wait(PATIENCE_SECONDS)
            finally:
                opened.set()

    @contextmanager
    def head_is_locked(log: LogRef) -> Iterator[Callable[[], Any]]:
        """Somebody holds the row that is the gate of this log in the database."""

        def reached() -> None:
            waiting, deadline = False, time.monotonic() + PATIENCE_SECONDS
            while not waiting and time.monotonic() < deadline:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
                    (waiting,) = cursor.fetchone()
                time.sleep(0.01)

        with transaction.atomic():
            storage.lock_head(log.id)
            yield reached

    def append_to(log: LogRef, done: set[str]) -> None:
        for turn in range(3):  # the first takes the lock, those behind it try without
            event = NewEvent(type="UPDATE", actor="service:a", resource=f"dataset:a:{turn}")
            append_signed([event], by=by, log=log)
        done.add(log.name)
        connection.close()

    def tell(gate: Callable[[LogRef], Gate], shut: LogRef, other: LogRef) -> None:
        done: set[str] = set()
        held = threading.Thread(target=append_to, args=(shut, done))
        free = threading.Thread(target=append_to, args=(other, done))
        with gate(shut) as reached:
            held.start()
            reached()
            free.start()
            free.join(PATIENCE_SECONDS)
            before = sorted(done)
        held.join()
        free.join()
        said = {"gate": gate.__name__, "shut": shut.name, "before": before, "after": sorted(done)}
        sys.stdout.write(json.dumps(said) + "\n")

    sequence()
    logs = [MAIN, create_log("eu", title="Europe", by=by)]
    sequence()
    gates = [signer_waits]
    if connection.vendor == "postgresql":  # SQLite has one gate for the whole database
        gates.append(head_is_locked)
    for one in gates:
        tell(one, *logs)
        tell(one, *reversed(logs))
