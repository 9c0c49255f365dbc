"""Deleting what held the person: the planned objects, in the block store, by name.

lakeFS deletes no data when an object is deleted or a branch is: its garbage collection does, later,
and keeps the newest commit that is older than its window. Here only the objects go that the plan
names, after it is made sure that no branch and no tag leads to one. Older commits go on listing
them, and reading one answers 410: these are the versions that the plan calls lost. A bucket with
versions keeps what is deleted: of each object that held the person all of it goes.
"""

from collections.abc import Sequence

from connectors.adapters.base import Erased, ErasePlan, Progress, StoreError
from connectors.adapters.lakefs.plan import doomed_paths, planned_objects
from connectors.adapters.lakefs.repository import Repository
from connectors.storage import Folder, Hidden


class Purge:
    """One run over one repository. It may be run again after a crash."""

    def __init__(self, repository: Repository, plan: ErasePlan, progress: Progress) -> None:
        self.repository = repository
        self.plan = plan
        self.progress = progress

    def run(self) -> Erased:
        """Raises StoreError when a ref still leads to what the plan names."""
        doomed = sorted(planned_objects(self.plan))
        used = self.repository.head_keys().union(*self.repository.tagged_keys().values())
        if used.intersection(doomed):
            raise StoreError(
                f"A branch or a tag of {self.repository.client.place.shown} still leads to data "
                "that the plan names. Erase first, then purge; if it was made since, plan again."
            )
        removed, size = self._remove(doomed) if self.plan.objects else ([], 0)
        newest = self.repository.newest()
        return Erased(
            new_version=newest.id if newest else None,
            rows=0,
            objects_removed=tuple(removed),
            objects_added=(),
            detail={"files_removed": len(removed), "bytes_removed": size},
        )

    def _remove(self, doomed: Sequence[str]) -> tuple[list[str], int]:
        folder, stored = self.repository.blocks.within(), self.repository.stored
        removed, size = [], 0
        for number, key in enumerate(doomed):
            self.progress("purge", number, len(doomed), size)
            if key in stored:
                self._remove_object(folder, key)
                size += stored[key].bytes
                removed.append(key)
        self.progress("purge", len(doomed), len(doomed), size)
        past = self._past(folder)
        folder.remove_hidden(past)
        size += sum(item.bytes for item in past)
        return [*removed, *(item.mark.removesuffix("/") for item in past)], size

    def _remove_object(self, folder: Folder, key: str) -> None:
        try:
            folder.remove(key)
        except OSError as exc:
            raise StoreError(
                f"The object {key} cannot be removed from the block store: {exc.strerror}. Give "
                "this process access, then run the purge again."
            ) from exc

    def _past(self, folder: Folder) -> list[Hidden]:
        """Behind the names of objects that a purge which was killed has removed, too."""
        hidden = folder.hidden()
        paths = doomed_paths(self.plan, hidden)
        return [item for item in hidden if item.path in paths]
