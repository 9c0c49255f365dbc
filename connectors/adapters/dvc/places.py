"""Places where objects lie: the cache, and remotes in folders and buckets."""

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.names import ObjectName, is_run
from connectors.folders import sync_folder
from connectors.storage import FileEntry, Folder, Hidden


@dataclass(frozen=True)
class Place:
    """`label`: as messages and plans call it: "cache", or "remote NAME"."""

    label: str
    folder: Folder

    @property
    def path(self) -> Path | None:
        """Where it is, if it is on this machine."""
        return self.folder.root if isinstance(self.folder.root, Path) else None

    def is_there(self) -> bool:
        """Raises StoreError, which names the place, when nobody answers there."""
        with self.named():
            return self.folder.is_there()

    def entries(self) -> list[FileEntry]:
        """Raises OSError, StoreError."""
        with self.named():
            return self.folder.entries() if self.folder.is_there() else []

    def hidden(self) -> list[Hidden]:
        """Raises StoreError."""
        with self.named():
            return self.folder.hidden() if self.folder.is_there() else []

    @contextmanager
    def named(self) -> Iterator[None]:
        """What a store says knows nothing of remotes."""
        try:
            yield
        except StoreError as exc:
            raise StoreError(f"The {self.label} failed. {exc}") from exc

    def add(self, name: ObjectName, source: Path, mark: str) -> None:
        """Write an object completely or not at all; one that is there already stays.

        `mark`: what its name begins with until it is whole. Raises OSError, StoreError.
        """
        source.chmod(0o444)  # DVC protects what lies in a cache
        with self.named(), contextlib.suppress(FileExistsError):
            self.folder.add(source, name.path, f"{mark}{uuid.uuid4().hex}")

    def remove(self, path: str) -> None:
        """Remove a file with all that is hidden behind its name, and its folder if that is empty
        then."""
        self.folder.remove(path)
        if self.path:
            sync_folder((self.path / path).parent)
        self.folder.remove_empty_folders({path.rpartition("/")[0]})


@dataclass(frozen=True)
class Contents:
    """What lies in all places at one moment."""

    places: tuple[Place, ...]
    objects: dict[ObjectName, tuple[Place, ...]]
    entries: dict[ObjectName, FileEntry]  # in the first of an object's places
    runs: tuple[tuple[Place, FileEntry], ...]  # entries of the run cache
    others: tuple[tuple[Place, FileEntry], ...]  # half-written files, and whatever else

    def opened(self, name: ObjectName) -> AbstractContextManager[Path]:
        """The object's bytes in the first place that has it: the cache, if it does. Raises KeyError
        where none does."""
        return self.objects[name][0].folder.opened(name.path)

    def read(self, name: ObjectName) -> bytes:
        """As `opened`. Raises OSError."""
        return self.objects[name][0].folder.read(name.path)


def contents_of(places: tuple[Place, ...]) -> Contents:
    """Raises StoreError for a place that cannot be read, or copies that cannot be equal."""
    objects: dict[ObjectName, tuple[Place, ...]] = {}
    entries: dict[ObjectName, FileEntry] = {}
    runs, others = [], []
    for place in places:
        try:
            for entry in place.entries():
                name = None if entry.link else ObjectName.at(entry.path)
                if name:
                    _require_equal(name, entry, entries.setdefault(name, entry).bytes, place)
                    objects[name] = (*objects.get(name, ()), place)
                elif is_run(entry.path):
                    runs.append((place, entry))
                else:
                    others.append((place, entry))
        except OSError as exc:
            raise StoreError(
                f"The {place.label} at {place.folder.root} cannot be read: {exc.strerror}. Give "
                "this process access to it."
            ) from exc
    return Contents(places, objects, entries, tuple(runs), tuple(others))


def _require_equal(name: ObjectName, entry: FileEntry, size: int, place: Place) -> None:
    if entry.bytes != size:
        raise StoreError(
            f"The object {name.path} in the {place.label} has {entry.bytes} bytes, and {size} "
            "elsewhere: one of the copies is damaged. Remove it there and fetch or push it again."
        )
