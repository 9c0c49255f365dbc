"""The work on files done by a cluster: a real server of Sail, whose workers are of its process."""

import json
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from connectors.adapters.base import (
    Erased,
    ErasePlan,
    Findings,
    OptionError,
    PlanOutdatedError,
    StoreError,
)
from connectors.adapters.delta import DeltaStore
from connectors.adapters.delta.erase import Job, Replacement, Rewriting, require_written
from connectors.adapters.delta.log import read_history
from connectors.adapters.delta.search import Finding, Search
from connectors.engines import Engine, EngineError, Local, engine_of, spark
from connectors.engines.seal import Seal
from connectors.folders import LocalFolder
from connectors.storage import FileEntry
from tests.connectors import s3_builders
from tests.connectors.builders import (
    COLUMNS,
    EVERY_NEEDLE,
    PERSON,
    KilledError,
    append,
    customers,
    hide_rows,
    killed_at,
    rows_of,
    store,
    table_with_person,
    vectors_allowed,
    without_person,
)
from tests.connectors.s3_server import KEY_ID, SECRET, S3Server
from tests.connectors.sail_server import ROOT, SailServer, sail

MODES = ["purge", "keep_history"]


def anywhere(_host: str, _port: int) -> None:
    """Every host is permitted."""


@pytest.fixture
def engine(sail_server: SailServer) -> Engine:
    return engine_of(sail_server.options, anywhere)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_with_person(tmp_path / "customers")


def by(engine: Engine, path: Path) -> DeltaStore:
    opened = store(path)
    opened.engine = engine
    return opened


def erased(opened: DeltaStore, mode: str = "purge") -> Erased:
    plan = opened.plan_erase(opened.find_subject(PERSON), mode=mode)
    assert plan.blockers == ()
    done = opened.erase(plan, PERSON)
    opened.purge_history(plan)
    return done


def apart_from_how(findings: Findings) -> Findings:
    return replace(findings, method="", seconds=0)


def partitioned(path: Path) -> None:
    append(path, customers(100, 104, person=True), partition_by=["customer_id"])


def nameless(path: Path) -> None:
    """Rows without an identifier, beside the person's and in a file of their own."""
    rows = customers(100, 110).with_columns(pl.lit(None, pl.String).alias("customer_id"))
    append(path, pl.concat([rows, customers(110, 120, person=True)]))
    append(path, rows.with_columns(pl.lit(None, pl.String).alias("email")))


def nothing_else(path: Path) -> None:
    """Every row of a file is the person's; other files are empty, or another's."""
    append(path, customers(0, 1, person=True).filter(pl.col("customer_id") == "c-000042"))
    append(path, customers(0, 0))
    append(path, customers(100, 110))


def hidden(path: Path) -> None:
    append(path, customers(100, 120, person=True))
    vectors_allowed(path, 1)
    hide_rows(path, 2, [0, 10, 11], inline=False)  # row 10 is the person


SHAPES = [table_with_person, partitioned, nameless, nothing_else, hidden]


