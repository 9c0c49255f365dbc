"""Deleting what held the person: the planned objects, in the block store, by name.

lakeFS deletes no data when an object is deleted or a branch is: its garbage collection does, later,
and keeps the newest commit that is older than its window. Here only the objects go that the plan
names, after it is made sure that no branch and no tag leads to one. Older commits go on listing
them, and reading one answers 410: these are the versions that the plan calls lost.
"""

from connectors.adapters.base import Erased, ErasePlan, Progress, StoreError
from connectors.adapters.lakefs.erase import planned_objects
from connectors.adapters.lakefs.repository import Repository


class Purge:
    """One run over one repository. It may be run again after a crash."""

    def __init__(self, repository: Repository, plan: ErasePlan, progress: Progress) -> None:
        self.repository = repository
        self.plan = plan
        self.progress = progress

    def run(self) -> Erased:
        """Raises StoreError when a ref still leads to what the plan names."""
        doomed = sorted(planned_objects(self.plan))
        blocks = self.repository.blocks
        if doomed and blocks.folder is None:
            raise StoreError(blocks.fault)
        used = self.repository.head_keys().union(*self.repository.tagged_keys().values())
        if used.intersection(doomed):
            raise StoreError(
                f"A branch or a tag of {self.repository.client.place.shown} still leads to data "
                "that the plan names. Erase first, then purge; if it was made since, plan again."
            )
        removed, size = [], 0
        for number, key in enumerate(doomed):
            self.progress("purge", number, len(doomed), size)
            if blocks.has(key):
                size += self._removed(key)
                removed.append(key)
        self.progress("purge", len(doomed), len(doomed), size)
        newest = self.repository.newest()
        return Erased(
            new_version=newest.id if newest else None,
            rows=0,
            objects_removed=tuple(removed),
            objects_added=(),
            detail={"files_removed": len(removed), "bytes_removed": size},
        )

    def _removed(self, key: str) -> int:
        try:
            return self.repository.blocks.remove(key)
        except OSError as exc:
            raise StoreError(
                f"The object {key} cannot be removed from the block store: {exc.strerror}. Give "
                "this process access, then run the purge again."
            ) from exc
