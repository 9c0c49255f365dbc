"""The sample company's Delta tables, made from the real purchases.

`purchases`, version by version:

* 0 to 17: one append a month, January 1997 to June 1998, columns as the shop's export has them
  (the date is text);
* 18, a correction: 21 of the 6,919 orders repeat another one in every field (same customer, day,
  number of CDs and amount); five days of customer 20873 alone hold the same order two or three
  times over. We take these for orders that were sent twice, and keep one of each. The file cannot
  prove it: somebody may order the same CD twice in a day. The other orders of a day differ in
  something and stay;
* 19, cleaned and typed: eight orders have the amount 0.00 (one CD each, each the only order of its
  customer). Nothing was paid, so they are no purchases; those eight customers are from here on
  only in the history. Orders of the same customer and day become one purchase, the unit that
  recency-frequency models count in. The date becomes a date, the amount a decimal.

`customer_features`: a version for each cutoff (`company.CUTOFFS`), each replacing the one before.

Everything is deterministic but for the times in the Delta log. What wrote a version stands in its
commit (`northgate.*`), so that a second process can report it.
"""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from time import time
from typing import Any, Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from sample.company import (
    CUTOFFS,
    FEATURES,
    PURCHASES,
    SOURCE_FILE,
    TABLES,
    WINDOW,
    Dataset,
    email_of,
)

_MARK = "northgate."
Mode = Literal["append", "overwrite"]


class SampleTableError(Exception):
    """A table or version of the sample company that is not there; the message names it."""


@dataclass(frozen=True)
class TableVersion:
    """One version of a Delta table, as its log tells it. Sizes in bytes, times aware UTC.

    `rows` and `bytes` are of the whole table; `rows_written` of this commit alone, None where its
    log does not tell. `facts` holds what the job said of its run: `job`, `started_at`, and its own
    (`month`, `as_of`). It is empty for a version that others wrote, an erasure for example.
    """

    dataset: Dataset
    version: int
    rows: int
    bytes: int
    files: int
    rows_written: int | None
    replaces: bool
    columns: tuple[tuple[str, str], ...]
    written_at: datetime
    facts: Mapping[str, str]


def now() -> datetime:
    return datetime.fromtimestamp(time(), UTC)


def orders() -> pl.DataFrame:
    """The published file as the shop's export: customer_id, email, date (text), cds, amount."""
    rows = [line.split() for line in SOURCE_FILE.read_text("ascii").splitlines()]
    return pl.DataFrame(
        {
            "customer_id": [row[0] for row in rows],
            "email": [email_of(row[0]) for row in rows],
            "date": [row[2] for row in rows],
            "cds": [int(row[3]) for row in rows],
            "amount": [float(row[4]) for row in rows],
        },
        schema_overrides={"cds": pl.Int32},
    )


def without_repeats(raw: pl.DataFrame) -> pl.DataFrame:
    return raw.unique(maintain_order=True)


def cleaned(corrected: pl.DataFrame) -> pl.DataFrame:
    """One typed row per customer and day on which something was paid."""
    return (
        corrected.filter(pl.col("amount") > 0)
        .with_columns(
            pl.col("date").str.to_date("%Y%m%d"), pl.col("amount").cast(pl.Decimal(10, 2))
        )
        .group_by("customer_id", "email", "date")
        .agg(
            pl.len().cast(pl.Int32).alias("orders"),
            pl.col("cds").sum().cast(pl.Int32),
            pl.col("amount").sum().cast(pl.Decimal(10, 2)),
        )
        .sort("date", "customer_id")
    )


def features_as_of(purchases: pl.DataFrame, cutoff: date) -> pl.DataFrame:
    """One row per customer who bought by the cutoff; `purchases` is the cleaned table."""
    past = purchases.filter(pl.col("date") <= cutoff)
    after = (pl.col("date") > cutoff) & (pl.col("date") <= cutoff + WINDOW)
    again = purchases.filter(after)["customer_id"].unique()
    as_of = pl.lit(cutoff)
    return (
        past.group_by("customer_id")
        .agg(
            as_of.alias("as_of"),
            (as_of - pl.col("date").max()).dt.total_days().cast(pl.Int32).alias("recency_days"),
            (pl.len() - 1).cast(pl.Int32).alias("frequency"),
            pl.col("amount").cast(pl.Float64).mean().round(4).alias("monetary"),
            (as_of - pl.col("date").min()).dt.total_days().cast(pl.Int32).alias("tenure_days"),
            pl.col("cds").mean().round(4).alias("cds_mean"),
        )
        .with_columns(pl.col("customer_id").is_in(again.implode()).alias("bought_again"))
        .sort("customer_id")
    )


def write(
    store: Path, dataset: Dataset, frame: pl.DataFrame, *, mode: Mode, facts: Mapping[str, str]
) -> int:
    """Writes one version of a table and returns its number."""
    path = store / dataset.name
    write_deltalake(
        str(path),
        frame,
        mode=mode,
        schema_mode="overwrite" if mode == "overwrite" else None,
        commit_properties=CommitProperties(
            custom_metadata={f"{_MARK}{key}": value for key, value in facts.items()}
        ),
    )
    return DeltaTable(str(path)).version()


