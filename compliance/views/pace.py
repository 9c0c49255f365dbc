"""How fast a step goes, and how long it will take, in words."""

from datetime import datetime, timedelta

from audit.templatetags.vestige import byte_size
from compliance.models import Step

# Sooner, a guess says more about the first file than about the rest.
_SOONEST = timedelta(seconds=2)


def pace(step: Step, now: datetime) -> str:
    """As in "rewrite: 3.4 GB, 120 MB/s, about 2 minutes left"; what is not known is left out."""
    if not step.activity:
        return ""
    said = []
    taken = now - step.activity_at if step.activity_at else timedelta(0)
    if step.done_bytes:
        said.append(byte_size(step.done_bytes))
    if taken >= _SOONEST:
        if step.done_bytes:
            said.append(f"{byte_size(step.done_bytes / taken.total_seconds())}/s")
        if 0 < step.done < step.total:
            said.append(f"{_written(taken * (step.total - step.done) / step.done)} left")
    return f"{step.activity}: {', '.join(said)}" if said else step.activity


def _written(span: timedelta) -> str:
    seconds = span.total_seconds()
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.0f} {unit}s"
    if seconds > 50:
        return "about a minute"
    return f"about {seconds:.0f} seconds" if seconds >= 10 else "a few seconds"
