"""A folder of real purchases, erased in by REST alone, and every byte read afterwards."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest

from tests.journeys.conftest import ROOT, Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_by_rest import running

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]
__all__ = ["running"]  # the fixture: both installations

CUSTOMER = "00441"
EMAIL = f"c{CUSTOMER}@customers.example"


def purchases() -> pl.DataFrame:
    """The CDNOW sample, as the shop's exports would have it."""
    lines = (ROOT / "sample" / "data" / "CDNOW_sample.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line.strip()]
    return pl.DataFrame(
        {
            "customer_id": [row[0] for row in rows],
            "email": [f"C{row[0]}@customers.example" for row in rows],
            "bought_on": [row[2] for row in rows],
            "quantity": [int(row[3]) for row in rows],
            "amount": [float(row[4]) for row in rows],
        }
    )


def exported(folder: Path) -> pl.DataFrame:
    """CSV for 1997, a Parquet file for 1998 with several row groups, in a partition a year."""
    everything = purchases()
    year = pl.col("bought_on").str.starts_with("1997")
    (folder / "year=1997").mkdir(parents=True)
    (folder / "year=1998").mkdir()
    everything.filter(year).write_csv(folder / "year=1997" / "purchases.csv", separator=";")
    everything.filter(~year).write_parquet(
        folder / "year=1998" / "purchases.parquet", row_group_size=500
    )
    return everything


def test_a_person_is_erased_in_a_folder_of_files(running: Installation, tmp_path: Path) -> None:
    folder = tmp_path / f"exports-{running.url.rpartition(':')[2]}"
    everything = exported(folder)
    theirs = everything.filter(pl.col("customer_id") == CUSTOMER)
    assert set(theirs["bought_on"].str.head(4)) == {"1997", "1998"}
    text = (folder / "year=1997" / "purchases.csv").read_text()

    case = Erasure(running, CUSTOMER)
    step = case.planned(case.connect("files", str(folder), folder.name))
    assert step["rows"] == theirs.height
    case.carry_out()

    require_erased(folder, everything, text)
    case.certified(tmp_path)


def require_erased(folder: Path, everything: pl.DataFrame, text: str) -> None:
    """Nothing of theirs, and all else as it was, read with other code than the scanner's.

    `text`: of the CSV file as it was.
    """
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert found == ["year=1997/purchases.csv", "year=1998/purchases.parquet"]
    for path in found:
        assert EMAIL.encode() not in (folder / path).read_bytes().lower()
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith(CUSTOMER)]
    assert (folder / "year=1997" / "purchases.csv").read_text() == "".join(kept)
    parsed = list(csv.reader(io.StringIO("".join(kept)), delimiter=";"))
    later = pl.read_parquet(folder / "year=1998" / "purchases.parquet", hive_partitioning=False)
    kept_rows = everything.filter(pl.col("customer_id") != CUSTOMER).height
    assert len(parsed) - 1 + later.height == kept_rows
    others = pl.col("bought_on").str.starts_with("1998") & (pl.col("customer_id") != CUSTOMER)
    assert later.equals(everything.filter(others))
