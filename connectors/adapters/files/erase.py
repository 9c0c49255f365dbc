"""Erasing a person: each file that holds them is written anew beside itself and swapped in.

What a reader sees is always a whole file, the old one or the new one. Before a swap the journal
says what it replaces; after a crash the same plan is taken up where it ended. A lock on the folder
keeps our own workers apart, so that whatever else lies there of ours is a dead attempt's.

Other writers know no lock of ours. A file that changed since the plan is noticed by its digest
right before the swap; and as the swap exchanges the two files, what was really replaced is looked
at afterwards, and put back if it is not what we read.
"""

import os
import shutil
import uuid
from pathlib import Path

import pyarrow as pa

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    PlanOutdatedError,
    Progress,
    StoreError,
)
from connectors.adapters.files.find import Search
from connectors.adapters.files.journal import Entry, Journal
from connectors.adapters.files.layout import (
    OURS,
    Role,
    checked_file,
    digest_of,
    leaf,
    read_layout,
    version_id,
)
from connectors.folders import FileEntry, LocalFolder, exchange, sync_folder
from connectors.formats.formats import suffix_of


def outdated(folder: LocalFolder) -> PlanOutdatedError:
    return PlanOutdatedError(
        f"Files in the folder {folder.root} changed since the plan was made. Nothing of that "
        "change was touched: plan again."
    )


