"""What an erasure that keeps history has rewritten, so that a killed one is taken up again.

One line a file, on disk before the first commit names the new file. Should two workers write it,
the first line about a file holds for both. The purge removes it: until then it lies in the log's
folder, under a name that readers of tables pass over, and paths in it may name the person.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from connectors.adapters.base import Erased
from connectors.adapters.delta.amend import Amendment
from connectors.adapters.delta.log import LOG
from connectors.storage import Folder

_DONE = {"done": True}


class Journal:
    """Of one plan, in one table."""

    def __init__(self, folder: Folder, plan: str) -> None:
        self.folder = folder
        self.path = f"{LOG}/_vestige-{plan}.journal"
        self.read()

    def read(self) -> None:
        self.begun = self.done = self.had_checkpoint = False
        self.erased: Erased | None = None
        self.amendments: list[Amendment] = []
        for line in self.folder.lines(self.path):
            found = json.loads(line)
            if found == _DONE:
                self.done = True
            elif "erased" in found:
                self.begun = True
                self.erased = self.erased or Erased.remembered(found["erased"])
                self.had_checkpoint |= found["had_checkpoint"]
            else:
                self.amendments.append(Amendment(**found))

    def begin(
        self, erased: Erased, amendments: Iterable[Amendment], *, had_checkpoint: bool
    ) -> None:
        """`erased`: what became of the current version, by the `amendments`."""
        for amendment in amendments:
            self._append(asdict(amendment))
        self._append({"erased": asdict(erased), "had_checkpoint": had_checkpoint})
        self.read()

    def add(self, amendment: Amendment) -> None:
        """Raises OSError when the line cannot be made durable."""
        self._append(asdict(amendment))

    def finish(self) -> None:
        self._append(_DONE)
        self.done = True

    def _append(self, line: Mapping[str, object]) -> None:
        self.folder.append(self.path, json.dumps(line).encode())

    def owns(self, path: str) -> bool:
        """Whether a file is the journal, or a line of it where each is an object."""
        return path.startswith(self.path.removesuffix("journal"))

    def remove(self) -> None:
        for name in self.folder.names(LOG):
            if self.owns(f"{LOG}/{name}"):
                self.folder.remove(f"{LOG}/{name}")
