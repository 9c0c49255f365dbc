"""Erasing a person: each file that holds them is written anew beside itself and swapped in.

What a reader sees is always a whole file, the old one or the new one. Before a swap the journal
says what it replaces; after a crash the same plan is taken up where it ended. A lock on the folder
keeps our own workers apart, so that whatever else lies there of ours is a dead attempt's.

Other writers know no lock of ours. A file that changed since the plan is noticed by its digest
right before the swap; and as the swap exchanges the two files, what was really replaced is looked
at afterwards, and put back if it is not what we read.
"""

import contextlib
import uuid

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
    leaf,
    read_layout,
    version_id,
)
from connectors.folders import file_digest
from connectors.formats.formats import suffix_of
from connectors.formats.person import FileMatch
from connectors.storage import ChangedMeanwhileError, FileEntry, Folder


def outdated(folder: Folder) -> PlanOutdatedError:
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
        self.journal = Journal(self.folder, plan.id)
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
        digests = layout.digests()
        leaves = layout.leaves_by(digests)
        if self.journal.planned_version(leaves) != self.plan.snapshot:
            raise outdated(self.folder)
        self.applied = self.journal.applied(leaves)
        replaced = {e.now for e in self.applied}
        waiting = [e for e in layout.of(Role.DATA) if leaves[e.path] not in replaced]
        looked = self.search.look(waiting, digests=False)
        with contextlib.closing(looked):
            for number, (entry, found) in enumerate(looked):
                self.progress("rewrite", number, len(waiting), self.done_bytes)
                self._file(entry, found.match, digests[entry.path])
                self.done_bytes += entry.bytes
        self.progress("rewrite", len(waiting), len(waiting), self.done_bytes)
        self._drop_checksums()
        self._drop_named_folders()
        return self._finish()

    def _file(self, entry: FileEntry, match: FileMatch, was: str) -> None:
        doomed = self.search.is_doomed(entry.path, match)
        if not match.holds_person and not (doomed and self.search.names.names_person(entry.path)):
            return
        shown = self.search.names.shown(entry.path)
        if shown not in self.plan.objects:
            raise PlanOutdatedError(
                f"Rows were found in {shown}, which the plan does not name. Search and plan again."
            )
        if reasons := list(self.folder.hindrances(entry.path, shown)):
            raise StoreError(f"{' '.join(reasons)} Then run the erasure again.")
        leaf_of_it = leaf(entry.path, entry.bytes, was)
        try:
            if doomed:
                done = Entry(leaf_of_it, "", shown, match.rows, entry.bytes)
                self.journal.add(done)
                self.folder.take_away(entry.path, was, self._beside(entry.path))
            else:
                done = self._replaced(entry, was, shown, leaf_of_it)
        except ChangedMeanwhileError:
            raise outdated(self.folder) from None
        except (OSError, pa.ArrowException) as exc:
            if isinstance(exc, FileNotFoundError) and not self.folder.exists(entry.path):
                raise outdated(self.folder) from exc
            raise StoreError(
                f"The file {shown} could not be rewritten: {_reason(exc)}. It was left as it "
                "is. Check the file, free space and access, then run the erasure again."
            ) from exc
        self.applied.append(done)

    def _replaced(self, entry: FileEntry, was: str, shown: str, leaf_of_it: str) -> Entry:
        draft = self.folder.draft(self._beside(entry.path))
        try:
            draft.touch(mode=0o600, exist_ok=False)
            file = self.search.reader.open(entry.path, shown=shown)
            match = file.rewrite(draft, self.search.person)
            now = leaf(entry.path, draft.stat().st_size, file_digest(draft))
            done = Entry(leaf_of_it, now, shown, match.person, entry.bytes)
            self.journal.add(done)
            self.folder.swap(draft, entry.path, was)
        except Exception:
            draft.unlink(missing_ok=True)
            raise
        return done

    def _beside(self, path: str) -> str:
        """A name of ours in the same folder, which says nothing of the file's own name."""
        parent, slash, name = path.rpartition("/")
        mark = f"{self.plan.id}-{uuid.uuid4().hex[:8]}"
        return f"{parent}{slash}{OURS}{mark}{suffix_of(name)}"

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


def _reason(exc: BaseException) -> str:
    return exc.strerror or type(exc).__name__ if isinstance(exc, OSError) else type(exc).__name__