class Erasure:
    """One run of one plan, under the folder's lock."""

    def __init__(self, search: Search, plan: ErasePlan, progress: Progress) -> None:
        self.search = search
        self.folder = search.layout.folder
        self.plan = plan
        self.progress = progress
        self.journal = Journal(self.folder.root, plan.id)
        self.applied: list[Entry] = []
        self.done_bytes = 0

    def run(self) -> Erased:
        """Raises PlanOutdatedError, ResidueError, StoreError; unrelated rows are never lost."""
        if self.plan.mode != "purge":
            raise StoreError(f'A folder has no mode "{self.plan.mode}". Plan with mode "purge".')
        if self.plan.blockers:
            raise StoreError(f"The plan cannot be carried out: {' '.join(self.plan.blockers)}")
        layout = self.search.layout
        for entry in layout.of(Role.LEFTOVER):
            self.folder.remove(entry.path)
        leaves = layout.leaves()
        if self.journal.planned_version(leaves) != self.plan.snapshot:
            raise outdated(self.folder)
        self.applied = self.journal.applied(leaves)
        replaced = {e.now for e in self.applied}
        waiting = [e for e in layout.of(Role.DATA) if leaves[e.path] not in replaced]
        for number, entry in enumerate(waiting):
            self.progress("rewrite", number, len(waiting), self.done_bytes)
            self._file(entry, leaves[entry.path])
            self.done_bytes += entry.bytes
        self.progress("rewrite", len(waiting), len(waiting), self.done_bytes)
        self._drop_checksums()
        self._drop_named_folders()
        return self._finish()

    def _file(self, entry: FileEntry, was: str) -> None:
        match = self.search.match(entry.path)
        doomed = self.search.is_doomed(entry.path, match)
        if not match.person and not (doomed and self.search.names.names_person(entry.path)):
            return
        shown = self.search.names.shown(entry.path)
        if shown not in self.plan.objects:
            raise PlanOutdatedError(
                f"Rows were found in {shown}, which the plan does not name. Search and plan again."
            )
        location = self.folder.locate(entry.path)
        if location.stat().st_nlink > 1:
            raise StoreError(
                f"{shown} has a second name by now (a hard link), under which its content would "
                "stay. Remove that name, then run the erasure again."
            )
        beside = self._beside(location)
        try:
            if doomed:
                done = Entry(was, "", shown, match.rows, entry.bytes)
                self._remove(entry.path, beside, done)
            else:
                self._replace(entry, beside, was, shown)
        except Exception as exc:
            beside.unlink(missing_ok=True)
            if isinstance(exc, FileNotFoundError) and not self.folder.exists(entry.path):
                raise outdated(self.folder) from exc
            if isinstance(exc, OSError | pa.ArrowException):
                raise StoreError(
                    f"The file {shown} could not be rewritten: {_reason(exc)}. It was left as it "
                    "is. Check the file, free space and access, then run the erasure again."
                ) from exc
            raise

    def _remove(self, path: str, aside: Path, done: Entry) -> None:
        location = self.folder.locate(path)
        self.journal.add(done)
        self._require_unchanged(path, done.was)
        location.rename(aside)
        if self._leaf_of(aside, path) != done.was:
            aside.rename(location)
            raise outdated(self.folder)
        aside.unlink()
        sync_folder(location.parent)
        self.applied.append(done)

    def _replace(self, entry: FileEntry, target: Path, was: str, shown: str) -> None:
        location = self.folder.locate(entry.path)
        before = location.stat()
        target.touch(mode=0o600, exist_ok=False)
        file = self.search.reader.open(entry.path, shown=shown)
        match = file.rewrite(target, self.search.person)
        _take_over(target, location, before)
        now = self._leaf_of(target, entry.path)
        done = Entry(was, now, shown, match.person, entry.bytes)
        self.journal.add(done)
        self._require_unchanged(entry.path, was)
        self._swap(target, location, entry.path, was)
        target.unlink()
        sync_folder(target.parent)
        self.applied.append(done)

    def _swap(self, target: Path, location: Path, path: str, was: str) -> None:
        exchange(target, location)
        sync_folder(location.parent)
        if self._leaf_of(target, path) != was:
            exchange(target, location)  # somebody was faster by a hair: it is their file again
            sync_folder(location.parent)
            raise outdated(self.folder)

    def _leaf_of(self, location: Path, path: str) -> str:
        digest = digest_of(self.folder, location.relative_to(self.folder.root).as_posix())
        return leaf(path, location.stat().st_size, digest)

    def _require_unchanged(self, path: str, was: str) -> None:
        location = self.folder.locate(path)
        if not location.is_file() or location.is_symlink() or self._leaf_of(location, path) != was:
            raise outdated(self.folder)

    def _beside(self, location: Path) -> Path:
        """A name of ours in the same folder, which says nothing of the file's own name."""
        mark = f"{self.plan.id}-{uuid.uuid4().hex[:8]}"
        return location.with_name(f"{OURS}{mark}{suffix_of(location.name)}")

    def _drop_checksums(self) -> None:
        """Hadoop's checksums of what was rewritten: readers would take the new file for damaged."""
        for entry in self.search.layout.of(Role.CHECKSUM):
            if self.search.names.shown(checked_file(entry.path)) in self.plan.objects:
                self.folder.remove(entry.path)

    def _drop_named_folders(self) -> None:
        """A folder's name can hold an identifier too ("customer_id=00004")."""
        names = self.search.names
        self.folder.remove_empty_folders(
            {f for f in self.folder.folders() if names.may_name_person(f)}
        )

    def _finish(self) -> Erased:
        if self.journal.exists:
            self.journal.finish()
        # Files that other writers brought meanwhile are theirs; the scan will read them.
        layout = read_layout(self.folder, self.search.layout.unrelated)
        return Erased(
            new_version=version_id(layout.leaves().values()),
            rows=sum(e.rows for e in self.applied),
            objects_removed=tuple(sorted(e.path for e in self.applied)),
            objects_added=tuple(sorted(e.path for e in self.applied if e.now)),
            detail={"bytes_rewritten": sum(e.bytes for e in self.applied)},
        )


def _take_over(target: Path, location: Path, before: os.stat_result) -> None:
    """Give the new file the owner, mode and attributes of the old one, and make it durable."""
    os.chown(target, before.st_uid, before.st_gid)
    shutil.copystat(location, target)
    os.utime(target)  # it did change
    with target.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(target.parent)


def _reason(exc: BaseException) -> str:
    return exc.strerror or type(exc).__name__ if isinstance(exc, OSError) else type(exc).__name__
