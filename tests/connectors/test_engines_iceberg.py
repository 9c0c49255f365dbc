"""Iceberg tables whose files the workers of a real Sail cluster search and write anew."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.transforms import IdentityTransform
from pytest_django import Settings

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg import IcebergStore
from connectors.adapters.iceberg import replace as replacing
from connectors.adapters.iceberg.catalog import opened as opened_view
from connectors.adapters.iceberg.erase import output_mark
from connectors.adapters.iceberg.location import ThisMachine, parse_place
from connectors.adapters.iceberg.person import Person
from connectors.adapters.iceberg.replace import Job, Rewriting, Written, replacement
from connectors.engines import Engine, EngineError, Local, engine_of
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.iceberg_builders import (
    COLUMNS,
    PERSON,
    append,
    clean,
    customers,
    erase,
    folder,
    location,
    make,
    person,
    planned,
    rows_of,
    store,
    table,
    table_with_person,
    without_person,
)
from tests.connectors.iceberg_history import every_snapshot, others, rows
from tests.connectors.iceberg_history import planned as planned_to_keep
from tests.connectors.s3_builders import Bucket
from tests.connectors.s3_server import KEY_ID, SECRET, S3Server
from tests.connectors.sail_server import ROOT, SailServer
from tests.connectors.test_engines import anywhere, apart_from_how, cluster_of_its_own
from tests.connectors.test_iceberg_s3 import lake_in
from tests.connectors.test_iceberg_s3 import store as store_in


@pytest.fixture
def engine(sail_server: SailServer) -> Engine:
    return engine_of(sail_server.options, anywhere)


@pytest.fixture
def not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator's own hands are tied: workers are processes of their own."""

    def refused(*_: object) -> None:
        raise AssertionError("the coordinator wrote a file anew")

    monkeypatch.setattr(replacing, "rewrite_without", refused)


def by(engine: Engine, root: Path) -> IcebergStore:
    opened = store(root)
    opened.engine = engine
    return opened


def partitioned(root: Path) -> None:
    """By the person's own column: one file is all theirs."""
    by_email = PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="who")
    make(root, spec=PartitionSpec(by_email))
    append(root, [*customers(100, 103), person()])


def branched(root: Path) -> None:
    table_with_person(root, properties={"write.metadata.metrics.column.price": "counts"})


def files_of(root: Path) -> list[dict[str, Any]]:
    """What the manifests of main say of its files, but for their names, and in their order."""
    with table(root) as opened:
        found = opened.inspect.files().drop_columns(["file_path"]).to_pylist()
    return sorted(found, key=str)


@pytest.mark.usefixtures("not_here")
@pytest.mark.parametrize("shape", [branched, partitioned])
def test_a_table_is_searched_and_rewritten_by_a_cluster_on_all_branches(
    engine: Engine, tmp_path: Path, shape: Callable[[Path], Any]
) -> None:
    root = tmp_path / "lake"
    shape(root)
    with table(root) as opened:
        branches = list(opened.metadata.refs)
    before = {branch: rows_of(root, branch) for branch in branches}
    ours, theirs = store(root), by(engine, root)
    found = theirs.find_subject(PERSON)
    assert apart_from_how(found) == apart_from_how(ours.find_subject(PERSON))
    assert "by tasks of the Spark cluster at" in found.method
    witness = theirs.witness()
    assert witness is not None
    engine.require_sight(*witness)
    erase(theirs)
    for branch, frame in before.items():
        assert rows_of(root, branch).equals(without_person(frame)), branch
    assert clean(theirs)


@pytest.mark.parametrize("shape", [branched, partitioned])
def test_both_engines_write_the_same_files_and_describe_them_alike(
    engine: Engine, tmp_path: Path, shape: Callable[[Path], Any]
) -> None:
    found = []
    for name, used in (("here", Local()), ("there", engine)):
        shape(tmp_path / name)
        opened = by(used, tmp_path / name)
        done = opened.erase(planned(opened), PERSON)
        found.append((files_of(tmp_path / name), done.rows, dict(done.detail)))
    assert found[0] == found[1]
    assert found[0][0]


@pytest.mark.usefixtures("not_here")
def test_snapshots_that_are_kept_are_the_same_by_a_cluster(engine: Engine, tmp_path: Path) -> None:
    root = table_with_person(tmp_path / "lake")
    before = every_snapshot(root)
    opened = by(engine, root)
    plan = planned_to_keep(opened)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert rows(every_snapshot(root), before) == others(before)
    assert clean(opened)


