"""How documents write times and names."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, overload

from audit.ledger import canonical

_LONGEST_DETAILS = 400


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


def details_line(details: Mapping[str, Any]) -> str:
    """An event's open facts on one line, cut where they would fill pages; the files have all."""
    line = "; ".join(
        f"{name}: {value if isinstance(value, str) else canonical.encode(value).decode()}"
        for name, value in details.items()
    )
    return line if len(line) <= _LONGEST_DETAILS else f"{line[:_LONGEST_DETAILS]}… [cut]"
