"""Deleting what held the person: the planned objects, in the cache and in every remote.

`dvc gc` keeps what some set of commits needs and deletes everything else, unrelated history too.
Here only the objects go that the plan names. Older commits that point to them stay in git, and
their data cannot be checked out any more: these are the versions that the plan calls lost. Where
history is kept, commits have been written anew, and git forgets the old ones.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from connectors.adapters.base import Erased, ErasePlan, Progress, StoreError
from connectors.adapters.dvc.attempt import SCRATCH, planned_objects
from connectors.adapters.dvc.blockers import require_reachable
from connectors.adapters.dvc.forget import Forgetting
from connectors.adapters.dvc.journal import CommitMap, Journals
from connectors.adapters.dvc.names import ObjectName, is_run
from connectors.adapters.dvc.places import Place
from connectors.adapters.dvc.repository import Repository
from connectors.scan.hidden import planned_paths
from connectors.storage import Hidden


class Purge:
    """One run over one repository, under its locks. It may be run again after a crash."""

    def __init__(self, repository: Repository, plan: ErasePlan, progress: Progress) -> None:
        self.repository = repository
        self.plan = plan
        self.progress = progress
        self.keeps = plan.mode == "keep_history"

    def run(self) -> Erased:
        """Raises StoreError when a branch still points to what the plan names."""
        require_reachable(self.repository)
        if planned_objects(self.plan) & self._used():
            raise StoreError(
                f"A branch or the work tree of {self.repository.root} still points to data that "
                "the plan names. Erase first, then purge; if it was committed since, plan again."
            )
        removed, size = self._remove()
        if self.plan.objects:
            self._drop_caches()
        newest = self.repository.newest()
        detail = {"files_removed": len(removed), "bytes_removed": size}
        return Erased(
            new_version=newest.id if newest else None,
            rows=0,
            objects_removed=tuple(removed),
            objects_added=(),
            detail={**detail, **(self._forget() if self.keeps else {})},
        )

    def _used(self) -> set[ObjectName]:
        """By what has to stay readable: the newest commits, or all of them."""
        if self.keeps:
            return set(self.repository.uses)
        used = set(self.repository.head_objects())
        for output in self.repository.uncommitted.values():
            used |= {output.name, *(f.name for f in self.repository.files(output) or ())}
        return used

    def _forget(self) -> dict[str, Any]:
        """What git knew of old commits; then nothing is left to be remembered but the map."""
        root = self.repository.root
        try:
            removed = Forgetting(self.repository).run()
            renamed = CommitMap(root).read()
            Journals(root).drop(self.plan.id)
        except OSError as exc:
            raise StoreError(
                f"Old commits in {root} cannot be removed: {exc.strerror}. Give this process "
                "access, then run the purge again."
            ) from exc
        return {"git_objects_removed": removed, "renamed": renamed}

    def _remove(self) -> tuple[list[str], int]:
        contents = self.repository.contents
        entries = [*contents.entries.values(), *(entry for _, entry in contents.runs)]
        sizes = {entry.path: entry.bytes for entry in entries}
        stored = [path.partition(" ")[0] for path in self.plan.objects]
        paths = [path for path in stored if ObjectName.at(path) or is_run(path)]
        removed, size = [], 0
        for number, path in enumerate(paths):
            self.progress("purge", number, len(paths), size)
            for place in contents.places:
                with _explained(place, path):
                    if place.folder.exists(path):
                        place.remove(path)
                        size += sizes.get(path, 0)
                        removed.append(f"{place.label}: {path}")
        self.progress("purge", len(paths), len(paths), size)
        past = [item for place in contents.places for item in self._past(place, {*paths})]
        return removed + past, size

    def _past(self, place: Place, paths: set[str]) -> list[str]:
        """What a bucket keeps behind the names of erased objects: of those that were removed long
        ago too, and of those that a purge which was killed had begun to remove."""
        hidden = place.hidden()
        paths = paths | planned_paths(hidden, self.plan.objects).keys()
        doomed = [item for item in hidden if item.path in paths]
        with place.named():
            place.folder.remove_hidden(doomed)
        return [f"{place.label}: {self._shown(item)}" for item in doomed]

    def _shown(self, item: Hidden) -> str:
        """Other names than DVC's may say anything."""
        known = ObjectName.at(item.path) or is_run(item.path)
        return item.label if known else item.mark.removesuffix("/")

    def _drop_caches(self) -> None:
        """What DVC remembers of hashes and file names; it finds them out again."""
        for folder in self.repository.site_caches():
            shutil.rmtree(folder, ignore_errors=True)  # what stays, the scan will read
        shutil.rmtree(self.repository.root / SCRATCH, ignore_errors=True)


@contextmanager
def _explained(place: Place, path: str) -> Iterator[None]:
    try:
        with place.named():
            yield
    except OSError as exc:
        raise StoreError(
            f"The object {path} cannot be removed from the {place.label}: {exc.strerror}. Give "
            "this process access, then run the purge again."
        ) from exc
