"""Worker, web server and broker are killed in the middle; the erasure still happens, once."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.journeys.conftest import Installation, start, stores, wait_for
from tests.journeys.test_erasure_by_rest import state_of, traces, until

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]

CUSTOMER = "00266"


def processes(running: Installation, word: str) -> list[int]:
    """The installation's own processes whose command line holds the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            home = (folder / "environ").read_bytes()
        except OSError:
            continue
        if word in command and str(running.home).encode() in home:
            found.append(int(folder.name))
    return found


def kill(running: Installation, word: str) -> None:
    for pid in processes(running, word):
        os.kill(pid, signal.SIGKILL)


def test_an_erasure_survives_killed_workers_and_a_killed_broker(
    installation: Installation,
) -> None:
    running = installation
    analyst, dpo, owner = (running.client(r) for r in ("analyst", "dpo", "data_owner"))
    reference = analyst.post(
        "/api/v1/requests", json={"subject": {"type": "customer", "value": CUSTOMER}}
    ).json()["reference"]
    analyst.post(f"/api/v1/requests/{reference}/verify", json={"method": "two held attributes"})

    analyst.post(f"/api/v1/requests/{reference}/plan")
    kill(running, "redis")
    kill(running, "celery")
    case = until(analyst, reference, "review")
    for approver in (dpo, owner):
        approver.post(
            f"/api/v1/requests/{reference}/approve", json={"plan_hash": case["plan"]["hash"]}
        )
    assert analyst.post(f"/api/v1/requests/{reference}/execute").status_code == 202

    # Three kills at moments that nobody chose, while the worker erases, purges and scans.
    stop = threading.Event()

    def killer() -> None:
        for pause in (2.5, 4.0, 5.0):
            if stop.wait(pause):
                return
            kill(running, "celery")

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        wait_for(
            lambda: state_of(analyst, reference) in ("completed", "blocked"),
            seconds=240,
            message="for the erasure",
        )
    finally:
        stop.set()
        thread.join()
    done = analyst.get(f"/api/v1/requests/{reference}").json()
    assert done["state"] == "completed", done["reason"]
    for table in stores(running.home).values():
        assert traces(table, [CUSTOMER, f"c{CUSTOMER}@customers.example"]) == []
    types = [entry["type"] for entry in done["timeline"]]
    for once in ("erasure.started", "erasure.verified", "certificate.issued", "request.completed"):
        assert types.count(once) == 1, once
    assert len(done["notices"]) == len({n["model"] for n in done["notices"]})
    wait_for(lambda: running.manage("verify_log", "--full").returncode == 0, seconds=20)


def test_a_stopped_installation_starts_again_with_everything(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("again")
    first = start(home)
    reader = first.client("auditor")
    size = reader.get("/api/v1/log/checkpoint").text.splitlines()[1]
    first.stop()
    assert not processes(first, "")
    began = time.monotonic()
    second = start(home)
    try:
        again = second.client("auditor").get("/api/v1/log/checkpoint").text.splitlines()[1]
        assert int(again) >= int(size)
        assert second.client("auditor").get("/api/v1/datasets").json()["results"]
        assert "Vestige is ready" in second.output
        assert time.monotonic() - began < 110
    finally:
        second.stop()
