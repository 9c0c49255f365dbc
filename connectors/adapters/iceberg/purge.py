"""Removing what an Iceberg table keeps of its past.

`expire_snapshots` of Iceberg's library deletes no files, and manifests describe removed files with
their values. The order matters, and each step may be repeated, so a run that was killed is simply
run again:

1. one commit: each branch and tag whose manifests describe removed files gets a snapshot without
   them, every other snapshot is expired, with its statistics, and the plan's mark is set. Where
   history is kept, the mark alone: no snapshot names the person any more (see `keep`);
2. the metadata that is current now is made durable;
3. everything below the folder that only older metadata leads to is deleted, data first and the
   metadata that names it last, so that a killed run still knows what is past; with it what a
   bucket with versions keeps: older versions, delete markers, and uploads that nobody has
   completed. A metadata file without the plan's mark is from before the purge; once none is left,
   an older version neither, the purge is done, and whatever the table keeps by then came later;
4. the catalog's own file (SQLite) is rewritten without its free pages.

Young files that no metadata ever named may belong to a writer who is about to commit: they are
left, and reported, until they are an hour old, unless the plan names them.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyiceberg.serializers import FromInputFile
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    RemovePartitionStatisticsUpdate,
    RemoveSnapshotsUpdate,
    RemoveStatisticsUpdate,
    TableUpdate,
)

from connectors.adapters.base import Erased, ErasePlan, PlanOutdatedError, Progress, StoreError
from connectors.adapters.iceberg.catalog import commit
from connectors.adapters.iceberg.erase import mark_of, output_mark, set_mark
from connectors.adapters.iceberg.files import FolderInput
from connectors.adapters.iceberg.find import nested_tables
from connectors.adapters.iceberg.snapshots import Drafts
from connectors.adapters.iceberg.table import TableView
from connectors.clock import now
from connectors.folders import masked, without_checksum
from connectors.scan.hidden import planned_items
from connectors.storage import FileEntry, Hidden
from connectors.sweeping import Sweep

_METADATA_NAME = re.compile(r"\.metadata\.json(\.gz)?$")
_NUMBER = re.compile(r"v?(\d+)[-.]")
_WRITTEN_NAME = re.compile(r"\.(parquet|avro|orc|metadata\.json|stats|puffin)(\.gz|\.crc)?$")
_LAST = 3


def is_history(path: str) -> bool:
    """Whether a file belongs to a table by its name, so that its past is the table's past."""
    return _WRITTEN_NAME.search(without_checksum(path)) is not None


