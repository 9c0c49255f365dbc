"""Identifiers in Avro files, and in Iceberg's manifests, which are such.

A manifest lists data files, each with the lowest and highest values of its columns: as bytes, by
the number of the column, and texts cut to 16 characters. Which column a number means, and its type,
stands in the schema in the file's header. Source: https://iceberg.apache.org/spec/#manifests and
the appendix "Binary single-value serialization".
"""

import json
import mmap
import struct
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from connectors.scan.avro import AvroFile
from connectors.scan.parquet import scan_bound
from connectors.scan.physical import Value
from connectors.scan.raw import scan_raw
from connectors.scan.record import Record
from connectors.scan.texts import scan_named_path, scan_text

_BOUNDS = ("lower_bounds", "upper_bounds")
_PATHS = ("file_path", "manifest_path", "referenced_data_file")
_INTEGERS = {4: "<i", 8: "<q"}  # a column may have been widened since the bound was written
_FLOATS = {4: "<f", 8: "<d"}


class Column(NamedTuple):
    path: tuple[str, ...]
    type: str


def scan_avro(data: "bytes | mmap.mmap", path: str, record: Record) -> None:
    """Note every identifier in the file. Raises AvroFormatError when it cannot be decoded."""
    file = AvroFile(data)
    for note, text in file.notes.items():
        scan_text(f"{note}\n{text.decode('utf-8', 'replace')}", path, record)
    columns = columns_of(_json(file.notes.get("schema")))
    walk = _Walk(path, record, columns, identity_partitions(_partitions(file.notes), columns))
    for block in file.blocks():
        scan_raw(block.unpacked, path, record)
        for found in block.records:
            walk.value(found, ())


def columns_of(schema: Any) -> dict[int, Column]:
    """The columns of an Iceberg schema by their numbers, at any depth."""
    return dict(_fields(schema, ())) if isinstance(schema, dict) else {}


def _fields(kind: Mapping[str, Any], parents: tuple[str, ...]) -> Iterator[tuple[int, Column]]:
    for field in kind.get("fields", ()):
        yield from _typed(field["id"], field["type"], (*parents, str(field["name"])))
    for part in ("element", "key", "value"):
        if f"{part}-id" in kind:
            yield from _typed(kind[f"{part}-id"], kind[part], parents)


def _typed(number: int, kind: Any, path: tuple[str, ...]) -> Iterator[tuple[int, Column]]:
    if isinstance(kind, dict):
        yield from _fields(kind, path)
    else:
        yield number, Column(path, str(kind))


def identity_partitions(fields: Any, columns: Mapping[int, Column]) -> dict[str, Column]:
    """Partition fields that hold a column's own values → that column."""
    return {
        field["name"]: columns[field["source-id"]]
        for field in fields or ()
        if field.get("transform") == "identity" and field.get("source-id") in columns
    }


def _partitions(notes: Mapping[str, bytes]) -> Any:
    spec = _json(notes.get("partition-spec"))
    return spec.get("fields") if isinstance(spec, dict) else spec


def _json(text: bytes | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def single_value(raw: bytes, kind: str) -> Value:
    """A value as Iceberg serialises it; None for types that name nobody (times, truths)."""
    if kind in ("int", "long"):
        return int(struct.unpack(_INTEGERS[len(raw)], raw)[0]) if len(raw) in _INTEGERS else None
    if kind in ("float", "double"):
        return float(struct.unpack(_FLOATS[len(raw)], raw)[0]) if len(raw) in _FLOATS else None
    if kind.startswith("decimal"):
        scale = int(kind.rstrip(")").rpartition(",")[2])
        return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-scale)
    if kind in ("string", "uuid", "binary", "") or kind.startswith("fixed"):
        return _text_or_bytes(raw) if kind != "uuid" else raw
    return None


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class _Walk:
    """One pass over the records of a file."""

    def __init__(
        self,
        path: str,
        record: Record,
        columns: Mapping[int, Column],
        partitions: Mapping[str, Column],
    ) -> None:
        self.path = path
        self.record = record
        self.columns = columns
        self.partitions = partitions

    def value(self, value: Any, keys: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                self._field(str(key), inner, keys)
        elif isinstance(value, list):
            for inner in value:
                self.value(inner, keys)
        elif isinstance(value, str | bytes | int | float | Decimal | uuid.UUID):
            self._scalar(value, keys)

    def _field(self, key: str, inner: Any, keys: tuple[str, ...]) -> None:
        if key in _BOUNDS and isinstance(inner, list):
            for bound in inner:
                self._bound(bound, key)
        elif keys[-1:] == ("partition",) and key in self.partitions:
            self.value(inner, (*keys, *self.partitions[key].path))
        elif key in _PATHS and isinstance(inner, str):
            scan_named_path(inner, self.path, self.record)
        else:
            self.value(inner, (*keys, key))

    def _bound(self, bound: Any, key: str) -> None:
        if not (isinstance(bound, dict) and isinstance(bound.get("value"), bytes)):
            self.value(bound, (key,))
            return
        column = self.columns.get(bound.get("key", -1), Column((), ""))
        value = single_value(bound["value"], column.type)
        where = f"{key} of {'.'.join(column.path) or 'a column'}"
        scan_bound(value, column.path, self.path, where, self.record)

    def _scalar(self, value: Any, keys: tuple[str, ...]) -> None:
        if isinstance(value, bool):
            return
        if isinstance(value, uuid.UUID):
            value = str(value)
        elif isinstance(value, bytes):
            value = _text_or_bytes(value)
        scan_bound(value, keys, self.path, f"field {'.'.join(keys)}", self.record)
