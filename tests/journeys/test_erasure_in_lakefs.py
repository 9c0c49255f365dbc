"""A lakeFS repository of real purchases, erased in by REST alone, and every byte read afterwards.

The server is a stand-in, see `tests/connectors/lakefs_server`: nobody has tried this on a real one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connectors.lakefs_builders import contents
from tests.connectors.lakefs_server import KEY, LocalBlocks, Server, Shop, served
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]


@pytest.fixture
def lakefs(tmp_path: Path) -> Iterator[Server]:
    """Purchases of two years in three commits on a protected branch, and by year on another."""
    shop = Shop(LocalBlocks(tmp_path / "blocks"))
    everything = purchases().sort("bought_on", maintain_order=True)
    for end, name in (("19970630", "half"), ("19971231", "1997"), ("19981231", "1998")):
        until_then = everything.filter(everything["bought_on"] <= end)
        shop.put("main", "purchases.csv", until_then.write_csv(separator=";").encode())
        shop.commit("main", name)
    shop.begin("by-year", "main")
    for (year,), rows in everything.group_by(everything["bought_on"].str.head(4)):
        rows.write_parquet(tmp_path / "year.parquet")
        shop.put("by-year", f"years/{year}.parquet", (tmp_path / "year.parquet").read_bytes())
    (tmp_path / "year.parquet").unlink()
    shop.commit("by-year", "by year")
    shop.protected = ["main"]
    with served(shop) as server:
        yield server


def test_a_person_is_erased_in_a_lakefs_repository(
    bare_installation: Installation, lakefs: Server, tmp_path: Path
) -> None:
    shop = lakefs.shop
    text = contents(shop, "main")["purchases.csv"].decode()
    theirs = [line for line in text.splitlines() if line.startswith(CUSTOMER)]
    assert theirs
    heads = {name: branch.head for name, branch in shop.branches.items()}

    case = Erasure(bare_installation, CUSTOMER)
    options = {
        "user": KEY,
        "password_env": "SHOP_LAKEFS_PASSWORD",
        **shop.blocks.options,
    }
    step = case.planned(case.connect("lakefs", lakefs.location, "purchases", **options))
    assert step["rows_by_version"][heads["main"]] == len(theirs)
    assert len(step["versions_lost"]) == 4
    case.carry_out()

    # Read with other code than the scanner's: nothing of theirs, and all else as it was.
    for path in [p for p in shop.folder.rglob("*") if p.is_file()]:
        assert EMAIL.encode() not in path.read_bytes().lower(), path
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith(CUSTOMER)]
    for branch, head in heads.items():
        assert contents(shop, branch)["purchases.csv"].decode() == "".join(kept)
        assert shop.commits[shop.branches[branch].head].parents == (head,)
    case.certified(tmp_path)
