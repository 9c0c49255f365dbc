"""Erasing a person while older versions stay readable: their files and the log are rewritten.

`rewrite_history` (the erasure) ends with no version that reads the person, the purge (`replaced`)
with no byte of them. Each step may be repeated, so a run that was killed is run again:

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

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

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
from connectors.adapters.delta.commits import Commits, commit_path, log_is_whole, written
from connectors.adapters.delta.erase import (
    Job,
    Rewriting,
    erase_rows,
    indexed_columns,
    mark_of,
    output_mark,
    require_written,
)
from connectors.adapters.delta.find import physical_targets
from connectors.adapters.delta.journal import Journal
from connectors.adapters.delta.log import CHECKPOINT, LOG, read_history
from connectors.adapters.delta.search import Finding, Search, Target
from connectors.adapters.delta.snapshot import DataFile, History
from connectors.engines import Engine
from connectors.folders import masked, without_checksum
from connectors.scan.content import scan_content
from connectors.scan.record import Record
from connectors.storage import Folder

_CHECKSUM = re.compile(r"^(\.\d{20}\.json\.crc|\d{20}\.crc)$")
_COMPACTED = re.compile(r"^\.?\d{20}\.\d{20}\.compacted\.json(\.crc)?$")
_LAST_CHECKPOINT = re.compile(r"^\.?_last_checkpoint(\.crc)?$")


def rewrite_history(
    folder: Folder,
    subject_columns: Iterable[str],
    plan: ErasePlan,
    needles: Needles,
    progress: Progress,
    engine: Engine,
) -> Erased:
    """Raises PlanOutdatedError, ResidueError, StoreError. Whatever it was that stopped it, every
    version can be read, and the same plan or a new one goes on from there."""
    return _History(folder, subject_columns, plan, needles, progress, engine).run()


class _History:
    def __init__(
        self,
        folder: Folder,
        subject_columns: Iterable[str],
        plan: ErasePlan,
        needles: Needles,
        progress: Progress,
        engine: Engine,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.needles = needles
        self.progress = progress
        self.engine = engine
        self.search = Search(folder, read_history(folder), subject_columns, needles)
        self.journal = Journal(folder, plan.id)
        self.commits = Commits(folder, plan, progress)

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
        erased = erase_rows(
            self.folder, columns, self.plan, self.needles, self.progress, self.engine
        )
        history = read_history(self.folder)
        version = history.head.transactions.get(mark_of(self.plan, "erased"))
        notes = {} if version is None else history.commit_details.get(version, {})
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
        scan_content(written(actions), commit_path(0), record)
        return bool(record.counts or record.suspects)

    def _rewrite_files(self) -> None:
        entries = self.folder.entries()  # first: what is committed in between is in the log then
        history = read_history(self.folder)
        known = {a.path for a in self.journal.amendments}
        left = [t for t in physical_targets(history, entries) if t.path not in known]
        targets = self._with_person([t for t in left if self._is_planned(t)])
        for target in targets:
            if target.kind == "orphan":
                self.journal.add(Amendment(target.path, None))
        files = [t for t in targets if t.kind != "orphan"]
        self._refuse_brought_back(files, history)
        jobs = [Job(_file_of(target), number) for number, target in enumerate(files)]
        task = Rewriting(self.search, output_mark(self.plan), indexed_columns(history.head))
        done_bytes = 0
        rewritten = self.engine.map_files(task, jobs)
        with contextlib.closing(rewritten):
            for number, (job, replacement) in enumerate(rewritten):
                self.progress("rewrite", number, len(jobs), done_bytes)
                done_bytes += job.file.bytes
                require_written(task, job, replacement)
                self.journal.add(replacement.amendment)
        self.progress("rewrite", len(jobs), len(jobs), done_bytes)

    def _with_person(self, targets: Sequence[Target]) -> list[Target]:
        holding = set()
        found = self.engine.map_files(Finding(self.search), targets)
        with contextlib.closing(found):
            for number, (target, match) in enumerate(found):
                self.progress("find", number, len(targets), 0)
                if match and match.rows:
                    holding.add(target.path)
        return [target for target in targets if target.path in holding]

    def _is_planned(self, target: Target) -> bool:
        """Rows that came after the plan are of another one; the final scan finds them."""
        return masked(target.path, self.search.subject_columns) in self.plan.objects

    def _refuse_brought_back(self, targets: Iterable[Target], history: History) -> None:
        if any(target.path in history.head.files for target in targets):
            raise PlanOutdatedError(
                f"Another writer has brought back a file of the table {self.folder.root} that the "
                "plan erases rows from. Plan again."
            )

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


def _file_of(target: Target) -> DataFile:
    return DataFile(target.path, target.bytes, target.partition_values, {}, None, target.path)


def _is_checkpoint(name: str) -> bool:
    return CHECKPOINT.match(without_checksum(name)) is not None
