"""A table's files, wherever its folder is, as this adapter and Iceberg's library open them.

The library has clients of its own for S3, which take their endpoint and keys from what a catalog or
a table says. It is given these files instead, so that nothing it is told leads anywhere else.
"""

import os
from types import TracebackType
from typing import Self

import pyarrow as pa
from pyiceberg.io import FileIO, InputFile, OutputFile

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg.location import Reach
from connectors.storage import Folder


class Home:
    """The folder that a table's metadata names. Raises StoreError where it may not be used."""

    def __init__(self, location: str, reach: Reach) -> None:
        self.reach = reach
        self.stated = location.rstrip("/")
        self.folder = reach.folder(location)

    def relative(self, location: str) -> str:
        """A file's path below the folder. Raises StoreError for one outside it."""
        path = _below(location, self.stated)  # as nearly all are written
        if path is None:
            path = _below(self.reach.spelled(location), str(self.folder.root))
        if path is None:
            raise StoreError(
                f"The table has files outside its folder {self.folder.root}. They cannot be "
                "searched from here: rewrite the table so that its files lie below its location."
            )
        return path


def _below(location: str, root: str) -> str | None:
    inside, path = location.startswith(f"{root}/"), location[len(root) + 1 :]
    plain = "\x00" not in path and not {"", ".", ".."} & set(path.split("/"))
    return path if inside and plain else None


class FolderFiles(FileIO):
    """Iceberg's interface to a table's folder.

    Until the table's `home` is known, a file is looked for in the folder that it names: the
    metadata file which tells where the table is.
    """

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self.reach = reach
        self.home: Home | None = None

    def _place(self, location: str) -> tuple[Folder, str]:
        if self.home is not None:
            return self.home.folder, self.home.relative(location)
        parent, _, name = location.rpartition("/")
        return self.reach.folder(parent), name

    def new_input(self, location: str) -> "FolderInput":
        return FolderInput(location, *self._place(location))

    def new_output(self, location: str) -> "_FolderOutput":
        return _FolderOutput(location, *self._place(location))

    def delete(self, location: str | InputFile | OutputFile) -> None:
        raise NotImplementedError("files are removed by the purge alone")


class FolderInput(InputFile):
    """`version`: the id of an older one, where the folder's bucket keeps such."""

    def __init__(self, location: str, folder: Folder, path: str, version: str = "") -> None:
        super().__init__(location)
        self._folder = folder
        self._path = path
        self._version = version

    def __len__(self) -> int:
        with self._folder.opened(self._path, self._version) as local:
            return local.stat().st_size

    def exists(self) -> bool:
        return self._folder.exists(self._path)

    def open(self, seekable: bool = True) -> pa.OSFile:  # noqa: FBT001, FBT002 (Iceberg's)
        """What was opened stays readable after its local copy has lost its name."""
        with self._folder.opened(self._path, self._version) as local:
            return pa.OSFile(os.fspath(local))


class _FolderOutput(OutputFile):
    def __init__(self, location: str, folder: Folder, path: str) -> None:
        super().__init__(location)
        self._folder = folder
        self._path = path

    def __len__(self) -> int:
        return len(self.to_input_file())

    def exists(self) -> bool:
        return self._folder.exists(self._path)

    def to_input_file(self) -> FolderInput:
        return FolderInput(self.location, self._folder, self._path)

    def create(self, overwrite: bool = False) -> "_Draft":  # noqa: FBT001, FBT002 (Iceberg's)
        """Nothing is overwritten: every name that is written here is new."""
        return _Draft(self._folder, self._path)


class _Draft:
    """A file that is durable under its name as soon as it is closed, if nothing failed."""

    def __init__(self, folder: Folder, path: str) -> None:
        self._folder = folder
        self._path = path
        self._location = folder.draft(path)
        self._file = self._location.open("xb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.close()
        try:
            self._folder.publish(self._location, self._path)
        except BaseException:
            self._location.unlink(missing_ok=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        self._file.close()
        self._location.unlink(missing_ok=True)
