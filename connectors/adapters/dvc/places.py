"""Places where objects lie: the cache, and remotes that are folders."""

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.names import ObjectName, is_run
from connectors.folders import LocalFolder, sync_folder
from connectors.storage import FileEntry


@dataclass(frozen=True)
class Place:
    """`label`: as messages and plans call it: "cache", or "remote NAME"."""

    label: str
    folder: LocalFolder

    def entries(self) -> Iterator[FileEntry]:
        if self.folder.root.is_dir():
            yield from self.folder.entries()

    def has(self, name: ObjectName) -> bool:
        return self.folder.exists(name.path)

    def add(self, name: ObjectName, source: Path, mark: str) -> None:
        """Write an object completely or not at all; one that is there already stays.

        `mark`: what its name begins with until it is whole. Raises OSError.
        """
        target = self.folder.locate(name.path)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{mark}{uuid.uuid4().hex}")
        try:
            shutil.copyfile(source, partial)
            partial.chmod(0o444)  # DVC protects what lies in a cache
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(target.parent)

    def remove(self, path: str) -> int:
        """Remove a file, and its folder if that is empty then. Returns how many bytes it had."""
        location = self.folder.locate(path)
        try:
            size = location.lstat().st_size
            location.unlink()
        except FileNotFoundError:
            return 0  # a purge that is run again
        sync_folder(location.parent)
        self.folder.remove_empty_folders({path.rpartition("/")[0]})
        return size


@dataclass(frozen=True)
class Contents:
    """What lies in all places at one moment."""

    places: tuple[Place, ...]
    objects: dict[ObjectName, tuple[Place, ...]]
    sizes: dict[ObjectName, int]
    runs: tuple[tuple[Place, FileEntry], ...]  # entries of the run cache
    others: tuple[tuple[Place, FileEntry], ...]  # half-written files, and whatever else

    def locate(self, name: ObjectName) -> Path | None:
        """The object's bytes in the first place that has it."""
        places = self.objects.get(name)
        return places[0].folder.locate(name.path) if places else None


def contents_of(places: tuple[Place, ...]) -> Contents:
    """Raises StoreError for a place that cannot be read, or copies that cannot be equal."""
    objects: dict[ObjectName, tuple[Place, ...]] = {}
    sizes: dict[ObjectName, int] = {}
    runs, others = [], []
    for place in places:
        try:
            for entry in place.entries():
                name = None if entry.link else ObjectName.at(entry.path)
                if name:
                    _require_equal(name, entry, sizes.setdefault(name, entry.bytes), place)
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
    return Contents(places, objects, sizes, tuple(runs), tuple(others))


def _require_equal(name: ObjectName, entry: FileEntry, size: int, place: Place) -> None:
    if entry.bytes != size:
        raise StoreError(
            f"The object {name.path} in the {place.label} has {entry.bytes} bytes, and {size} "
            "elsewhere: one of the copies is damaged. Remove it there and fetch or push it again."
        )