class Purge:
    """One run over one table. `hidden`: keys of paths that may hold identifiers."""

    def __init__(
        self,
        plan: ErasePlan,
        progress: Progress,
        grace: timedelta,
        hidden: Sequence[str],
    ) -> None:
        self.plan = plan
        self.progress = progress
        self.grace = grace
        self.hidden = hidden
        self.swept = Sweep(hidden, progress)
        self.left: list[str] = []

    def expire(self, view: TableView) -> bool:
        """Commit a state without a past; False when another writer was first.

        Raises StoreError when the plan was not carried out yet.
        """
        mark = mark_of(view.metadata, self.plan)
        if mark and mark.get("step") == "purged":
            return True  # what the table keeps by now came after the purge, and stays
        if not mark:
            raise StoreError(
                f"The plan was not carried out in the table {view.name} yet. Erase first, then "
                "purge."
            )
        drafts = Drafts(view, output_mark(self.plan))
        try:
            with drafts.writing():
                commit(view.table, self._expiring(view, drafts))
        except PlanOutdatedError:
            return False
        return True

    def _expiring(self, view: TableView, drafts: Drafts) -> list[TableUpdate]:
        if self.plan.mode == "keep_history":  # each snapshot is clean already
            return [self._purged(view)]
        heads = (*view.branches.values(), *view.tags.values())
        if any(view.has_delete_files(snapshot) for snapshot in heads):
            raise StoreError(
                f"The table {view.name} has delete files (merge-on-read) by now, which hide rows "
                "and keep them. Compact it, then search and plan again."
            )
        refs: dict[str, Snapshot] = {}
        clean: dict[int, Snapshot] = {}
        for name, snapshot in {**view.branches, **view.tags}.items():
            if not view.is_dirty(snapshot):
                clean[snapshot.snapshot_id] = snapshot
                continue
            if snapshot.snapshot_id not in clean:
                clean[snapshot.snapshot_id] = drafts.without_removed(snapshot)
            refs[name] = clean[snapshot.snapshot_id]
        kept = {s.snapshot_id for s in clean.values()}
        past = [s.snapshot_id for s in view.snapshots if s.snapshot_id not in kept]
        updates = [*drafts.updates(refs), *_without_statistics(view.metadata, past)]
        if past:
            updates.append(RemoveSnapshotsUpdate.model_validate({"snapshot-ids": past}))
        updates.append(self._purged(view))
        return updates

    def _purged(self, view: TableView) -> TableUpdate:
        mark = mark_of(view.metadata, self.plan) or {}
        erased: dict[str, Any] = mark.get("erased") or {}
        facts = {**erased, "objects_removed": (), "objects_added": ()} if erased else None
        return set_mark(view.metadata, self.plan, step="purged", erased=facts)

    def sweep(self, view: TableView, entries: Sequence[FileEntry]) -> None:
        """Delete what cannot be reached. `entries` were listed before the table was read, so that
        whatever a writer commits in between is reachable in the view."""
        hidden = view.folder.hidden()
        past = past_metadata(view, entries, hidden, self.plan)
        if not past:
            self._drop_empty_folders(view, ())
            return
        reachable = _reachable(view) | (_logged(view) - set(past))
        for path in sorted(reachable):
            if path.startswith(f"{view.metadata_folder}/"):
                with contextlib.suppress(FileNotFoundError):  # a former one, long removed
                    view.folder.sync(path)
        known = _known(view, past.values()) | set(past)
        doomed = sorted(
            self._doomed(view, entries, reachable, known),
            key=lambda entry: (_rank(view, entry.path), entry.path),
        )
        behind = list(self._behind(view, entries, hidden, known))
        first = [item for item in behind if _rank(view, item.path) < _LAST]
        self.swept.hidden(view.folder, first)
        self.swept.files(view.folder, doomed)
        last = [item for item in behind if _rank(view, item.path) == _LAST]
        self.swept.hidden(view.folder, last)
        self._drop_empty_folders(view, doomed)

    def _doomed(
        self, view: TableView, entries: Sequence[FileEntry], reachable: set[str], known: set[str]
    ) -> Iterator[FileEntry]:
        others = nested_tables(view, entries)
        for entry in entries:
            path = without_checksum(entry.path)
            if path in reachable or entry.link or path.startswith(others):
                continue
            if path in known or self._is_ours(path):
                yield entry
            elif is_history(path):
                if now() - entry.modified > self.grace:
                    yield entry
                else:
                    self.left.append(masked(path, self.hidden))

    def _is_ours(self, path: str) -> bool:
        """Named by the plan, or left by an attempt of it that did not commit."""
        return masked(path, self.hidden) in self.plan.objects or output_mark(self.plan) in path

    def _behind(
        self,
        view: TableView,
        entries: Sequence[FileEntry],
        hidden: Sequence[Hidden],
        known: set[str],
    ) -> Iterator[Hidden]:
        """What a bucket keeps behind the table's names: nothing of it is part of the table now."""
        others = nested_tables(view, entries)
        planned = set(planned_items(hidden, self.plan.objects))
        for item in hidden:
            past = item.path in known or is_history(item.path)
            mine = past and not item.path.startswith(others) and self._is_over(item)
            if item in planned or mine:
                yield item

    def _is_over(self, item: Hidden) -> bool:
        """An upload may be a writer's who is about to complete it."""
        ours = output_mark(self.plan) in item.path
        return item.kind != "upload" or ours or now() - item.modified > self.grace

    def _drop_empty_folders(self, view: TableView, doomed: Iterable[FileEntry]) -> None:
        """A folder's name can hold an identifier too ("customer_id=00004")."""
        left = {e.path.rpartition("/")[0] for e in doomed} - {""}
        partitions = {f for f in view.folder.folders() if "=" in f.rpartition("/")[2]}
        view.folder.remove_empty_folders(left | partitions)

    def result(self, view: TableView) -> Erased:
        return self.swept.result(view.head, young_files_left=self.left)


def _without_statistics(metadata: TableMetadata, past: Sequence[int]) -> list[TableUpdate]:
    """Statistics files of expired snapshots hold what was in them."""
    gone = set(past)
    updates: list[TableUpdate] = [
        RemoveStatisticsUpdate.model_validate({"snapshot-id": number})
        for number in sorted({s.snapshot_id for s in metadata.statistics} & gone)
    ]
    updates += [
        RemovePartitionStatisticsUpdate.model_validate({"snapshot-id": number})
        for number in sorted({s.snapshot_id for s in metadata.partition_statistics} & gone)
    ]
    return updates


