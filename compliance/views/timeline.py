"""The log's entries about one case, in the words of its people."""

from collections.abc import Mapping
from typing import Any

from audit.queries import actor_names, entries_for


def timeline(resource: str, words: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Items for components/timeline.html. `words`: event type → (title, kind)."""
    entries = list(entries_for(resource))
    names = actor_names({entry.actor for entry in entries})
    items = []
    for entry in entries:
        title, kind = words.get(entry.type, (entry.type, ""))
        items.append(
            {
                "title": title,
                "kind": kind,
                "at": entry.recorded_at,
                "by": names.get(entry.actor, entry.actor),
                "seq": entry.seq,
            }
        )
    return items
