"""Finding, erasing and proving a person gone in a Delta table of many versions.

Each version writes one file: 20 load a part of the rows, 43 change ten rows of such a part and so
write all of it again. What is on disk is three times what the newest version reads.

Beside finding stand the ways that come to mind first: open each version and filter it. Beside
erasing many persons at once stands erasing one; beside the byte-level scan, reading the same bytes
as Arrow tables. Ids are random texts of 20 characters, rows in no order: no file's statistics
exclude anybody.
"""

import random
import shutil
import string
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import engines, indexing
from bench.report import Line, beside, best_rates, say, table

LOADS, UPDATES = 20, 43
VERSIONS = LOADS + UPDATES
UPDATED_ROWS = 10
ROWS_OF_A_PERSON = 10
MANY = 100
FILES_IN_ORDER, MOST_REWRITTEN = 40, 0.05
_SEED = 20
_FIRST_DAY, _DAYS = date(2016, 1, 1), 3650


def run(database: str, *, rows: int = 1_000_000) -> None:
    """Prints the tables; `rows` are those of the newest version. No database is used."""
    with tempfile.TemporaryDirectory(prefix="vestige-bench-stores-") as name:
        path = Path(name) / "events"
        people = _grow(path, rows)
        _find(path, people)
        indexing.run(path, people)
        engines.run(path, people)
        _erase(path, people)
        _scan(path, people)


def _grow(path: Path, rows: int) -> list[str]:
    """Versions that add a part of the rows or change a few; returns the persons in them."""
    chance = random.Random(_SEED)  # noqa: S311 (nothing secret)
    count = rows // ROWS_OF_A_PERSON
    people = ["".join(chance.choices(string.ascii_letters, k=20)) for _ in range(count)]
    part = rows // LOADS
    updated = 0
    for load in range(LOADS):
        _load(path, people, range(load * part, (load + 1) * part), chance)
        while updated < UPDATES * load // (LOADS - 1):
            start = chance.randrange(load + 1) * part
            _update(path, chance.sample(range(start, start + part), UPDATED_ROWS))
            updated += 1
    sizes = [f.stat().st_size for f in path.glob("*.parquet")]
    megabytes = f"{sum(sizes) / 1e6:,.0f} MB in {len(sizes)} files"
    say(f"A table of {rows:,} rows in {VERSIONS} versions: {megabytes}.")
    return people


def _load(path: Path, people: Sequence[str], events: range, chance: random.Random) -> None:
    from deltalake import write_deltalake

    count = len(events)
    frame = pl.DataFrame(
        {
            "person": chance.choices(people, k=count),
            "event": events,
            "amount": [chance.random() for _ in events],
            "day": [_FIRST_DAY + timedelta(days=chance.randrange(_DAYS)) for _ in events],
            "note": [f"seen {chance.getrandbits(64):x}" for _ in events],
        }
    )
    write_deltalake(str(path), frame.to_arrow(), mode="append")


def _update(path: Path, events: Sequence[int]) -> None:
    from deltalake import DeltaTable

    wanted = ", ".join(map(str, events))
    DeltaTable(str(path)).update(predicate=f"event IN ({wanted})", updates={"note": "'corrected'"})


def _find(path: Path, people: Sequence[str]) -> None:
    from connectors.adapters.delta import DeltaStore

    ours, ours_many = "each file once, 1 person", f"each file once, {MANY} persons"
    arrow, scans = "version by version, pyarrow, 1 person", "version by version, polars, 1 person"
    one, many = people[:1], people[:MANY]
    found: dict[str, int] = {}

    def search(name: str, persons: Sequence[str]) -> Callable[[], None]:
        def work() -> None:
            findings = DeltaStore(str(path), ["person"], {}).find_subject({"person": persons})
            found[name] = sum(findings.rows_by_version.values())

        return work

    def by_arrow() -> None:
        wanted = pl.Series(one).to_arrow()
        people_of = (_table(path, version)["person"] for version in range(VERSIONS))
        found[arrow] = sum(pc.is_in(ids, value_set=wanted).to_numpy().sum() for ids in people_of)

    def by_polars() -> None:
        wanted = pl.col("person").is_in(one)
        found[scans] = sum(
            pl.scan_delta(str(path), version=v).filter(wanted).select(pl.len()).collect().item()
            for v in range(VERSIONS)
        )

    works = {
        ours: search(ours, one),
        ours_many: search(ours_many, many),
        arrow: by_arrow,
        scans: by_polars,
    }
    rates = best_rates(1, works, runs=3)
    if not found[ours] == found[arrow] == found[scans]:
        raise RuntimeError(f"they disagree about the rows: {found}")
    table(
        "Find in all versions, by how often a second",
        [
            Line(arrow, rates[arrow]),
            beside(scans, arrow, rates),
            beside(ours, arrow, rates, 15),
            beside(ours, scans, rates),
            beside(ours_many, ours, rates, 0.5),
        ],
    )


