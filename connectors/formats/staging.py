"""Objects under names that say their format.

Some stores name an object after its hash, or at random. The same bytes are shown to the readers of
files under a link whose name ends as the file's own name does.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.formats.formats import suffix_of


class Staging:
    """Paths are where an object is stored and what it is called: "files/md5/ab/cd…:/orders.csv".

    `folder`: for the links, which hold no data. `fetch` gives the file of a stored object, and
    raises StoreError where there is none.
    """

    def __init__(self, folder: Path, fetch: Callable[[str], Path]) -> None:
        self._folder = folder
        self._fetch = fetch

    @staticmethod
    def path(stored: str, logical: str) -> str:
        return f"{stored}:/{logical}"

    def locate(self, path: str) -> Path:
        """Raises StoreError for an object that is not there, or whose bytes are not its own."""
        stored, _, logical = path.partition(":/")
        location = self._fetch(stored)
        name = hashlib.sha256(stored.encode(errors="surrogateescape")).hexdigest()
        link = self._folder / f"{name}{suffix_of(logical)}"
        if not link.is_symlink():
            link.symlink_to(location)
        return link

    @contextmanager
    def opened(self, path: str) -> Iterator[Path]:
        """As `locate`: all places are folders."""
        yield self.locate(path)