def _reachable(view: TableView) -> set[str]:
    """Every file that the current metadata leads to."""
    reachable = {view.relative(view.table.metadata_location)}
    for statistics in (*view.metadata.statistics, *view.metadata.partition_statistics):
        reachable.add(view.relative(statistics.statistics_path))
    for snapshot in view.snapshots:
        reachable.add(view.relative(snapshot.manifest_list))
        reachable |= {view.relative(m.manifest_path) for m in view.manifests(snapshot)}
        reachable |= {entry.path for entry in view.live(snapshot)}
    return reachable


def _logged(view: TableView) -> set[str]:
    """Former metadata files that the current one names; there may be none at the paths."""
    return view.inside([log.metadata_file for log in view.metadata.metadata_log])


def past_metadata(
    view: TableView, entries: Sequence[FileEntry], hidden: Sequence[Hidden], plan: ErasePlan
) -> dict[str, TableMetadata | None]:
    """Metadata files that are left from before the purge, by path; None for one that is damaged.
    Among them those that a bucket keeps as older versions.

    A writer who is about to commit has written one with a higher number than the current.
    """
    current_path = view.relative(view.table.metadata_location)
    current = _version(current_path)
    named = _logged(view)
    left = [(entry.path, entry.path, "") for entry in entries if not entry.link]
    left += [(item.label, item.path, item.id) for item in hidden if item.kind == "version"]
    past: dict[str, TableMetadata | None] = {}
    for name, path, version in left:
        if path == current_path or not _is_metadata(view, path):
            continue
        number = _version(path)
        older = number is not None and current is not None and number <= current
        if not older and path not in named:
            continue
        try:
            file = FolderInput(path, view.folder, path, version)
            metadata = FromInputFile.table_metadata(file)
        except (OSError, ValueError):
            past[name] = None  # what it named is left until it is old
            continue
        mark = mark_of(metadata, plan)
        if not mark or mark.get("step") != "purged":
            past[name] = metadata
    return past


def _known(view: TableView, past: Iterable[TableMetadata | None]) -> set[str]:
    """Every file that these metadata files lead to."""
    known: set[str] = set()
    seen: set[str] = set()
    for metadata in past:
        if metadata is None:
            continue
        for statistics in (*metadata.statistics, *metadata.partition_statistics):
            known |= view.inside([statistics.statistics_path])
        for snapshot in metadata.snapshots:
            if snapshot.manifest_list not in seen:
                seen.add(snapshot.manifest_list)
                known |= view.inside(_named_by(view, snapshot, seen))
    return known


def _named_by(view: TableView, snapshot: Snapshot, seen: set[str]) -> Iterator[str]:
    """The paths in one snapshot's manifests, as far as they can still be read."""
    yield snapshot.manifest_list
    try:
        manifests = view.manifests(snapshot)
    except (StoreError, OSError, ValueError):
        return
    for manifest in manifests:
        if manifest.manifest_path in seen:
            continue
        seen.add(manifest.manifest_path)
        yield manifest.manifest_path
        try:
            yield from [entry.data_file.file_path for entry in view.entries(manifest)]
        except (StoreError, OSError, ValueError):
            continue


def _is_metadata(view: TableView, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return folder == view.metadata_folder and bool(_METADATA_NAME.search(name))


def _version(path: str) -> int | None:
    """The number of a metadata file (00012-….metadata.json); None when it has none."""
    found = _NUMBER.match(path.rpartition("/")[2])
    return int(found[1]) if found else None


def _rank(view: TableView, path: str) -> int:
    """What goes first: data, then manifests, their lists, and last the files that name those."""
    folder, _, name = path.rpartition("/")
    if folder != view.metadata_folder:
        return 0
    if _is_metadata(view, path):
        return _LAST
    return 2 if name.startswith("snap-") else 1


def clear_sqlite_catalog(path: Path) -> None:
    """Rewrite the catalog's file without free pages. Raises StoreError while it is in use."""
    try:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw", uri=True, timeout=30, isolation_level=None
        )
        try:
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as exc:
        raise StoreError(
            f"The catalog's file {path} could not be rewritten ({exc.__class__.__name__}). Close "
            "the programs that use it, then purge again."
        ) from None
    if busy:
        raise StoreError(
            f"Another program still reads an older state of the catalog {path}. Close it, then "
            "purge again."
        )
