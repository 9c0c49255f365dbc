"""Bringing the work tree after a branch that we moved: its pointers, and its copies of the data.

Only what still is what the old commit said is replaced. So it may be run again after a crash, and
overwrites nobody's work.
"""

import os
import shutil
import uuid
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.names import ObjectName, name_of
from connectors.adapters.dvc.pointers import Output
from connectors.adapters.dvc.repository import Repository
from connectors.folders import sync_folder


class WorkTree:
    """`mark`: how the names of unfinished files begin."""

    def __init__(self, repository: Repository, old: Commit, new: Commit, mark: str) -> None:
        self.repository = repository
        self.root = repository.root
        self.old = old
        self.new = new
        self.mark = mark

    def follow(self) -> None:
        """Raises StoreError where somebody changed what would be replaced, OSError."""
        pairs = [
            (output, self.new.outputs[path])
            for path, output in self.old.outputs.items()
            if self.repository.in_scope(path)
            and path in self.new.outputs
            and self.new.outputs[path].name != output.name
        ]
        for output, new in pairs:
            self._data(output, new)
        for pointer in sorted({new.pointer for _, new in pairs}):
            self._pointer(pointer)

    def _data(self, old: Output, new: Output) -> None:
        if old.path.startswith(("/", "..")):
            return  # data outside of the repository has no copy in its work tree
        before = {f.path: f.name for f in self.repository.files(old) or ()}
        after = {f.path: f.name for f in self.repository.files(new) or ()}
        for path, name in before.items():
            location = self.root / path
            if after.get(path) == name or not location.exists():
                continue
            if path in after and name_of(location, legacy=name.legacy) == after[path]:
                continue  # an earlier run came this far
            if name_of(location, legacy=name.legacy) != name:
                raise _changed()
            if path in after:
                self._replace(location, name, after[path])
            else:
                location.unlink()
            sync_folder(location.parent)

    def _replace(self, location: Path, old: ObjectName, new: ObjectName) -> None:
        """Put the new object where a copy of, or a link to, the old one is."""
        cache = self.repository.settings.cache
        source = cache / new.path  # where it was added a moment ago
        beside = location.with_name(f"{self.mark}{uuid.uuid4().hex}")
        cached = cache / old.path
        try:
            if location.is_symlink():
                beside.symlink_to(source)
            elif cached.exists() and cached.samefile(location):
                os.link(source, beside)
            else:
                shutil.copyfile(source, beside)
                shutil.copymode(location, beside)
            beside.rename(location)
        finally:
            beside.unlink(missing_ok=True)

    def _pointer(self, path: str) -> None:
        git = self.repository.git
        old, new = git.file_at(self.old.id, path), git.file_at(self.new.id, path)
        assert old is not None and new is not None  # noqa: S101, PT018 (both commits have it)
        location = self.root / path
        with git.reader() as reader:
            before, after = reader.read(old.id), reader.read(new.id)
        assert before is not None and after is not None  # noqa: S101, PT018
        body = location.read_bytes() if location.is_file() else b""
        if body not in (before.body, after.body):
            raise _changed()
        if body != after.body:
            beside = location.with_name(f"{self.mark}{uuid.uuid4().hex}")
            try:
                beside.write_bytes(after.body)
                shutil.copymode(location, beside)
                beside.rename(location)
            finally:
                beside.unlink(missing_ok=True)
            sync_folder(location.parent)
        git.stage({path: new})


def _changed() -> StoreError:
    return StoreError(
        "Data or a pointer in the work tree was changed while the erasure ran. The branch has its "
        "new commit already. Take the change back (git restore, dvc checkout), then run the "
        "erasure again."
    )
