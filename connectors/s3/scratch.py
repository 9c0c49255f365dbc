"""Local copies of objects, for as long as they are read, and drafts of new ones.

Readers of Parquet, CSV and the scanner want a file with random access, so an object's bytes are
fetched once and read here. Copies that nobody reads are kept until they are more than
`KEEP_BYTES` together, because a search opens the same object several times in a row. So the disk
that is needed is that, and the objects that are open at once.

Copies hold personal data: the folder is for this user alone, goes with the store that made it,
and what a killed process left is removed by the next one. A lock says whose process still lives;
it dies with it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

KEEP_BYTES = 256 << 20
_PREFIX = "vestige-s3-"

Key = tuple[str, str]  # path, version


class Fetched(NamedTuple):
    etag: str
    location: Path


@dataclass(eq=False)
class _Copy:
    etag: str
    location: Path
    bytes: int
    readers: int = 0


class Scratch:
    """The local copies of one store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[Key, _Copy] = {}  # least recently used first
        self._folder: Path | None = None
        self._number = 0

    def new(self, suffix: str) -> Path:
        """The path of a file that is not there yet."""
        with self._lock:
            if self._folder is None:
                self._folder, handle = _own_folder()
                weakref.finalize(self, _discard, self._folder, handle)
            self._number += 1
            return self._folder / f"{self._number}{suffix}"

    @contextmanager
    def reading(self, key: Key, fetch: "Callable[[str], Fetched | None]") -> Iterator["Fetched"]:
        """A copy of the object as it is now.

        `fetch`: given the ETag of the copy that is kept ("" without one), the object anew, or None
        where it still is that.
        """
        copy = self._held(key)
        try:
            fetched = fetch(copy.etag if copy else "")
        except BaseException:
            if copy:
                self._let_go(copy)
            raise
        if fetched:
            if copy:
                self._let_go(copy)
            size = fetched.location.stat().st_size
            copy = self._added(key, _Copy(fetched.etag, fetched.location, size, 1))
        if copy is None:
            raise FileNotFoundError(2, "the object was not fetched")
        try:
            yield Fetched(copy.etag, copy.location)
        finally:
            self._let_go(copy)

    def _held(self, key: Key) -> _Copy | None:
        with self._lock:
            found = self._copies.pop(key, None)
            if found:
                self._copies[key] = found  # the most recently used now
                found.readers += 1
            return found

    def _added(self, key: Key, copy: _Copy) -> _Copy:
        with self._lock:
            former = self._copies.pop(key, None)
            self._copies[key] = copy
        if former and not former.readers:
            former.location.unlink(missing_ok=True)
        return copy

    def _let_go(self, copy: _Copy) -> None:
        with self._lock:
            copy.readers -= 1
            doomed = [] if copy.readers or copy in self._copies.values() else [copy]
            kept = sum(c.bytes for c in self._copies.values())
            for key, candidate in list(self._copies.items()):
                if kept <= KEEP_BYTES:
                    break
                if not candidate.readers:
                    doomed.append(self._copies.pop(key))
                    kept -= candidate.bytes
        for gone in doomed:
            gone.location.unlink(missing_ok=True)


def _own_folder() -> tuple[Path, int]:
    _sweep(Path(tempfile.gettempdir()))
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Before it is locked another process may take it for a dead one's, and remove it.
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, handle
            os.close(handle)


def _sweep(parent: Path) -> None:
    """Remove what processes that were killed have left."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone by now
            handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def _discard(folder: Path, handle: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)
