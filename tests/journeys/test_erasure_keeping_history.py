"""A Delta table of real purchases, erased in by REST alone, whose older versions stay readable."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]


def test_a_person_is_erased_from_every_version(
    bare_installation: Installation, tmp_path: Path
) -> None:
    root = tmp_path / "purchases-kept"
    everything = purchases()
    for year in ("1997", "1998"):
        rows = everything.filter(pl.col("bought_on").str.starts_with(year))
        write_deltalake(str(root), rows.to_arrow(), mode="append")
    DeltaTable(str(root)).delete(f"customer_id = '{CUSTOMER}' AND quantity = 1")
    before = [pl.read_delta(str(root), version=v) for v in range(3)]

    case = Erasure(bare_installation, CUSTOMER)
    node = case.connect("delta", str(root), root.name)
    step = case.planned(node, "keep_history")
    assert (step["mode"], step["versions_lost"]) == ("keep_history", [])
    case.carry_out()

    for version, frame in enumerate(before):
        others = frame.filter(pl.col("customer_id") != CUSTOMER).sort(pl.all())
        assert pl.read_delta(str(root), version=version).sort(pl.all()).equals(others)
    for file in [p for p in root.rglob("*") if p.is_file()]:
        decoded = str(pl.read_parquet(file).rows()) if file.suffix == ".parquet" else ""
        assert EMAIL not in (file.read_bytes().decode("latin-1") + decoded).lower(), file
        assert f"'{CUSTOMER}'" not in file.read_bytes().decode("latin-1") + decoded, file
    case.certified(tmp_path)
