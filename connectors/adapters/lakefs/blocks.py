"""Where a repository's bytes lie: its storage namespace, as a folder on a disk or in a bucket.

A server whose block store is `local` keeps the namespace "local://shop/data" in the folder
"shop/data" below its setting `blockstore.local.path`, which the option `block_folder` names here.
One whose block store is `s3` keeps the namespace "s3://lake/shop" in that bucket, below that
prefix; the options of any store in S3 say how it is reached.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from connectors.adapters.base import OptionError, StoreError
from connectors.s3 import is_s3
from connectors.storage import FileEntry, Folder, Hidden

_LOCAL = "local://"
_ADDRESS = re.compile(r"[a-z0-9]+%3A%2F%2F")  # with its marks quoted, so that it is one word
OWN = "_lakefs/"  # where the server keeps its listings of commits, and the logs of its actions

# The folder of this machine, or in a bucket ("s3://bucket/prefix"). Raises StoreError for one that
# may not be opened.
Reach = Callable[[str], Folder]


@dataclass(frozen=True)
class Blocks:
    """`folder`: the namespace's; None where this installation cannot reach it, and `fault` says
    why and what to do."""

    namespace: str
    folder: Folder | None = None
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

    def within(self) -> Folder:
        """Raises StoreError where it cannot be reached."""
        if self.folder is None:
            raise StoreError(self.fault)
        return self.folder

    def entries(self) -> list[FileEntry]:
        """Every file in the namespace; none where it cannot be reached."""
        try:
            return self.folder.entries() if self.folder else []
        except OSError as exc:
            raise StoreError(
                f"The block store's folder cannot be read: {exc.strerror}. Give this process "
                "access."
            ) from exc

    def hidden(self) -> list[Hidden]:
        """What a bucket keeps of objects that were replaced or removed."""
        return self.folder.hidden() if self.folder else []


def blocks_at(namespace: str, options: Mapping[str, Any], reach: Reach) -> Blocks:
    """Raises OptionError, StoreError."""
    if is_s3(namespace):
        if not (options.get("region") or options.get("endpoint_url")):
            return Blocks(
                namespace,
                fault=(
                    f"The repository's data lies in a bucket ({namespace}), and the connector does "
                    'not say how it is reached. Name its region in the option "region", or another '
                    'store\'s address in "endpoint_url", and a key in "key_id_env" and '
                    '"secret_key_env".'
                ),
            )
        return Blocks(namespace, reach(namespace))
    if not namespace.startswith(_LOCAL):
        return Blocks(
            namespace,
            fault=(
                f"The repository's data lies in an object storage ({urlsplit(namespace).scheme}://)"
                " from which this installation cannot delete: lakeFS deletes no data by itself, so "
                "the person would stay there. Only block stores of the types local and s3 can be "
                "erased in."
            ),
        )
    if not options.get("block_folder"):
        return Blocks(
            namespace,
            fault=(
                "The block store is a folder of the lakeFS server, and this installation does not "
                "know which. Name the server's blockstore.local.path, as it is seen from here, in "
                "the option block_folder."
            ),
        )
    return Blocks(namespace, _on_disk(namespace, options["block_folder"], reach))


def _on_disk(namespace: str, block_folder: object, reach: Reach) -> Folder:
    if not isinstance(block_folder, str) or not Path(block_folder).is_absolute():
        raise OptionError('The option "block_folder" is the absolute path of a folder.')
    inside = namespace.removeprefix(_LOCAL).strip("/")
    if not inside or ".." in inside.split("/"):
        raise StoreError("The repository's storage namespace is no path below the block store.")
    place = Path(block_folder) / inside
    folder = reach(str(place))
    if not folder.is_there():
        raise OptionError(
            f'The option "block_folder" is wrong: the repository\'s data should be in {place}, '
            "and there is no such folder. Name the server's blockstore.local.path."
        )
    return folder
