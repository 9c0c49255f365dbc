"""An Iceberg table of real purchases, erased in by REST alone, and every byte read afterwards."""

import json
from pathlib import Path

import fastavro
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_by_rest import running
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]
__all__ = ["running"]  # the fixture: both installations

_YEAR_1997 = pl.col("bought_on").str.starts_with("1997")


def catalog(root: Path) -> SqlCatalog:
    uri = f"sqlite:///{root}/catalog.db"
    return SqlCatalog("lake", uri=uri, warehouse=f"file://{root}/warehouse")


def lake_with_history(root: Path) -> pl.DataFrame:
    """A snapshot a year, and a branch that an audit works on, from before 1998."""
    root.mkdir()
    everything = purchases()
    with catalog(root) as opened:
        opened.create_namespace("shop")
        schema = everything.to_arrow().schema
        table = opened.create_table("shop.purchases", schema)
        table.append(everything.filter(_YEAR_1997).to_arrow())
        head = table.current_snapshot()
        assert head is not None
        table.manage_snapshots().create_branch(head.snapshot_id, "audit").commit()
        table.append(everything.filter(~_YEAR_1997).to_arrow())
    return everything


def rows(table: Table, branch: str) -> pl.DataFrame:
    snapshot = table.metadata.snapshot_by_name(branch)
    assert snapshot is not None
    frame = pl.from_arrow(table.scan(snapshot_id=snapshot.snapshot_id).to_arrow())
    assert isinstance(frame, pl.DataFrame)
    return frame.sort(pl.all())


def test_a_person_is_erased_in_an_iceberg_table(running: Installation, tmp_path: Path) -> None:
    root = tmp_path / f"lake-{running.url.rpartition(':')[2]}"
    everything = lake_with_history(root)
    theirs = everything.filter(pl.col("customer_id") == CUSTOMER)
    assert theirs.filter(_YEAR_1997).height not in (0, theirs.height)

    case = Erasure(running, CUSTOMER)
    step = case.planned(
        case.connect("iceberg", f"sqlite:///{root}/catalog.db#shop.purchases", root.name)
    )
    assert step["rows"] == theirs.height
    assert len(step["versions_lost"]) == 2
    case.carry_out()

    others = everything.filter(pl.col("customer_id") != CUSTOMER)
    with catalog(root) as opened:
        table = opened.load_table("shop.purchases")
        assert rows(table, "main").equals(others.sort(pl.all()))
        assert rows(table, "audit").equals(others.filter(_YEAR_1997).sort(pl.all()))
        assert len(table.metadata.snapshots) == 2
    read_with_other_code(root)

    case.certified(tmp_path)


def read_with_other_code(root: Path, *, history: bool = False) -> None:
    """Without the scanner: nothing of the person in any file, and no manifest of what is gone.
    `history`: what a later snapshot removed is there."""
    files = [p for p in root.rglob("*") if p.is_file()]
    present = {p.name for p in files}
    for path in files:
        assert EMAIL.encode() not in path.read_bytes().lower(), path.name
    for path in (p for p in files if p.suffix == ".parquet"):
        assert CUSTOMER not in pq.read_table(path)["customer_id"].to_pylist()
    bounds = 0
    for path in (p for p in files if p.suffix == ".avro"):
        with path.open("rb") as body:
            for entry in fastavro.reader(body):
                assert isinstance(entry, dict)
                if "data_file" not in entry:
                    continue
                assert entry["status"] != 2 or history
                assert entry["data_file"]["file_path"].rpartition("/")[2] in present
                bounds += len(entry["data_file"]["lower_bounds"])
    assert bounds
    for path in (p for p in files if p.name.endswith(".json")):
        assert json.loads(path.read_text())["snapshots"]