@pytest.mark.parametrize("step", [4, 7])
def test_a_coordinator_that_is_killed_is_followed_by_one_that_ends_the_same(
    engine: Engine, tmp_path: Path, step: int
) -> None:
    root = table_with_person(tmp_path / "lake")
    before = rows_of(root)
    opened = by(engine, root)
    plan = planned(opened)
    hook = killed_at(step)
    with pytest.raises(KilledError):
        opened.erase(plan, PERSON, lambda phase, *_: hook(phase))
    again = by(engine, root)
    again.erase(plan, PERSON)
    again.purge_history(plan)
    assert rows_of(root).equals(without_person(before))
    assert clean(again)


DIES = """
import os, signal, sys
from pathlib import Path
from connectors.engines import engine_of
from tests.connectors.iceberg_builders import PERSON, planned, store

def die(phase, done, total, size):
    if phase == "rewrite" and done:
        os.kill(os.getpid(), signal.SIGKILL)

opened = store(Path(sys.argv[1]))
options = {"engine": "spark", "engine_address": sys.argv[2], "engine_tasks": 2}
opened.engine = engine_of(options, lambda host, port: None)
opened.erase(planned(opened), PERSON, die)
"""


def test_what_a_coordinator_had_written_when_it_was_killed_is_swept(
    engine: Engine, sail_server: SailServer, tmp_path: Path
) -> None:
    root = table_with_person(tmp_path / "lake")
    before = rows_of(root)
    plan = planned(store(root))
    command = [sys.executable, "-c", DIES, str(root), sail_server.address]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    ours = f"{output_mark(plan)}*.parquet"
    written = set(folder(root).rglob(ours))
    assert written, "it died between a file and the commit"
    assert rows_of(root).equals(before), "nothing was committed"
    again = by(engine, root)
    again.erase(plan, PERSON)
    again.purge_history(plan)
    assert rows_of(root).equals(without_person(before))
    assert not written & set(folder(root).rglob(ours))
    assert clean(again)


@pytest.mark.parametrize(
    "lie",
    [
        {"size": 1},
        {"path": "data/vestige-0123-never-written.parquet"},
        {"path": "data/vestige-0123-/../../elsewhere.parquet"},
        {"path": "data/00000-0.parquet"},
        {"path": None},
        {"old": "data/another.parquet"},
        {"footer": b"PAR1"},
    ],
    ids=str,
)
def test_a_rewritten_file_that_is_not_there_as_told_is_never_committed(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    root = table_with_person(tmp_path / "lake")
    with opened_view(parse_place(location(root)), {}, "writer", ThisMachine()) as view:
        head = view.snapshot(None)
        assert head is not None
        entry = next(e for e in view.live(head) if e.file.record_count == 21)
        task = Rewriting(Person(view, COLUMNS, PERSON), "vestige-0123-")
        job = Job(entry.path, {}, 1, 20)
        true: Written = task(job)
        assert replacement(task, job, true, entry, view).file is not None
        other = replace(job, rows=0, kept=21)
        with pytest.raises(StoreError, match=r"another number of rows .* \(21\)"):
            task(other)
        with pytest.raises(EngineError, match="Nothing was committed"):
            replacement(task, other, true, entry, view)
        with pytest.raises(EngineError, match="Nothing was committed"):
            replacement(task, job, replace(true, **lie), entry, view)
    assert len(list(folder(root).rglob("vestige-0123-*"))) == 1, "of what failed nothing is left"


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.usefixtures("not_here")
def test_a_table_in_s3_is_rewritten_by_workers_with_keys_of_their_own(
    s3_server: S3Server, settings: Settings, tmp_path: Path
) -> None:
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]
    bucket = Bucket.new(s3_server, versioned=True)
    root = table_with_person(lake_in(bucket, tmp_path / "lake"))
    before = rows_of(root)
    opened = store_in(bucket, location(root))
    with cluster_of_its_own(TEST_ACCESS_KEY_ID=KEY_ID, TEST_SECRET_ACCESS_KEY=SECRET) as (_, used):
        opened.engine = used
        erase(opened)
    assert rows_of(root).equals(without_person(before))
    assert clean(opened)
