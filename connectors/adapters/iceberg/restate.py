"""Snapshots that stay what they are, and read other files than they did.

A snapshot keeps its id, time, parent, sequence number and schema. Its manifests are written anew
where they name a file that another one stands for, each entry with its status and its sequence
numbers, and so is the list that names such a manifest. What was removed and is read by no snapshot
is left out: nothing but its values was left in the manifests. Counts in a summary follow the files.
Source: https://iceberg.apache.org/spec/#manifests.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pyiceberg.avro.file import AvroFile
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import (
    UNASSIGNED_SEQ,
    DataFile,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, Summary
from pyiceberg.table.update import TableUpdate, _apply_table_update
from pyiceberg.typedef import IcebergBaseModel

from connectors.adapters.iceberg.snapshots import Drafts
from connectors.adapters.iceberg.table import TableView

_PARTITIONS = "changed-partition-count"
_OF_PARTITIONS = ("partitions.", "partition-summaries-included")


class RestateSnapshots(IcebergBaseModel):
    """An update that only catalogs take whose metadata files are written here: the protocol of
    REST catalogs has none for snapshots that exist, and refuses them as new ones."""

    action: Literal["restate-snapshots"] = "restate-snapshots"
    before: list[Snapshot]
    after: list[Snapshot]


@_apply_table_update.register(RestateSnapshots)
def _restated(  # type: ignore[misc]  # an update that is none of its protocol's
    update: RestateSnapshots, base: TableMetadata, context: Any
) -> TableMetadata:
    """Raises CommitFailedException when the table has other snapshots than those that were read.

    Statistics of a snapshot that reads other files now are of rows that it had.
    """
    if base.snapshots != update.before:
        raise CommitFailedException("The table's snapshots are others by now.")
    context.add_update(update)
    changed = {
        old.snapshot_id
        for old, new in zip(update.before, update.after, strict=True)
        if old.manifest_list != new.manifest_list
    }
    return base.model_copy(
        update={
            "snapshots": update.after,
            "statistics": [s for s in base.statistics if s.snapshot_id not in changed],
            "partition_statistics": [
                s for s in base.partition_statistics if s.snapshot_id not in changed
            ],
        }
    )


def read_paths(view: TableView) -> set[str]:
    """Every file that any snapshot reads."""
    return {live.path for snapshot in view.snapshots for live in view.live(snapshot)}


def is_outdated(
    view: TableView, entry: ManifestEntry, replaced: Collection[str], read: Collection[str]
) -> bool:
    """Whether it names a file that is replaced, or one that was removed and nobody reads."""
    paths = view.inside([entry.data_file.file_path])
    removed = entry.status == ManifestEntryStatus.DELETED
    return not paths.isdisjoint(replaced) or (removed and paths.isdisjoint(read))


@dataclass(frozen=True)
class _Change:
    """An entry of a manifest as it was, and the file that it is of now, if of any."""

    entry: ManifestEntry
    file: DataFile | None
    replaced: bool  # else it is of a file that was gone before


@dataclass(frozen=True)
class _Manifest:
    file: ManifestFile | None
    changes: Sequence[_Change] = ()


class Restating:
    """All snapshots of a table, restated. `changes`: path → what replaces it, None for nothing;
    `names_person` is asked of each note in a summary.

    `manifests`: by the ids of the snapshots that read other ones now, what these are.
    """

    def __init__(
        self,
        drafts: Drafts,
        changes: Mapping[str, DataFile | None],
        names_person: Callable[[Mapping[str, str]], bool],
    ) -> None:
        self.drafts = drafts
        self.view = drafts.view
        self.changes = changes
        self.names_person = names_person
        self.manifests: dict[int, list[ManifestFile]] = {}
        self._read = read_paths(self.view)
        self._known: dict[str, _Manifest] = {}

    def update(self) -> TableUpdate:
        """Write the new manifests and their lists. Raises StoreError, OSError."""
        before = self.view.metadata.snapshots
        after = [self._snapshot(snapshot) for snapshot in before]
        return cast("TableUpdate", RestateSnapshots(before=before, after=after))

    def _snapshot(self, snapshot: Snapshot) -> Snapshot:
        old = self.view.manifests(snapshot)
        restated = [self._manifest(manifest) for manifest in old]
        changes = [change for manifest in restated for change in manifest.changes]
        update: dict[str, Any] = {"summary": self._summary(snapshot, changes)}
        if changes:
            new = [manifest.file for manifest in restated if manifest.file is not None]
            self.manifests[snapshot.snapshot_id] = new
            update["manifest_list"] = self._list(snapshot, new)
        return snapshot.model_copy(update=update)

    def _list(self, snapshot: Snapshot, manifests: list[ManifestFile]) -> str:
        name = f"snap-{snapshot.snapshot_id}-1-{self.drafts.mark}{uuid.uuid4()}.avro"
        path = self.drafts.path(name)
        with write_manifest_list(
            format_version=self.view.metadata.format_version,
            output_file=self.view.table.io.new_output(path),
            snapshot_id=snapshot.snapshot_id,
            parent_snapshot_id=snapshot.parent_snapshot_id,
            sequence_number=snapshot.sequence_number,
            avro_compression=self.drafts.codec,
        ) as writer:
            writer.add_manifests(manifests)
        return path

    def _manifest(self, manifest: ManifestFile) -> _Manifest:
        """Once for all snapshots that share it."""
        if manifest.manifest_path not in self._known:
            kept: list[ManifestEntry] = []
            changes: list[_Change] = []
            for entry in self.view.entries(manifest):
                if not is_outdated(self.view, entry, self.changes, self._read):
                    kept.append(entry)
                    continue
                changes.append(change := self._change(entry))
                if change.file is not None:
                    kept.append(_with_file(entry, change.file))
            file = manifest if not changes else self._written(manifest, kept)
            self._known[manifest.manifest_path] = _Manifest(file, changes)
        return self._known[manifest.manifest_path]

    def _change(self, entry: ManifestEntry) -> _Change:
        (path,) = self.view.inside([entry.data_file.file_path]) or {""}
        return _Change(entry, self.changes.get(path), path in self.changes)

    def _written(
        self, manifest: ManifestFile, entries: Sequence[ManifestEntry]
    ) -> ManifestFile | None:
        if not entries:
            return None
        path = self.drafts.path(f"{self.drafts.mark}{uuid.uuid4()}-m0.avro")
        with write_manifest(
            format_version=self.view.metadata.format_version,
            spec=self.view.spec(manifest.partition_spec_id),
            schema=self._schema(manifest),
            output_file=self.view.table.io.new_output(path),
            snapshot_id=cast("int", manifest.added_snapshot_id),
            avro_compression=self.drafts.codec,
        ) as writer:
            for entry in entries:
                writer.add_entry(entry)
        written = writer.to_manifest_file()
        written.sequence_number = manifest.sequence_number
        if written.min_sequence_number == UNASSIGNED_SEQ:  # nothing in it is read any more
            written.min_sequence_number = manifest.min_sequence_number
        return written

    def _schema(self, manifest: ManifestFile) -> Schema:
        """The table's when the manifest was written, as its header says: the current one may lack
        columns that its partitions are of."""
        with AvroFile[ManifestEntry](self.view.table.io.new_input(manifest.manifest_path)) as file:
            stated = file.header.meta.get("schema")
        return Schema.model_validate_json(stated) if stated else self.view.metadata.schema()

    def _summary(self, snapshot: Snapshot, changes: Sequence[_Change]) -> Summary | None:
        """Its numbers by what has changed, as they may count what no manifest tells; without notes
        that name the person, and without those of single partitions."""
        if snapshot.summary is None:
            return None
        notes = dict(snapshot.summary.additional_properties)
        differences: Counter[str] = Counter()
        for change in changes:
            for name, number in _differences(snapshot, change):
                differences[name] += number
        for name, number in differences.items():
            if notes.get(name, "").isdecimal():
                notes[name] = str(int(notes[name]) + number)
        if changes:
            notes = {k: v for k, v in notes.items() if not k.startswith(_OF_PARTITIONS)}
        if _PARTITIONS in notes and any(c.replaced and c.file is None for c in changes):
            notes[_PARTITIONS] = str(self._partitions(snapshot))
        kept = {name: text for name, text in notes.items() if not self.names_person({name: text})}
        return Summary(snapshot.summary.operation, **kept)

    def _partitions(self, snapshot: Snapshot) -> int:
        """How many the snapshot itself changed, of those that have rows of others."""
        changed = {
            (manifest.partition_spec_id, entry.data_file.partition)
            for manifest in self.view.manifests(snapshot)
            for entry in self.view.entries(manifest)
            if entry.snapshot_id == snapshot.snapshot_id
            and entry.status != ManifestEntryStatus.EXISTING
            and not is_outdated(self.view, entry, self._dropped, self._read)
        }
        return len(changed)

    @property
    def _dropped(self) -> set[str]:
        return {path for path, file in self.changes.items() if file is None}


def _with_file(entry: ManifestEntry, file: DataFile) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=entry.status,
        snapshot_id=entry.snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=file,
    )


def _differences(snapshot: Snapshot, change: _Change) -> Iterator[tuple[str, int]]:
    """By how much the numbers of a summary change with one entry of its snapshot's manifests."""
    if not change.replaced:
        return  # what had been removed is counted as it was
    old, new = change.entry.data_file, change.file
    files = (new is not None) - 1
    rows = (new.record_count if new else 0) - old.record_count
    size = (new.file_size_in_bytes if new else 0) - old.file_size_in_bytes
    status = change.entry.status
    if status != ManifestEntryStatus.DELETED:
        yield from (("total-data-files", files), ("total-records", rows))
        yield "total-files-size", size
    if change.entry.snapshot_id != snapshot.snapshot_id:
        return
    if status == ManifestEntryStatus.ADDED:
        yield from (("added-data-files", files), ("added-records", rows))
        yield "added-files-size", size
    elif status == ManifestEntryStatus.DELETED:
        yield from (("deleted-data-files", files), ("deleted-records", rows))
        yield "removed-files-size", size
