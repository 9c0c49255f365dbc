"""The table as deltalake opens it, wherever its folder is."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from deltalake import DeltaTable

from connectors.adapters.delta.log import LOG
from connectors.adapters.delta.snapshot import DataFile
from connectors.storage import Folder


@contextmanager
def opened_table(
    folder: Folder,
    files: Iterable[DataFile] = (),
    *,
    version: int | None = None,
    writes_log: bool = False,
) -> Iterator[DeltaTable]:
    """`files`: those that will be read, with their deletion vectors. Raises deltalake's errors."""
    wanted = [path for file in files for path in (file.path, file.vector_path) if path]
    with folder.mirror(LOG, wanted, writes=writes_log) as root:
        yield DeltaTable(str(root), version=version)
