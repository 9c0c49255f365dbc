"""Where a repository's bytes lie: its storage namespace, as a folder of this machine.

A server whose block store is `local` keeps the namespace "local://shop/data" in the folder
"shop/data" below its setting `blockstore.local.path`, which the option `block_folder` names here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from connectors.adapters.base import OptionError, StoreError
from connectors.folders import LocalFolder
from connectors.storage import FileEntry

_LOCAL = "local://"
_ADDRESS = re.compile(r"[a-z0-9]+%3A%2F%2F")  # with its marks quoted, so that it is one word
OWN = "_lakefs/"  # where the server keeps its listings of commits, and the logs of its actions


@dataclass(frozen=True)
class Blocks:
    """`folder`: the namespace's; None where this installation cannot reach it, and `fault` says
    why and what to do."""

    namespace: str
    folder: LocalFolder | None = None
    fault: str = ""

    def key(self, address: str) -> str:
        """What an object is called here: its path in the namespace, or, for data that was imported
        and lies elsewhere, its address."""
        inside = address.removeprefix(f"{self.namespace.rstrip('/')}/")
        if inside != address and ".." not in inside.split("/"):
            return inside
        return quote(address, safe="")

    def is_inside(self, key: str) -> bool:
        return not _ADDRESS.match(key)

    def has(self, key: str) -> bool:
        return self.folder is not None and self.is_inside(key) and self.folder.exists(key)

    def locate(self, key: str) -> Path:
        if self.folder is None:
            raise StoreError(self.fault)
        return self.folder.locate(key)

    def entries(self) -> list[FileEntry]:
        """Every file in the namespace."""
        try:
            return self.folder.entries() if self.folder else []
        except OSError as exc:
            raise StoreError(
                f"The block store's folder cannot be read: {exc.strerror}. Give this process "
                "access."
            ) from exc

    def remove(self, key: str) -> int:
        """Returns the bytes of a file, which is gone now. Raises OSError."""
        location = self.locate(key)
        size = location.stat().st_size
        location.unlink()
        return size


def blocks_at(namespace: str, block_folder: object, permit: Callable[[Path], object]) -> Blocks:
    """`permit` raises StoreError for a folder that may not be opened. Raises OptionError."""
    scheme = urlsplit(namespace).scheme
    if not namespace.startswith(_LOCAL):
        return Blocks(
            namespace,
            fault=(
                f"The repository's data lies in an object storage ({scheme}://) from which this "
                "installation cannot delete: lakeFS deletes no data by itself, so the person would "
                "stay there. Only block stores of the type local can be erased in."
            ),
        )
    if not block_folder:
        return Blocks(
            namespace,
            fault=(
                "The block store is a folder of the lakeFS server, and this installation does not "
                "know which. Name the server's blockstore.local.path, as it is seen from here, in "
                "the option block_folder."
            ),
        )
    if not isinstance(block_folder, str) or not Path(block_folder).is_absolute():
        raise OptionError('The option "block_folder" is the absolute path of a folder.')
    inside = namespace.removeprefix(_LOCAL).strip("/")
    if not inside or ".." in inside.split("/"):
        raise StoreError("The repository's storage namespace is no path below the block store.")
    folder = Path(block_folder) / inside
    permit(folder)
    if not folder.is_dir():
        raise OptionError(
            f'The option "block_folder" is wrong: the repository\'s data should be in {folder}, '
            "and there is no such folder. Name the server's blockstore.local.path."
        )
    return Blocks(namespace, LocalFolder(folder))
