"""Proving that an erasure left nothing: the scanner, told which columns hold identifiers.

The scan takes the folder as it is and never asks the log which files matter. The log's schema is
read as text for one thing only: under column mapping the files name columns differently.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from connectors.adapters.base import Progress, ScanReport
from connectors.adapters.delta.log import LOG
from connectors.adapters.delta.snapshot import physical_name
from connectors.scan.folder import FolderScan
from connectors.scan.identifiers import Identifiers
from connectors.storage import Folder

METADATA = (f"{LOG}/", "_change_data/")


def scan_table(
    folder: Folder,
    subject_columns: Iterable[str],
    needles: Iterable[str],
    control: tuple[str, str] | None,
    progress: Progress,
    unrelated_columns: Iterable[str] = (),
) -> ScanReport:
    columns = set(subject_columns)
    identifiers = Identifiers(
        needles,
        identity_columns=columns | physical_columns(folder, columns),
        unrelated_columns=unrelated_columns,
        control=control,
        control_columns=physical_columns(folder, {control[0]}) if control else (),
    )
    scan = FolderScan(folder, identifiers, metadata_folders=METADATA)
    return scan.run(progress, with_control=control is not None)


def physical_columns(folder: Folder, columns: set[str]) -> set[str]:
    """What files call the columns in any schema that is written down in the table's log."""
    leaves = {c.rpartition(".")[2] for c in columns}
    return {
        physical_name(field)
        for text in _schemas(folder)
        for field in _fields(text)
        if field.get("name") in leaves
    }


def _schemas(folder: Folder) -> Iterator[str]:
    for name in folder.names(LOG):
        path = f"{LOG}/{name}"
        try:
            if name.endswith(".json"):
                for line in folder.read(path).splitlines():
                    if b"schemaString" in line:
                        yield str(json.loads(line)["metaData"]["schemaString"])
            elif name.endswith(".parquet"):
                with folder.opened(path) as location, pq.ParquetFile(location) as file:
                    rows = file.read(columns=["metaData.schemaString"]).to_pylist()
                yield from (r["metaData"]["schemaString"] for r in rows if r.get("metaData"))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            continue  # the scan names this file as unreadable; here it only fails to help


def _fields(schema: str) -> Iterator[Mapping[str, Any]]:
    try:
        waiting = [json.loads(schema)]
    except ValueError:
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "name" in node and "type" in node:
                yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
