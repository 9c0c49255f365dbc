"""Erasing a person while older versions stay readable: their files and the log are rewritten.

`rewrite_history` (the erasure) ends with no version that reads the person, `purge_replaced` (the
purge) with no byte of them. Each step may be repeated, so a run that was killed is run again:

1. the current version is erased from as always, by one commit, and so by the rules of concurrency:
   a writer who read one of the person's files conflicts with it, and nobody names these files
   from then on;
2. each other file of any version, and of change data, that holds the person is written anew, and a
   journal says which it is instead of;
3. each commit that names such a file is replaced by one that holds for both files (see `amend`),
   the newest first. It keeps its number and its time;
4. checkpoints, compacted commits and checksums repeat what the commits said, and go: readers take
   the commits, and have the new state;
5. each commit is replaced by what it says in the end, without the old files;
6. the old files go, leftovers, what a bucket keeps of all these, and last the journal.

A table whose earliest commits were cleaned up has no such log: its plan has a blocker.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from deltalake.exceptions import DeltaError

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    Needles,
    PlanOutdatedError,
    Progress,
    StoreError,
)
from connectors.adapters.delta.amend import (
    REPLACED,
    Action,
    Amender,
    Amendment,
    cleaned,
    is_metadata,
)
from connectors.adapters.delta.erase import (
    erase_rows,
    fresh_name,
    mark_of,
    output_mark,
    replace_file,
)
from connectors.adapters.delta.find import Search, Target, nested_tables, physical_targets
from connectors.adapters.delta.journal import Journal
from connectors.adapters.delta.log import CHECKPOINT, COMMIT, LOG, read_history
from connectors.adapters.delta.snapshot import DataFile, History
from connectors.adapters.delta.table import opened_table
from connectors.clock import now
from connectors.folders import masked, without_checksum
from connectors.scan.content import scan_content
from connectors.scan.hidden import planned_items
from connectors.scan.record import Record
from connectors.storage import ChangedMeanwhileError, FileEntry, Folder

_CHECKSUM = re.compile(r"^(\.\d{20}\.json\.crc|\d{20}\.crc)$")
_COMPACTED = re.compile(r"^\.?\d{20}\.\d{20}\.compacted\.json(\.crc)?$")
# What we write: rewritten files, commits before they are swapped in, journals.
_OUTPUT = re.compile(
    r"\.vestige-[0-9a-f]{12}\.(parquet|tmp)$|^_vestige-[0-9a-f]{32}\.(\d+\.)?journal$"
)
_LAST_CHECKPOINT = re.compile(r"^\.?_last_checkpoint(\.crc)?$")


def log_is_whole(folder: Folder) -> bool:
    """Whether every commit from the first on is still there."""
    versions = sorted(int(m[1]) for name in folder.names(LOG) if (m := COMMIT.match(name)))
    return versions == list(range(len(versions))) and bool(versions)


def _written(actions: Iterable[Action]) -> bytes:
    return "".join(json.dumps(a, separators=(",", ":")) + "\n" for a in actions).encode()


def _commit_path(version: int) -> str:
    return f"{LOG}/{version:020d}.json"


class _Commits:
    """The log's commits, each replaced at once or not at all."""

    def __init__(self, folder: Folder, plan: ErasePlan, progress: Progress) -> None:
        self.folder = folder
        self.mark = output_mark(plan).removesuffix(".parquet")
        self.progress = progress

    def actions(self, version: int) -> list[Action]:
        lines = self.folder.read(_commit_path(version)).splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def versions(self) -> list[int]:
        return [int(m[1]) for name in self.folder.names(LOG) if (m := COMMIT.match(name))]

    def replace_all(self, change: Callable[[list[Action]], list[Action]]) -> int:
        """Replace those that the change makes others, the newest first, and those too that came
        meanwhile. Returns how many."""
        seen: set[int] = set()
        replaced = 0
        while new := sorted(set(self.versions()) - seen, reverse=True):
            for number, version in enumerate(new):
                self.progress("rewrite log", number, len(new), 0)
                replaced += self._replace(version, change)
            self.progress("rewrite log", len(new), len(new), 0)
            seen.update(new)
        return replaced

    def _replace(self, version: int, change: Callable[[list[Action]], list[Action]]) -> bool:
        path = _commit_path(version)
        body = self.folder.read(path)
        before = [json.loads(line) for line in body.splitlines() if line.strip()]
        after = change(before)
        if after == before:
            return False
        # Hadoop refuses a file that is not what the checksum beside it says.
        self.folder.remove(f"{LOG}/.{version:020d}.json.crc")
        draft = self.folder.draft(f"{LOG}/.{version:020d}.json{self.mark}.tmp")
        draft.write_bytes(_written(after))
        try:
            self.folder.swap(draft, path, hashlib.sha256(body).hexdigest(), keeps_time=True)
        except ChangedMeanwhileError as exc:
            draft.unlink(missing_ok=True)
            raise StoreError(
                f"The log file {path} of {self.folder.root} was replaced by somebody else while "
                "the history was rewritten. Nothing is lost: run the erasure again."
            ) from exc
        return True


