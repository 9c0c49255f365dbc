"""Everything that a repository keeps, as single files and git objects.

The final scan reads all of them. The search reads with it what holds no rows; the objects of the
cache and remotes it searches by row.
"""

import mmap
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from connectors.adapters.dvc.git import GitObject
from connectors.adapters.dvc.history import tree_entries
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.places import Place
from connectors.adapters.dvc.repository import Repository
from connectors.folders import LocalFolder
from connectors.formats.objects import is_unrelated, named_by_content
from connectors.scan.content import Bytes, UnknownFormatError, scan_content, scan_name, scan_path
from connectors.scan.raw import scan_raw
from connectors.scan.record import Record
from connectors.storage import FileEntry, Folder, Hidden

_LOCKS = frozenset({"lock", "rwlock", "rwlock.lock", "btime"})
_GIT_STORAGE = re.compile(
    r"objects/(?:[0-9a-f]{2}/[0-9a-f]{38,62}|pack/pack-[0-9a-f]+\.\w+|pack/multi-pack-index.*"
    r"|info/commit-graph.*)"
)
_GIT_INDEX = re.compile(r"(?:worktrees/[^/]+/)?index")


class Area(StrEnum):
    OBJECT = "object"  # of the cache or of a remote
    STORE = "store"  # anything else that lies there
    HIDDEN = "hidden"  # what a bucket keeps where readers see nothing
    WORK_TREE = "work tree"
    TEMPORARY = "temporary"  # below .dvc/tmp
    SITE_CACHE = "site cache"
    GIT_FILE = "git file"
    GIT_OBJECT = "git object"


@dataclass(frozen=True)
class Piece:
    """`path`: as reports call it. `logical`: what tells its format, and what patterns match.

    It is a git object, or a file in a folder, or what is hidden there.
    """

    area: Area
    path: str
    logical: str
    folder: Folder | None = None
    entry: FileEntry | Hidden | None = None
    object: GitObject | None = None

    @property
    def stored(self) -> str:
        """Its path in its folder; empty for a git object."""
        return self.entry.path if self.entry else ""

    @property
    def size(self) -> int:
        if self.object is not None:
            return len(self.object.body)
        return self.entry.bytes if self.entry else 0

    @property
    def is_link(self) -> bool:
        return isinstance(self.entry, FileEntry) and self.entry.link

    @property
    def is_upload(self) -> bool:
        return isinstance(self.entry, Hidden) and self.entry.kind == "upload"

    @contextmanager
    def opened(self) -> Iterator[Bytes]:
        """Its bytes. Raises OSError, StoreError when the place does not answer."""
        if self.object is not None:
            yield self.object.body
            return
        assert self.folder  # noqa: S101 (every piece has one of the two)
        if isinstance(self.entry, Hidden) and self.entry.kind != "version":
            yield b""
            return
        version = self.entry.id if isinstance(self.entry, Hidden) else ""
        with self.folder.opened(self.stored, version) as location, location.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            else:
                yield b""

    def read(self) -> bytes:
        """Raises OSError, StoreError."""
        with self.opened() as body:
            return bytes(body)

    def remove(self) -> None:
        assert self.folder  # noqa: S101 (nobody removes a git object)
        self.folder.remove(self.stored)


