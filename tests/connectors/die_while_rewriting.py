"""A process that erases by a cluster and kills itself once the first file was written anew."""

import os
import signal
import sys
from pathlib import Path

from connectors.engines import engine_of
from tests.connectors.builders import PERSON, store


def die(phase: str, done: int, _total: int, _bytes: int) -> None:
    if phase == "rewrite" and done:
        os.kill(os.getpid(), signal.SIGKILL)


def main(table: str, address: str, mode: str) -> None:
    """Prints the plan before it begins."""
    opened = store(Path(table))
    options = {"engine": "spark", "engine_address": address, "engine_tasks": 2}
    opened.engine = engine_of(options, lambda _host, _port: None)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode=mode)
    sys.stdout.write(plan.id)
    sys.stdout.flush()
    opened.erase(plan, PERSON, die)


if __name__ == "__main__":
    main(*sys.argv[1:])
