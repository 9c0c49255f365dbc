"""The quick comparison of columns with leaves confirms what fits, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path


def test_what_fits_is_confirmed_at_once_and_nothing_else(installation: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compare_quickly.py"))],
        env=installation,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    size = said["size"]
    # Sealed facts stand between the members that the columns foretell.
    assert len(said["sealed"]) == 2
    assert said["whole"] == said["sealed"]
    assert said["escaped"] == [*said["sealed"], size, size + 1]  # but not the name with a trema
    assert said["before"] == said["after"] == [None, []]
    for column, first_bad, sentences in said["edited"]:
        assert first_bad == 123, column
        assert column in sentences[0]
    assert said["cut"][0] == 123
    assert "resource, resource_version" in said["cut"][1][0]