def rewrite_history(
    folder: Folder,
    subject_columns: Iterable[str],
    plan: ErasePlan,
    needles: Needles,
    progress: Progress,
) -> Erased:
    """Raises PlanOutdatedError (nothing was changed), ResidueError, StoreError."""
    return _Rewriting(folder, subject_columns, plan, needles, progress).run()


class _Rewriting:
    def __init__(
        self,
        folder: Folder,
        subject_columns: Iterable[str],
        plan: ErasePlan,
        needles: Needles,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.needles = needles
        self.progress = progress
        self.search = Search(folder, read_history(folder), subject_columns, needles)
        self.journal = Journal(folder, plan.id)
        self.commits = _Commits(folder, plan, progress)

    def run(self) -> Erased:
        if not self.journal.begun:
            self._begin()
        if not self.journal.done:
            self._rewrite_files()
            self.journal.read()
            amender = Amender(self.journal.amendments)
            self.commits.replace_all(lambda actions: self._cleaned(amender.between(actions)))
            self._drop_copies()
            self.journal.finish()
        return self._erased()

    def _begin(self) -> None:
        """The current version, by a commit of its own."""
        self._require_clean_metadata()
        had_checkpoint = any(CHECKPOINT.match(name) for name in self.folder.names(LOG))
        columns = self.search.subject_columns
        erased = erase_rows(self.folder, columns, self.plan, self.needles, self.progress)
        history = read_history(self.folder)
        version = history.head.transactions.get(mark_of(self.plan, "erased"))
        notes = {} if version is None else history.commit_details[version]
        amendments = [Amendment(**found) for found in notes.get(REPLACED, ())]
        self.journal.begin(erased, amendments, had_checkpoint=had_checkpoint)

    def _require_clean_metadata(self) -> None:
        for version in self.commits.versions():
            metadata = [a for a in self.commits.actions(version) if is_metadata(a)]
            if self._name_person(metadata):
                raise StoreError(
                    f"Version {version} of the table {self.folder.root} names the person in its "
                    "schema, properties or marks, which cannot be rewritten. Nothing was erased: "
                    'plan with mode "purge".'
                )

    def _cleaned(self, actions: list[Action]) -> list[Action]:
        if not self._name_person(actions):
            return actions
        return [cleaned(action, lambda a: self._name_person([a])) for action in actions]

    def _name_person(self, actions: list[Action]) -> bool:
        """As the final scan reads them."""
        record = Record(self.search.identifiers)
        scan_content(_written(actions), _commit_path(0), record)
        return bool(record.counts or record.suspects)

    def _rewrite_files(self) -> None:
        entries = self.folder.entries()  # first: what is committed in between is in the log then
        history = read_history(self.folder)
        known = {a.path for a in self.journal.amendments}
        targets = [t for t in physical_targets(history, entries) if t.path not in known]
        done_bytes = 0
        for number, target in enumerate(targets):
            self.progress("rewrite", number, len(targets), done_bytes)
            done_bytes += target.bytes
            if self._is_planned(target) and self.search.file(target).rows:
                self._rewrite(target, history, number)
        self.progress("rewrite", len(targets), len(targets), done_bytes)

    def _is_planned(self, target: Target) -> bool:
        """Rows that came after the plan are of another one; the final scan finds them."""
        return masked(target.path, self.search.subject_columns) in self.plan.objects

    def _rewrite(self, target: Target, history: History, number: int) -> None:
        if target.kind == "orphan":
            self.journal.add(Amendment(target.path, None))
            return
        if target.path in history.head.files:
            raise PlanOutdatedError(
                f"Another writer has brought back a file of the table {self.folder.root} that the "
                "plan erases rows from. Plan again."
            )
        file = DataFile(target.path, target.bytes, target.partition_values, None, None, target.path)
        path = fresh_name(self.plan, target.path, number)
        self.journal.add(replace_file(self.search, history.head, file, path).amendment)

    def _drop_copies(self) -> None:
        """What repeats the old state. The commits have to be whole: they are all that is left."""
        if not log_is_whole(self.folder):
            raise StoreError(
                f"Commits of the table {self.folder.root} were cleaned up while its history was "
                "rewritten. No version was lost, but older ones cannot be kept: plan with mode "
                '"purge".'
            )
        names = self.folder.names(LOG)
        doomed = [n for n in names if _LAST_CHECKPOINT.match(n)]  # first: it points to the others
        doomed += [n for n in names if _is_checkpoint(n)]
        doomed += [n for n in names if _CHECKSUM.match(n) or _COMPACTED.match(n)]
        doomed += [f"_sidecars/{n}" for n in self.folder.names(f"{LOG}/_sidecars")]
        for name in doomed:
            self.folder.remove(f"{LOG}/{name}")

    def _erased(self) -> Erased:
        erased = self.journal.erased
        if erased is None:
            raise AssertionError("a journal that was begun says what was erased")
        columns = self.search.subject_columns
        amendments = Amender(self.journal.amendments).by_path.values()
        return replace(
            erased,
            objects_removed=tuple(masked(a.path, columns) for a in amendments),
            objects_added=tuple(masked(a.new, columns) for a in amendments if a.new),
        )


def _is_checkpoint(name: str) -> bool:
    return CHECKPOINT.match(without_checksum(name)) is not None


def purge_replaced(
    folder: Folder,
    subject_columns: Iterable[str],
    plan: ErasePlan,
    progress: Progress,
    grace: timedelta,
) -> Erased:
    """Remove what `rewrite_history` replaced. `grace`: how old what other plans of ours have left
    must be to go too. Raises StoreError when the history has not been rewritten."""
    return _Removal(folder, list(subject_columns), plan, progress, grace).run()


class _Removal:
    def __init__(
        self,
        folder: Folder,
        subject_columns: list[str],
        plan: ErasePlan,
        progress: Progress,
        grace: timedelta,
    ) -> None:
        self.folder = folder
        self.grace = grace
        self.columns = subject_columns
        self.plan = plan
        self.progress = progress
        self.journal = Journal(folder, plan.id)
        self.removed: list[str] = []
        self.removed_bytes = 0

    def run(self) -> Erased:
        if not self.journal.done:
            history = read_history(self.folder)
            self._require_unread(history)
            note = "purged by an earlier attempt"
            return Erased(str(history.head.version), 0, (), (), {"note": note})
        amender = Amender(self.journal.amendments, mark_of(self.plan, "erased"))
        rewritten = _Commits(self.folder, self.plan, self.progress).replace_all(amender.final)
        history = read_history(self.folder)
        self._require_unread(history)
        self._remove_files(history, amender)
        if self.journal.had_checkpoint:
            self._checkpoint()
        self._remove_hidden()
        self.journal.remove()
        return Erased(
            new_version=str(history.head.version),
            rows=0,
            objects_removed=tuple(self.removed),
            objects_added=(),
            detail={
                "files_removed": len(self.removed),
                "bytes_removed": self.removed_bytes,
                "commits_rewritten": rewritten,
            },
        )

    def _require_unread(self, history: History) -> None:
        """No version may read what goes now, and none may have been left half-way."""
        read = {masked(path, self.columns) for s in history.snapshots for path in s.files}
        read |= {masked(path, self.columns) for path in history.change_files}
        unfinished = sorted(read & set(self.plan.objects))
        if unfinished or (self.journal.begun and not self.journal.done):
            raise StoreError(
                f"Versions of the table {self.folder.root} may still read rows that the plan "
                f"erases ({len(unfinished)} files). Erase first, then purge."
            )

    def _remove_files(self, history: History, amender: Amender) -> None:
        others = nested_tables(self.folder.entries())
        doomed = [
            entry
            for entry in self.folder.entries()
            if not entry.link
            and not entry.path.startswith(others)
            and self._is_over(entry, history, amender)
        ]
        for number, entry in enumerate(doomed):
            self.progress("purge", number, len(doomed), self.removed_bytes)
            self.folder.remove(entry.path)
            self.removed.append(masked(entry.path, self.columns))
            self.removed_bytes += entry.bytes
        self.progress("purge", len(doomed), len(doomed), self.removed_bytes)
        left = {e.path.rpartition("/")[0] for e in doomed} - {""}
        self.folder.remove_empty_folders({f for f in left if not f.startswith(LOG)})

    def _is_over(self, entry: FileEntry, history: History, amender: Amender) -> bool:
        path = without_checksum(entry.path)
        name = path.rpartition("/")[2]
        # A dead attempt's: of this plan, or of one that nobody takes up any more.
        mine = self.plan.id[:12] in name or now() - entry.modified > self.grace
        leftover = mine and _OUTPUT.search(name) is not None
        planned = masked(path, self.columns) in self.plan.objects
        if path.startswith(f"{LOG}/"):
            current = COMMIT.match(name) or CHECKPOINT.match(name) or self.journal.owns(path)
            return not current and (planned or leftover)
        return path in amender.by_path or planned or (leftover and path not in history.known_paths)

    def _checkpoint(self) -> None:
        if any(CHECKPOINT.match(name) for name in self.folder.names(LOG)):
            return  # of an earlier attempt, or another writer's: as new as the log
        try:
            with opened_table(self.folder, writes_log=True) as table:
                table.create_checkpoint()
        except (DeltaError, OSError) as exc:
            raise StoreError(
                f"The log of the table {self.folder.root} could not be checkpointed: {exc}"
            ) from exc

    def _remove_hidden(self) -> None:
        """The log's own older states, and what else the plan names."""
        hidden = self.folder.hidden()
        planned = set(planned_items(hidden, self.plan.objects))
        doomed = [
            item
            for item in hidden
            if item in planned or (item.path.startswith(f"{LOG}/") and item.kind != "upload")
        ]
        self.folder.remove_hidden(doomed)
        self.removed += [masked(item.path, self.columns) for item in doomed]
        self.removed_bytes += sum(item.bytes for item in doomed)
