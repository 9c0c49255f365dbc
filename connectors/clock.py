"""The current time, for plain Python modules that must not know Django."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
