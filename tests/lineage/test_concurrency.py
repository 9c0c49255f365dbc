"""Many senders at once, on a real database that commits."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_senders_at_once_leave_the_graph_that_one_in_order_would(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lineage.race", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"VESTIGE_HOME": str(tmp_path / "home"), "LOG_LEVEL": "CRITICAL"},
        capture_output=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout.decode().splitlines()[-1])
    assert found["errors"] == []
    assert found["edges"] > 100
    assert found["same"]
