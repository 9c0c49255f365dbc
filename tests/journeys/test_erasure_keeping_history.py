"""Data of real purchases, erased in by REST alone, whose older versions stay readable."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.table import Table

from tests.connectors.dvc_builders import Workshop
from tests.connectors.dvc_history import commit_map, git_objects
from tests.journeys.conftest import Installation
from tests.journeys.erasing import Erasure
from tests.journeys.test_erasure_in_dvc import repository
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


def rows_at(clone: Workshop, commit: str) -> list[pl.DataFrame]:
    """What a colleague's dvc gets at a commit, file by file."""
    clone.git("checkout", "-q", "-f", commit)
    clone.dvc("pull", "-q", "--force")
    years = clone.root.glob("years/*.parquet") if (clone.root / "years.dvc").exists() else ()
    text = pl.read_csv(clone.root / "purchases.csv", separator=";", infer_schema=False)
    return [text, *(pl.read_parquet(year, memory_map=False) for year in sorted(years))]


def test_a_person_is_erased_from_every_commit(
    bare_installation: Installation, tmp_path: Path
) -> None:
    shop = repository(tmp_path / "shop-kept")
    shop.git("tag", "-a", "trained-on", "-m", "what the model was trained on", "main^")
    commits = shop.git("rev-list", "--all", "--topo-order", "--reverse").split()
    messages = [shop.git("log", "-1", "--format=%an %ad %cd %B", c) for c in commits]
    clone = Workshop(tmp_path / "clone")
    clone.folder.mkdir()
    clone.run("git", "clone", "-q", str(shop.root), str(clone.root), cwd=tmp_path)
    clone.dvc("remote", "add", "-q", "-f", "--local", "store", str(shop.remote))
    before = {commit: rows_at(clone, commit) for commit in commits}
    assert any((f["customer_id"] == CUSTOMER).any() for f in before[commits[0]])

    case = Erasure(bare_installation, CUSTOMER)
    node = case.connect("dvc", str(shop.root), shop.folder.name, history="keep")
    step = case.planned(node)
    assert (step["mode"], step["versions_lost"]) == ("keep_history", [])
    case.carry_out()

    now = commit_map(shop)
    assert not git_objects(shop) & set(now)
    assert [shop.git("log", "-1", "--format=%an %ad %cd %B", now[c]) for c in commits] == messages
    assert shop.git("rev-parse", "trained-on^{commit}") == now[commits[1]]
    assert shop.git("fsck", "--strict", "--no-dangling") == ""
    fresh = Workshop(tmp_path / "fresh")
    fresh.folder.mkdir()
    fresh.run("git", "clone", "-q", str(shop.root), str(fresh.root), cwd=tmp_path)
    fresh.dvc("remote", "add", "-q", "-f", "--local", "store", str(shop.remote))
    for commit, frames in before.items():
        for was, frame in zip(frames, rows_at(fresh, now[commit]), strict=True):
            assert frame.equals(was.filter(pl.col("customer_id") != CUSTOMER))
    for path in [p for p in shop.folder.rglob("*") if p.is_file() and ".git/" not in str(p)]:
        assert EMAIL.encode() not in path.read_bytes().lower(), path
    case.certified(tmp_path)
