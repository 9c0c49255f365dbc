"""Real purchases in a bucket with versions: as files, as a Delta table, as an Iceberg table, as
what a DVC repository has pushed and as the objects of a lakeFS repository, erased in by REST alone,
and every byte that the bucket keeps read afterwards."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from tests.connectors.dvc_builders import Workshop, begun
from tests.connectors.lakefs_builders import contents
from tests.connectors.lakefs_server import KEY, S3Blocks, Server, Shop, served
from tests.connectors.s3_builders import Bucket, append, rows_of
from tests.connectors.s3_server import KEY_ID, SECRET, S3Server
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


def catalog(bucket: Bucket, folder: Path) -> SqlCatalog:
    return SqlCatalog(
        "lake",
        uri=f"sqlite:///{folder}/catalog.db",
        warehouse=f"s3://{bucket.name}/lake",
        **{
            "s3.endpoint": bucket.server.url,
            "s3.region": "us-east-1",
            "s3.access-key-id": KEY_ID,
            "s3.secret-access-key": SECRET,
        },
    )


def lake(bucket: Bucket, folder: Path, everything: pl.DataFrame) -> str:
    """An Iceberg table of two snapshots; how its catalog is connected."""
    first = pl.col("bought_on").str.starts_with("1997")
    with catalog(bucket, folder) as opened:
        opened.create_namespace("shop")
        table = opened.create_table("shop.purchases", everything.to_arrow().schema)
        for rows in (everything.filter(first), everything.filter(~first)):
            table.append(rows.to_arrow())
    return f"sqlite:///{folder}/catalog.db#shop.purchases"


def repository(bucket: Bucket, folder: Path, everything: pl.DataFrame) -> Workshop:
    """Two versions of one output, pushed to the bucket by the real dvc."""
    shop = begun(folder)
    config = shop.root / ".dvc" / "config"
    config.write_text(
        f"[core]\n    remote = cloud\n    site_cache_dir = {shop.site}\n"
        f"['remote \"cloud\"']\n    url = s3://{bucket.name}/dvc\n"
        f"    endpointurl = {bucket.server.url}\n"
    )
    (shop.root / ".dvc" / "config.local").write_text(
        f"['remote \"cloud\"']\n    access_key_id = {KEY_ID}\n    secret_access_key = {SECRET}\n"
    )
    for rows in (everything.head(everything.height // 2), everything):
        rows.write_csv(shop.root / "purchases.csv")
        shop.dvc("add", "-q", "purchases.csv")
        shop.commit(f"{rows.height} purchases")
        shop.dvc("push", "-q")
    return shop


@pytest.fixture
def bucket(s3_server: S3Server) -> Bucket:
    return Bucket.new(s3_server, versioned=True)


@pytest.fixture
def lakefs(bucket: Bucket) -> Iterator[Server]:
    """A repository in the bucket, without data."""
    with served(Shop(S3Blocks(bucket, "lakefs"))) as server:
        yield server


def commit(shop: Shop, everything: pl.DataFrame) -> None:
    """Two versions on main, and the older one on another branch too."""
    for rows in (everything.head(everything.height // 2), everything):
        shop.put("main", "purchases.csv", rows.write_csv().encode())
        shop.commit("main", f"{rows.height} purchases")
        if "before" not in shop.branches:
            shop.begin("before", "main")


def fetched(bucket: Bucket, folder: Path) -> None:
    """What the bucket holds of the exports, older versions too, in place of what the folder had."""
    for file in [p for p in folder.rglob("*") if p.is_file()]:
        file.unlink()
    for (key, _), body in bucket.bodies("exports/").items():
        target = folder / key.removeprefix("exports/")
        assert not target.exists(), f"{key} has an older version still"
        target.write_bytes(body)


def test_a_person_is_erased_in_a_bucket(
    bare_installation: Installation,
    s3_server: S3Server,
    bucket: Bucket,
    lakefs: Server,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "exports"
    everything = filled(bucket, folder)
    others = everything.filter(pl.col("customer_id") != CUSTOMER)
    text = (folder / "year=1997" / "purchases.csv").read_text()

    table = lake(bucket, tmp_path, everything)
    shop = repository(bucket, tmp_path / "shop", everything)

    commit(lakefs.shop, everything)

    case = Erasure(bare_installation, CUSTOMER)
    signed_in = {"user": KEY, "password_env": "SHOP_LAKEFS_PASSWORD", **s3_server.options}
    nodes = [
        case.connect("files", f"s3://{bucket.name}/exports", "exports", **s3_server.options),
        case.connect("delta", f"s3://{bucket.name}/bought", "bought", **s3_server.options),
        case.connect("iceberg", table, "lake", **s3_server.options),
        case.connect("dvc", str(shop.root), "shop", exclusive=["cloud"], **s3_server.options),
        case.connect("lakefs", lakefs.location, "lakefs", **signed_in),
    ]
    steps = {step["kind"]: step for step in case.planned_steps(nodes)}
    assert steps["files"]["rows"] == everything.height - others.height
    assert len(steps["delta"]["rows_by_version"]) == 2
    assert len(steps["iceberg"]["rows_by_version"]) == 2
    assert len(steps["dvc"]["rows_by_version"]) == 2
    assert len(steps["lakefs"]["rows_by_version"]) == 2
    case.carry_out()

    fetched(bucket, folder)
    require_erased(folder, everything, text)
    assert rows_of(bucket, "bought").equals(others.sort(pl.all()))
    with catalog(bucket, tmp_path) as opened:
        left = pl.from_arrow(opened.load_table("shop.purchases").scan().to_arrow())
        assert isinstance(left, pl.DataFrame)
        assert left.sort(pl.all()).equals(others.sort(pl.all()))
    shop.dvc("fetch", "-q", "--all-branches")
    assert pl.read_csv(shop.root / "purchases.csv").height == others.height
    left = pl.read_csv(contents(lakefs.shop, "main")["purchases.csv"])
    assert left.height == others.height
    for (key, _), body in bucket.bodies().items():
        if key.startswith("beside/"):
            continue
        decoded = str(pl.read_parquet(body).rows()) if key.endswith(".parquet") else ""
        assert EMAIL.encode() not in body.lower() + decoded.lower().encode(), key
    assert bucket.body("beside/purchases.csv") == EMAIL.encode()

    case.certified(tmp_path)
