"""Real purchases as a Delta table, as an Iceberg table and as files, which a cluster of Sail
searches and rewrites."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from tests.connectors.sail_server import SailServer, sail_server
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, exported, require_erased
from tests.journeys.test_erasure_in_iceberg import catalog, lake_with_history, rows

__all__ = ["sail_server"]  # the fixture
pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]


def test_a_person_is_erased_by_the_workers_of_a_cluster(
    installation: Installation, sail_server: SailServer, tmp_path: Path
) -> None:
    folder, root, lake = (tmp_path / name for name in ("files", "delta", "lake"))
    everything = exported(folder)
    text = (folder / "year=1997" / "purchases.csv").read_text()
    for year in ("1997", "1998"):
        of_year = everything.filter(pl.col("bought_on").str.starts_with(year))
        write_deltalake(str(root), of_year.to_arrow(), mode="append")
    lake_with_history(lake)
    others = everything.filter(pl.col("customer_id") != CUSTOMER).sort(pl.all())

    case = Erasure(installation, CUSTOMER)
    table = f"sqlite:///{lake}/catalog.db#shop.purchases"
    nodes = [
        case.connect(kind, where, f"{kind}-by-cluster", **sail_server.options)
        for kind, where in (("delta", str(root)), ("files", str(folder)), ("iceberg", table))
    ]
    there = f"by tasks of the Spark cluster at 127.0.0.1:{sail_server.port}"
    for step in case.planned_steps(nodes):
        assert there in str(step), "the plan says who searched"
    case.carry_out()

    assert pl.read_delta(str(root)).sort(pl.all()).equals(others)
    require_erased(folder, everything, text)
    with catalog(lake) as opened:
        assert rows(opened.load_table("shop.purchases"), "main").equals(others)
    for file in [p for place in (root, lake) for p in place.rglob("*") if p.is_file()]:
        decoded = str(pl.read_parquet(file).rows()) if file.suffix == ".parquet" else ""
        assert EMAIL not in (file.read_bytes().decode("latin-1") + decoded).lower(), file
    case.certified(tmp_path)
