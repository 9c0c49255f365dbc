"""New snapshots, written as files that nobody reads before the commit.

Manifests that hold nothing to be changed are taken over as they are. The others are written anew:
kept files as EXISTING with their sequence numbers, replaced ones as DELETED by this snapshot, or,
in a clean-up, not at all. Source: https://iceberg.apache.org/spec/#snapshots.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pyiceberg.avro.codecs import AvroCompressionCodec
from pyiceberg.manifest import (
    DataFile,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.table import TableProperties
from pyiceberg.table.refs import SnapshotRef
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate, TableUpdate

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg.catalog import UnknownOutcomeError
from connectors.adapters.iceberg.table import TableView

# As Iceberg calls them, and Avro. Files may differ in it, so what cannot be written is deflated.
_CODECS: Mapping[str, AvroCompressionCodec] = {"uncompressed": "null", "zstd": "zstandard"}


@dataclass
class Drafts:
    """The snapshots of one commit. `mark`: with what the names of its files begin, after "snap-"
    in lists; `written`: paths of those that have no reader yet."""

    view: TableView
    mark: str
    written: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def codec(self) -> AvroCompressionCodec:
        wanted = self.view.metadata.properties.get(TableProperties.WRITE_AVRO_COMPRESSION, "")
        return _CODECS.get(wanted, "deflate")

    def path(self, name: str) -> str:
        """Where a file of that name is written beside the table's metadata."""
        path = self.view.table.location_provider().new_metadata_location(name)
        self.written.append(path)
        return path

    def replace_files(self, parent: Snapshot, changes: Mapping[str, DataFile | None]) -> Snapshot:
        """The parent with other files: path → what replaces it, None for nothing."""
        draft = _Draft(self, parent)
        added: dict[int, list[DataFile]] = {}
        for live in self.view.live(parent):
            if live.path in changes and (file := changes[live.path]) is not None:
                added.setdefault(file.spec_id, []).append(file)
        manifests = [draft.added(number, files) for number, files in sorted(added.items())]
        for manifest in self.view.manifests(parent):
            manifests += draft.changed(manifest, changes.keys())
        operation = Operation.OVERWRITE if added else Operation.DELETE
        return draft.finished(manifests, operation)

    def without_removed(
        self, parent: Snapshot, manifests: Iterable[ManifestFile] | None = None
    ) -> Snapshot:
        """The parent with the same files, and no word of those that were removed before.
        `manifests`: what it consists of where that is not yet committed."""
        draft = _Draft(self, parent)
        cleaned = []
        for manifest in self.view.manifests(parent) if manifests is None else manifests:
            cleaned += draft.cleaned(manifest)
        return draft.finished(cleaned, Operation.REPLACE)

    def updates(self, refs: Mapping[str, Snapshot]) -> list[TableUpdate]:
        """Add the snapshots and let the refs point to them; a ref keeps its retention."""
        updates: list[TableUpdate] = [AddSnapshotUpdate(snapshot=s) for s in self.snapshots]
        for name, snapshot in refs.items():
            updates.append(set_ref(name, self.view.metadata.refs[name], snapshot.snapshot_id))
        return updates

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Where snapshots are written and committed: what fails leaves nothing behind.

        Raises StoreError for a disk that cannot be written.
        """
        try:
            yield
        except UnknownOutcomeError:
            raise  # the commit may still go through, so its files have to stay
        except OSError as exc:
            self.discard()
            raise StoreError(
                f"The metadata of the table {self.view.name} could not be written "
                f"({type(exc).__name__}). Check free space; nothing was committed."
            ) from None
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written for a commit that did not come to be."""
        for path in self.written:
            self.view.folder.remove(self.view.relative(path))


def set_ref(name: str, ref: SnapshotRef, snapshot_id: int) -> SetSnapshotRefUpdate:
    return SetSnapshotRefUpdate.model_validate(
        {
            "ref-name": name,
            "type": ref.snapshot_ref_type,
            "snapshot-id": snapshot_id,
            "max-ref-age-ms": ref.max_ref_age_ms,
            "max-snapshot-age-ms": ref.max_snapshot_age_ms,
            "min-snapshots-to-keep": ref.min_snapshots_to_keep,
        }
    )


