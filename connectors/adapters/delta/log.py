"""Reading a Delta table's transaction log: which version has which files.

Written from the protocol (https://github.com/delta-io/delta/blob/master/PROTOCOL.md, sections
"Delta Log Entries", "Checkpoints", "Action Reconciliation"). deltalake reads one version at a
time; finding a person needs all of them at once, with each physical file named once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.adapters.base import StoreError, StoreNotFoundError
from connectors.adapters.delta.snapshot import (
    Action,
    DataFile,
    History,
    Snapshot,
    is_absolute,
    vector_path,
)
from connectors.storage import Folder

LOG = "_delta_log"
COMMIT = re.compile(r"^(\d{20})\.json$")
CHECKPOINT = re.compile(
    r"^(?P<version>\d{20})\.checkpoint"
    r"(?:\.(?P<part>\d{10})\.(?P<parts>\d{10})|\.(?P<uuid>[0-9a-f-]{36}))?\.(?P<type>parquet|json)$"
)
_KNOWN_READER_FEATURES = {
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "typeWidening",
    "typeWidening-preview",
}
_ACTIONS = ["add", "metaData", "protocol", "txn", "sidecar"]


def read_history(folder: Folder) -> History:
    """Rebuild every retained version.

    Raises StoreNotFoundError when there is no table, StoreError when its log cannot be read.
    """
    if not folder.is_there():
        raise StoreNotFoundError(
            f"There is no folder at {folder.root}. Check the location of the table."
        )
    names = folder.names(LOG)
    commits = {int(m[1]): name for name in names if (m := COMMIT.match(name))}
    checkpoints = _checkpoints(names)
    if not commits and not checkpoints:
        raise StoreNotFoundError(
            f"The folder {folder.root} holds no Delta table: it has no {LOG} folder with commits."
        )
    return _Replay(folder, commits, checkpoints).run()


def _checkpoints(names: list[str]) -> dict[int, list[str]]:
    """Version -> the files of its checkpoint; incomplete multi-part checkpoints do not count."""
    whole: dict[int, list[str]] = {}
    parts: dict[tuple[int, int], list[str]] = {}
    for name in names:
        found = CHECKPOINT.match(name)
        if not found:
            continue
        version = int(found["version"])
        if found["part"]:
            parts.setdefault((version, int(found["parts"])), []).append(name)
        else:
            whole[version] = [name]
    for (version, expected), files in parts.items():
        if len(files) == expected:
            whole.setdefault(version, files)
    return whole


class _Replay:
    """Goes through the log once, oldest entry first, keeping the state of the table."""

    def __init__(
        self, folder: Folder, commits: Mapping[int, str], checkpoints: Mapping[int, list[str]]
    ) -> None:
        self.folder = folder
        self.commits = commits
        self.checkpoints = checkpoints
        self.files: dict[str, DataFile] = {}
        self.metadata: Action | None = None
        self.protocol: Action | None = None
        self.transactions: dict[str, int] = {}
        self.changes: dict[str, list[int]] = {}
        self.removed: set[str] = set()
        self.newest_removal: datetime | None = None
        self.details: dict[int, Action] = {}

    def run(self) -> History:
        snapshots: list[Snapshot] = []
        previous: int | None = None
        for version in sorted(set(self.commits) | set(self.checkpoints)):
            follows = version == 0 or (previous is not None and previous == version - 1)
            actions = self._commit(version)
            if version in self.commits and follows:
                self._apply(actions, version)
            elif version in self.checkpoints:
                self._reset()
                for action in self._checkpoint(version):
                    self._apply([action], version)
                # The commit beside a checkpoint adds what a checkpoint leaves out: changes.
                self._note_changes(actions, version)
            else:
                # A gap: files of this commit are real, but no version can be read from it.
                self._note_changes(actions, version)
                continue
            previous = version
            snapshots.append(self._snapshot(version, actions))
        if not snapshots:
            raise StoreError(
                f"The Delta log of {self.folder.root} has gaps and no checkpoint: no version of "
                "the table can be read. Restore the missing log files."
            )
        newest = max(set(self.commits) | set(self.checkpoints))
        if snapshots[-1].version != newest:
            raise StoreError(
                f"The Delta log of {self.folder.root} has a gap before version {newest}: the "
                "current version cannot be read. Restore the missing log files."
            )
        return History(
            snapshots=tuple(snapshots),
            change_files={path: tuple(versions) for path, versions in self.changes.items()},
            removed=frozenset(self.removed),
            newest_removal=self.newest_removal,
            commit_details=self.details,
        )

    def _reset(self) -> None:
        self.files = {}
        self.metadata = self.protocol = None
        self.transactions = {}

    def _snapshot(self, version: int, actions: list[Action]) -> Snapshot:
        if self.metadata is None or self.protocol is None:
            raise StoreError(
                f"Version {version} of the Delta table {self.folder.root} has no metadata or no "
                "protocol in its log. Restore the log from a backup."
            )
        self._refuse_unknown_features(self.protocol)
        detail = self.details.get(version, {})
        stamp = detail.get("inCommitTimestamp") or detail.get("timestamp")
        return Snapshot(
            version=version,
            created_at=_time(stamp) if stamp else self._modified(version),
            operation=str(detail.get("operation") or ("COMMIT" if actions else "CHECKPOINT")),
            files=dict(self.files),
            metadata=self.metadata,
            protocol=self.protocol,
            transactions=dict(self.transactions),
        )

    def _refuse_unknown_features(self, protocol: Action) -> None:
        unknown = set(protocol.get("readerFeatures") or []) - _KNOWN_READER_FEATURES
        if unknown:
            raise StoreError(
                f"The Delta table {self.folder.root} needs features this adapter does not read "
                f"yet: {', '.join(sorted(unknown))}."
            )

    def _modified(self, version: int) -> datetime:
        name = self.commits.get(version) or self.checkpoints[version][0]
        return self.folder.modified(f"{LOG}/{name}")

    def _commit(self, version: int) -> list[Action]:
        name = self.commits.get(version)
        if name is None:
            return []
        try:
            lines = self.folder.read(f"{LOG}/{name}").splitlines()
            actions = [_parsed(line) for line in lines if line.strip()]
        except (OSError, ValueError) as exc:
            raise StoreError(
                f"The log file {LOG}/{name} of {self.folder.root} cannot be read: it is damaged or "
                "was removed. Restore it from a backup."
            ) from exc
        for action in actions:
            if info := action.get("commitInfo"):
                self.details[version] = info
        return actions

    def _apply(self, actions: list[Action], version: int) -> None:
        # A commit may remove and add the same path (a new deletion vector): removals first.
        for action in actions:
            if remove := action.get("remove"):
                self.files.pop(path_of(remove), None)
        for action in actions:
            if add := action.get("add"):
                self.files[path_of(add)] = _data_file(add)
            elif metadata := action.get("metaData"):
                self.metadata = metadata
            elif protocol := action.get("protocol"):
                self.protocol = protocol
            elif txn := action.get("txn"):
                self.transactions[txn["appId"]] = int(txn["version"])
        self._note_changes(actions, version)

    def _note_changes(self, actions: list[Action], version: int) -> None:
        for action in actions:
            if cdc := action.get("cdc"):
                self.changes.setdefault(path_of(cdc), []).append(version)
            elif remove := action.get("remove"):
                self.removed.add(path_of(remove))
                if vector := vector_path(remove.get("deletionVector")):
                    self.removed.add(vector)
                when = _time(remove.get("deletionTimestamp") or 0)
                self.newest_removal = max(self.newest_removal or when, when)

    def _checkpoint(self, version: int) -> Iterator[Action]:
        for name in self.checkpoints[version]:
            path = f"{LOG}/{name}"
            for action in self._checkpoint_file(path):
                if sidecar := action.get("sidecar"):
                    yield from self._checkpoint_file(f"{LOG}/_sidecars/{sidecar['path']}")
                else:
                    yield action

    def _checkpoint_file(self, path: str) -> Iterator[Action]:
        try:
            if path.endswith(".json"):
                for line in self.folder.read(path).splitlines():
                    yield _parsed(line)
                return
            with self.folder.opened(path) as location, pq.ParquetFile(location) as file:
                wanted = [name for name in _ACTIONS if name in file.schema_arrow.names]
                for batch in file.iter_batches(columns=wanted):
                    for row in batch.to_pylist(maps_as_pydicts="strict"):
                        yield {k: v for k, v in row.items() if v is not None}
        except (OSError, ValueError, pa.ArrowException) as exc:
            raise StoreError(
                f"The checkpoint {path} of {self.folder.root} cannot be read: it is damaged or was "
                "removed. Restore it from a backup."
            ) from exc


def path_of(action: Action) -> str:
    """The file that an action of a log speaks of, relative to the table unless it is absolute."""
    raw = str(action["path"])
    return unquote(raw) if "%" in raw and not is_absolute(raw) else raw


def _data_file(action: Action) -> DataFile:
    return DataFile(
        path=path_of(action),
        bytes=int(action.get("size") or 0),
        partition_values=dict(action.get("partitionValues") or {}),
        said=action.get("stats") or action.get("stats_parsed"),
        deletion_vector=action.get("deletionVector"),
        raw_path=str(action["path"]),
    )


def _parsed(line: bytes) -> Action:
    try:
        action: Action = orjson.loads(line)
    except orjson.JSONDecodeError:
        action = json.loads(line)  # which takes NaN and larger numbers, as some writers' do
    return action


def _time(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
