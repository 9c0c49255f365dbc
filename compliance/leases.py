"""How a worker keeps what it has claimed: by renewing it for as long as it lives."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import DatabaseError, close_old_connections, connection

LEASE = timedelta(seconds=20)  # a worker that has not renewed its claim for so long is gone
logger = logging.getLogger(__name__)


@contextmanager
def kept_alive(renew: Callable[[], bool], *, name: str) -> Iterator[None]:
    """Calls `renew` from a thread of its own until the block ends or the claim is lost (False).

    Long phases report nothing: a rewrite of one large file, the setting of a PDF.
    """
    if connection.in_atomic_block:  # a test's transaction cannot be shared with a thread
        yield
        return
    done = threading.Event()

    def keep() -> None:
        try:
            while not done.wait(LEASE.total_seconds() / 4):
                if not renew():
                    break
        except DatabaseError:
            logger.warning("the claim of %s could not be renewed", name)
        finally:
            close_old_connections()
            connection.close()

    thread = threading.Thread(target=keep, daemon=True, name=f"lease of {name}")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