class _Draft:
    """One snapshot in the making."""

    def __init__(self, drafts: Drafts, parent: Snapshot) -> None:
        self.drafts = drafts
        self.view = drafts.view
        self.parent = parent
        self.id = self.view.metadata.new_snapshot_id()
        self.commit = f"{drafts.mark}{uuid.uuid4()}"
        # Each snapshot of a commit comes after the one before it.
        first = self.view.metadata.next_sequence_number()
        later = len(drafts.snapshots) if self.view.metadata.format_version > 1 else 0
        self.sequence_number = first + later
        self.codec = drafts.codec
        self.totals = {"data-files": 0, "records": 0, "files-size": 0}
        self.changes: dict[str, int] = {}
        self._number = 0

    def _writer(self, spec_id: int) -> ManifestWriter:
        path = self.drafts.path(f"{self.commit}-m{self._number}.avro")
        self._number += 1
        return write_manifest(
            format_version=self.view.metadata.format_version,
            spec=self.view.spec(spec_id),
            schema=self.view.metadata.schema(),
            output_file=self.view.table.io.new_output(path),
            snapshot_id=self.id,
            avro_compression=self.codec,
        )

    def _count(self, file: DataFile, sign: int, kind: str = "") -> None:
        sizes = (("data-files", 1), ("records", file.record_count))
        for name, number in (*sizes, ("files-size", file.file_size_in_bytes)):
            self.totals[name] += sign * number
            if kind:
                wording = "removed" if (kind, name) == ("deleted", "files-size") else kind
                key = f"{wording}-{name}"
                self.changes[key] = self.changes.get(key, 0) + number

    def added(self, spec_id: int, files: Sequence[DataFile]) -> ManifestFile:
        with self._writer(spec_id) as writer:
            for file in files:
                self._count(file, 1, "added")
                writer.add(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=self.id,
                        sequence_number=None,
                        file_sequence_number=None,
                        data_file=file,
                    )
                )
        return writer.to_manifest_file()

    def changed(self, manifest: ManifestFile, replaced: Collection[str]) -> list[ManifestFile]:
        live = self._live(manifest)
        for entry in live:
            self._count(entry.data_file, 1)
        paths = [self.view.relative(entry.data_file.file_path) for entry in live]
        if not set(paths) & set(replaced):
            return [manifest] if live else []
        with self._writer(manifest.partition_spec_id) as writer:
            for entry, path in zip(live, paths, strict=True):
                if path in replaced:
                    self._count(entry.data_file, -1, "deleted")
                    writer.delete(entry)
                else:
                    writer.existing(entry)
        return [writer.to_manifest_file()]

    def cleaned(self, manifest: ManifestFile) -> list[ManifestFile]:
        live = self._live(manifest)
        for entry in live:
            self._count(entry.data_file, 1)
        if len(live) == len(self.view.entries(manifest)):
            return [manifest]
        if not live:
            return []
        with self._writer(manifest.partition_spec_id) as writer:
            for entry in live:
                writer.existing(entry)
        return [writer.to_manifest_file()]

    def _live(self, manifest: ManifestFile) -> list[ManifestEntry]:
        entries = self.view.entries(manifest)
        return [e for e in entries if e.status != ManifestEntryStatus.DELETED]

    def finished(self, manifests: list[ManifestFile], operation: Operation) -> Snapshot:
        path = self.drafts.path(f"snap-{self.id}-0-{self.commit}.avro")
        with write_manifest_list(
            format_version=self.view.metadata.format_version,
            output_file=self.view.table.io.new_output(path),
            snapshot_id=self.id,
            parent_snapshot_id=self.parent.snapshot_id,
            sequence_number=self.sequence_number,
            avro_compression=self.codec,
        ) as writer:
            writer.add_manifests(manifests)
        snapshot = Snapshot.model_validate(
            {
                "snapshot-id": self.id,
                "parent-snapshot-id": self.parent.snapshot_id,
                "sequence-number": self.sequence_number,
                "manifest-list": path,
                "summary": self._summary(operation),
                "schema-id": self.parent.schema_id,
            }
        )
        self.drafts.snapshots.append(snapshot)
        return snapshot

    def _summary(self, operation: Operation) -> Summary:
        numbers = {name: number for name, number in self.changes.items() if number}
        numbers |= {f"total-{name}": number for name, number in self.totals.items()}
        # A plan is not made for tables with delete files.
        numbers |= dict.fromkeys(
            ("total-delete-files", "total-position-deletes", "total-equality-deletes"), 0
        )
        return Summary(operation, **{name: str(number) for name, number in numbers.items()})
