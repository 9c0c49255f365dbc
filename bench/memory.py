"""`python -m bench.memory one|two`: verifies the stored log, prints seconds and peak memory in MB.

A process of its own, because the peak of a process never goes down again. With two processes the
larger of both peaks counts.
"""

import os
import resource
import sys
import time

import django
import orjson


def main(processes: str) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.settings")
    django.setup()
    from audit.queries import stored_log_outcome

    started = time.perf_counter()
    outcome = stored_log_outcome(in_two=processes == "two")
    seconds = time.perf_counter() - started
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    kilobytes = 1 if sys.platform == "linux" else 1024
    answer = {"ok": outcome.ok, "seconds": seconds, "megabytes": peak / 1024 / kilobytes}
    sys.stdout.buffer.write(orjson.dumps(answer))
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
