"""What stands in the way of an erasure, and what it takes away for good."""

from collections.abc import Iterator

from pyiceberg.table.snapshots import Snapshot

from connectors.adapters.base import Findings
from connectors.adapters.iceberg.erase import kept_metadata, lost_versions
from connectors.adapters.iceberg.find import TableFindings, nested_tables
from connectors.adapters.iceberg.purge import is_history
from connectors.adapters.iceberg.restate import is_outdated, read_paths
from connectors.adapters.iceberg.table import TableView
from connectors.folders import masked

WRITABLE_FORMAT = 2
NO_RESTATING = (
    "A REST catalog takes no change of snapshots that exist, so the older ones of its tables "
    'cannot be kept: leave out "history = keep", and they are purged.'
)
_OTHERWISE = "or plan with purge"


def history_blockers(view: TableView) -> Iterator[str]:
    """Why a table's snapshots could not stay readable, each with what to do."""
    hiding = [s for s in view.snapshots if view.has_delete_files(s)]
    if hiding:
        yield (
            f"{len(hiding)} snapshots read delete files (merge-on-read), which count or name rows "
            "of files that would be rewritten. Compact the table and expire these snapshots, "
            f"{_OTHERWISE}."
        )
    present = {entry.path for entry in view.folder.entries() if not entry.link}
    broken = [s for s in view.snapshots if any(f.path not in present for f in view.live(s))]
    if broken:
        yield (
            f"{len(broken)} snapshots read files that are not there any more, so what their "
            f"manifests keep of them could not be told. Expire these snapshots, {_OTHERWISE}."
        )


class Planning:
    """One plan in the making. `hidden`: keys of paths that may hold identifiers."""

    def __init__(
        self, view: TableView, findings: Findings, mode: str, hidden: tuple[str, ...]
    ) -> None:
        self.view = view
        self.findings = findings
        self.mode = mode
        self.hidden = hidden
        self.affected = findings.affected if isinstance(findings, TableFindings) else frozenset()

    @property
    def keeps_history(self) -> bool:
        return self.mode == "keep_history"

    def versions_lost(self) -> tuple[str, ...]:
        return () if self.keeps_history else lost_versions(self.view, self.affected)

    def blockers(self) -> Iterator[str]:
        """Why the person could not be erased, each with what to do."""
        yield from history_blockers(self.view) if self.keeps_history else self._of_heads()
        if self.view.metadata.format_version > WRITABLE_FORMAT:
            yield (
                f"The table is of format version {self.view.metadata.format_version}, which cannot "
                "be written here yet (1 and 2 can). Erase with the engine that wrote it."
            )
        if nested := nested_tables(self.view, self.view.folder.entries()):
            yield (
                f"Another Iceberg table lies inside this one's folder ({', '.join(nested)}). Move "
                "it out: a purge could not tell its files from leftovers."
            )
        yield from self.view.folder.locks(self._doomed())

    def _of_heads(self) -> Iterator[str]:
        held = {v for o in self.findings.objects if o.rows for v in o.versions}
        for name, snapshot in self.view.tags.items():
            if str(snapshot.snapshot_id) in held:
                yield (
                    f'The tag "{name}" keeps a snapshot that holds the person. Drop the tag, or '
                    "let it point to another snapshot."
                )
        heads: dict[str, Snapshot] = {**self.view.branches, **self.view.tags}
        for name, snapshot in heads.items():
            if self.view.has_delete_files(snapshot):
                yield (
                    f'"{name}" reads delete files (merge-on-read): rows that they hide would stay. '
                    "Compact it with the engine that wrote it (rewrite_data_files with "
                    "delete-file-threshold 1), then search again."
                )

    def _doomed(self) -> dict[str, str]:
        """What erasing and purging takes away for good, and how plans show it."""
        kept = self._kept()
        folder = self.view.folder
        paths = [e.path for e in folder.entries()] + [h.path for h in folder.hidden()]
        return {
            path: masked(path, self.hidden)
            for path in paths
            if is_history(path) and path not in kept
        }

    def _kept(self) -> set[str]:
        if self.keeps_history:
            return (read_paths(self.view) - self.affected) | self._lasting_metadata()
        live = {e.path for s in self.view.branches.values() for e in self.view.live(s)}
        kept = kept_metadata(self.view, self.versions_lost())
        return (live | kept) - self.affected

    def _lasting_metadata(self) -> set[str]:
        """Manifests and lists that do not have to be written anew."""
        read = read_paths(self.view)
        known: dict[str, bool] = {}
        for snapshot in self.view.snapshots:
            for manifest in self.view.manifests(snapshot):
                if manifest.manifest_path not in known:
                    known[manifest.manifest_path] = not any(
                        is_outdated(self.view, entry, self.affected, read)
                        for entry in self.view.entries(manifest)
                    )
        lists = [
            snapshot.manifest_list
            for snapshot in self.view.snapshots
            if all(known[m.manifest_path] for m in self.view.manifests(snapshot))
        ]
        return self.view.inside([*lists, *(path for path, lasts in known.items() if lasts)])
