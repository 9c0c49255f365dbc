"""New objects without the person, for what commits point to."""

import os
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.find import Search
from connectors.adapters.dvc.names import Member, ObjectName, listing, listing_name, name_of
from connectors.adapters.dvc.places import Place
from connectors.adapters.dvc.pointers import Content, Output
from connectors.formats.formats import suffix_of


class Rewriter:
    """`doomed`: the planned objects. `scratch`: a folder of ours on the repository's disk. `mark`:
    how the names of unfinished files begin."""

    def __init__(
        self, search: Search, doomed: Collection[ObjectName], scratch: Path, mark: str
    ) -> None:
        self.search = search
        self.repository = search.repository
        self.doomed = doomed
        self.scratch = scratch
        self.mark = mark
        self.added: list[ObjectName] = []
        self.bytes = 0
        self._done: dict[tuple[ObjectName, str], tuple[ObjectName, int]] = {}
        self._contents: dict[tuple[ObjectName, str], Content] = {}

    def content(self, output: Output) -> Content:
        """What an output consists of without the person; its objects are in every place that had
        the old ones. Raises StoreError, ResidueError."""
        key = output.name, output.path
        if key not in self._contents:
            if output.name.is_folder:
                self._contents[key] = self._folder(output)
            else:
                self._contents[key] = Content(*self._file(output.name, output.path))
        return self._contents[key]

    def _folder(self, output: Output) -> Content:
        members: list[Member] = []
        size = output.size or 0
        for member in self.repository.members(output.name) or []:
            path = f"{output.path}/{member.path}"
            entry = self.repository.contents.entries.get(member.name)
            if entry is None:  # nobody has its data any more, and its name is all there is to it
                goes = self.search.names.names_person(path)
            else:
                goes = self.search.objects.is_all_theirs(member.name.path, path)
            name, bytes_ = member.name, entry.bytes if entry else 0
            size -= bytes_
            if not goes:
                if name in self.doomed:
                    name, bytes_ = self._file(name, path)
                members.append(Member(member.path, name))
                size += bytes_
        body = listing(members)
        name = listing_name(body, legacy=output.name.legacy)
        target = self.scratch / uuid.uuid4().hex
        self._guarded(output.name, lambda: self._add_listing(name, body, target, output.name))
        return Content(name, size, len(members))

    def _add_listing(self, name: ObjectName, body: bytes, target: Path, old: ObjectName) -> None:
        target.write_bytes(body)
        self._add(name, target, old)

    def _file(self, old: ObjectName, path: str) -> tuple[ObjectName, int]:
        """(object, bytes) of a file without the person."""
        key = (old, suffix_of(path))
        if key not in self._done:
            target = self.scratch / f"{uuid.uuid4().hex}{suffix_of(path)}"
            self._guarded(old, lambda: self._rewrite(old, path, target, key))
        return self._done[key]

    def _rewrite(
        self, old: ObjectName, path: str, target: Path, key: tuple[ObjectName, str]
    ) -> None:
        staged = self.search.staged.path(old.path, path)
        file = self.search.objects.reader.open(staged, shown=self.search.names.shown(path))
        try:
            file.rewrite(target, self.search.person)
            name = name_of(target, legacy=old.legacy)
            size = target.stat().st_size
            self._add(name, target, old)
        finally:
            target.unlink(missing_ok=True)
        self._done[key] = (name, size)
        self.bytes += size

    def _add(self, name: ObjectName, source: Path, old: ObjectName) -> None:
        for place in self._places(old):
            place.add(name, source, self.mark)
        source.unlink()
        self.added.append(name)

    def _places(self, old: ObjectName) -> list[Place]:
        """The cache, from which work trees are filled, and what had the old object."""
        contents = self.repository.contents
        return list(dict.fromkeys([contents.places[0], *contents.objects.get(old, ())]))

    def _guarded(self, old: ObjectName, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, pa.ArrowException) as exc:
            why = os.strerror(exc.errno) if isinstance(exc, OSError) and exc.errno else ""
            raise StoreError(
                f"The object {old.path} could not be written anew: {why or type(exc).__name__}. "
                "Every branch is as it was. Check free space and access, then run the erasure "
                "again."
            ) from exc
