"""Objects under names that say their format.

An object is named after its hash, so the same bytes are shown to the readers of files under a link
whose name ends as the output's does.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.names import ObjectName, name_of
from connectors.adapters.dvc.places import Contents
from connectors.formats.formats import suffix_of


class Staging:
    """Paths are an object's path and what it is called: "files/md5/ab/cd…:data/orders.csv"."""

    def __init__(self, folder: Path, contents: Contents, *, check: bool) -> None:
        self._folder = folder
        self._contents = contents
        self._wants_check = check
        self._checked: set[ObjectName] = set()

    @staticmethod
    def path(name: ObjectName, logical: str) -> str:
        return f"{name.path}:/{logical}"

    def locate(self, path: str) -> Path:
        """Raises StoreError for an object that is not there, or whose bytes are not its own."""
        stored, _, logical = path.partition(":/")
        name = ObjectName.at(stored)
        location = self._contents.locate(name) if name else None
        if name is None or location is None:
            raise StoreError(f"The object {stored} is not there any more. Search again.")
        self._check(name, location)
        link = self._folder / f"{name.md5}{'-2' if name.legacy else ''}{suffix_of(logical)}"
        if not link.is_symlink():
            link.symlink_to(location)
        return link

    @contextmanager
    def opened(self, path: str) -> Iterator[Path]:
        """As `locate`: all places are folders."""
        yield self.locate(path)

    def _check(self, name: ObjectName, location: Path) -> None:
        """Damage would be found as rows that cannot be read, or not at all."""
        if name in self._checked or not self._wants_check:
            return
        try:
            found = name_of(location, legacy=name.legacy)
        except OSError as exc:
            raise StoreError(
                f"The object {name.path} cannot be read: {exc.strerror}. Give this process access."
            ) from exc
        if found.md5 != name.md5.removesuffix(".dir"):
            raise StoreError(
                f"The object {name.path} is damaged: its content is not what its name says. Remove "
                "it and fetch it from a remote that has it whole."
            )
        self._checked.add(name)


@contextmanager
def staging(contents: Contents, *, check: bool = True) -> Iterator[Staging]:
    """A folder of links, which hold no data, for as long as they are needed. With `check` each
    object is read whole when it is first asked for, and compared with its name."""
    with tempfile.TemporaryDirectory(prefix="vestige-") as folder:
        yield Staging(Path(folder), contents, check=check)
