"""The subject index of a Delta table, as part of `stores`: building it, and finding by it; and
finding in an Iceberg table of the same files.

Beside a lookup stands the least that a search without an index does: polars filters each physical
file once, one after the other. Beside a whole find by the index, which also reads the table's log
and searches it for the person's traces, stands the whole find without.

`python -m bench.indexing TABLE INDEX COLUMN…` builds one and prints seconds and peak memory in MB:
a process of its own, because the peak of a process never goes down again.
"""

import random
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import polars as pl
import pyarrow.parquet as pq

from bench.memory import peak_of_self
from bench.report import Line, beside, best_rates, say, table

if TYPE_CHECKING:
    from connectors.adapters.delta import DeltaStore

MANY = 100
THOUSANDS = 10_000
STRANGERS = 2_000  # of them, who stand in no file
_KEY = bytes(range(32))
_LETTERS = string.ascii_letters


def run(path: Path, people: Sequence[str]) -> None:
    """Prints the tables of a table whose column "person" names these people."""
    one, two = path.with_name("index"), path.with_name("index-two")
    _build(path, one, ["person"])
    _build(path, two, ["person", "note"])
    _find(path, one, two, people)
    _agree(path, one, people)
    _find_in_iceberg(path, people[:1])


def _store(path: Path, index: Path | None, *columns: str) -> "DeltaStore":
    from connectors.adapters.delta import DeltaStore
    from connectors.index import SubjectIndex

    store = DeltaStore(str(path), columns or ["person"], {})
    store.index = SubjectIndex(index, _KEY) if index else None
    return store


def _build(path: Path, index: Path, columns: Sequence[str]) -> None:
    command = [sys.executable, "-m", "bench.indexing", str(path), str(index), *columns]
    answer = subprocess.run(command, check=True, capture_output=True)
    built = orjson.loads(answer.stdout)
    data = sum(file.stat().st_size for file in path.glob("*.parquet")) / 1e6
    kept = built["bytes"] / 1e6
    table(
        f"Build an index of {' and '.join(columns)}: {built['entries']:,} identifiers in "
        f"{built['files']} files",
        [
            Line("time", built["seconds"], unit="s"),
            Line("data", data, unit="MB"),
            Line("index", kept, "data", kept / data, unit="MB"),
            Line("memory before", built["before"], unit="MB"),
            Line("memory at its peak", built["peak"], unit="MB"),
        ],
    )


def main(path: str, index: str, *columns: str) -> int:
    from connectors.index import build

    store = _store(Path(path), Path(index), *columns)
    store.schema()
    assert store.index is not None  # noqa: S101 (given above)
    before, started = peak_of_self(), time.perf_counter()
    with store.index.building():
        build(store, store.index)
        size = store.index.finish()
    answer = {
        "seconds": time.perf_counter() - started,
        "before": before / 1024,
        "peak": peak_of_self() / 1024,
        "files": size.files,
        "entries": size.entries,
        "bytes": size.bytes,
    }
    sys.stdout.buffer.write(orjson.dumps(answer))
    return 0


def _find(path: Path, one_column: Path, two_columns: Path, people: Sequence[str]) -> None:
    peer, lookup = "polars filters each file once, 1 person", "lookup alone, 1 person"
    plain, whole = "whole find, no index, 1 person", "whole find by index, 1 person"
    linked = "whole find by index, 1 person, files read for another identifier"
    plain_many = f"whole find, no index, {MANY} persons"
    whole_many = f"whole find by index, {MANY} persons"
    found: dict[str, int] = {}

    def by_lookup() -> None:
        found[lookup] = sum(_rows_by_index(_store(path, one_column), people[:1]).values())

    def find(name: str, index: Path | None, count: int, *columns: str) -> Callable[[], None]:
        def work() -> None:
            findings = _store(path, index, *columns).find_subject({"person": people[:count]})
            found[name] = sum(o.rows for o in findings.objects)

        return work

    works = {
        peer: _by_polars(path, people[:1], found, peer),
        lookup: by_lookup,
        plain: find(plain, None, 1),
        whole: find(whole, one_column, 1),
        linked: find(linked, two_columns, 1, "person", "note"),
        plain_many: find(plain_many, None, MANY),
        whole_many: find(whole_many, one_column, MANY),
    }
    rates = best_rates(1, works, runs=15)
    if len({found[n] for n in (peer, lookup, plain, whole, linked)}) > 1:
        raise RuntimeError(f"they disagree about the rows: {found}")
    if found[plain_many] != found[whole_many]:
        raise RuntimeError(f"they disagree about the rows: {found}")
    table(
        "Find by the index, by how often a second",
        [
            Line(peer, rates[peer]),
            beside(lookup, peer, rates, 80),
            beside(plain, peer, rates),
            beside(whole, peer, rates, 80),
            beside(whole, plain, rates),
            beside(linked, plain, rates),
            Line(plain_many, rates[plain_many]),
            beside(whole_many, plain_many, rates),
        ],
    )


