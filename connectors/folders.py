"""Folders of this machine's file system, and what their paths say.

Nothing here follows a symbolic link to a folder, so that a link can lead neither a scan nor a
removal outside the root.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from connectors.adapters.base import StoreError
from connectors.storage import ChangedMeanwhileError, FileEntry, Folder, Hidden

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


class LocationError(ValueError):
    """A location that names no folder this process can use; the message says why."""


class LocalFolder:
    """A folder of this machine's file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_there(self) -> bool:
        return self.root.is_dir()

    def entries(self) -> list[FileEntry]:
        """Every file below the root, hidden ones too, sorted by path; links are not followed."""
        return sorted(self._walk(str(self.root), ""), key=lambda entry: entry.path)

    def _walk(self, top: str, below: str) -> Iterator[FileEntry]:
        """`below`: the path of `top` from the root, with a slash behind it."""
        with os.scandir(top) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    yield from self._walk(item.path, f"{below}{item.name}/")
                    continue
                try:
                    found = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed by another process while we walked
                yield FileEntry(
                    f"{below}{item.name}",
                    found.st_size,
                    datetime.fromtimestamp(found.st_mtime, UTC),
                    link=item.is_symlink(),
                    regular=stat.S_ISREG(found.st_mode),
                )

    def hidden(self) -> list[Hidden]:
        """None: a file system forgets what it removes."""
        return []

    def folders(self) -> list[str]:
        """Every folder below the root, empty ones too."""
        return sorted(
            (Path(top) / name).relative_to(self.root).as_posix()
            for top, names, _ in os.walk(self.root)
            for name in names
        )

    def names(self, folder: str) -> list[str]:
        """The file names directly in one folder; none when there is no such folder."""
        try:
            with os.scandir(self.root / folder) as items:
                return sorted(item.name for item in items if item.is_file())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def locate(self, path: str) -> Path:
        return self.root / path

    @contextmanager
    def opened(self, path: str, version: str = "") -> Iterator[Path]:
        """The file itself."""
        if version:
            raise FileNotFoundError(errno.ENOENT, "a folder keeps no older versions")
        yield self.root / path

    @contextmanager
    def mirror(
        self, below: str, more: Iterable[str] = (), *, writes: bool = False
    ) -> Iterator[Path]:
        """The folder itself."""
        yield self.root

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp((self.root / path).stat().st_mtime, UTC)

    def size(self, path: str) -> int:
        return (self.root / path).stat().st_size

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def read(self, path: str) -> bytes:
        with io.FileIO(f"{self.root}/{path}") as file:  # not buffered: adapters read many files
            return file.readall()

    def digest(self, path: str) -> str:
        return file_digest(self.root / path)

    def create(self, path: str, body: bytes) -> None:
        """Write a new file completely or not at all.

        Raises FileExistsError when the path is taken: a hard link is the one local operation that
        both refuses an existing name and never shows a half-written file.
        """
        target = self.root / path
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with partial.open("xb") as out:
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            os.link(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(target.parent)

    def add(self, source: Path, path: str, aside: str) -> None:
        target = self.root / path
        if target.exists():
            raise FileExistsError(errno.EEXIST, "the file is there already")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(aside)
        try:
            shutil.copyfile(source, partial)
            shutil.copymode(source, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(target.parent)

    @property
    def shares_drafts(self) -> bool:
        return True

    def draft(self, path: str) -> Path:
        """The place itself: nobody knows the name yet."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def publish(self, draft: Path, path: str) -> FileEntry:
        sync_file(draft)
        return FileEntry(path, draft.stat().st_size, self.modified(path))

    def sync(self, path: str) -> None:
        sync_file(self.root / path)

    def swap(self, draft: Path, path: str, was: str, *, keeps_time: bool = False) -> None:
        location = self.root / path
        _take_over(draft, location, keeps_time=keeps_time)
        self._require_unchanged(path, was)
        exchange(draft, location)
        sync_folder(location.parent)
        if file_digest(draft) != was:
            exchange(draft, location)  # somebody was faster by a hair: it is their file again
            sync_folder(location.parent)
            raise ChangedMeanwhileError
        draft.unlink()
        sync_folder(draft.parent)

    def take_away(self, path: str, was: str, aside: str) -> None:
        location, waiting = self.root / path, self.root / aside
        self._require_unchanged(path, was)
        location.rename(waiting)
        if file_digest(waiting) != was:
            waiting.rename(location)
            raise ChangedMeanwhileError
        waiting.unlink()
        sync_folder(location.parent)

    def _require_unchanged(self, path: str, was: str) -> None:
        location = self.root / path
        if not location.is_file() or location.is_symlink() or file_digest(location) != was:
            raise ChangedMeanwhileError

    def remove(self, path: str) -> None:
        """Remove one file; a file that is already gone is no error (a resumed run)."""
        (self.root / path).unlink(missing_ok=True)

    def remove_hidden(self, items: Sequence[Hidden]) -> None:
        """Nothing to do: there are none."""

    def remove_empty_folders(self, candidates: Collection[str]) -> int:
        """Remove those of the folders that are empty, then their parents while they are empty."""
        removed = 0
        for folder in sorted(candidates, key=lambda f: f.count("/"), reverse=True):
            current = folder
            while current not in ("", "."):
                try:
                    (self.root / current).rmdir()
                except OSError:
                    break  # not empty, or already gone
                removed += 1
                current = Path(current).parent.as_posix()
        return removed

    def append(self, path: str, line: bytes) -> None:
        location = self.root / path
        with location.open("ab") as file:
            start = file.tell()
            try:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(location, start)  # half a line would spoil the next one
                raise
        sync_folder(location.parent)

    def lines(self, path: str) -> list[bytes]:
        location = self.root / path
        if not location.is_file():
            return []
        body = location.read_bytes()
        whole = body[: body.rfind(b"\n") + 1]
        if len(whole) < len(body):  # a line that was being written when the worker died
            os.truncate(location, len(whole))
        return whole.splitlines()

    def locked(self) -> AbstractContextManager[bool]:
        return locked_folder(self.root)

    def hindrances(self, path: str, shown: str) -> Iterator[str]:
        location = self.root / path
        found = location.stat()
        if not found.st_mode & 0o222 or not os.access(location.parent, os.W_OK):
            yield f"{shown} or its folder is read-only. Its owner has to permit writing."
        elif os.geteuid() not in (0, found.st_uid):
            yield (
                f"{shown} belongs to another user, whose file it would not stay. Run the worker as "
                "that user."
            )
        if found.st_nlink > 1:
            yield (
                f"{shown} has {found.st_nlink} names (hard links), and would keep its content "
                "under the others. Remove them first."
            )

    def locks(self, shown: Mapping[str, str], *, replaces: bool = True) -> Iterator[str]:
        if self.is_there() and not os.access(self.root, os.W_OK):
            yield (
                f"The folder {self.root} may not be written by this process. Its owner has to "
                "permit it."
            )


def file_digest(location: Path) -> str:
    """The SHA-256 of a local file's bytes, hex. Raises OSError."""
    with location.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _take_over(draft: Path, location: Path, *, keeps_time: bool) -> None:
    """Give the new file the owner, mode and attributes of the old one, and make it durable."""
    before = location.stat()
    os.chown(draft, before.st_uid, before.st_gid)
    shutil.copystat(location, draft)
    if not keeps_time:
        os.utime(draft)  # it did change
    sync_file(draft)


def sync_file(path: Path) -> None:
    """Make a file's content durable, and its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a new name durable: without this a power cut may forget the directory entry."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_AT_THE_WORKING_FOLDER = -100  # AT_FDCWD
_RENAME_EXCHANGE = 2


def exchange(left: Path, right: Path) -> None:
    """Give two files each other's names, at once: readers see one file or the other.

    Unlike a replacement it loses nothing: what the name meant until now is still there and can be
    looked at. Where the system cannot exchange (not Linux, some network file systems), `left`
    replaces `right`, and a copy of `right`'s name is kept under `left` as far as links go. Raises
    OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    swap = getattr(libc, "renameat2", None)
    if swap is not None:
        here, old, new = _AT_THE_WORKING_FOLDER, os.fsencode(left), os.fsencode(right)
        if swap(here, old, here, new, _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(number, os.strerror(number))
    kept = left.with_name(f"{left.name}.old")
    os.link(right, kept)
    left.replace(right)
    kept.rename(left)


@contextmanager
def locked_folder(root: Path) -> Iterator[bool]:
    """Hold the folder's lock; yields False when another process holds it. It dies with us."""
    handle = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            # A child that another thread has just forked shares the lock until it runs its program.
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def local_path(location: str) -> Path:
    """The folder a location names: an absolute path or a file:// address.

    Raises LocationError for relative paths and for systems that have no adapter yet.
    """
    text = location.strip()
    if re.match(r"(s3a?|gs|abfss?|az|https?|hdfs|dbfs)://", text, re.IGNORECASE):
        scheme = text.split("://", 1)[0]
        raise LocationError(
            f'Locations beginning with "{scheme}://" cannot be opened yet. Give the absolute path '
            "of a folder on this machine."
        )
    if text.startswith("file://"):
        text = unquote(text.removeprefix("file://"))
    if not text.startswith("/"):
        raise LocationError(
            f'"{location}" is not an absolute path. Give the folder from the root on, '
            'for example "/data/lake/purchases".'
        )
    if "\x00" in text:
        raise LocationError("The location holds a NUL character. Give a plain path.")
    return Path(os.path.normpath(text))


def folder_of(place: "str | Folder") -> Folder:
    """The folder itself, or that of this machine which a location names. Raises StoreError."""
    if not isinstance(place, str):
        return place
    try:
        return LocalFolder(local_path(place))
    except LocationError as exc:
        raise StoreError(str(exc)) from exc


def masked(path: str, subject_columns: Iterable[str]) -> str:
    """The path without the identifiers that a Hive partition of a subject column puts into it."""
    columns = {c.lower() for c in subject_columns}
    parts = []
    for part in path.split("/"):
        key, equals, _ = part.partition("=")
        parts.append(f"{key}=*" if equals and unquote(key).lower() in columns else part)
    return "/".join(parts)


def hive_values(path: str) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for part in path.split("/")[:-1]:
        key, equals, value = part.partition("=")
        if equals:
            values[unquote(key)] = None if value == _HIVE_NULL else unquote(value)
    return values


def without_checksum(path: str) -> str:
    """The file that Hadoop's checksum file `.name.crc` belongs to, else the path itself."""
    parent, slash, name = path.rpartition("/")
    if name.startswith(".") and name.endswith(".crc"):
        return f"{parent}{slash}{name[1:-4]}"
    return path
