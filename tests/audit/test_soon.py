"""What is recorded gets its place without its sender waiting, and nobody sees it missing."""

import json
import threading
from typing import Any

import pytest

from audit.soon import Soon
from tests.audit.installations import manage, run

_RECORDS = """
import json, sys, time
from contextlib import suppress
from django.db import transaction
from accounts.queries import system_user
from audit.actions import record
from audit.events import LOG_EXPORTED
from audit.models import Entry, Pending
from audit.queries import entries_for
by = system_user("setup")
for number in range(5):
    with transaction.atomic():
        record(LOG_EXPORTED, by=by, resource="log:main", details={"size": number})
    if sys.argv[1] == "reads":
        assert entries_for("log:main").count() == number + 1  # its own writes
if sys.argv[1] == "waits":
    for _ in range(500):
        if not Pending.objects.exists():
            break
        time.sleep(0.02)
print(json.dumps({"waiting": Pending.objects.count(), "entries": Entry.objects.count()}))
if sys.argv[1] == "rolls back":
    with suppress(RuntimeError), transaction.atomic():
        record(LOG_EXPORTED, by=by, resource="log:main", details={"size": 6})
        raise RuntimeError
if sys.argv[1] == "dies":
    import os
    os._exit(0)
"""


def recording(installation: dict[str, str], then: str) -> Any:
    return json.loads(run(installation, _RECORDS, then).splitlines()[0])


def test_recorded_events_are_placed_while_the_process_goes_on(
    installation: dict[str, str],
) -> None:
    assert recording(installation, "waits") == {"waiting": 0, "entries": 5}


def test_a_reader_sees_what_was_recorded_before(installation: dict[str, str]) -> None:
    assert recording(installation, "reads")["entries"] == 5


def test_a_process_that_ends_leaves_nothing_behind(installation: dict[str, str]) -> None:
    recording(installation, "ends")
    assert "5 of 5 entries verified" in manage(installation, "verify_log", "--full")


def test_an_event_of_a_change_that_is_rolled_back_is_nowhere(
    installation: dict[str, str],
) -> None:
    recording(installation, "rolls back")
    assert "5 of 5 entries verified" in manage(installation, "verify_log", "--full")


def test_what_a_killed_process_left_is_placed_by_the_sweep(installation: dict[str, str]) -> None:
    recording(installation, "dies")
    manage(installation, "shell", "-c", "from audit.tasks import sequence_pending as s; s()")
    assert "5 of 5 entries verified" in manage(installation, "verify_log", "--full")


def test_a_failure_does_not_end_the_thread(caplog: Any) -> None:
    failed, done = threading.Event(), threading.Event()

    def work() -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("the database is away")
        done.set()

    soon = Soon(work)
    soon.wake()
    assert failed.wait(5)
    soon.wake()
    assert done.wait(5)


def test_changes_share_the_round_after_a_rest_and_the_end_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audit.soon._MOST_REST_SECONDS", 3600.0)
    monkeypatch.setattr("audit.soon._REST", 1e9)
    rounds = threading.Semaphore(0)
    soon = Soon(rounds.release)
    soon.wake()
    assert rounds.acquire(timeout=5)
    for _ in range(10):
        soon.wake()
    assert not rounds.acquire(timeout=0.2)
    soon.finish()
    assert rounds.acquire(timeout=5)
    assert not rounds.acquire(blocking=False)
