"""Objects of a repository as files: from the block store, or else by the API."""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.lakefs.blocks import Blocks
from connectors.adapters.lakefs.client import Lakefs
from connectors.adapters.lakefs.repository import Entry
from connectors.formats.staging import Staging

Objects = Mapping[str, tuple[str, Entry]]  # by key: a ref that lists it, and as what
_MD5 = re.compile(r"[0-9a-f]{32}")  # of what was uploaded in several parts it is something else


class _Fetch:
    """Gives the file of an object, by its key."""

    def __init__(
        self, client: Lakefs, blocks: Blocks, objects: Objects, folder: Path, *, check: bool
    ) -> None:
        self._client = client
        self._blocks = blocks
        self._objects = objects
        self._folder = folder
        self._wants_check = check
        self._checked: set[str] = set()

    @contextmanager
    def __call__(self, key: str) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            if self._blocks.folder and self._blocks.is_inside(key):
                try:
                    location = stack.enter_context(self._blocks.folder.opened(key))
                    location.stat()
                except FileNotFoundError:
                    raise StoreError(
                        f"The object {key} is not there any more. Search again."
                    ) from None
            else:
                location = self._downloaded(key)
            self._check(key, location)
            yield location

    def _downloaded(self, key: str) -> Path:
        name = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        location = self._folder / f"object-{name}"
        if not location.exists():
            ref, entry = self._objects[key]
            location.write_bytes(self._client.read(ref, entry.path))
        return location

    def _check(self, key: str, location: Path) -> None:
        """Damage would be found as rows that cannot be read, or not at all."""
        listed = self._objects.get(key)
        if not listed or not self._wants_check or key in self._checked:
            return
        checksum = listed[1].checksum
        with location.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if _MD5.fullmatch(checksum) and found.hexdigest() != checksum:
            raise StoreError(
                f"The object {key} is damaged or was changed: its content is not what the "
                "repository says of it. Put the right content in its place."
            )
        self._checked.add(key)


@contextmanager
def staging(
    client: Lakefs, blocks: Blocks, objects: Objects, *, check: bool = True
) -> Iterator[Staging]:
    """A folder of links, and of what had to be asked for, for as long as they are needed. With
    `check` each object is read whole when it is first asked for, and compared with its checksum."""
    with tempfile.TemporaryDirectory(prefix="vestige-") as folder:
        yield Staging(Path(folder), _Fetch(client, blocks, objects, Path(folder), check=check))
