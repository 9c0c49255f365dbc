"""Deleting what held the person: the planned objects, in the cache and in every remote.

`dvc gc` keeps what some set of commits needs and deletes everything else, unrelated history too.
Here only the objects go that the plan names. Older commits that point to them stay in git, and
their data cannot be checked out any more: these are the versions that the plan calls lost.
"""

import shutil

from connectors.adapters.base import Erased, ErasePlan, Progress, StoreError
from connectors.adapters.dvc.erase import SCRATCH, planned_objects
from connectors.adapters.dvc.names import ObjectName, is_run
from connectors.adapters.dvc.places import Place
from connectors.adapters.dvc.repository import Repository


class Purge:
    """One run over one repository, under its locks. It may be run again after a crash."""

    def __init__(self, repository: Repository, plan: ErasePlan, progress: Progress) -> None:
        self.repository = repository
        self.plan = plan
        self.progress = progress

    def run(self) -> Erased:
        """Raises StoreError when a branch still points to what the plan names."""
        doomed = planned_objects(self.plan)
        used = set(self.repository.head_objects())
        for output in self.repository.uncommitted.values():
            used |= {output.name, *(f.name for f in self.repository.files(output) or ())}
        if doomed & used:
            raise StoreError(
                f"A branch or the work tree of {self.repository.root} still points to data that "
                "the plan names. Erase first, then purge; if it was committed since, plan again."
            )
        removed, size = self._remove()
        if self.plan.objects:
            self._drop_caches()
        newest = self.repository.newest()
        return Erased(
            new_version=newest.id if newest else None,
            rows=0,
            objects_removed=tuple(removed),
            objects_added=(),
            detail={"files_removed": len(removed), "bytes_removed": size},
        )

    def _remove(self) -> tuple[list[str], int]:
        stored = [path.partition(" ")[0] for path in self.plan.objects]
        paths = [path for path in stored if ObjectName.at(path) or is_run(path)]
        removed, size = [], 0
        for number, path in enumerate(paths):
            self.progress("purge", number, len(paths), size)
            for place in self.repository.contents.places:
                if place.folder.exists(path):
                    size += self._removed_from(place, path)
                    removed.append(f"{place.label}: {path}")
        self.progress("purge", len(paths), len(paths), size)
        return removed, size

    def _removed_from(self, place: Place, path: str) -> int:
        try:
            return place.remove(path)
        except OSError as exc:
            raise StoreError(
                f"The object {path} cannot be removed from the {place.label}: {exc.strerror}. Give "
                "this process access, then run the purge again."
            ) from exc

    def _drop_caches(self) -> None:
        """What DVC remembers of hashes and file names; it finds them out again."""
        for folder in self.repository.site_caches():
            shutil.rmtree(folder, ignore_errors=True)  # what stays, the scan will read
        shutil.rmtree(self.repository.root / SCRATCH, ignore_errors=True)
