"""Runs all attacks on both databases and writes the table in docs/threat-model.md anew.

`make attacks`; or, with DATABASE_URL naming a PostgreSQL server, `python -m tests.audit.attacks`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import django

_TESTS = "tests/audit/attacks/test_attacks.py"
# The table that is there may be the stale one.
_ONLY_ATTACKS = "attack_is_caught or untouched"


def main() -> int:
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        sys.stderr.write("DATABASE_URL must name a PostgreSQL server; `make attacks` starts one.\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        if not (attack({}, results) and attack({"DATABASE_URL": server}, results)):
            return 1
        rewrite(results)
    return 0


def attack(database: dict[str, str], results: Path) -> bool:
    """Run the tests on this database; they add their results to the file."""
    environment = os.environ | {"VESTIGE_ATTACKS_RESULT": str(results)}
    del environment["DATABASE_URL"]
    command = [sys.executable, "-m", "pytest", "-q", _TESTS, "-k", _ONLY_ATTACKS]
    return subprocess.run(command, env=environment | database, check=False).returncode == 0


def rewrite(results: Path) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from tests.audit.attacks import table

    table.rewrite(table.results_in(results))


if __name__ == "__main__":
    sys.exit(main())
