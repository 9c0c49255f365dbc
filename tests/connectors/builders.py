"""Real Delta tables on disk, with a person spread over versions, files and change data."""

import json
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake

from connectors.adapters.delta import DeltaStore

PERSON = {"customer_id": ["c-000042"], "email": ["ann.archer@mail.example"]}
EVERY_NEEDLE = [value for values in PERSON.values() for value in values]
COLUMNS = ("customer_id", "email")
CHANGES = {"delta.enableChangeDataFeed": "true"}


def customers(first: int, last: int, *, person: bool = False) -> pl.DataFrame:
    """Rows of customers first to last-1; with `person`, one row of the person in the middle."""
    numbers = list(range(first, last))
    frame = pl.DataFrame(
        {
            "customer_id": [f"c-{n:06d}" for n in numbers],
            "email": [f"Customer{n}@shop.example" for n in numbers],
            "bought": [n % 7 for n in numbers],
            "price": [n * 1.5 for n in numbers],
        }
    )
    if not person:
        return frame
    row = pl.DataFrame(
        {
            "customer_id": PERSON["customer_id"],
            "email": ["Ann.Archer@Mail.example"],
            "bought": [3],
            "price": [9.5],
        }
    )
    half = len(numbers) // 2
    return pl.concat([frame[:half], row, frame[half:]])


def append(path: Path, frame: pl.DataFrame, **options: Any) -> None:
    # In one chunk: deltalake writes chunks in any order, and tests speak of row numbers.
    write_deltalake(str(path), frame.rechunk().to_arrow(), mode="append", **options)


def table_with_person(path: Path) -> Path:
    """Five versions: the person in versions 0 to 4, in four files, and twice in change data."""
    append(path, customers(100, 150, person=True), configuration=CHANGES)
    append(path, customers(150, 200))
    append(path, customers(200, 250, person=True))
    table = DeltaTable(str(path))
    table.update(predicate="email = 'Ann.Archer@Mail.example'", new_values={"bought": 9})
    append(path, customers(250, 300))
    return path


def store(path: Path, columns: Sequence[str] = COLUMNS, **options: Any) -> DeltaStore:
    return DeltaStore(str(path), columns, options)


def rows_of(path: Path) -> pl.DataFrame:
    frame = pl.read_delta(str(path))
    return frame.sort(pl.all())


def without_person(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("customer_id").ne_missing(PERSON["customer_id"][0]))


def erase(store: DeltaStore, needles: Mapping[str, Sequence[str]] = PERSON) -> Any:
    """Search, plan, erase and purge, as one would; returns the plan."""
    plan = store.plan_erase(store.find_subject(needles), mode="purge")
    store.erase(plan, needles)
    store.purge_history(plan)
    return plan


def commit(path: Path, version: int, actions: Sequence[dict[str, Any]]) -> None:
    """A commit made by hand, for what deltalake cannot write."""
    body = "\n".join(json.dumps(action) for action in actions)
    (path / "_delta_log" / f"{version:020d}.json").write_text(body)


def actions(path: Path, version: int) -> list[dict[str, Any]]:
    text = (path / "_delta_log" / f"{version:020d}.json").read_text()
    return [json.loads(line) for line in text.splitlines()]


def vectors_allowed(path: Path, version: int) -> None:
    """Switch deletion vectors on: protocol 3/7 with the feature, and the property."""
    metadata = next(a["metaData"] for a in actions(path, 0) if "metaData" in a)
    metadata["configuration"] = {"delta.enableDeletionVectors": "true"}
    feature = ["deletionVectors"]
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": feature,
        "writerFeatures": feature,
    }
    commit(path, version, [{"protocol": protocol}, {"metaData": metadata}])


def hide_rows(path: Path, version: int, rows: Sequence[int], *, inline: bool) -> None:
    """Delete rows of the table's first file by a deletion vector, as Spark and Databricks do."""
    add = next(a["add"] for a in actions(path, 0) if "add" in a)
    bitmap = roaring(rows)
    vector: dict[str, Any] = {"sizeInBytes": len(bitmap), "cardinality": len(rows)}
    if inline:
        padded = bitmap + b"\0" * (-len(bitmap) % 4)
        vector |= {"storageType": "i", "pathOrInlineDv": z85(padded)}
    else:
        name = uuid.uuid4()
        body = struct.pack(">i", len(bitmap)) + bitmap + struct.pack(">I", zlib.crc32(bitmap))
        (path / f"deletion_vector_{name}.bin").write_bytes(b"\x01" + body)
        vector |= {"storageType": "u", "pathOrInlineDv": z85(name.bytes), "offset": 1}
    removed = {
        "path": add["path"],
        "deletionTimestamp": add["modificationTime"] + 1,
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": add["size"],
    }
    commit(path, version, [{"remove": removed}, {"add": {**add, "deletionVector": vector}}])


def roaring(rows: Sequence[int]) -> bytes:
    """A RoaringBitmapArray of small row numbers (PROTOCOL.md, "Deletion Vector Format")."""
    values = sorted(rows)
    container = struct.pack("<II", 12346, 1) + struct.pack("<HH", 0, len(values) - 1)
    container += struct.pack("<I", 16) + b"".join(struct.pack("<H", v) for v in values)
    return struct.pack("<I", 1681511377) + struct.pack("<QI", 1, 0) + container


def z85(data: bytes) -> str:
    letters = (
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    )
    text = ""
    for start in range(0, len(data), 4):
        number = int.from_bytes(data[start : start + 4], "big")
        text += "".join(letters[number // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return text


class KilledError(BaseException):
    """Stands for SIGKILL: nothing that catches errors may see it."""


def killed_at(step: int) -> Callable[[str], None]:
    """A hook that lets `step` operations pass and kills at the next."""
    left: Iterator[int] = iter(range(step))

    def hook(_name: str) -> None:
        if next(left, None) is None:
            raise KilledError

    return hook
