"""Taking files for good out of a folder, and what there is to say of it afterwards."""

from collections.abc import Sequence
from typing import Any

from connectors.adapters.base import Erased, Progress
from connectors.folders import masked
from connectors.storage import FileEntry, Folder, Hidden


class Sweep:
    """What one purge removes. `columns`: whose values paths may hold, so that reports mask them."""

    def __init__(self, columns: Sequence[str], progress: Progress) -> None:
        self._columns, self._progress = columns, progress
        self._removed: list[str] = []
        self._bytes = 0

    def files(self, folder: Folder, doomed: Sequence[FileEntry]) -> None:
        for number, entry in enumerate(doomed):
            self._progress("purge", number, len(doomed), self._bytes)
            folder.remove(entry.path)
            self._note(entry)
        self._progress("purge", len(doomed), len(doomed), self._bytes)

    def hidden(self, folder: Folder, doomed: Sequence[Hidden]) -> None:
        folder.remove_hidden(doomed)
        for item in doomed:
            self._note(item)

    def _note(self, item: FileEntry | Hidden) -> None:
        self._removed.append(masked(item.path, self._columns))
        self._bytes += item.bytes

    def result(self, version: str, **more: Any) -> Erased:
        """`more`: other facts of the purge."""
        detail = {"files_removed": len(self._removed), "bytes_removed": self._bytes, **more}
        return Erased(version, 0, tuple(self._removed), (), detail)
