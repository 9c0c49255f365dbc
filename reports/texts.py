"""How documents write times and names."""

from datetime import UTC, datetime
from typing import overload


@overload
def time_text(moment: datetime) -> str: ...
@overload
def time_text(moment: None) -> None: ...
def time_text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with microseconds, as in the log."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def event_words(event_type: str) -> str:
    """`erasure.step_verified` is "erasure step verified"; the guide's CREATE stays as it is."""
    return event_type.replace(".", " ").replace("_", " ")
