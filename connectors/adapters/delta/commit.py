"""Writing commits into a Delta log: the next version, or nothing.

Why not deltalake's own `delete`: it writes the predicate, and with it the identifier, into the
commit; `merge` does not, but needs several times the table's memory. A commit of our own holds
only counts, and its version number is taken by an operation that fails when another writer was
first, so what was planned for one state of the table is never applied to another.
"""

import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from connectors.adapters.base import PlanOutdatedError
from connectors.adapters.delta.log import LOG
from connectors.adapters.delta.snapshot import DataFile, Snapshot
from connectors.storage import Folder

ENGINE = "Vestige"
_WRITER_FEATURES = {
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "columnMapping",
    "identityColumns",
    "deletionVectors",
    "timestampNtz",
    "domainMetadata",
    "v2Checkpoint",
    "inCommitTimestamp",
    "vacuumProtocolCheck",
    "clustering",
    "typeWidening",
    "typeWidening-preview",
}


def write_blockers(snapshot: Snapshot) -> list[str]:
    """Why this adapter must not write to the table; each a sentence with what to do."""
    blockers = []
    if snapshot.configuration.get("delta.appendOnly", "").lower() == "true":
        blockers.append(
            "The table is append-only (delta.appendOnly is true), so no row may be removed. Its "
            "owner has to set the property to false."
        )
    unknown = sorted(set(snapshot.protocol.get("writerFeatures") or []) - _WRITER_FEATURES)
    if unknown:
        blockers.append(
            f"The table uses features that Vestige cannot write yet: {', '.join(unknown)}. Its "
            "owner has to drop them, or erase with the engine that made the table."
        )
    return blockers


def write_commit(
    folder: Folder,
    head: Snapshot,
    *,
    operation: str,
    actions: Sequence[dict[str, Any]],
    metrics: dict[str, str] | None = None,
    facts: dict[str, Any] | None = None,
) -> int:
    """Commit on top of `head` and return the new version.

    Raises PlanOutdatedError when the table has gone on since `head` was read.
    """
    version = head.version + 1
    now = int(time.time() * 1000)
    info: dict[str, Any] = {
        "timestamp": now,
        "operation": operation,
        "operationParameters": {},
        "operationMetrics": metrics or {},
        "isolationLevel": "Serializable",
        "isBlindAppend": False,
        "readVersion": head.version,
        "engineInfo": ENGINE,
        **(facts or {}),
    }
    if head.configuration.get("delta.enableInCommitTimestamps", "").lower() == "true":
        # The protocol wants these to increase strictly, whatever the clocks of writers say.
        info["inCommitTimestamp"] = max(now, int(head.created_at.timestamp() * 1000) + 1)
    lines = [{"commitInfo": info}, *actions]
    body = "\n".join(json.dumps(line, separators=(",", ":")) for line in lines) + "\n"
    try:
        folder.create(f"{LOG}/{version:020d}.json", body.encode())
    except FileExistsError as exc:
        raise PlanOutdatedError(
            f"Another writer committed version {version} of the table {folder.root} first. "
            "Nothing was changed: plan again."
        ) from exc
    return version


def log_path(path: str) -> str:
    """A path relative to the table, as the log spells it."""
    return quote(path, safe="/=:@+,;~!$&'()*")


def add_action(
    path: str, *, size: int, partition_values: Any, stats: str, modified: int
) -> dict[str, Any]:
    return {
        "add": {
            "path": log_path(path),
            "partitionValues": dict(partition_values),
            "size": size,
            "modificationTime": modified,
            "dataChange": True,
            "stats": stats,
        }
    }


def remove_action(file: DataFile) -> dict[str, Any]:
    remove: dict[str, Any] = {
        "path": file.raw_path,
        "deletionTimestamp": int(time.time() * 1000),
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": dict(file.partition_values),
        "size": file.bytes,
    }
    if file.deletion_vector:
        vector = {k: v for k, v in file.deletion_vector.items() if v is not None}
        remove["deletionVector"] = vector
    return {"remove": remove}


def metadata_action(snapshot: Snapshot, configuration: dict[str, str]) -> dict[str, Any]:
    """The table's metadata with other properties, everything else as it was."""
    metadata = {k: v for k, v in snapshot.metadata.items() if v is not None}
    fmt = dict(metadata.get("format") or {"provider": "parquet"})
    fmt["options"] = dict(fmt.get("options") or {})
    return {"metaData": {**metadata, "format": fmt, "configuration": configuration}}


def transaction_action(application: str, version: int) -> dict[str, Any]:
    """Delta's mark of an applied transaction: it survives checkpoints, so a rerun sees it."""
    now = int(time.time() * 1000)
    return {"txn": {"appId": application, "version": version, "lastUpdated": now}}