@pytest.mark.parametrize("shape", SHAPES)
def test_both_engines_find_and_erase_the_same(
    engine: Engine, tmp_path: Path, shape: Callable[[Path], Any]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shape(here)
    shutil.copytree(here, there)
    ours, theirs = by(Local(), here), by(engine, there)
    ours.grace = theirs.grace = ours.grace * 0
    before = without_person(pl.scan_delta(str(here)).collect())
    found = ours.find_subject(PERSON)
    assert apart_from_how(found) == apart_from_how(theirs.find_subject(PERSON))
    assert any(item.rows for item in found.objects)

    done, done_there = erased(ours), erased(theirs)
    assert done.rows == done_there.rows
    assert done.objects_removed == done_there.objects_removed
    assert len(done.objects_added) == len(done_there.objects_added)
    assert rows_of(there).equals(rows_of(here))
    assert rows_of(there).equals(before.sort(pl.all()))
    assert theirs.verify_erased(EVERY_NEEDLE, None).clean
    assert all(v.rows == w.rows for v, w in zip(ours.versions(), theirs.versions(), strict=True))


def test_a_person_who_is_in_no_file_is_found_nowhere(engine: Engine, table: Path) -> None:
    found = by(engine, table).find_subject({"customer_id": ["c-999999"]})
    assert found.objects == ()
    assert set(found.rows_by_version.values()) == {0}


def test_versions_that_are_kept_are_the_same_by_both_engines(engine: Engine, table: Path) -> None:
    before = [without_person(pl.read_delta(str(table), version=v)).sort(pl.all()) for v in range(5)]
    done = erased(by(engine, table), "keep_history")
    assert done.objects_removed
    for version, frame in enumerate(before):
        kept = pl.read_delta(str(table), version=version).sort(pl.all())
        assert kept.equals(frame), f"version {version}"
    assert store(table).verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean


def test_the_findings_say_which_cluster_searched(
    engine: Engine, sail_server: SailServer, table: Path
) -> None:
    there = f"by tasks of the Spark cluster at 127.0.0.1:{sail_server.port}"
    assert by(engine, table).find_subject(PERSON).method.endswith(there)
    assert "cluster" not in store(table).find_subject(PERSON).method


def test_progress_is_told_file_by_file(engine: Engine, table: Path) -> None:
    told: list[tuple[int, int]] = []
    opened = by(engine, table)
    opened.find_subject(PERSON, lambda _phase, done, total, _bytes: told.append((done, total)))
    assert told == [(number, 6) for number in range(7)]


class Elsewhere(LocalFolder):
    """A folder that is another one where it is unpickled, as on a machine that lacks a mount."""

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalFolder, (self.root.with_name("not-mounted"),)


def test_a_worker_that_does_not_see_the_files_is_named(engine: Engine, table: Path) -> None:
    opened = DeltaStore(Elsewhere(table), COLUMNS)
    opened.engine = engine
    with pytest.raises(EngineError, match=r"does not see the files in .*Mount the same"):
        opened.find_subject(PERSON)
    with pytest.raises(EngineError, match="does not see the files"):
        engine.require_sight(*opened.witness())
    engine.require_sight(*store(table).witness())
    with pytest.raises(EngineError, match="is not there any more"):
        engine.require_sight(LocalFolder(table), "gone.parquet")


@pytest.mark.parametrize("cluster", [False, True])
def test_a_file_that_vanishes_during_the_search_is_told_alike(
    engine: Engine, table: Path, *, cluster: bool
) -> None:
    opened = by(engine if cluster else Local(), table)
    newest = opened.versions(digests=False)[-1].objects[0].path

    def vanish(_phase: str, done: int, _total: int, _bytes: int) -> None:
        if not done:
            (table / newest).unlink()

    with pytest.raises(StoreError, match=rf"{newest} of the table .* it is damaged or was removed"):
        opened.find_subject(PERSON, vanish)


def test_an_address_where_nobody_answers_fails_soon_and_says_so(
    monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    monkeypatch.setattr(spark, "_CONNECT_SECONDS", 0.3)
    nobody = {"engine": "spark", "engine_address": "sc://127.0.0.1:9"}
    opened = by(engine_of(nobody, anywhere), table)
    with pytest.raises(EngineError, match=r"No Spark-Connect server answers at 127\.0\.0\.1:9 "):
        opened.find_subject(PERSON)


def test_a_cluster_on_another_host_is_not_spoken_to_in_the_open(
    monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    monkeypatch.setattr(spark, "_CONNECT_SECONDS", 2)
    with sail(ip="127.0.0.2") as server:  # not one of the names of this machine
        options = {"engine": "spark", "engine_address": f"sc://127.0.0.2:{server.port}"}
        with pytest.raises(EngineError, match="on another host it has to be reached by TLS"):
            by(engine_of(options, anywhere), table).find_subject(PERSON)


@pytest.mark.parametrize("trusted", [True, False])
def test_another_host_is_asked_by_tls_and_gets_the_token_if_its_certificate_is_trusted(
    sail_server: SailServer, table: Path, tmp_path: Path, *, trusted: bool
) -> None:
    command = [sys.executable, "-m", "tests.connectors.search_by_tls", str(table), str(tmp_path)]
    command += [str(sail_server.port), "trusted" if trusted else "unknown"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(ended.stdout)
    assert told["token_sent"] is trusted
    if trusted:
        assert told["rows"] == 2
    else:
        assert "it has to be reached by TLS" in told["why"]


def test_without_its_packages_the_engine_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, table: Path
) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(EngineError, match=r"not installed here \(grpc\).*--extra spark"):
        by(engine, table).find_subject(PERSON)


@contextmanager
def cluster_of_its_own(**environment: str) -> Iterator[tuple[SailServer, Engine]]:
    with sail(**environment) as server:
        yield server, engine_of(server.options, anywhere)


@pytest.mark.filterwarnings("ignore:.RETRIES_EXCEEDED")  # says pyspark
def test_a_cluster_that_dies_during_the_rewrite_leaves_the_table_to_the_next(
    engine: Engine, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "_RETRIES", 1)
    for first in range(300, 380, 10):
        append(table, customers(first, first + 10, person=True))
    before = rows_of(table)
    plan = store(table).plan_erase(store(table).find_subject(PERSON), mode="purge")
    with cluster_of_its_own() as (server, dying):

        def kill(phase: str, done: int, _total: int, _bytes: int) -> None:
            if phase == "rewrite" and done:
                server.kill()

        with pytest.raises(EngineError, match="gave no answer for a file"):
            by(dying, table).erase(plan, PERSON, kill)
    assert rows_of(table).equals(before), "nothing was committed"
    opened = by(engine, table)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert rows_of(table).equals(without_person(before))
    assert opened.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean


@pytest.mark.parametrize("mode", MODES)
def test_after_a_kill_of_the_coordinator_its_plan_is_carried_out_and_nothing_is_left(
    engine: Engine, sail_server: SailServer, table: Path, mode: str
) -> None:
    for first in range(300, 340, 10):
        append(table, customers(first, first + 10, person=True))
    before = rows_of(table)
    plan = store(table).plan_erase(store(table).find_subject(PERSON), mode=mode)
    script = "tests.connectors.die_while_rewriting"
    command = [sys.executable, "-m", script, str(table), sail_server.address, mode]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (died.returncode, died.stdout.strip()) == (-signal.SIGKILL, plan.id), died.stderr
    written = set(table.glob("*.vestige-*.parquet"))
    assert written, "it died between a file and the commit"
    again = by(engine, table)
    again.erase(plan, PERSON)
    again.purge_history(plan)
    assert rows_of(table).equals(without_person(before))
    assert again.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean
    assert not written & set(table.glob("*.parquet")), "what was written for nothing is gone"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [1, 4])
def test_a_coordinator_that_is_killed_is_followed_by_one_that_ends_the_same(
    engine: Engine, table: Path, mode: str, step: int
) -> None:
    before = rows_of(table)
    opened = by(engine, table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode=mode)
    hook = killed_at(step)
    with pytest.raises(KilledError):
        opened.erase(plan, PERSON, lambda phase, *_: hook(phase))
    again = by(engine, table)
    again.erase(plan, PERSON)
    again.purge_history(plan)
    assert rows_of(table).equals(without_person(before))
    assert again.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean
    assert not [p for p in table.rglob("*.parquet") if p.stat().st_size == 0]


def test_what_a_task_raises_is_raised_here(engine: Engine, table: Path) -> None:
    opened = by(engine, table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    unplanned = ErasePlan(plan.mode, plan.snapshot, (), 0, 0, ())
    with pytest.raises(PlanOutdatedError, match="which the plan does not name"):
        opened.erase(unplanned, PERSON)
    damaged = table / opened.versions(digests=False)[-1].objects[0].path
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.raises(StoreError, match="damaged"):
        opened.find_subject(PERSON)


@dataclass(frozen=True)
class Failing:
    """A task with a fault of its own."""

    folder: LocalFolder
    result: ClassVar[Any] = int
    at_once: ClassVar[int] = 1

    def __call__(self, entry: FileEntry) -> int:
        raise ValueError(f"cannot parse {PERSON['email'][0]}")


def test_of_an_unexpected_error_its_class_alone_leaves_the_worker(
    engine: Engine, table: Path
) -> None:
    folder = LocalFolder(table)
    with pytest.raises(EngineError, match=r"unexpected error \(ValueError\)") as failed:
        list(engine.map_files(Failing(folder), folder.entries()[:3]))
    assert PERSON["email"][0] not in str(failed.value)


def test_workers_of_another_release_or_without_vestige_do_nothing(
    table: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "connectors", other / "connectors")
    with (other / "connectors" / "people.py").open("a") as source:
        source.write("\n# another release\n")
    for path, told in ((other, "runs another release"), (tmp_path, "cannot import connectors")):
        with (
            cluster_of_its_own(PYTHONPATH=str(path)) as (_, engine),
            pytest.raises(EngineError, match=told),
        ):
            by(engine, table).find_subject(PERSON)


@pytest.mark.parametrize(
    "lie",
    [
        {"bytes": 1},
        {"path": "part-00000-never-written-c000.vestige-0123.parquet"},
        {"path": "../elsewhere.parquet"},
        {"old": "another.parquet"},
    ],
)
def test_a_rewritten_file_that_is_not_there_as_told_is_never_committed(
    table: Path, lie: dict[str, Any]
) -> None:
    history = read_history(LocalFolder(table))
    search = Search(LocalFolder(table), history, COLUMNS, PERSON)
    task = Rewriting(search, ".vestige-0123.parquet", 32)
    job = Job(next(iter(history.head.files.values())), 0)
    true: Replacement = task(job)
    require_written(task, job, true)
    with pytest.raises(EngineError, match="Nothing was committed"):
        require_written(task, job, replace(true, **lie))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_table_in_s3_is_erased_by_workers_with_keys_of_their_own(
    s3_server: S3Server, sail_server: SailServer
) -> None:
    bucket = s3_builders.Bucket.new(s3_server, versioned=True)
    s3_builders.table_with_person(bucket)
    opened = s3_builders.delta_store(bucket)
    plain = opened.find_subject(PERSON)

    opened.engine = engine_of(sail_server.options, anywhere)
    with pytest.raises(EngineError, match="is not ready: The environment variable TEST_ACCESS_KEY"):
        opened.find_subject(PERSON)
    keys = {"TEST_ACCESS_KEY_ID": KEY_ID, "TEST_SECRET_ACCESS_KEY": SECRET}
    with cluster_of_its_own(**keys) as (_, engine):
        opened.engine = engine
        assert apart_from_how(opened.find_subject(PERSON)) == apart_from_how(plain)
        erased(opened)
    assert opened.verify_erased(EVERY_NEEDLE, ("customer_id", "c-000150")).clean


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_no_key_of_a_store_travels_with_a_task(s3_server: S3Server) -> None:
    bucket = s3_builders.Bucket.new(s3_server, versioned=False)
    s3_builders.table_with_person(bucket)
    folder = bucket.folder()
    task = Finding(Search(folder, read_history(folder), COLUMNS, PERSON))
    sent = pickle.dumps(task)
    assert KEY_ID.encode() not in sent
    assert SECRET.encode() not in sent
    assert PERSON["customer_id"][0].encode() in sent, "what is looked for does"


def test_tasks_are_sealed_under_a_key_that_both_sides_have(
    sail_server: SailServer, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TASK_KEY", "of this installation")
    named = {"engine_key_env": "TEST_TASK_KEY"}
    plain = store(table).find_subject(PERSON)
    without = engine_of({**sail_server.options, **named}, anywhere)
    with pytest.raises(EngineError, match="not ready: The environment variable TEST_TASK_KEY"):
        by(without, table).find_subject(PERSON)
    with sail(TEST_TASK_KEY="of this installation") as server:
        sealing = engine_of({**server.options, **named}, anywhere)
        found = by(sealing, table).find_subject(PERSON)
        monkeypatch.setenv("TEST_TASK_KEY", "another")
        other = engine_of({**server.options, **named}, anywhere)
        with pytest.raises(EngineError, match="not ready: What came was not sealed under the key"):
            by(other, table).find_subject(PERSON)
    assert apart_from_how(found) == apart_from_how(plain)


def test_what_is_sealed_opens_under_its_key_and_as_what_it_was_closed_as_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_TASK_KEY", "of this installation")
    body = PERSON["customer_id"][0].encode() * 3
    unsealed = Seal.of({})
    assert unsealed.opened(unsealed.closed(body, b"task"), b"task") == body
    seal = Seal.of({"engine_key_env": "TEST_TASK_KEY"})
    closed = seal.closed(body, b"task")
    assert seal.opened(closed, b"task") == body
    with pytest.raises(OptionError):
        unsealed.opened(closed, b"task")
    for spoiled in (closed[:-1], b"", bytes([closed[0] ^ 1]) + closed[1:]):
        with pytest.raises(OptionError):
            seal.opened(spoiled, b"task")
    with pytest.raises(OptionError):
        seal.opened(closed, b"result")
    monkeypatch.setenv("TEST_TASK_KEY", "")
    with pytest.raises(OptionError, match="is empty"):
        Seal.of({"engine_key_env": "TEST_TASK_KEY"})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "ray"}, '"local" or "spark", not "ray"'),
        ({"engine": "spark"}, '"engine_address" is the address'),
        ({"engine": "spark", "engine_address": "sc://h:1/;token=s3cret"}, "given by reference"),
        ({"engine": "spark", "engine_address": "sc://me:s3cret@h:1"}, "given by reference"),
        ({"engine": "spark", "engine_address": "http://h:1"}, "as in sc://"),
        ({"engine": "spark", "engine_address": "sc://h:0"}, "as in sc://"),
        ({"engine": "spark", "engine_address": "sc://h:99999"}, "as in sc://"),
        ({"engine_address": "sc://h:1"}, "Give engine = spark as well"),
        ({"engine": "spark", "engine_address": "sc://h", "engine_tasks": 0}, "from 1 to 1000"),
        ({"engine": "spark", "engine_address": "sc://h", "engine_tasks": "2"}, "from 1 to 1000"),
        ({"engine": "spark", "engine_address": "sc://h", "engine_tasks": True}, "from 1 to 1000"),
        (
            {"engine": "spark", "engine_address": "sc://h", "engine_token_env": "VESTIGE_TOKEN"},
            "does not begin with VESTIGE_",
        ),
    ],
)
def test_options_that_name_no_engine_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told) as refused:
        engine_of(options, anywhere)
    assert "s3cret" not in str(refused.value)


def test_a_host_is_asked_for_before_anything_is_sent_there() -> None:
    asked: list[tuple[str, int]] = []
    for address in ("sc://Spark.example", "sc://[::1]:50051/"):
        engine_of(
            {"engine": "spark", "engine_address": address},
            lambda host, port: asked.append((host, port)),
        )
    assert asked == [("spark.example", 15002), ("::1", 50051)]
