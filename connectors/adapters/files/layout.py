"""What lies in the folder, and which state of it that is.

A folder keeps no history, so its one version is named after its content: a digest over the data
files. Each file counts with a *leaf*, the hash of its path, size and content, which tells nothing
about the person whom a path may name; the version is the hash of the sorted leaves. What is no
data (a README, sidecars, our own leftovers) does not count.
"""

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from connectors.adapters.base import StoreError, StoreNotFoundError
from connectors.formats.formats import format_in
from connectors.storage import FileEntry, Folder

OURS = ".vestige-"  # how the names of everything that we write beside the data begin
JOURNAL = ".journal"
_SIDECARS = ("_metadata", "_common_metadata")
_TABLES = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}
_DIGITS = 32  # of the 64 of a SHA-256: enough against chance, short enough for a page


class Role(StrEnum):
    DATA = "data"
    UNRELATED = "unrelated"  # data that the connector's owner says names nobody
    SIDECAR = "sidecar"  # Parquet's summaries of other files, with their statistics
    CHECKSUM = "checksum"  # Hadoop's `.name.crc`
    LEFTOVER = "leftover"  # of our own attempts
    JOURNAL = "journal"
    SPECIAL = "special"  # links, pipes, devices
    OTHER = "other"


@dataclass(frozen=True)
class Layout:
    """The files of a folder at one moment, by what they are."""

    folder: Folder
    entries: tuple[FileEntry, ...]
    roles: dict[str, Role]
    unrelated: tuple[str, ...] = ()  # patterns of the connector's option

    def of(self, *roles: Role) -> list[FileEntry]:
        return [e for e in self.entries if self.roles[e.path] in roles]

    @property
    def data(self) -> list[FileEntry]:
        """What makes up the version: unrelated files too, for whoever learns from the folder."""
        return self.of(Role.DATA, Role.UNRELATED)

    def digests(self) -> dict[str, str]:
        """Path → SHA-256 of each data file; reads every byte. Raises StoreError."""
        return {e.path: digest_of(self.folder, e.path) for e in self.data}

    def leaves(self) -> dict[str, str]:
        """Path → leaf of each data file; reads every byte. Raises StoreError."""
        return self.leaves_by(self.digests())

    def leaves_by(self, digests: Mapping[str, str]) -> dict[str, str]:
        return {e.path: leaf(e.path, e.bytes, digests[e.path]) for e in self.data}

    def quick_id(self) -> str:
        """A name for this state by sizes and times alone, other than the version's."""
        lines = [f"{e.path}\n{e.bytes}\n{e.modified.isoformat()}\n" for e in self.data]
        return f"unread-{_sha256(''.join(lines))[:_DIGITS]}"

    def newest_change(self) -> datetime:
        return max((e.modified for e in self.data), default=self.folder.modified(""))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def version_id(leaves: Iterable[str]) -> str:
    return _sha256("".join(f"{leaf}\n" for leaf in sorted(leaves)))[:_DIGITS]


def leaf(path: str, size: int, digest: str) -> str:
    return _sha256(f"{path}\n{size}\n{digest}")


def digest_of(folder: Folder, path: str) -> str:
    try:
        return folder.digest(path)
    except OSError as exc:
        raise StoreError(
            f"A file of the folder {folder.root} cannot be read: {exc.strerror}. Give this "
            "process access to it, or wait until its writer is done."
        ) from exc


def read_layout(folder: Folder, unrelated: Sequence[str] = ()) -> Layout:
    """Raises StoreNotFoundError, StoreError (no access, or a store of another kind)."""
    if not folder.is_there():
        raise StoreNotFoundError(f"There is no folder at {folder.root}.")
    try:
        entries = tuple(folder.entries())
        _refuse_tables(folder, entries)
        roles = {e.path: _role(folder, e, unrelated) for e in entries}
    except OSError as exc:
        raise StoreError(f"The folder {folder.root} cannot be read: {exc.strerror}.") from exc
    return Layout(folder, entries, roles, tuple(unrelated))


def _refuse_tables(folder: Folder, entries: Sequence[FileEntry]) -> None:
    """A table format's log says which files count: rewriting them would break the table."""
    parts = {part for e in entries for part in e.path.split("/")[:-1]}
    found = [f"{what} ({name})" for name, what in _TABLES.items() if name in parts]
    if any(e.path.endswith(".metadata.json") and "metadata" in e.path.split("/") for e in entries):
        found.append("an Iceberg table (metadata/*.metadata.json)")
    if found:
        raise StoreError(
            f"The folder {folder.root} holds {found[0]}. Rewriting its files as plain files would "
            "break it: connect it as its own kind, or connect the folders beside it."
        )


def _role(folder: Folder, entry: FileEntry, unrelated: Sequence[str]) -> Role:
    name = entry.path.rpartition("/")[2]
    if entry.link or not entry.regular:
        return Role.SPECIAL
    if name.startswith(OURS):
        return Role.JOURNAL if name.endswith(JOURNAL) else Role.LEFTOVER
    if name in _SIDECARS:
        return Role.SIDECAR
    if name.startswith(".") and name.endswith(".crc"):
        return Role.CHECKSUM
    if format_in(folder, entry.path) is None:
        return Role.OTHER
    if any(fnmatch.fnmatchcase(entry.path, pattern) for pattern in unrelated):
        return Role.UNRELATED
    return Role.DATA


def checked_file(path: str) -> str:
    """The file that a checksum file `.name.crc` belongs to."""
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}{name[1:-4]}"
