"""Folders of plain files with a person in every format."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from connectors.adapters.base import ErasePlan
from connectors.adapters.files import FilesStore

PERSON = {"customer_id": ["c-000042"], "email": ["ann.archer@mail.example"]}
EVERY_NEEDLE = [value for values in PERSON.values() for value in values]
COLUMNS = ("customer_id", "email")
HEADER = b"customer_id,email,note\r\n"
# Rows as no writer would write them again: what is kept must be the bytes that it was.
OTHERS = (
    b"c-000001,Bob@Shop.example,plain\r\n",
    b'"c-000002",,"two\r\nlines, and ""quotes"""\r\n',
    "c-000003,zoë@shop.example,  spaced  \n".encode(),
    b'c-000004,"",1.50\r\n',
)
THEIRS = (b'c-000042,,"hers,\nall of it"\r\n', b"c-000777,ANN.Archer@mail.example ,hers too\r\n")


def csv_with_person() -> bytes:
    return HEADER + OTHERS[0] + THEIRS[0] + OTHERS[1] + OTHERS[2] + THEIRS[1] + OTHERS[3]


def csv_without() -> bytes:
    return HEADER + b"".join(OTHERS)


JSON_OTHERS = (
    b'{"customer_id": "c-000005", "n": 1.0}\n',
    b"\n",
    b'{ "customer_id":"c-000006","email":null , "n":1e2}\r\n',
    '{"customer_id": "c-000007", "email": "Zo\\u00eb@x.example", "é": [1, 2]}'.encode(),
)
JSON_THEIRS = (
    b'{"customer_id": "c-000042"}\n',
    b'{"email": " Ann.Archer@Mail.example", "n": {"deep": [1]}}\n',
)


def jsonl_with_person() -> bytes:
    first, blank, second, last = JSON_OTHERS
    return first + JSON_THEIRS[0] + blank + second + JSON_THEIRS[1] + last


def jsonl_without() -> bytes:
    return b"".join(JSON_OTHERS)


def frame(*, person: bool = True) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {"customer_id": f"c-{n:06d}", "email": f"Customer{n}@shop.example", "price": n * 1.5}
        for n in range(100, 110)
    ]
    rows.append({"customer_id": None, "email": None, "price": float("nan")})
    if person:
        rows.insert(5, {"customer_id": "c-000042", "email": None, "price": 1.0})
        rows.insert(8, {"customer_id": None, "email": "Ann.Archer@Mail.example", "price": 2.0})
    return pl.DataFrame(rows)


def folder_with_person(root: Path) -> Path:
    """Six files with 2 rows of the person each, in sub-folders, packed and plain."""
    (root / "2024" / "month=1").mkdir(parents=True)
    (root / "orders.csv").write_bytes(csv_with_person())
    (root / "2024" / "orders.csv.gz").write_bytes(gzip.compress(csv_with_person()))
    (root / "2024" / "orders.tsv").write_bytes(
        b"customer_id\temail\tn\nc-000042\t\t1\nc-000001\tBob@Shop.example\t2\n"
        b"\tann.archer@mail.example\t3\n"
    )
    (root / "2024" / "month=1" / "events.jsonl").write_bytes(jsonl_with_person())
    (root / "2024" / "month=1" / "events.jsonl.gz").write_bytes(gzip.compress(jsonl_with_person()))
    frame().write_parquet(root / "2024" / "month=1" / "part-0.parquet", row_group_size=4)
    (root / "README.md").write_text("Orders of the shop.\n")
    return root


def store(
    path: Path, columns: Sequence[str] = COLUMNS, *, writable: bool = True, **options: Any
) -> FilesStore:
    return FilesStore(str(path), columns, options, writable=writable)


def planned(opened: FilesStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    return opened.plan_erase(opened.find_subject(needles), mode="purge")


def erase(opened: FilesStore, needles: Mapping[str, Sequence[str]] = PERSON) -> ErasePlan:
    """Search, plan, erase and purge, as one would; returns the plan."""
    plan = planned(opened, needles)
    assert plan.blockers == ()
    opened.erase(plan, needles)
    opened.purge_history(plan)
    return plan


def clean(opened: FilesStore, needles: Mapping[str, Sequence[str]] = PERSON) -> bool:
    """Whether the scan finds nothing of the person, and somebody else."""
    control = opened.control_subject(needles)
    report = opened.verify_erased([v for vs in needles.values() for v in vs], control)
    return control is not None and report.clean


def contents(path: Path) -> dict[str, bytes]:
    """Every file below the folder; packed ones as they are when unpacked."""
    found = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        body = file.read_bytes()
        found[file.relative_to(path).as_posix()] = (
            gzip.decompress(body) if file.suffix == ".gz" else body
        )
    return found


def json_line(**row: Any) -> str:
    return json.dumps(row) + "\n"
