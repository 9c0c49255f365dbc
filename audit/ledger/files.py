"""Where a published or exported log lies: a folder, or one archive of it (.tar, .zip).

Nothing is unpacked, and what is read is bounded: names and contents come from strangers.
"""

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

CHECKPOINT = "checkpoint"
VKEY = "vkey"


class UnreadableError(ValueError):
    """A file or archive is there and cannot be read; the message says which and why."""


class Files(Protocol):
    """The files of a log by their paths below its prefix, as in tile/0/x001/067."""

    def names(self, below: str = "") -> Iterator[str]:
        """The paths that start with `below`, in no particular order. Raises UnreadableError."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The content; None if there is no such file. Raises UnreadableError, also for a file
        of more than `limit` bytes."""


def open_files(path: str | Path) -> Files | None:
    """The log at this path; None when what lies there is neither a log's folder nor an archive.

    Raises UnreadableError for an archive that is broken, compressed as a whole, or ambiguous.
    """
    place = Path(path)
    if place.is_dir():
        is_log = any(os.path.lexists(place / name) for name in (CHECKPOINT, "tile"))
        return FolderFiles(place) if is_log else None
    if place.is_file():
        if zipfile.is_zipfile(place):
            return _open_zip(place)
        if tarfile.is_tarfile(place):
            return _open_tar(place)
    return None


class FolderFiles:
    """A log as files below a folder."""

    def __init__(self, root: str | Path) -> None:
        self._root = f"{os.fspath(root)}/"

    def names(self, below: str = "") -> Iterator[str]:
        start = Path(self._root, below)
        for folder, _, files in os.walk(start if below.endswith("/") else self._root):
            inside = Path(folder).relative_to(self._root).as_posix()
            for name in files:
                path = name if inside == "." else f"{inside}/{name}"
                if path.startswith(below):
                    yield path

    def read(self, path: str, limit: int) -> bytes | None:
        # Plain system calls: a log of millions has many small files. Not blocking, because a pipe
        # may lie where a file should.
        try:
            file = os.open(self._root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise UnreadableError(f"{path} cannot be read: {error}") from error
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableError(f"{path} is no file")
            _require_within(path, found.st_size, limit)
            data = os.read(file, found.st_size)
            while len(data) < found.st_size and (more := os.read(file, found.st_size - len(data))):
                data += more
            return data
        except OSError as error:
            raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
        finally:
            os.close(file)


class _ZipFiles:
    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        self._archive, self._prefix = archive, prefix

    def names(self, below: str = "") -> Iterator[str]:
        start = self._prefix + below
        for name in self._archive.namelist():
            if name.startswith(start) and not name.endswith("/"):
                yield name.removeprefix(self._prefix)

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            with self._archive.open(self._prefix + path) as file:
                data = file.read(limit + 1)
        except KeyError:
            return None
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise UnreadableError(f"{path} cannot be read: {error}") from error
        except Exception as error:  # each way of compressing has errors of its own
            raise UnreadableError(f"{path} cannot be unpacked ({type(error).__name__})") from error
        _require_within(path, len(data), limit)
        return data


class _TarFiles:
    def __init__(self, path: Path, places: dict[str, tuple[int, int]]) -> None:
        self._path, self._places = path, places

    def names(self, below: str = "") -> Iterator[str]:
        return (name for name in self._places if name.startswith(below))

    def read(self, path: str, limit: int) -> bytes | None:
        place = self._places.get(path)
        if place is None:
            return None
        start, size = place
        _require_within(path, size, limit)
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error


def _require_within(path: str, size: int, limit: int) -> None:
    if size > limit:
        raise UnreadableError(f"{path} has more than the {limit:,} bytes that it may have")


def _open_zip(path: Path) -> Files:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UnreadableError(f"the archive cannot be read: {error}") from error
    names = archive.namelist()
    _require_once(names)
    return _ZipFiles(archive, _prefix(names))


def _open_tar(path: Path) -> Files:
    places: dict[str, tuple[int, int]] = {}
    names: list[str] = []
    try:
        # "r:" takes no compressed ones: going to and fro in those takes for ever.
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.isreg() and not member.sparse:
                    name = member.name.removeprefix("./")
                    places[name] = (member.offset_data, member.size)
                    names.append(name)
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise UnreadableError(
            f"the archive cannot be read as plain tar: {error}. If it is compressed, unpack it."
        ) from error
    _require_once(names)
    prefix = _prefix(names)
    return _TarFiles(
        path,
        {
            name.removeprefix(prefix): place
            for name, place in places.items()
            if name.startswith(prefix)
        },
    )


def _require_once(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise UnreadableError("the archive holds a file twice, and readers may take either")


def _prefix(names: list[str]) -> str:
    """An archive may hold the files themselves, or the folder with them."""
    found = [name for name in names if name.rpartition("/")[2] == CHECKPOINT]
    with suppress(ValueError):
        return min(found, key=len).removesuffix(CHECKPOINT)
    return ""
