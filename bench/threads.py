"""Many submitters: threads of one process, each on a connection of its own."""

import threading
import time
from collections.abc import Callable


def rate_in_threads(
    count: int,
    work: Callable[[int], object],
    *,
    threads: int,
    prepare: Callable[[], object] = lambda: None,
) -> float:
    """How many a second; each thread opens its connections before the clock starts."""
    from django.db import connection

    ready, faults = threading.Barrier(threads + 1), list[BaseException]()

    def loop(first: int) -> None:
        try:
            connection.ensure_connection()
            prepare()
            ready.wait()
            for number in range(first, count, threads):
                work(number)
        except BaseException as exc:  # noqa: BLE001  # raised below
            faults.append(exc)
        finally:
            connection.close()

    running = [threading.Thread(target=loop, args=(first,)) for first in range(threads)]
    for thread in running:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in running:
        thread.join()
    if faults:
        raise faults[0]
    return count / (time.perf_counter() - started)