def _by_polars(
    path: Path, person: Sequence[str], found: dict[str, int], name: str
) -> Callable[[], None]:
    """What counts the person's rows in every file, one after the other."""

    def work() -> None:
        wanted = pl.col("person").is_in(person)
        frames = [pl.scan_parquet(f, glob=False) for f in path.glob("*.parquet")]
        found[name] = sum(f.filter(wanted).select(pl.len()).collect().item() for f in frames)

    return work


def _find_in_iceberg(path: Path, person: Sequence[str]) -> None:
    """Beside each other: one table's finds, and the least that reading its files takes."""
    from connectors.adapters.iceberg import IcebergStore
    from connectors.index import SubjectIndex, build

    peer = "polars filters each file once, 1 person"
    plain, whole = "Iceberg: whole find, no index", "Iceberg: whole find by index"
    lake, index = _in_iceberg(path), SubjectIndex(path.with_name("index-iceberg"), _KEY)
    found: dict[str, int] = {}

    def find(name: str, by: SubjectIndex | None) -> Callable[[], None]:
        def work() -> None:
            store = IcebergStore(lake, ["person"], {})
            store.index = by
            found[name] = sum(o.rows for o in store.find_subject({"person": person}).objects)

        return work

    with index.building():
        build(IcebergStore(lake, ["person"], {}), index)
        index.finish()
    works = {
        peer: _by_polars(path, person, found, peer),
        plain: find(plain, None),
        whole: find(whole, index),
    }
    rates = best_rates(1, works, runs=7)
    if len(set(found.values())) > 1:
        raise RuntimeError(f"they disagree about the rows: {found}")
    table(
        "Find in an Iceberg table of the same files, by how often a second",
        [
            Line(peer, rates[peer]),
            beside(plain, peer, rates),
            beside(whole, peer, rates),
            beside(whole, plain, rates),
        ],
    )


def _in_iceberg(path: Path) -> str:
    """The location of a table that reads the same files, as links below a folder of its own."""
    from pyiceberg.catalog.sql import SqlCatalog

    root = path.with_name("iceberg")
    folder = root / "bench" / "events" / "data"
    folder.mkdir(parents=True)
    for file in path.glob("*.parquet"):
        (folder / file.name).hardlink_to(file)
    catalog = SqlCatalog("lake", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}")
    catalog.create_namespace("bench")
    files = sorted(folder.iterdir())
    events = catalog.create_table("bench.events", pq.read_schema(files[0]))
    events.add_files([f"file://{file}" for file in files])
    catalog.close()
    return f"sqlite:///{root}/catalog.db#bench.events"


def _rows_by_index(store: "DeltaStore", persons: Sequence[str]) -> dict[str, int]:
    """File → rows, as the index says."""
    index = store.index
    assert index is not None  # noqa: S101 (the callers give one)
    lookup = index.lookup({"person": persons})
    rows = {}
    for entry in store.folder.entries():
        if entry.path.endswith(".parquet"):
            hits = lookup.hits(index.name_of(entry, {"person": ["person"]}))
            assert hits is not None  # noqa: S101 (every file has been hashed)
            rows[entry.path] = hits.found.get("person", 0)
    return rows


def _agree(path: Path, index: Path, people: Sequence[str]) -> None:
    """Every one of many persons, who are in some files or in none, looked up both ways."""
    chance = random.Random(THOUSANDS)  # noqa: S311 (nothing secret)
    persons = chance.sample(people, min(THOUSANDS - STRANGERS, len(people)))
    persons += ["".join(chance.choices(_LETTERS, k=20)) for _ in range(STRANGERS)]
    store = _store(path, index)
    files = [e.path for e in store.folder.entries() if e.path.endswith(".parquet")]
    counted: dict[str, dict[str, int]] = {}
    for file in files:
        rows = pl.scan_parquet(path / file, glob=False).filter(pl.col("person").is_in(persons))
        counted[file] = dict(rows.group_by("person").len().collect().iter_rows())
    started = time.perf_counter()
    for person in persons:
        by_index = _rows_by_index(store, [person])
        if any(by_index[file] != counted[file].get(person, 0) for file in files):
            raise RuntimeError("the index and the files disagree about a person")
    seconds = time.perf_counter() - started
    say(
        f"\n{len(persons):,} persons, {STRANGERS:,} of them in no file, looked up one by one in "
        f"{seconds:,.1f} s: the index names the files and rows that polars counts."
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
