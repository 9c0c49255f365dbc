"""Three persons of one Delta table: approved one by one, and carried out together."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import purchases

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]


def test_nobody_waits_for_new_approvals_because_another_was_erased(
    bare_installation: Installation, tmp_path: Path
) -> None:
    root = tmp_path / "purchases-of-several"
    everything = purchases()
    counted = everything.group_by("customer_id").len().sort("len", "customer_id")
    persons = [str(row[0]) for row in counted.tail(3).rows()]
    for year in ("1997", "1998"):
        rows = everything.filter(pl.col("bought_on").str.starts_with(year))
        write_deltalake(str(root), rows.to_arrow(), mode="append")
    cases = [Erasure(bare_installation, person) for person in persons]
    node = cases[0].connect("delta", str(root), root.name)
    planned = [case.planned(node)["rows"] for case in cases]
    for case in cases:
        case.approve()
    for case in cases:
        case.execute()
    for case, person, rows in zip(cases, persons, planned, strict=True):
        (outcome,) = case.finish()["outcomes"]
        gone = everything.filter(pl.col("customer_id") == person).height
        assert (outcome["rows_erased"], rows) == (gone, gone)
        case.certified(tmp_path)
    others = everything.filter(~pl.col("customer_id").is_in(persons)).sort(pl.all())
    assert pl.read_delta(str(root)).sort(pl.all()).equals(others)
    for file in [p for p in root.rglob("*") if p.is_file()]:
        decoded = str(pl.read_parquet(file).rows()) if file.suffix == ".parquet" else ""
        for person in persons:
            assert f"'{person}'" not in file.read_bytes().decode("latin-1") + decoded, file
