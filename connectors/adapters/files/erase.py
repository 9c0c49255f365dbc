"""Erasing a person: each file that holds them is written anew beside itself and swapped in.

What a reader sees is always a whole file, the old one or the new one. Before a swap the journal
says what it replaces; after a crash the same plan is taken up where it ended. A lock on the folder
keeps our own workers apart, so that whatever else lies there of ours is a dead attempt's. The new
files may come from an engine (see `replace`).

Other writers know no lock of ours. A file that changed since the plan is noticed by its digest
right before the swap; and as the swap exchanges the two files, what was really replaced is looked
at afterwards, and put back if it is not what we read.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

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
    Role,
    checked_file,
    leaf,
    read_layout,
    version_id,
)
from connectors.adapters.files.replace import (
    Rewriting,
    Written,
    fault,
    outdated,
    require_written,
)
from connectors.engines import Local
from connectors.folders import file_digest
from connectors.formats.person import FileMatch
from connectors.storage import ChangedMeanwhileError, FileEntry


class Erasure:
    """One run of one plan, under the folder's lock."""

    def __init__(self, search: Search, plan: ErasePlan, progress: Progress) -> None:
        self.search = search
        self.folder = search.layout.folder
        self.plan = plan
        self.progress = progress
        self.journal = Journal(self.folder, plan.id)
        self.applied: list[Entry] = []
        self.task = Rewriting(self.folder, search.reader, search.person, plan.id)

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
        affected = self._affected(waiting)
        doomed = {e.path for e, match in affected if self.search.is_doomed(e.path, match)}
        self._rewrite([e for e, _ in affected if e.path not in doomed], digests)
        for entry, match in affected:
            if entry.path in doomed:
                self._take_away(entry, match.rows, digests[entry.path])
        self._drop_checksums()
        self._drop_named_folders()
        return self._finish()

    def _affected(self, waiting: Sequence[FileEntry]) -> list[tuple[FileEntry, FileMatch]]:
        """Files that hold the person, in order. Raises before anything was changed."""
        found: dict[str, FileMatch] = {}
        looked = self.search.look(waiting, digests=False)
        with contextlib.closing(looked):
            for entry, seen in looked:
                self.progress("find", len(found), len(waiting), 0)
                found[entry.path] = seen.match
        affected = [(e, found[e.path]) for e in waiting if self._holds(e.path, found[e.path])]
        for entry, _ in affected:
            self._require_erasable(entry.path)
        return affected

    def _holds(self, path: str, match: FileMatch) -> bool:
        named = self.search.names.names_person(path) and self.search.is_doomed(path, match)
        return match.holds_person or named

    def _require_erasable(self, path: str) -> None:
        shown = self.search.names.shown(path)
        if shown not in self.plan.objects:
            raise PlanOutdatedError(
                f"Rows were found in {shown}, which the plan does not name. Search and plan again."
            )
        if reasons := list(self.folder.hindrances(path, shown)):
            raise StoreError(f"{' '.join(reasons)} Then run the erasure again.")

    def _take_away(self, entry: FileEntry, rows: int, was: str) -> None:
        """A file that goes as a whole."""
        shown = self.search.names.shown(entry.path)
        done = Entry(leaf(entry.path, entry.bytes, was), "", shown, rows, entry.bytes)
        with self._explained(entry):
            self.journal.add(done)
            self.folder.take_away(entry.path, was, self.task.aside(entry.path))
        self.applied.append(done)

    def _rewrite(self, entries: Sequence[FileEntry], digests: Mapping[str, str]) -> None:
        """Drafts come from an engine, if it can put them where they are seen from here."""
        engine = self.search.engine if self.folder.shares_drafts else Local()
        size = 0
        self.progress("rewrite", 0, len(entries), size)
        rewritten = engine.map_files(self.task, entries)
        with contextlib.closing(rewritten):
            for number, (entry, written) in enumerate(rewritten, 1):
                require_written(self.task, entry, written)
                self._exchange(entry, written, digests[entry.path])
                size += entry.bytes
                self.progress("rewrite", number, len(entries), size)

    def _exchange(self, entry: FileEntry, written: Written, was: str) -> None:
        draft = self.folder.draft(written.aside)
        shown = self.search.names.shown(entry.path)
        now = leaf(entry.path, written.bytes, file_digest(draft))
        done = Entry(leaf(entry.path, entry.bytes, was), now, shown, written.rows, entry.bytes)
        try:
            with self._explained(entry):
                self.journal.add(done)
                self.folder.swap(draft, entry.path, was)
        except Exception:
            draft.unlink(missing_ok=True)
            raise
        self.applied.append(done)

    @contextmanager
    def _explained(self, entry: FileEntry) -> Iterator[None]:
        try:
            yield
        except ChangedMeanwhileError:
            raise outdated(self.folder) from None
        except OSError as exc:
            shown = self.search.names.shown(entry.path)
            raise fault(self.folder, entry.path, shown, exc) from exc

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
