"""Folders of plain files that the workers of a real Sail cluster search and write anew."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.adapters.base import StoreError
from connectors.adapters.files import FilesStore
from connectors.adapters.files.layout import read_layout
from connectors.adapters.files.replace import Rewriting, require_written
from connectors.engines import Engine, EngineError, Local, engine_of
from connectors.folders import LocalFolder
from connectors.formats import reading
from connectors.formats.delimited import Dialect
from connectors.formats.person import Columns, Person
from connectors.formats.reading import Reader
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.folders import (
    COLUMNS,
    EVERY_NEEDLE,
    PERSON,
    clean,
    contents,
    erase,
    folder_with_person,
    planned,
    store,
)
from tests.connectors.s3_builders import Bucket, files_store, files_with_person
from tests.connectors.s3_server import KEY_ID, SECRET, S3Server
from tests.connectors.sail_server import SailServer
from tests.connectors.test_engines import anywhere, apart_from_how, cluster_of_its_own


@pytest.fixture
def engine(sail_server: SailServer) -> Engine:
    return engine_of(sail_server.options, anywhere)


@pytest.fixture
def not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator's own hands are tied: workers are processes of their own."""

    def refused(*_: object) -> None:
        raise AssertionError("the coordinator wrote a file anew")

    monkeypatch.setattr(reading._InPlace, "rewrite", refused)


def by(engine: Engine, root: Path) -> FilesStore:
    opened = store(root)
    opened.engine = engine
    return opened


def with_partitions(root: Path) -> Path:
    """As always, beside a partition that goes as a whole and one that nobody is in."""
    folder_with_person(root)
    for who in ("c-000042", "c-000001"):
        part = root / "parts" / f"customer_id={who}"
        part.mkdir(parents=True)
        pl.DataFrame({"n": [1, 2]}).write_parquet(part / "a.parquet")
    return root


def test_both_engines_find_the_same_and_leave_the_same_bytes(
    engine: Engine, tmp_path: Path
) -> None:
    here, there = with_partitions(tmp_path / "here"), tmp_path / "there"
    shutil.copytree(here, there)
    ours, theirs = by(Local(), here), by(engine, there)
    found = theirs.find_subject(PERSON)
    assert apart_from_how(found) == apart_from_how(ours.find_subject(PERSON))
    assert "by tasks of the Spark cluster at" in found.method
    plans = [planned(ours), planned(theirs)]
    done = [opened.erase(plan, PERSON) for opened, plan in zip((ours, theirs), plans, strict=True)]
    assert done[0] == done[1]
    for opened, plan in zip((ours, theirs), plans, strict=True):
        opened.purge_history(plan)
    assert contents(here) == contents(there)
    assert (there / "parts" / "customer_id=c-000001").exists()
    assert not (there / "parts" / "customer_id=c-000042").exists()
    assert clean(theirs)


@pytest.mark.usefixtures("not_here")
def test_workers_write_the_files_and_the_coordinator_exchanges_them(
    engine: Engine, tmp_path: Path
) -> None:
    root = folder_with_person(tmp_path / "lake")
    modes = {path: path.stat().st_mode for path in root.rglob("*.*")}
    told: list[tuple[str, int, int]] = []
    opened = by(engine, root)
    plan = planned(opened)
    opened.erase(plan, PERSON, lambda phase, done, total, _: told.append((phase, done, total)))
    opened.purge_history(plan)
    assert told == [("find", n, 6) for n in range(6)] + [("rewrite", n, 6) for n in range(7)]
    assert {path: path.stat().st_mode for path in root.rglob("*.*")} == modes
    assert clean(opened)


@pytest.mark.parametrize("step", [3, 8, 11])
def test_a_coordinator_that_is_killed_is_followed_by_one_that_ends_the_same(
    engine: Engine, tmp_path: Path, step: int
) -> None:
    here, there = folder_with_person(tmp_path / "here"), tmp_path / "there"
    shutil.copytree(here, there)
    erase(store(here))
    opened = by(engine, there)
    plan = planned(opened)
    hook = killed_at(step)
    with pytest.raises(KilledError):
        opened.erase(plan, PERSON, lambda phase, *_: hook(phase))
    again = by(engine, there)
    again.erase(plan, PERSON)
    again.purge_history(plan)
    assert contents(here) == contents(there), "no draft of a file is left either"
    assert clean(again)


@pytest.mark.parametrize(
    "lie",
    [
        {"bytes": 1},
        {"aside": ".vestige-0123-neverwri.csv"},
        {"aside": ".vestige-0123-/../elsewhere.csv"},
        {"aside": "orders.csv"},
        {"old": "another.csv"},
    ],
    ids=str,
)
def test_a_draft_that_is_not_there_as_told_never_takes_a_files_place(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    folder = LocalFolder(folder_with_person(tmp_path / "lake"))
    person = Person(Columns(COLUMNS), PERSON)
    task = Rewriting(folder, Reader(folder, Dialect(), COLUMNS), person, "0123")
    entry = next(e for e in read_layout(folder).data if e.path == "orders.csv")
    true = task(entry)
    require_written(task, entry, true)
    with pytest.raises(EngineError, match="The file was left as it is"):
        require_written(task, entry, replace(true, **lie))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_in_a_bucket_workers_search_and_the_coordinator_writes(
    s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = Bucket.new(s3_server, versioned=True)
    files_with_person(bucket, tmp_path)
    opened = files_store(bucket)
    with cluster_of_its_own(TEST_ACCESS_KEY_ID=KEY_ID, TEST_SECRET_ACCESS_KEY=SECRET) as (_, used):
        opened.engine = used
        erase(opened)
    assert opened.verify_erased(EVERY_NEEDLE, None).clean
    assert not [key for key, _ in bucket.held() if ".vestige-" in key]


@pytest.mark.parametrize("cluster", [False, True])
def test_a_broken_row_is_told_by_its_file_and_line_by_both_engines(
    engine: Engine, tmp_path: Path, *, cluster: bool
) -> None:
    (tmp_path / "orders.csv").write_bytes(b"customer_id,email\nc-1,a@b.example\nc-2\n")
    opened = store(tmp_path)
    if cluster:
        opened.engine = engine
    with pytest.raises(StoreError, match=r"orders\.csv has a broken row at line 3"):
        opened.find_subject(PERSON)


def test_a_folder_without_files_has_nothing_that_a_worker_could_show(tmp_path: Path) -> None:
    assert store(tmp_path).witness() is None
