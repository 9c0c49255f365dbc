"""Proving that an erasure left nothing, without Iceberg's own library.

The scan takes the folder as it is and never asks manifests which files matter. From the metadata it
learns two things only: where the folder is, and how columns and partitions are called, since a
renamed column keeps its name in older files. What the catalog keeps is scanned as well.
"""

import contextlib
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from connectors.adapters.base import Progress, ScanReport
from connectors.adapters.iceberg.entry import Entry, read_entry
from connectors.adapters.iceberg.location import Place, Reach
from connectors.references import Role
from connectors.scan.avro import AvroFile, AvroFormatError
from connectors.scan.folder import FolderScan
from connectors.scan.identifiers import Identifiers
from connectors.scan.manifests import Column, columns_of, single_value
from connectors.scan.parquet import scan_bound
from connectors.scan.record import Record
from connectors.scan.texts import scan_text
from connectors.storage import FileEntry, Folder, Hidden

METADATA = ("metadata/",)
_BESIDE = ("", "-wal", "-journal")
_GZIP = b"\x1f\x8b"


def scan_table(
    place: Place,
    options: Mapping[str, Any],
    role: Role,
    reach: Reach,
    subject_columns: Iterable[str],
    needles: Iterable[str],
    control: tuple[str, str] | None,
    progress: Progress,
) -> ScanReport:
    """Raises StoreError when the catalog cannot be read or the folder is not there."""
    entry = read_entry(place, options, role, reach)
    folder = entry.folder
    shapes = list(_shapes(folder, entry))
    columns = set(subject_columns)
    identifiers = Identifiers(
        needles,
        identity_columns=columns | other_names(shapes, columns),
        unrelated_columns=options.get("unrelated_columns", ()),
        control=control,
        control_columns=other_names(shapes, {control[0]}) if control else (),
    )
    scan = FolderScan(folder, identifiers, metadata_folders=METADATA)
    _scan_catalog(place, entry, scan.record)
    _scan_summaries(folder, shapes, scan.record)
    return scan.run(progress, with_control=control is not None)


def _shapes(folder: Folder, entry: Entry) -> Iterator[Mapping[str, Any]]:
    """Every description of the table: the current one, and those in whatever files are left."""
    yield entry.metadata
    for file in _files(folder, (".metadata.json", ".metadata.json.gz")):
        with contextlib.suppress(OSError, EOFError, ValueError):  # the scan names it
            body = _body(folder, file)
            found = json.loads(gzip.decompress(body) if body.startswith(_GZIP) else body)
            if isinstance(found, dict):
                yield found


def _files(folder: Folder, endings: tuple[str, ...]) -> "Iterator[FileEntry | Hidden]":
    """What readers see, and the older versions that a bucket keeps."""
    yield from (e for e in folder.entries() if not e.link and e.path.endswith(endings))
    versions = (h for h in folder.hidden() if h.kind == "version")
    yield from (h for h in versions if h.path.endswith(endings))


def _body(folder: Folder, file: "FileEntry | Hidden") -> bytes:
    with folder.opened(file.path, file.id if isinstance(file, Hidden) else "") as location:
        return location.read_bytes()


def _columns(shape: Mapping[str, Any]) -> dict[int, set[str]]:
    """The columns' numbers → every name that they ever had, with dots into structs."""
    names: dict[int, set[str]] = {}
    for schema in (*shape.get("schemas", ()), shape.get("schema")):
        for number, column in columns_of(schema).items():
            names.setdefault(number, set()).add(".".join(column.path))
    return names


def other_names(shapes: Iterable[Mapping[str, Any]], columns: set[str]) -> set[str]:
    """What else files and paths call these columns: former names, and those of partitions that
    hold a column's own values."""
    others: set[str] = set()
    for shape in shapes:
        names = _columns(shape)
        ids = {number for number, found in names.items() if found & columns}
        others |= {name for number in ids for name in names[number]}
        others |= {
            str(part["name"])
            for part in _partition_fields(shape)
            if part.get("source-id") in ids and part.get("transform") == "identity"
        }
    return others


def _partition_fields(shape: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for spec in shape.get("partition-specs", ()):
        yield from spec.get("fields", ())


def _scan_catalog(place: Place, entry: Entry, record: Record) -> None:
    for where, text in entry.texts:
        scan_text(text, f"catalog: {where}", record)
    if place.kind == "sqlite":
        for suffix in _BESIDE:
            path = Path(f"{place.base}{suffix}")
            with contextlib.suppress(FileNotFoundError):
                _scan_database(path.read_bytes(), f"catalog: {path.name}", record)


def _scan_database(data: bytes, path: str, record: Record) -> None:
    """A database puts values side by side, so identifiers in it have no boundaries."""
    lowered = data.lower()
    for identifier in record.identifiers.without_control.distinctive:
        forms = {form.lower().encode() for form in identifier.spellings}
        if count := max(lowered.count(form) for form in forms):
            record.hits([identifier], path, "raw bytes", count=count)


def _scan_summaries(folder: Folder, shapes: Iterable[Mapping[str, Any]], record: Record) -> None:
    """The lowest and highest partition values in manifest lists.

    They are bytes, and their types stand in the table's metadata alone: without it, "4" of a
    customer and 4 of a bucket would be the same.
    """
    specs = {number: fields for shape in shapes for number, fields in _specs(shape).items()}
    for file in _files(folder, (".avro",)):
        where = file.label if isinstance(file, Hidden) else file.path
        with contextlib.suppress(AvroFormatError, OSError):  # the scan names it as unreadable
            for block in AvroFile(_body(folder, file)).blocks():
                for row in block.records:
                    if isinstance(row, dict) and "manifest_path" in row:
                        _scan_summary(row, specs, where, record)


def _specs(shape: Mapping[str, Any]) -> dict[int, list[Column | None]]:
    """Partition specs by number: for each field the column whose own values it holds."""
    columns: dict[int, Column] = {}
    for schema in (*shape.get("schemas", ()), shape.get("schema")):
        columns |= columns_of(schema)
    return {
        spec["spec-id"]: [
            columns.get(part.get("source-id")) if part.get("transform") == "identity" else None
            for part in spec.get("fields", ())
        ]
        for spec in shape.get("partition-specs", ())
    }


def _scan_summary(
    row: Mapping[str, Any],
    specs: Mapping[int, list[Column | None]],
    path: str,
    record: Record,
) -> None:
    columns = specs.get(row.get("partition_spec_id", -1), [])
    for column, summary in zip(columns, row.get("partitions") or (), strict=False):
        for end in ("lower_bound", "upper_bound"):
            raw = summary.get(end)
            if column is not None and isinstance(raw, bytes):
                value = single_value(raw, column.type)
                where = f"{end} of partition {'.'.join(column.path)}"
                scan_bound(value, column.path, path, where, record)
