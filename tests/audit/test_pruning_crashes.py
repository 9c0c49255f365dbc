"""A pruning that is killed between, and inside of, its steps; and verification by two processes."""

import json
import subprocess
import sys
from typing import Any

from tests.audit.installations import ROOT

SCRIPT = ROOT / "tests" / "audit" / "prune_in_child.py"


def child(installation: dict[str, str], *arguments: str) -> dict[str, Any] | None:
    """What it reported; None when it was killed."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=installation,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == -9:
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}


def test_a_killed_pruning_loses_nothing_and_goes_on(installation: dict[str, str]) -> None:
    child(installation, "start")
    steps = ["recorded", "opened", "next", "done"]
    for number, step in enumerate(steps):
        for when in ("before", "after"):
            assert child(installation, "prune", when, "1") is None, f"{when} {step}"
            found = child(installation, "look")
            assert found is not None
            assert found["faults"] == []
            assert found["entries"] == found["size"]
            reached = number + (when == "after")
            assert found["told"] == (reached >= 1)
            assert found["ranges"] == ([[0, 512]] if reached >= 2 else [])
            assert (found["first"] == 512) is (reached >= 3)
            assert (found["state"] == "done") is (reached == 4)
    end = child(installation, "prune")
    assert end is not None
    assert (end["state"], end["pruned"], end["told"]) == ("done", 512, 1)


def test_two_processes_verify_a_log_that_is_pruned_beyond_its_middle(
    installation: dict[str, str],
) -> None:
    child(installation, "two")
    found = child(installation, "verify in two")
    assert found is not None
    assert found["faults"] == []
    assert found["by_two"] == [True]
    assert found["entries"] == found["size"] > 80_000
    assert found["pruned"] == 49_920