def _table(path: Path, version: int) -> pa.Table:
    from deltalake import DeltaTable

    return DeltaTable(str(path), version=version).to_pyarrow_table(columns=["person"])


def _erase(path: Path, people: Sequence[str]) -> None:
    person = _typical(path)
    several = [person, *people[1 - MANY :]]
    first, spread = _erased_in(path, [person])
    hundred, everywhere = _erased_in(path, several)
    one, many = "erase and purge 1 person", f"erase and purge {MANY} persons"
    in_order, share = _erased_in(path, [person], ordered=True)
    ordered = "erase and purge 1 person, table ordered by the id"
    table(
        "Erase from all files, purge all older versions: seconds",
        [
            Line(one, first, unit="s"),
            Line(many, hundred, one, hundred / first, 2, at_most=True, unit="s"),
            Line(ordered, in_order, one, in_order / first, at_most=True, unit="s"),
        ],
    )
    verdict = "met" if share <= MOST_REWRITTEN else "MISSED"
    say(
        f"Of the newest version's bytes {spread:.0%} were rewritten for 1 person, {everywhere:.0%} "
        f"for {MANY}; ordered {share:.1%} (target at most {MOST_REWRITTEN:.0%}: {verdict})."
    )


def _typical(path: Path) -> str:
    """Somebody with as many rows as people have on average."""
    rows = pl.scan_delta(str(path)).group_by("person").len()
    found = rows.filter(pl.col("len") == ROWS_OF_A_PERSON).select(pl.col("person").min()).collect()
    return str(found.item())


def _erased_in(path: Path, persons: Sequence[str], *, ordered: bool = False) -> tuple[float, float]:
    """Seconds, and the share of the newest version's bytes that was rewritten."""
    from deltalake import DeltaTable

    from connectors.adapters.delta import DeltaStore

    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    if ordered:
        size = DeltaStore(str(copy), ["person"], {}).versions(digests=False)[-1].bytes or 0
        DeltaTable(str(copy)).optimize.z_order(["person"], target_size=size // FILES_IN_ORDER)
    store = DeltaStore(str(copy), ["person"], {})
    needles = {"person": persons}
    plan = store.plan_erase(store.find_subject(needles), mode="purge")
    before = store.versions(digests=False)[-1]
    started = time.perf_counter()
    store.erase(plan, needles)
    seconds = time.perf_counter() - started
    known = {item.path for item in before.objects}
    after = store.versions(digests=False)[-1]
    rewritten = sum(item.bytes for item in after.objects if item.path not in known)
    started = time.perf_counter()
    store.purge_history(plan)
    seconds += time.perf_counter() - started
    report = store.verify_erased(persons, None)
    shutil.rmtree(copy)
    if not report.clean:
        raise RuntimeError(f"something was left: {report.traces[:3]}")
    return seconds, rewritten / (before.bytes or 1)


def _scan(path: Path, people: Sequence[str]) -> None:
    from connectors.adapters.delta import DeltaStore

    files = list(path.glob("*.parquet"))
    size = sum(f.stat().st_size for f in files)
    read, scan = "all files read as Arrow tables", "byte-level scan of the same"
    nobody = "Q" * 20

    def plain() -> None:
        for file in files:
            pq.read_table(file)

    def scanned() -> None:
        report = DeltaStore(str(path), ["person"], {}).verify_erased(
            [nobody], ("person", people[0])
        )
        if not report.clean or report.control_found is not True:
            raise RuntimeError(f"the scan is not what it should be: {report}")

    rates = best_rates(size, {read: plain, scan: scanned})
    megabytes = {name: rate / 1e6 for name, rate in rates.items()}
    table(
        f"Scan of {size / 1e6:,.0f} MB that are left",
        [
            Line(read, megabytes[read], unit="MB/s"),
            Line(scan, megabytes[scan], read, megabytes[scan] / megabytes[read], 0.5, unit="MB/s"),
        ],
    )
