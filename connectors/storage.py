"""The files below one root, as adapters and the scanner read and write them.

`Folder` is what they may ask of a place. `connectors.folders` has one of this machine's file
system, `connectors.s3` one in a bucket. Paths are relative to the root and use "/".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol


class ChangedMeanwhileError(Exception):
    """A file is not what it was when it was read; nothing of the change was touched."""


@dataclass(frozen=True)
class FileEntry:
    path: str
    bytes: int
    modified: datetime
    link: bool = False
    regular: bool = True  # neither a link, nor a pipe, nor a device


@dataclass(frozen=True)
class Hidden:
    """What a bucket keeps where readers see nothing: an older version of an object, the marker of
    a deleted one, or the parts of an upload that nobody has completed."""

    path: str
    kind: Literal["version", "marker", "upload"]
    id: str
    bytes: int  # of an upload unknown, and so 0
    modified: datetime

    @property
    def mark(self) -> str:
        """What no other item has."""
        what = {"version": "older version", "marker": "delete marker", "upload": "open upload"}
        return f"{what[self.kind]} {self.id}/"

    @property
    def label(self) -> str:
        """How reports call it; it ends as the path does, and its parts are the path's parts."""
        return f"{self.mark}{self.path}"


class Folder(Protocol):
    """What adapters and the scanner ask of a place with files.

    It can be pickled: in another process it is the same place, reached by the keys that its
    references name there. Methods raise OSError for one file (FileNotFoundError where it is gone),
    and StoreError when the place itself does not answer or refuses.
    """

    @property
    def root(self) -> object:
        """Where it is, as messages name it."""

    def is_there(self) -> bool: ...

    def entries(self) -> list[FileEntry]:
        """Every file, hidden names too, sorted by path."""
        ...

    def hidden(self) -> list[Hidden]:
        """What is kept beside the files that readers see, sorted by path."""
        ...

    def folders(self) -> list[str]: ...

    def names(self, folder: str) -> list[str]:
        """The file names directly in one folder; none when there is no such folder."""
        ...

    def modified(self, path: str) -> datetime: ...

    def size(self, path: str) -> int: ...

    def exists(self, path: str) -> bool: ...

    def opened(self, path: str, version: str = "") -> AbstractContextManager[Path]:
        """The file's bytes as a local file, which is only read, for as long as it is needed.

        `version`: the id of an older one, of the kind "version" among what is hidden.
        """
        ...

    def mirror(
        self, below: str, more: Iterable[str] = (), *, writes: bool = False
    ) -> AbstractContextManager[Path]:
        """A local folder that has all files below `below` and `more`, under their own paths, for
        libraries that open tables by themselves. With `writes`, what such a library adds, replaces
        and removes below `below` is taken over in the end."""
        ...

    def read(self, path: str) -> bytes: ...

    def digest(self, path: str) -> str:
        """The SHA-256 of the file's bytes, hex."""
        ...

    def create(self, path: str, body: bytes) -> None:
        """Write a new file completely or not at all. Raises FileExistsError when it is taken."""
        ...

    def add(self, source: Path, path: str, aside: str) -> None:
        """Copy a local file to a new path, whole or not at all, with its mode where files have one.
        `aside`: a name beside it for half a copy. Raises FileExistsError when it is taken."""
        ...

    @property
    def shares_drafts(self) -> bool:
        """Whether every process that reaches this place sees a draft, or its writer alone does."""
        ...

    def draft(self, path: str) -> Path:
        """Where a new file is written before `publish` or `swap`; there is none at first. `path`: a
        name for it that nobody else uses. Who wrote it unlinks it when it is not wanted."""
        ...

    def publish(self, draft: Path, path: str) -> FileEntry:
        """Make a draft durable under the path it was begun for."""
        ...

    def sync(self, path: str) -> None:
        """Make a file that somebody else wrote durable, with its name."""
        ...

    def swap(self, draft: Path, path: str, was: str, *, keeps_time: bool = False) -> None:
        """Make the draft the content of an existing file whose digest is `was`; it is gone then.

        `keeps_time`: it is as old as the file that it replaces, where a place lets one say so.
        Raises ChangedMeanwhileError where the file is another by now, which stays as it is.
        """
        ...

    def take_away(self, path: str, was: str, aside: str) -> None:
        """Remove a file whose digest is `was`. `aside`: a name where it may wait for a last look.

        Raises ChangedMeanwhileError as `swap` does.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove one file and all that is hidden behind its name; one that is gone is no error."""
        ...

    def remove_hidden(self, items: Sequence[Hidden]) -> None:
        """Remove older versions and markers, abort uploads; what is gone already is no error."""
        ...

    def remove_empty_folders(self, candidates: Collection[str]) -> int: ...

    def append(self, path: str, line: bytes) -> None:
        """Add a line to a journal, which is durable then."""
        ...

    def lines(self, path: str) -> list[bytes]:
        """The journal's whole lines; none where there is no journal."""
        ...

    def locked(self) -> AbstractContextManager[bool]:
        """Keep our own workers apart, where the place knows locks; False: another is at work."""
        ...

    def hindrances(self, path: str, shown: str) -> Iterable[str]:
        """Why a file cannot be replaced, in sentences; `shown`: how they may call it."""
        ...

    def locks(self, shown: Mapping[str, str], *, replaces: bool = True) -> Iterable[str]:
        """Why what these paths mean, or once meant, cannot be removed for good; path → shown.

        `replaces`: whether new content is to be written here, too."""
        ...
