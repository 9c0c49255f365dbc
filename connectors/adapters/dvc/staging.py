"""Objects of DVC, compared with their names, as files to be read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.names import ObjectName, name_of
from connectors.adapters.dvc.places import Contents
from connectors.formats.staging import Staging


class _Fetch:
    """Gives the file of an object, by its path in the cache or a remote."""

    def __init__(self, contents: Contents, *, check: bool) -> None:
        self._contents = contents
        self._wants_check = check
        self._checked: set[ObjectName] = set()

    @contextmanager
    def __call__(self, stored: str) -> Iterator[Path]:
        name = ObjectName.at(stored)
        if name is None or name not in self._contents.objects:
            raise StoreError(f"The object {stored} is not there any more. Search again.")
        with self._contents.opened(name) as location:
            self._check(name, location)
            yield location

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
        yield Staging(Path(folder), _Fetch(contents, check=check))