class Pieces:
    """`columns`: the subject columns, by which a file without a name is known as CSV."""

    def __init__(self, repository: Repository, columns: Sequence[str]) -> None:
        self.repository = repository
        self.columns = columns

    def leads_inside(self, piece: Piece) -> bool:
        """Whether a symbolic link leads to what is read anyhow, as DVC's links to its cache do."""
        assert piece.folder is not None  # noqa: S101 (a git object is no link)
        with piece.folder.opened(piece.stored) as location:
            target = location.resolve()
        return any(target.is_relative_to(root.resolve()) for root in self._roots())

    def _roots(self) -> list[Path]:
        places = (place.path for place in self.repository.contents.places)
        return [self.repository.root, *(path for path in places if path)]

    def of_places(self) -> Iterator[Piece]:
        """Every file in the cache and in the remotes that is no other output's alone."""
        for place in self.repository.contents.places:
            for entry in place.entries():
                name = ObjectName.at(entry.path)
                if self._is_other(name):
                    continue
                yield Piece(
                    Area.OBJECT if name else Area.STORE,
                    f"{place.label}: {entry.path}",
                    self.logical(name, place.folder) if name else entry.path,
                    place.folder,
                    entry,
                )

    def of_hidden(self) -> Iterator[tuple[Place, Piece]]:
        """Older versions, delete markers and open uploads in the remotes, as `of_places`."""
        for place in self.repository.contents.places:
            for item in place.hidden():
                name = ObjectName.at(item.path)
                if self._is_other(name):
                    continue
                logical = item.path
                if name and item.kind == "version":
                    logical = self.logical(name, place.folder, item.id)
                path = f"{place.label}: {item.label}"
                yield place, Piece(Area.HIDDEN, path, logical, place.folder, item)

    def _is_other(self, name: ObjectName | None) -> bool:
        return name in self.repository.elsewhere and name not in self.repository.uses

    def logical(self, name: ObjectName, folder: Folder, version: str = "") -> str:
        """A path under which some commit has the object; else one that tells its format."""
        used = self.repository.uses.get(name)
        if used:
            return next(iter(used.paths))
        with folder.opened(name.path, version) as location:
            return named_by_content(name.path, location, self.columns)

    def of_work_tree(self) -> Iterator[Piece]:
        """Every file below the top folder but git's, the cache's, the remotes', and copies of
        outputs that this connector does not cover."""
        root, folder = self.repository.root, LocalFolder(self.repository.root)
        left_out = {root / ".git", *self._roots()[1:]}
        others = self._other_outputs()
        for entry in _entries(folder, left_out):
            if any(entry.path == path or entry.path.startswith(f"{path}/") for path in others):
                continue
            below = entry.path.removeprefix(".dvc/tmp/")
            if below == entry.path:
                area = Area.WORK_TREE
            elif below in _LOCKS:
                continue  # DVC's own marks of who is at work
            else:
                area = Area.TEMPORARY
            yield Piece(area, entry.path, entry.path, folder, entry)

    def _other_outputs(self) -> list[str]:
        history = self.repository.history
        outputs = history.commits[history.head].outputs if history.head else {}
        return [path for path in outputs if not self.repository.in_scope(path)]

    def of_site_caches(self) -> Iterator[Piece]:
        for folder in map(LocalFolder, self.repository.site_caches()):
            for entry in folder.entries():
                path = f"site cache: {entry.path}"
                yield Piece(Area.SITE_CACHE, path, entry.path, folder, entry)

    def of_git(self) -> Iterator[Piece]:
        """Git's own files, and then every object, decompressed."""
        folder = LocalFolder(self.repository.root / ".git")
        for entry in folder.entries():
            if not _GIT_STORAGE.fullmatch(entry.path):
                path = f".git/{entry.path}"
                yield Piece(Area.GIT_FILE, path, path, folder, entry)
        names = self.repository.git.names_of_objects()
        for found in self.repository.git.every_object():
            path = f"git {found.kind} {found.id[:12]}"
            if name := names.get(found.id):
                path = f"{path}: {name}"
            yield Piece(Area.GIT_OBJECT, path, name or path, object=found)


def _entries(folder: LocalFolder, left_out: set[Path]) -> Iterator[FileEntry]:
    """As `LocalFolder.entries`, without some folders."""
    root = folder.root
    inside = sorted(p.relative_to(root).as_posix() for p in left_out if p.is_relative_to(root))
    for entry in folder.entries():
        if not any(entry.path.startswith(f"{top}/") for top in inside):
            yield entry


def scan_piece(piece: Piece, body: Bytes, record: Record, unrelated: Sequence[str]) -> None:
    """Note every identifier in one piece and in its name.

    What is in no format that anybody can decode is searched as bytes, if the connector says that it
    names nobody (`unrelated`: patterns of paths). Raises what damage raises.
    """
    scan_path(piece.logical, record)
    if piece.object is not None and piece.object.kind == "tree":
        for entry in tree_entries(piece.object):
            scan_name(entry.name, record)
        return
    if piece.area is Area.GIT_FILE and _GIT_INDEX.fullmatch(piece.path.removeprefix(".git/")):
        scan_raw(body, piece.path, record)
        return
    try:
        scan_content(body, _labelled(piece), record)
    except UnknownFormatError:
        if not is_unrelated((piece.logical, piece.stored or piece.logical), unrelated):
            raise


def _labelled(piece: Piece) -> str:
    """The name in reports, ending as the logical name ends, which tells CSV from other text."""
    if piece.path.endswith(piece.logical):
        return piece.path
    return f"{piece.path}: {piece.logical}"
