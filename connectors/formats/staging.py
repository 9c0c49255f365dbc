"""Objects under names that say their format.

Some stores name an object after its hash, or at random. The same bytes are shown to the readers of
files under a link whose name ends as the file's own name does.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from connectors.formats.formats import suffix_of


class Staging:
    """Paths are where an object is stored and what it is called: "files/md5/ab/cd…:/orders.csv".

    `folder`: for the links, which hold no data. `fetch` gives the file of a stored object for as
    long as it is needed, and raises StoreError where there is none.
    """

    def __init__(self, folder: Path, fetch: Callable[[str], AbstractContextManager[Path]]) -> None:
        self._folder = folder
        self._fetch = fetch

    @staticmethod
    def path(stored: str, logical: str) -> str:
        return f"{stored}:/{logical}"

    @contextmanager
    def opened(self, path: str) -> Iterator[Path]:
        """Raises StoreError for an object that is not there, or whose bytes are not its own."""
        stored, _, logical = path.partition(":/")
        name = hashlib.sha256(stored.encode(errors="surrogateescape")).hexdigest()
        link = self._folder / f"{name}{suffix_of(logical)}"
        with self._fetch(stored) as location:
            if not link.is_symlink() or link.readlink() != location:  # a copy that was made anew
                link.unlink(missing_ok=True)
                link.symlink_to(location)
            yield link
