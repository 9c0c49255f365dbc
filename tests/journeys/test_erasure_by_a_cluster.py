"""A Delta table of real purchases, whose files a cluster of Sail searches and rewrites."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from tests.connectors.sail_server import SailServer, sail_server
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases

__all__ = ["sail_server"]  # the fixture
pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]


def test_a_person_is_erased_by_the_workers_of_a_cluster(
    installation: Installation, sail_server: SailServer, tmp_path: Path
) -> None:
    root = tmp_path / "purchases-by-cluster"
    everything = purchases()
    for year in ("1997", "1998"):
        rows = everything.filter(pl.col("bought_on").str.starts_with(year))
        write_deltalake(str(root), rows.to_arrow(), mode="append")
    others = everything.filter(pl.col("customer_id") != CUSTOMER).sort(pl.all())

    case = Erasure(installation, CUSTOMER)
    node = case.connect("delta", str(root), root.name, **sail_server.options)
    step = case.planned(node)
    there = f"by tasks of the Spark cluster at 127.0.0.1:{sail_server.port}"
    assert there in str(step), "the plan says who searched"
    case.carry_out()

    assert pl.read_delta(str(root)).sort(pl.all()).equals(others)
    for file in [p for p in root.rglob("*") if p.is_file()]:
        decoded = str(pl.read_parquet(file).rows()) if file.suffix == ".parquet" else ""
        assert EMAIL not in (file.read_bytes().decode("latin-1") + decoded).lower(), file
    case.certified(tmp_path)
