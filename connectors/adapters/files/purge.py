"""What an erasure leaves beside the rewritten files.

A folder has no history. But a dead attempt may have left the old file or half a new one; Hadoop's
checksums of rewritten files are wrong now; and Parquet's `_metadata` repeats the statistics of
files that are no more. A bucket with versions keeps whatever was replaced or removed: of each key
that held the person all older versions go, with its delete markers and open uploads. The journal
goes last, so that a purge that was killed is simply run again.
"""

from connectors.adapters.base import Erased, ErasePlan, Progress, StoreError
from connectors.adapters.files.journal import Journal
from connectors.adapters.files.layout import Layout, Role, checked_file, leaf, version_id
from connectors.folders import file_digest, masked
from connectors.scan.hidden import planned_paths
from connectors.storage import FileEntry, Hidden


class Purge:
    """One run over one folder, under its lock."""

    def __init__(
        self,
        layout: Layout,
        subject_columns: tuple[str, ...],
        plan: ErasePlan,
        progress: Progress,
    ) -> None:
        self.layout = layout
        self.folder = layout.folder
        self.columns = subject_columns
        self.plan = plan
        self.progress = progress

    def run(self) -> Erased:
        """Raises StoreError when the plan's rows have not been erased yet."""
        current = version_id(self.layout.leaves().values())
        if not self.plan.objects:
            return Erased(current, 0, (), (), {"note": "nothing to purge"})
        journal = Journal(self.folder, self.plan.id)
        untouched = not journal.exists and current == self.plan.snapshot and self.plan.rows
        if untouched or (journal.exists and not journal.done):
            raise StoreError(
                f"The rows that the plan names are still in the folder {self.folder.root}. Erase "
                "first, then purge."
            )
        doomed = [e for e in self.layout.entries if self._is_doomed(e)]
        past = self._past(journal)
        size = 0
        for number, entry in enumerate(doomed):
            self.progress("purge", number, len(doomed), size)
            self.folder.remove(entry.path)
            size += entry.bytes
        self.progress("purge", len(doomed), len(doomed), size)
        self.folder.remove_hidden(past)
        size += sum(item.bytes for item in past)
        paths = [e.path for e in doomed] + [item.path for item in past]
        parents = {path.rpartition("/")[0] for path in paths} - {""}
        self.folder.remove_empty_folders({f for f in parents if "=" in f.rpartition("/")[2]})
        for entry in self.layout.of(Role.JOURNAL):
            self.folder.remove(entry.path)
        return Erased(
            new_version=current,
            rows=0,
            objects_removed=tuple(masked(path, self.columns) for path in paths),
            objects_added=(),
            detail={"files_removed": len(paths), "bytes_removed": size},
        )

    def _past(self, journal: Journal) -> list[Hidden]:
        """What is hidden behind the keys that the plan names, or that the erasure has replaced.

        A key may name the person, and then no plan shows it: its old content tells that it is one
        of the erasure's.
        """
        hidden = self.folder.hidden()
        keys = set(planned_paths(hidden, self.plan.objects))
        keys |= {item.path for item in hidden if self._is_planned(item.path)}
        replaced = {entry.was for entry in journal.entries}
        sizes = {entry.bytes for entry in journal.entries}
        for item in hidden:
            if item.kind != "version" or item.path in keys or item.bytes not in sizes:
                continue
            with self.folder.opened(item.path, item.id) as location:
                if leaf(item.path, item.bytes, file_digest(location)) in replaced:
                    keys.add(item.path)
        return [item for item in hidden if item.path in keys]

    def _is_doomed(self, entry: FileEntry) -> bool:
        role = self.layout.roles[entry.path]
        if role is Role.LEFTOVER:
            return True
        if role is Role.CHECKSUM:
            return self._is_planned(checked_file(entry.path))
        return role is Role.SIDECAR and self._belongs_to_planned(entry.path)

    def _is_planned(self, path: str) -> bool:
        return masked(path, self.columns) in self.plan.objects

    def _belongs_to_planned(self, path: str) -> bool:
        """A sidecar speaks of the files of its folder and of those below it."""
        parent = masked(path, self.columns).rpartition("/")[0]
        within = f"{parent}/" if parent else ""
        return any(o.startswith(within) for o in self.plan.objects)
