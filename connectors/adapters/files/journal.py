"""What an erasure has replaced so far, so that a killed one can be taken up again.

One line a file, on disk before the file is replaced: its leaf before and after, and counts. Undoing
the replacements on paper must give the state that the plan was made for; otherwise somebody else
has changed the folder. The journal names nobody: leaves are hashes, paths are shown as plans show
them. The purge removes it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from connectors.adapters.files.layout import JOURNAL, OURS, version_id
from connectors.storage import Folder

_DONE = {"done": True}


@dataclass(frozen=True)
class Entry:
    was: str  # leaf of the file as it was planned
    now: str  # leaf of what replaces it; empty where it is removed
    path: str  # as plans show it
    rows: int
    bytes: int


class Journal:
    """Of one plan, in one folder."""

    def __init__(self, folder: Folder, plan: str) -> None:
        self.folder = folder
        self.path = f"{OURS}{plan}{JOURNAL}"
        self.entries: list[Entry] = []
        self.done = False
        for line in folder.lines(self.path):
            found = json.loads(line)
            if found == _DONE:
                self.done = True
            else:
                self.entries.append(Entry(**found))

    @property
    def exists(self) -> bool:
        return self.done or bool(self.entries)

    def add(self, entry: Entry) -> None:
        """Raises OSError when the line cannot be made durable."""
        self._append(asdict(entry))
        self.entries.append(entry)

    def finish(self) -> None:
        if not self.done:
            self._append(_DONE)
            self.done = True

    def _append(self, line: Mapping[str, object]) -> None:
        self.folder.append(self.path, json.dumps(line).encode())

    def applied(self, leaves: Mapping[str, str]) -> list[Entry]:
        """The replacements that took place, told from the folder's leaves."""
        present = set(leaves.values())
        found: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.was not in present and (not entry.now or entry.now in present):
                found[entry.was] = entry
        return list(found.values())

    def planned_version(self, leaves: Mapping[str, str]) -> str:
        """The version before the replacements, if nobody else has changed anything."""
        applied = self.applied(leaves)
        present = set(leaves.values()) - {e.now for e in applied}
        return version_id(present | {e.was for e in applied})