def build(store: Path) -> None:
    """Makes `purchases` and `customer_features` in the folder `store`, whole or not at all.

    Does nothing where the folder is already there: writing the published file again would bring
    back everybody who has been erased since.
    """
    if store.exists():
        return
    # A crash half way leaves only this folder behind, never a table that looks complete.
    building = store.with_name(f"{store.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    _load_by_month(building)
    _correct(building)
    _clean(building)
    for cutoff in CUTOFFS:
        build_features(building, cutoff)
    building.rename(store)


def _load_by_month(store: Path) -> None:
    raw = orders().with_columns(pl.col("date").str.slice(0, 6).alias("month"))
    for (month,), part in sorted(raw.partition_by("month", as_dict=True).items()):
        facts = {"job": "load_month", "started_at": now().isoformat(), "month": str(month)}
        # The file is sorted by customer; the shop's months come in by day.
        write(
            store,
            PURCHASES,
            part.drop("month").sort("date", maintain_order=True),
            mode="append",
            facts=facts,
        )


def _correct(store: Path) -> None:
    started = now().isoformat()
    before = read(store, PURCHASES)
    after = without_repeats(before.sort("date", "customer_id", "cds", "amount"))
    facts = {
        "job": "correct",
        "started_at": started,
        "repeats_removed": str(before.height - after.height),
    }
    write(store, PURCHASES, after, mode="overwrite", facts=facts)


def _clean(store: Path) -> None:
    started = now().isoformat()
    before = read(store, PURCHASES)
    facts = {
        "job": "clean",
        "started_at": started,
        "unpaid_removed": str(before.filter(pl.col("amount") <= 0).height),
    }
    write(store, PURCHASES, cleaned(before), mode="overwrite", facts=facts)


def build_features(store: Path, cutoff: date, *, without: Collection[str] = ()) -> int:
    """Writes a version of `customer_features` from the current purchases; returns its number.

    `without`: customers to leave out.
    """
    started = now().isoformat()
    source = DeltaTable(str(store / PURCHASES.name)).version()
    facts = {
        "job": "build_features",
        "started_at": started,
        "as_of": cutoff.isoformat(),
        "purchases_version": str(source),
    }
    purchases = read(store, PURCHASES, source)
    wanted = purchases.filter(~pl.col("customer_id").is_in(list(without)))
    frame = features_as_of(wanted, cutoff)
    return write(store, FEATURES, frame, mode="overwrite", facts=facts)


def read(store: Path, dataset: Dataset, version: int | None = None) -> pl.DataFrame:
    """The rows of one version, the current one by default."""
    return pl.read_delta(str(_table(store, dataset, version).table_uri), version=version)


def current_version(store: Path, dataset: Dataset) -> int:
    return _table(store, dataset).version()


def has_table(store: Path, dataset: Dataset) -> bool:
    return DeltaTable.is_deltatable(str(store / dataset.name))


def versions(store: Path, dataset: Dataset) -> list[TableVersion]:
    """Every version that the log still tells of and whose rows can be read, oldest first."""
    if not has_table(store, dataset):
        return []
    commits = _table(store, dataset).history()
    return [_version(store, dataset, commit) for commit in reversed(commits)]


def all_versions(store: Path) -> dict[tuple[str, int], TableVersion]:
    """Every version of every table, by (table name, version)."""
    return {
        (dataset.name, found.version): found
        for dataset in TABLES
        for found in versions(store, dataset)
    }


def _version(store: Path, dataset: Dataset, commit: Mapping[str, Any]) -> TableVersion:
    number = int(commit["version"])
    table = _table(store, dataset, number)
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    return TableVersion(
        dataset=dataset,
        version=number,
        rows=int(files["num_records"].sum()),
        bytes=int(files["size_bytes"].sum()),
        files=files.height,
        rows_written=commit.get("operationMetrics", {}).get("num_added_rows"),
        replaces=commit.get("operationParameters", {}).get("mode") == "Overwrite",
        columns=tuple((field.name, field.type.type) for field in table.schema().fields),
        written_at=datetime.fromtimestamp(commit["timestamp"] / 1000, UTC),
        facts={
            key.removeprefix(_MARK): str(value)
            for key, value in commit.items()
            if key.startswith(_MARK)
        },
    )


def _table(store: Path, dataset: Dataset, version: int | None = None) -> DeltaTable:
    path = store / dataset.name
    try:
        return DeltaTable(str(path), version=version)
    except DeltaError as exc:
        if version is None or not has_table(store, dataset):
            raise SampleTableError(
                f"There is no table at {path}. Load the sample company first: python -m sample.load"
            ) from exc
        raise SampleTableError(
            f"{dataset.name} has no version {version} any more: erasures purge the history."
            f" The current one is {current_version(store, dataset)}."
        ) from exc
