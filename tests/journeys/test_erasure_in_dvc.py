"""A DVC repository of real purchases, erased in by REST alone, and every byte read afterwards."""

import csv
import io
from pathlib import Path

import pytest

from tests.connectors.dvc_builders import Workshop, begun, objects
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_by_rest import running
from tests.journeys.test_erasure_in_files import CUSTOMER, EMAIL, purchases

pytestmark = [pytest.mark.journey, pytest.mark.enable_socket]
__all__ = ["running"]  # the fixture: both installations


def repository(folder: Path) -> Workshop:
    """Purchases of two years in three commits: half of 1997, 1997, and 1997 with 1998; a branch
    that splits them by year; everything pushed."""
    shop = begun(folder)
    # The workers are to find what DVC keeps elsewhere, and have another environment than we.
    config = shop.root / ".dvc" / "config"
    site = f"[core]\n    site_cache_dir = {shop.site}\n"
    config.write_text(config.read_text().replace("[core]\n", site))
    everything = purchases().sort("bought_on", maintain_order=True)
    for end, name in (("19970630", "half"), ("19971231", "1997"), ("19981231", "1998")):
        until_then = everything.filter(everything["bought_on"] <= end)
        until_then.write_csv(shop.root / "purchases.csv", separator=";")
        shop.dvc("add", "-q", "purchases.csv")
        shop.commit(name)
        shop.dvc("push", "-q")
    shop.git("tag", "released")
    shop.git("checkout", "-q", "-b", "by-year")
    (shop.root / "years").mkdir()
    for (year,), rows in everything.group_by(everything["bought_on"].str.head(4)):
        rows.write_parquet(shop.root / "years" / f"{year}.parquet")
    shop.dvc("add", "-q", "years")
    shop.commit("by year")
    shop.dvc("push", "-q")
    shop.git("checkout", "-q", "main")
    shop.dvc("checkout", "-q")
    return shop


def test_a_person_is_erased_in_a_dvc_repository(running: Installation, tmp_path: Path) -> None:
    shop = repository(tmp_path / f"shop-{running.url.rpartition(':')[2]}")
    text = (shop.root / "purchases.csv").read_text()
    theirs = [line for line in text.splitlines() if line.startswith(CUSTOMER)]
    assert theirs
    before = objects(shop.remote)

    case = Erasure(running, CUSTOMER)
    step = case.planned(case.connect("dvc", str(shop.root), shop.folder.name))
    assert step["rows_by_version"][shop.git("rev-parse", "main")] == len(theirs)
    assert len(step["versions_lost"]) == 4
    case.carry_out()

    # Read with other code than the scanner's: nothing of theirs, and all else as it was.
    for path in [p for p in shop.folder.rglob("*") if p.is_file() and ".git/" not in str(p)]:
        assert EMAIL.encode() not in path.read_bytes().lower(), path
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith(CUSTOMER)]
    assert (shop.root / "purchases.csv").read_text() == "".join(kept)
    rows = list(csv.reader(io.StringIO("".join(kept)), delimiter=";"))
    assert len(rows) - 1 == purchases().height - len(theirs)
    gone = set(before) - set(objects(shop.remote))
    assert gone == {o["path"].partition(" ")[0] for o in step["objects"] if o["kind"] == "data"}
    assert "up to date" in shop.dvc("status")

    # A colleague's clone gets the branches without the person.
    clone = Workshop(shop.folder / "clone")
    clone.folder.mkdir()
    clone.run("git", "clone", "-q", "-b", "by-year", str(shop.root), str(clone.root), cwd=tmp_path)
    clone.dvc("remote", "add", "-q", "-f", "--local", "store", str(shop.remote))
    clone.dvc("pull", "-q")
    assert (clone.root / "purchases.csv").read_text() == "".join(kept)

    case.certified(tmp_path)
