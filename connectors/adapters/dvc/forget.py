"""Git's memory of commits that were written anew: logs of refs, ORIG_HEAD, and the objects.

`git reflog expire` with `git gc --prune=now` would take with it what a user has reset away or
staged and may want back. Here logs name the new commits instead of the old ones, and only those
objects go to which nothing but old commits leads. What nothing led to before is there still, by the
ids that the map tells.
"""

import re
import shutil
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.history import Trees
from connectors.adapters.dvc.journal import FOLDER, UNFINISHED, CommitMap
from connectors.adapters.dvc.repository import Repository

_ID = re.compile(rb"\b[0-9a-f]{40}(?:[0-9a-f]{24})?\b")
# Of our own move, which is none any more now that both of its ends are the new commit.
_OUR_LINE = re.compile(rb"^([0-9a-f]+) \1 [^\t\n]*\terase as planned\n", re.MULTILINE)


class Forgetting:
    """One run; it may be run again after a crash."""

    def __init__(self, repository: Repository) -> None:
        self.git = repository.git
        self.folder = repository.root / ".git"
        self.map = CommitMap(repository.root)
        self.list = repository.root / FOLDER / "unreachable"

    def run(self) -> int:
        """Returns how many git objects went. Raises OSError, StoreError."""
        ids = {old.encode(): new.encode() for old, new in self.map.read().items()}
        if not ids:
            return 0
        for location in self._texts():
            _translate(location, ids, self.list.with_suffix(UNFINISHED))
        # It repeats what refs were when they were packed; git looks past that, and DVC does not.
        self.git.run("pack-refs", "--all")
        removed = self._remove_listed()  # of a run that was killed
        if doomed := self._doomed({old.decode() for old in ids}):
            beside = self.list.with_suffix(UNFINISHED)
            beside.write_text("\n".join(sorted(doomed)))
            beside.rename(self.list)
            removed += self._remove_listed()
        return removed

    def _doomed(self, old: Collection[str]) -> set[str]:
        """What only these commits and tags lead to, and trees of no commit that hold some of it,
        as a merge leaves them."""
        kinds = self.git.kinds()
        others = {i for i, kind in kinds.items() if kind in ("commit", "tag") and i not in old}
        kept = self.git.reachable() | self.git.objects_of(others)
        doomed = self.git.objects_of(kinds.keys() & old) - kept
        with self.git.reader() as reader:
            trees = Trees(reader)
            left = [i for i, kind in kinds.items() if kind == "tree" and i not in kept]
            inside = {tree: {entry.id for entry in trees.entries(tree)} for tree in left}
        for tree in TopologicalSorter(inside).static_order():  # what it holds comes first
            if not doomed.isdisjoint(inside.get(tree, ())):
                doomed.add(tree)
        return doomed

    def _texts(self) -> Iterator[Path]:
        yield from self.folder.glob("*_HEAD")
        yield from (p for p in (self.folder / "logs").rglob("*") if p.is_file())

    def _remove_listed(self) -> int:
        """The list was made while everything in it could still be followed."""
        if not self.list.exists():
            return 0
        doomed = self.git.existing(self.list.read_text().split()) - self.git.reachable()
        if doomed:
            self._remove(doomed)
        self.list.unlink()
        return len(doomed)

    def _remove(self, doomed: Collection[str]) -> None:
        objects = self.folder / "objects"
        (objects / "info" / "commit-graph").unlink(missing_ok=True)  # git makes them anew
        shutil.rmtree(objects / "info" / "commit-graphs", ignore_errors=True)
        self._unlink(doomed)
        if packed := self.git.existing(doomed):
            self.git.run("repack", "-A", "-d", "-q")  # what nothing leads to is loose afterwards
            self._unlink(packed)
            if left := self.git.existing(packed):
                raise StoreError(
                    f"{len(left)} git objects of old commits cannot be removed from the repository "
                    f"{self.folder.parent}: they lie outside of its own packs. Make it whole (git "
                    "repack -a -d), then run the purge again."
                )

    def _unlink(self, objects: Collection[str]) -> None:
        for id_ in objects:
            (self.folder / "objects" / id_[:2] / id_[2:]).unlink(missing_ok=True)


def _translate(location: Path, ids: dict[bytes, bytes], beside: Path) -> None:
    """Name new commits instead of old ones. A line that git adds meanwhile is not lost."""
    while True:
        before = location.read_bytes()
        after = _OUR_LINE.sub(b"", _ID.sub(lambda m: ids.get(m[0], m[0]), before))
        if after == before:
            return
        beside.write_bytes(after)
        shutil.copymode(location, beside)
        if location.read_bytes() == before:
            beside.rename(location)
            return
