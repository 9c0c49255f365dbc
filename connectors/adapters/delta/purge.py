"""Removing what a Delta table keeps of its past: old files, change data, and the log's own copies.

The order matters, and each step may be repeated, so a run that was killed is simply run again:

1. delete every data file, change-data file and deletion vector that the current version does not
   read (deltalake's default vacuum leaves change data and leftovers of crashed writers);
2. set both retention times to zero, so that a checkpoint leaves out the tombstones: they hold
   paths, and with them the values of partition columns;
3. checkpoint, wait until the clock has passed, let deltalake clean its metadata;
4. delete every log file older than that checkpoint: their statistics hold the lowest and highest
   values of each column, and commits of other engines hold predicates ("customer_id = '00004'");
5. in a bucket with versions, delete what it keeps of all these objects: older versions, delete
   markers, and uploads that nobody has completed;
6. put the retention times back and mark the plan as done.

Young files that the log has never named may belong to a writer who is about to commit: they are
left, and reported, until they are an hour old, unless the plan names them.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from connectors.adapters.base import Erased, ErasePlan, PlanOutdatedError, Progress, StoreError
from connectors.adapters.delta.commit import metadata_action, transaction_action, write_commit
from connectors.adapters.delta.erase import mark_of, output_mark
from connectors.adapters.delta.find import nested_tables
from connectors.adapters.delta.log import CHECKPOINT, LOG, read_history
from connectors.adapters.delta.snapshot import History
from connectors.adapters.delta.table import opened_table
from connectors.clock import now
from connectors.folders import masked, without_checksum
from connectors.scan.hidden import planned_items
from connectors.storage import FileEntry, Folder, Hidden
from connectors.sweeping import Sweep

RETENTION = ("delta.logRetentionDuration", "delta.deletedFileRetentionDuration")
SAVED = "vestige.saved."  # where the former retention is kept while it is zero
Change = Callable[[dict[str, str]], dict[str, str]]
_NOW = "interval 0 seconds"
_ATTEMPTS = 10
_TICK_SECONDS = 1.05  # both clocks involved count in whole seconds at worst
_DATA_NAME = re.compile(r"(\.parquet(\.\w+)?|(^|/)deletion_vector_[0-9a-f-]{36}\.bin)$")
_LOG_FILE = re.compile(r"^\.?(\d{20})\.")


def is_history(path: str) -> bool:
    """Whether a file belongs to the table, so that its past is the table's past."""
    return path.startswith(f"{LOG}/") or _DATA_NAME.search(without_checksum(path)) is not None


