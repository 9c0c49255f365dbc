"""A Delta table at a version: its files, schema and properties, as the log describes them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

Action = Mapping[str, Any]


@dataclass(frozen=True)
class DataFile:
    """A file that a version reads, from its `add` action."""

    path: str  # relative to the table, decoded
    bytes: int
    partition_values: Mapping[str, str | None]
    said: "str | Mapping[str, Any] | None"  # what the writer said of its content, JSON or parsed
    deletion_vector: Mapping[str, Any] | None
    raw_path: str  # as the log spells it

    @property
    def stats(self) -> Mapping[str, Any]:
        """What the writer said of its content; empty if nothing. Parsed when it is asked for: of
        all files of all versions it would be the most of what a history takes."""
        said: Any = self.said
        if isinstance(said, str):
            try:
                said = json.loads(said)
            except ValueError:
                return {}
        return said if isinstance(said, dict) else {}

    @cached_property
    def rows(self) -> int | None:
        """Physical rows, as the writer said."""
        count = self.stats.get("numRecords")
        return int(count) if count is not None else None

    def range_of(self, column: str) -> tuple[Any, Any] | None:
        """The lowest and the highest value of a column (its physical name, a dot leads into
        structs); None where the writer did not say. Long texts may be cut."""
        stats = self.stats
        lowest, highest = stats.get("minValues"), stats.get("maxValues")
        for name in column.split("."):
            lowest = lowest.get(name) if isinstance(lowest, dict) else None
            highest = highest.get(name) if isinstance(highest, dict) else None
        plain = isinstance(lowest, str | int | float)
        return (lowest, highest) if plain and type(lowest) is type(highest) else None

    @property
    def hidden_rows(self) -> int:
        return int(self.deletion_vector["cardinality"]) if self.deletion_vector else 0

    @property
    def vector_path(self) -> str | None:
        return vector_path(self.deletion_vector)


@dataclass(frozen=True)
class Column:
    path: str  # as people name it
    physical: str  # as files name it; differs under column mapping
    type: str


@dataclass(frozen=True)
class Snapshot:
    """The table at one version."""

    version: int
    created_at: datetime
    operation: str
    files: Mapping[str, DataFile]
    metadata: Action
    protocol: Action
    transactions: Mapping[str, int]

    @property
    def configuration(self) -> dict[str, str]:
        return dict(self.metadata.get("configuration") or {})

    @property
    def partition_columns(self) -> list[str]:
        return list(self.metadata.get("partitionColumns") or [])

    @property
    def fields(self) -> list[dict[str, Any]]:
        return list(json.loads(self.metadata["schemaString"])["fields"])

    @property
    def schema(self) -> tuple[tuple[str, str], ...]:
        return tuple((f["name"], type_name(f["type"])) for f in self.fields)

    def column(self, path: str) -> "Column | None":
        """The column a path names ("email", or "account.email" in a struct); None if absent."""
        for field_ in self.fields:
            if field_["name"] == path:
                return Column(path, physical_name(field_), type_name(field_["type"]))
        fields, physical, kind = self.fields, [], None
        for name in path.split("."):
            found = next((f for f in fields if f["name"] == name), None)
            if found is None:
                return None
            kind = found["type"]
            physical.append(physical_name(found))
            fields = kind["fields"] if isinstance(kind, dict) and kind["type"] == "struct" else []
        return Column(path, ".".join(physical), type_name(kind))


@dataclass(frozen=True)
class History:
    """All versions that the log can still rebuild, oldest first, and what it says of files."""

    snapshots: tuple[Snapshot, ...]
    change_files: Mapping[str, tuple[int, ...]]  # path -> versions that wrote it
    removed: frozenset[str]  # paths the log says were removed
    newest_removal: datetime | None
    commit_details: Mapping[int, Action] = field(default_factory=dict)  # version -> commitInfo

    @property
    def head(self) -> Snapshot:
        return self.snapshots[-1]

    @property
    def known_paths(self) -> set[str]:
        """Every path that the log ever named for data, changes or deletion vectors."""
        named = set(self.change_files) | set(self.removed)
        for snapshot in self.snapshots:
            for file in snapshot.files.values():
                named.add(file.path)
                if file.vector_path:
                    named.add(file.vector_path)
        return named


def vector_path(vector: Mapping[str, Any] | None) -> str | None:
    """The file that holds a deletion vector; None for one inside the log or far away."""
    if not vector or vector["storageType"] != "u":
        return None
    text = str(vector["pathOrInlineDv"])
    prefix, encoded = text[:-20], text[-20:]
    name = f"deletion_vector_{_uuid_of(encoded)}.bin"
    return f"{prefix}/{name}" if prefix else name


def physical_name(column: Mapping[str, Any]) -> str:
    return str(
        (column.get("metadata") or {}).get("delta.columnMapping.physicalName", column["name"])
    )


def type_name(kind: Any) -> str:
    """A Delta type as people write it: long, decimal(10,2), struct<city: string>."""
    if isinstance(kind, str):
        return kind
    if kind["type"] == "struct":
        inner = ", ".join(f"{f['name']}: {type_name(f['type'])}" for f in kind["fields"])
        return f"struct<{inner}>"
    if kind["type"] == "array":
        return f"array<{type_name(kind['elementType'])}>"
    return f"map<{type_name(kind['keyType'])}, {type_name(kind['valueType'])}>"


def is_absolute(raw_path: str) -> bool:
    return raw_path.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", raw_path) is not None


_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def _uuid_of(encoded: str) -> str:
    """A UUID from its 20 Z85 characters (https://rfc.zeromq.org/spec/32/)."""
    raw = b""
    for start in range(0, 20, 5):
        number = 0
        for character in encoded[start : start + 5]:
            number = number * 85 + _Z85.index(character)
        raw += number.to_bytes(4, "big")
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
