"""Tables of real purchases, erased in by REST alone, whose older versions stay readable."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.table import Table

from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases
from tests.journeys.test_erasure_in_iceberg import catalog, lake_with_history, read_with_other_code

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


def snapshots(table: Table) -> dict[int, pl.DataFrame]:
    """Each by its id, and by its time where it was the main branch's."""
    found = {}
    for snapshot in table.snapshots():
        frame = pl.from_arrow(table.scan(snapshot_id=snapshot.snapshot_id).to_arrow())
        assert isinstance(frame, pl.DataFrame)
        found[snapshot.snapshot_id] = frame.sort(pl.all())
    for entry in table.history():
        then = table.snapshot_as_of_timestamp(entry.timestamp_ms)
        assert then is not None
        assert then.snapshot_id == entry.snapshot_id
    return found


def test_a_person_is_erased_from_every_snapshot(installation: Installation, tmp_path: Path) -> None:
    root = tmp_path / "lake-kept"
    lake_with_history(root)
    with catalog(root) as opened:
        table = opened.load_table("shop.purchases")
        first, _ = table.snapshots()
        table.manage_snapshots().create_tag(first.snapshot_id, "trained-on").commit()
        table.delete(f"customer_id = '{CUSTOMER}' AND quantity = 1")
        before, refs = snapshots(table), table.refs()
    assert len(before) == 3

    case = Erasure(installation, CUSTOMER)
    location = f"sqlite:///{root}/catalog.db#shop.purchases"
    node = case.connect("iceberg", location, root.name, history="keep")
    step = case.planned(node)
    assert (step["mode"], step["versions_lost"]) == ("keep_history", [])
    case.carry_out()

    with catalog(root) as opened:
        table = opened.load_table("shop.purchases")
        now = snapshots(table)
        for number, frame in before.items():
            assert now[number].equals(frame.filter(pl.col("customer_id") != CUSTOMER))
        assert table.refs()["trained-on"] == refs["trained-on"]
        for branch in ("main", "audit"):
            head = table.snapshot_by_name(branch)
            assert head is not None
            assert head.parent_snapshot_id == refs[branch].snapshot_id
            assert now[head.snapshot_id].equals(now[refs[branch].snapshot_id])
    read_with_other_code(root, history=True)
    case.certified(tmp_path)
