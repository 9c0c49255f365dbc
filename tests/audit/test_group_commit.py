"""Many submitters at once, in threads and processes, on a database of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.audit.installations import manage, run

_WORKER = Path(__file__).with_name("append_in_threads.py")


def submit(
    environment: dict[str, str], processes: int, threads: int, rounds: int, *logs: str
) -> list[Any]:
    command = [sys.executable, str(_WORKER), str(threads), str(rounds), *logs]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    said = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [fault for part in said for fault in part["faults"]] == []
    return [receipt for part in said for thread in part["receipts"] for receipt in thread]


@pytest.mark.parametrize("threads", [16, 48])  # all at once, and in two halves by turns
def test_threads_get_dense_places_of_their_own(installation: dict[str, str], threads: int) -> None:
    receipts = submit(installation, processes=1, threads=threads, rounds=10)
    assert len({receipt[1] for receipt in receipts}) == threads * 10
    assert all(size > seq for _, seq, size, *_ in receipts)
    # Each recorded in 2 of its rounds; what was recorded is in the log as well.
    count = threads * 12
    assert f"{count} of {count} entries verified" in manage(installation, "verify_log", "--full")


def test_two_processes_append_to_one_log_without_a_fork(installation: dict[str, str]) -> None:
    receipts = submit(installation, processes=2, threads=4, rounds=20)
    assert len({receipt[1] for receipt in receipts}) == 2 * 4 * 20
    assert all(size > seq for _, seq, size, *_ in receipts)
    assert "192 of 192 entries verified" in manage(installation, "verify_log", "--full")


def test_two_processes_verify_what_one_does_and_name_the_same_entry(
    installation: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("verify_in_two.py"))],
        env=installation,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {said["attack"]: said for said in map(json.loads, done.stdout.splitlines())}
    assert found["none"]["ok"]
    assert found["none"]["entries"] == 70_000
    assert {name: said["first_bad"] for name, said in found.items() if not said["ok"]} == {
        "leaf 5": 5,
        "leaf 32767": 32_767,
        "leaf 32768": 32_768,
        "leaf 69999": 69_999,
        "column 50000": 50_000,
        "root of tile 200": 51_200,
    }


_SURVIVES_A_RESTART = """
import time
from django.db import connection
from audit.intake import NewEvent
def one():
    event = NewEvent(type="READ", actor="service:etl", resource="dataset:a")
    return actions.append([event], by=by)[0].seq
first = max(one() for _ in range(3))  # the later ones append behind the known end
with connection.cursor() as cursor:
    cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                   " WHERE datname = current_database() AND pid <> pg_backend_pid()")
time.sleep(1.5)
assert one() == first + 1
"""


def test_a_server_that_was_started_anew_is_connected_to_again(
    installation: dict[str, str],
) -> None:
    if "DATABASE_URL" not in installation:
        pytest.skip("SQLite has no server.")
    run(installation, _SURVIVES_A_RESTART)
