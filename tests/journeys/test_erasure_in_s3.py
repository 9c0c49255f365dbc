"""Real purchases in a bucket with versions, as files and as a Delta table, erased in by REST alone,
and every byte that the bucket keeps read afterwards."""

from pathlib import Path

import polars as pl
import pytest

from tests.connectors.s3_builders import Bucket, append, rows_of
from tests.connectors.s3_server import S3Server
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, exported, require_erased

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]


def filled(bucket: Bucket, folder: Path) -> pl.DataFrame:
    """The folder's files, each with an older version, and a table of two versions."""
    everything = exported(folder)
    for _ in range(2):
        bucket.fill(folder, "exports")
    first = pl.col("bought_on").str.starts_with("1997")
    append(bucket, everything.filter(first), "bought")
    append(bucket, everything.filter(~first), "bought")
    bucket.put("beside/purchases.csv", EMAIL.encode())
    return everything


def fetched(bucket: Bucket, folder: Path) -> None:
    """What the bucket holds of the exports, older versions too, in place of what the folder had."""
    for file in [p for p in folder.rglob("*") if p.is_file()]:
        file.unlink()
    for (key, _), body in bucket.bodies("exports/").items():
        target = folder / key.removeprefix("exports/")
        assert not target.exists(), f"{key} has an older version still"
        target.write_bytes(body)


def test_a_person_is_erased_in_a_bucket(
    bare_installation: Installation, s3_server: S3Server, tmp_path: Path
) -> None:
    bucket, folder = Bucket.new(s3_server, versioned=True), tmp_path / "exports"
    everything = filled(bucket, folder)
    others = everything.filter(pl.col("customer_id") != CUSTOMER)
    text = (folder / "year=1997" / "purchases.csv").read_text()

    case = Erasure(bare_installation, CUSTOMER)
    nodes = [
        case.connect(kind, f"s3://{bucket.name}/{name}", name, **s3_server.options)
        for kind, name in (("files", "exports"), ("delta", "bought"))
    ]
    steps = {step["kind"]: step for step in case.planned_steps(nodes)}
    assert steps["files"]["rows"] == everything.height - others.height
    assert len(steps["delta"]["rows_by_version"]) == 2
    case.carry_out()

    fetched(bucket, folder)
    require_erased(folder, everything, text)
    assert rows_of(bucket, "bought").equals(others.sort(pl.all()))
    for (key, _), body in bucket.bodies("bought/").items():
        decoded = str(pl.read_parquet(body).rows()) if key.endswith(".parquet") else ""
        assert EMAIL.encode() not in body.lower() + decoded.lower().encode(), key
    assert bucket.body("beside/purchases.csv") == EMAIL.encode()

    case.certified(tmp_path)
