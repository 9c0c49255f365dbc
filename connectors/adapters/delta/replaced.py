"""Removing what an erasure that keeps history has replaced; see `keep` for the order of it all."""

import re
from collections.abc import Iterable
from datetime import timedelta

from deltalake.exceptions import DeltaError

from connectors.adapters.base import Erased, ErasePlan, Progress, StoreError
from connectors.adapters.delta.amend import Amender
from connectors.adapters.delta.commits import Commits
from connectors.adapters.delta.erase import mark_of
from connectors.adapters.delta.find import nested_tables
from connectors.adapters.delta.journal import Journal
from connectors.adapters.delta.log import CHECKPOINT, COMMIT, LOG, read_history
from connectors.adapters.delta.snapshot import History
from connectors.adapters.delta.table import opened_table
from connectors.clock import now
from connectors.folders import masked, without_checksum
from connectors.scan.hidden import planned_items
from connectors.storage import FileEntry, Folder
from connectors.sweeping import Sweep

# What we write: rewritten files, commits before they are swapped in, journals.
_OUTPUT = re.compile(
    r"\.vestige-[0-9a-f]{12}\.(parquet|tmp)$|^_vestige-[0-9a-f]{32}\.(\d+\.)?journal$"
)


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
        self.swept = Sweep(subject_columns, progress)

    def run(self) -> Erased:
        if not self.journal.done:
            history = read_history(self.folder)
            self._require_unread(history)
            note = "purged by an earlier attempt"
            return Erased(str(history.head.version), 0, (), (), {"note": note})
        amender = Amender(self.journal.amendments, mark_of(self.plan, "erased"))
        rewritten = Commits(self.folder, self.plan, self.progress).replace_all(amender.final)
        history = read_history(self.folder)
        self._require_unread(history)
        self._remove_files(history, amender)
        if self.journal.had_checkpoint:
            self._checkpoint()
        self._remove_hidden()
        self.journal.remove()
        return self.swept.result(str(history.head.version), commits_rewritten=rewritten)

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
        self.swept.files(self.folder, doomed)
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
        self.swept.hidden(self.folder, doomed)