class Purge:
    """One run over one table."""

    def __init__(
        self,
        folder: Folder,
        subject_columns: Iterable[str],
        plan: ErasePlan,
        progress: Progress,
        grace: timedelta,
    ) -> None:
        self.folder = folder
        self.columns = list(subject_columns)
        self.plan = plan
        self.progress = progress
        self.grace = grace
        self.swept = Sweep(self.columns, progress)
        self.left: list[str] = []

    def run(self) -> Erased:
        """Raises StoreError when the plan's rows are still in the current version."""
        if not self.plan.objects:  # nobody was found: nothing justifies losing the history
            return Erased(self.plan.snapshot, 0, (), (), {"note": "nothing to purge"})
        head = read_history(self.folder).head
        if mark_of(self.plan, "purged") in head.transactions:
            # What the table keeps by now came after the purge: it is none of this plan's.
            return Erased(str(head.version), 0, (), (), {"note": "purged by an earlier attempt"})
        self._sweep()
        self._expire()
        log_files = self._cut_log()
        log_files += self._remove_old_log()
        self._remove_hidden()
        self._restore()
        version = str(read_history(self.folder).head.version)
        return self.swept.result(version, log_files_removed=log_files, young_files_left=self.left)

    def _sweep(self) -> None:
        # List first, then read the log: whatever a writer commits in between is in the log.
        entries = self.folder.entries()
        history = read_history(self.folder)
        live = self._live_paths(history)
        named = {masked(path, self.columns) for path in history.head.files}
        if unfinished := sorted(named & set(self.plan.objects)):
            raise StoreError(
                f"The current version of the table {self.folder.root} still reads {unfinished[0]}, "
                "which the plan erases rows from. Erase first, then purge."
            )
        doomed = self._doomed(entries, live, history.known_paths)
        self.swept.files(self.folder, doomed)
        self._drop_empty_folders(doomed)

    def _live_paths(self, history: History) -> set[str]:
        live = set()
        for file in history.head.files.values():
            live.add(file.path)
            if file.vector_path:
                live.add(file.vector_path)
        return live

    def _doomed(
        self, entries: Sequence[FileEntry], live: set[str], known: set[str]
    ) -> list[FileEntry]:
        others = nested_tables(entries)
        doomed = []
        for entry in entries:
            path = without_checksum(entry.path)
            if path in live or entry.link or path.startswith((f"{LOG}/", *others)):
                continue
            if self._is_past(path, known):
                doomed.append(entry)
            elif _DATA_NAME.search(path):
                if now() - entry.modified > self.grace:
                    doomed.append(entry)
                else:
                    self.left.append(masked(path, self.columns))
        return doomed

    def _is_past(self, path: str, known: set[str]) -> bool:
        return (
            path in known
            or masked(path, self.columns) in self.plan.objects
            or path.endswith(output_mark(self.plan))  # of an attempt that did not commit
        )

    def _drop_empty_folders(self, doomed: Sequence[FileEntry]) -> None:
        """A folder's name can hold an identifier too ("customer_id=00004")."""
        left = {e.path.rpartition("/")[0] for e in doomed} - {""}
        partitions = {f for f in self.folder.folders() if "=" in f.rpartition("/")[2]}
        self.folder.remove_empty_folders({f for f in left | partitions if not f.startswith(LOG)})

    def _expire(self) -> None:
        def expired(configuration: dict[str, str]) -> dict[str, str]:
            if any(name.startswith(SAVED) for name in configuration):
                return configuration  # of a purge that was killed; its values are the right ones
            saved = {f"{SAVED}{name}": configuration.get(name, "") for name in RETENTION}
            return {**configuration, **dict.fromkeys(RETENTION, _NOW), **saved}

        self._set_properties(expired, mark_of(self.plan, "purging"))

    def _remove_hidden(self) -> None:
        hidden = self.folder.hidden()
        others = nested_tables(self.folder.entries())
        planned = set(planned_items(hidden, self.plan.objects))
        doomed = [
            item
            for item in hidden
            if item in planned
            or (is_history(item.path) and not item.path.startswith(others) and self._is_old(item))
        ]
        self.swept.hidden(self.folder, doomed)

    def _is_old(self, item: Hidden) -> bool:
        """An upload may be a writer's who is about to complete it; the rest is over."""
        mine = item.path.endswith(output_mark(self.plan))
        return item.kind != "upload" or mine or now() - item.modified > self.grace

    def _restore(self) -> None:
        def restored(configuration: dict[str, str]) -> dict[str, str]:
            kept = {
                name: value
                for name, value in configuration.items()
                if not name.startswith(SAVED) and name not in RETENTION
            }
            for name in RETENTION:
                if former := configuration.get(f"{SAVED}{name}", ""):
                    kept[name] = former
            return kept

        self._set_properties(restored, mark_of(self.plan, "purged"))

    def _set_properties(self, change: Change, mark: str) -> None:
        for _ in range(_ATTEMPTS):
            head = read_history(self.folder).head
            if mark in head.transactions:
                return  # an earlier run came this far
            actions = [
                metadata_action(head, change(head.configuration)),
                transaction_action(mark, head.version + 1),
            ]
            try:
                write_commit(self.folder, head, operation="SET TBLPROPERTIES", actions=actions)
            except PlanOutdatedError:
                continue  # another writer was first; the change is as right on top of theirs
            return
        raise StoreError(
            f"Other writers committed to the table {self.folder.root} {_ATTEMPTS} times in a row. "
            "Run the purge again when the table is quieter."
        )

    def _cut_log(self) -> int:
        """Checkpoint, let every tombstone expire, and remove the log before the checkpoint."""
        newest = read_history(self.folder).newest_removal
        if newest is not None:
            _sleep_until(newest + timedelta(seconds=_TICK_SECONDS))
        try:
            with opened_table(self.folder, writes_log=True) as table:
                table.create_checkpoint()
            time.sleep(_TICK_SECONDS)
            before = len(self.folder.names(LOG))
            with opened_table(self.folder, writes_log=True) as table:
                table.cleanup_metadata()
        except (DeltaError, OSError) as exc:
            raise StoreError(
                f"The log of the table {self.folder.root} could not be checkpointed: {exc}"
            ) from exc
        return before - len(self.folder.names(LOG))

    def _remove_old_log(self) -> int:
        names = self.folder.names(LOG)
        checkpoints = [int(m["version"]) for n in names if (m := CHECKPOINT.match(n))]
        if not checkpoints:
            raise StoreError(
                f"The table {self.folder.root} has no checkpoint, so its log cannot be cut."
            )
        newest = max(checkpoints)
        doomed = [f"{LOG}/{n}" for n in names if (m := _LOG_FILE.match(n)) and int(m[1]) < newest]
        doomed += self._stale_log_files(newest)
        for number, path in enumerate(doomed):
            self.progress("purge log", number, len(doomed), 0)
            self.folder.remove(path)
        self.progress("purge log", len(doomed), len(doomed), 0)
        return len(doomed)

    def _stale_log_files(self, newest: int) -> list[str]:
        """Unread sidecars of older checkpoints, and what crashed writers left in the log."""
        read = self._sidecars(newest)
        stale = []
        for entry in self.folder.entries():
            inner, name = entry.path.rpartition("/")[::2]
            if not inner.startswith(LOG):
                continue
            if inner == f"{LOG}/_sidecars":
                stale += [entry.path] if name not in read else []
            elif inner != LOG:
                found = _LOG_FILE.match(name)
                stale += [entry.path] if found and int(found[1]) < newest else []
            elif name.endswith(".tmp") and now() - entry.modified > self.grace:
                stale.append(entry.path)
        return stale

    def _sidecars(self, version: int) -> set[str]:
        """The sidecar files that the checkpoint of this version reads, if it is a v2 one."""
        read: set[str] = set()
        for name in self.folder.names(LOG):
            found = CHECKPOINT.match(name)
            if not found or int(found["version"]) != version:
                continue
            path = f"{LOG}/{name}"
            if found["type"] == "json":
                lines = map(json.loads, self.folder.read(path).splitlines())
                read |= {line["sidecar"]["path"] for line in lines if "sidecar" in line}
                continue
            try:
                with self.folder.opened(path) as location, pq.ParquetFile(location) as file:
                    if "sidecar" in file.schema_arrow.names:
                        rows = file.read(columns=["sidecar"]).to_pylist()
                        read |= {r["sidecar"]["path"] for r in rows if r["sidecar"]}
            except (OSError, pa.ArrowException) as exc:
                raise StoreError(f"The checkpoint {path} cannot be read: {exc}") from exc
        return read


def _sleep_until(moment: datetime) -> None:
    time.sleep(min(max((moment - now()).total_seconds(), 0), 2 * _TICK_SECONDS))
