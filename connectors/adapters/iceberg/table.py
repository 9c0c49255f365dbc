"""A table as its current metadata describes it: snapshots, branches, tags, and their files."""

import contextlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.transforms import IdentityTransform

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg.files import Home

# What the library raises for bytes that are not what they should be depends on the damage.
_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, TypeError, AssertionError, struct.error, zlib.error
)  # fmt: skip
_TYPES = {"int": "integer"}  # as the other stores call it


@dataclass(frozen=True)
class DataEntry:
    """A live file of a snapshot: rows, or what hides rows (`content`)."""

    path: str  # relative to the table's folder
    file: DataFile
    entry: ManifestEntry
    manifest: ManifestFile

    @property
    def content(self) -> DataFileContent:
        return self.file.content


@dataclass
class TableView:
    """One look at a table. Manifests and their lists are read once each."""

    table: Table
    home: Home
    _manifests: dict[str, list[ManifestFile]] = field(default_factory=dict)
    _entries: dict[str, list[ManifestEntry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.home.folder
        if not self.folder.is_there():
            raise StoreError(
                f"There is no folder at {self.folder.root}, where the table should be."
            )

    @property
    def metadata(self) -> TableMetadata:
        return self.table.metadata

    @property
    def name(self) -> str:
        return ".".join(self.table.name())

    def relative(self, location: str) -> str:
        """A file's path below the table's folder. Raises StoreError for one outside it."""
        return self.home.relative(location)

    def inside(self, locations: Iterable[str]) -> set[str]:
        """The paths of those that lie below the table's folder."""
        paths = set()
        for location in locations:
            with contextlib.suppress(StoreError):  # of a table that was moved: none of ours
                paths.add(self.relative(location))
        return paths

    @property
    def metadata_folder(self) -> str:
        return self.relative(self.table.metadata_location).rpartition("/")[0]

    # Snapshots and what points to them

    @property
    def snapshots(self) -> list[Snapshot]:
        """Oldest first."""
        found = self.metadata.snapshots
        return sorted(found, key=lambda s: (s.sequence_number or 0, s.timestamp_ms))

    def snapshot(self, version: str | None) -> Snapshot | None:
        """The named one, or that of the main branch; None for a table that never had one.

        Raises StoreError when there is no such snapshot.
        """
        if version is None:
            return self.metadata.current_snapshot()
        found = next((s for s in self.metadata.snapshots if str(s.snapshot_id) == version), None)
        if found is None:
            raise StoreError(
                f"The table {self.name} has no snapshot {version}; it keeps "
                f"{len(self.metadata.snapshots)} others."
            )
        return found

    def _refs(self, kind: SnapshotRefType) -> dict[str, Snapshot]:
        by_id = {s.snapshot_id: s for s in self.metadata.snapshots}
        return {
            name: by_id[ref.snapshot_id]
            for name, ref in sorted(self.metadata.refs.items())
            if ref.snapshot_ref_type == kind and ref.snapshot_id in by_id
        }

    @property
    def branches(self) -> dict[str, Snapshot]:
        return self._refs(SnapshotRefType.BRANCH)

    @property
    def tags(self) -> dict[str, Snapshot]:
        return self._refs(SnapshotRefType.TAG)

    @property
    def head(self) -> str:
        """What a plan is made for: the main branch's snapshot, else the newest; "none" if none."""
        main = self.branches.get(MAIN_BRANCH)
        if main is None:
            main = self.snapshots[-1] if self.metadata.snapshots else None
        return str(main.snapshot_id) if main else "none"

    def refs_of(self, snapshot: Snapshot) -> tuple[str, ...]:
        refs = sorted(self.metadata.refs.items())
        return tuple(name for name, ref in refs if ref.snapshot_id == snapshot.snapshot_id)

    # Files

    def manifests(self, snapshot: Snapshot) -> list[ManifestFile]:
        location = snapshot.manifest_list
        if location not in self._manifests:
            self.relative(location)
            try:
                self._manifests[location] = snapshot.manifests(self.table.io)
            except _DAMAGE as exc:
                raise self._unreadable("manifest list", location, exc) from None
        return self._manifests[location]

    def entries(self, manifest: ManifestFile) -> list[ManifestEntry]:
        """Also those of removed files."""
        if manifest.manifest_path not in self._entries:
            self.relative(manifest.manifest_path)
            try:
                # pyiceberg's compiled decoder (0.12.0) reads on behind the end of a file that is
                # too short, and takes what lies there in memory for its content.
                size = len(self.table.io.new_input(manifest.manifest_path))
                if size < manifest.manifest_length:
                    raise EOFError
                found = manifest.fetch_manifest_entry(self.table.io, discard_deleted=False)
            except _DAMAGE as exc:
                raise self._unreadable("manifest", manifest.manifest_path, exc) from None
            self._entries[manifest.manifest_path] = found
        return self._entries[manifest.manifest_path]

    def _unreadable(self, what: str, location: str, exc: BaseException) -> StoreError:
        return StoreError(
            f"The {what} {location.rpartition('/')[2]} of the table {self.name} cannot be read: it "
            f"is damaged or was removed ({type(exc).__name__}). Restore it, or repair the table."
        )

    def live(self, snapshot: Snapshot) -> Iterator[DataEntry]:
        """What the snapshot reads, delete files too. Raises StoreError for files elsewhere."""
        for manifest in self.manifests(snapshot):
            for entry in self.entries(manifest):
                if entry.status != ManifestEntryStatus.DELETED:
                    file = entry.data_file
                    yield DataEntry(self.relative(file.file_path), file, entry, manifest)

    def has_delete_files(self, snapshot: Snapshot) -> bool:
        return any(
            manifest.content == ManifestContent.DELETES
            and any(e.status != ManifestEntryStatus.DELETED for e in self.entries(manifest))
            for manifest in self.manifests(snapshot)
        )

    def is_dirty(self, snapshot: Snapshot) -> bool:
        """Whether its manifests still describe removed files, with the values in them."""
        return any(
            entry.status == ManifestEntryStatus.DELETED
            for manifest in self.manifests(snapshot)
            for entry in self.entries(manifest)
        )

    # Columns

    def schema_of(self, snapshot: Snapshot | None) -> Schema:
        number = snapshot.schema_id if snapshot else None
        found = self.metadata.schema_by_id(number) if number is not None else None
        return found or self.metadata.schema()

    def field_ids(self, column: str) -> set[int]:
        """The numbers of a column under that name, in any schema that the table ever had."""
        ids = set()
        for schema in self.metadata.schemas:
            try:
                ids.add(schema.find_field(column).field_id)
            except ValueError:
                continue
        return ids

    def column_names(self, ids: Iterable[int]) -> set[str]:
        """What these columns were ever called, structs' parts with dots."""
        wanted = set(ids)
        names = set()
        for schema in self.metadata.schemas:
            found = (schema.find_column_name(number) for number in wanted)
            names |= {name for name in found if name}
        return names

    def identity_constants(self, file: DataFile) -> dict[int, Any]:
        """Columns whose one value in this file its partition states: number → value."""
        spec = self.spec(file.spec_id)
        return {
            part.source_id: file.partition[place]
            for place, part in enumerate(spec.fields)
            if isinstance(part.transform, IdentityTransform)
        }

    def spec(self, number: int) -> PartitionSpec:
        return self.metadata.specs()[number]

    def hidden_names(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Keys of paths behind which a value of these columns may stand: what no message shows."""
        names = set(columns)
        ids = {number for column in names for number in self.field_ids(column)}
        for spec in self.metadata.partition_specs:
            names |= {part.name for part in spec.fields if part.source_id in ids}
        return tuple(sorted(names | self.column_names(ids)))


def schema_rows(schema: Schema) -> tuple[tuple[str, str], ...]:
    """(column, type) as people write them."""
    return tuple((f.name, _TYPES.get(str(f.field_type), str(f.field_type))) for f in schema.fields)


def created_at(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)


def operation(snapshot: Snapshot) -> str:
    return str(snapshot.summary.operation.value) if snapshot.summary else "unknown"
