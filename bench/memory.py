"""`python -m bench.memory one|two`: verifies the stored log, prints seconds and peak memory in MB.

A process of its own, because the peak of a process never goes down again. With two processes the
larger of both peaks counts.
"""

import os
import resource
import sys
import time
from pathlib import Path

import django
import orjson


def peak_of_self() -> int:
    """The most memory that this process ever had, in kB."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


def main(processes: str) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
    django.setup()
    from audit.queries import stored_log_outcome

    started = time.perf_counter()
    outcome = stored_log_outcome(in_two=processes == "two")
    seconds = time.perf_counter() - started
    # Not what getrusage says of this process: that includes the process which started it.
    peaks = [peak_of_self(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
    answer = {"ok": outcome.ok, "seconds": seconds, "megabytes": max(peaks) / 1024}
    sys.stdout.buffer.write(orjson.dumps(answer))
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
