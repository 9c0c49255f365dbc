"""An erasure in files that is killed, outrun or starved ends well, or changes nothing."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from connectors import folders
from connectors.adapters.base import ErasePlan, PlanOutdatedError, StoreError
from connectors.adapters.files import FilesStore
from connectors.folders import LocalFolder, exchange, locked_folder
from connectors.formats import columnar, textfile
from tests.connectors.builders import KilledError, killed_at
from tests.connectors.folders import (
    EVERY_NEEDLE,
    HEADER,
    OTHERS,
    PERSON,
    THEIRS,
    clean,
    contents,
    csv_with_person,
    folder_with_person,
    planned,
    store,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return everything(tmp_path / "lake")


def everything(path: Path) -> Path:
    """Files to rewrite, one that goes as a whole with its folder, a checksum and a sidecar."""
    folder_with_person(path)
    (path / "customer_id=c-000042").mkdir()
    (path / "customer_id=c-000042" / "a.csv").write_bytes(b"email,n\n,1\n")
    (path / ".orders.csv.crc").write_bytes(b"crc\x00")
    table = pq.read_table(path / "2024" / "month=1" / "part-0.parquet", partitioning=None)
    pq.write_metadata(table.schema, path / "_common_metadata")
    return path


def hooked(monkeypatch: pytest.MonkeyPatch, hook: Callable[[str], None]) -> None:
    """Call the hook before everything that changes the disk, and after a file was half written."""
    for owner, name in (
        (LocalFolder, "remove"),
        (LocalFolder, "remove_empty_folders"),
        (LocalFolder, "append"),
        (Path, "rename"),
        (Path, "unlink"),
        (Path, "touch"),
        (pq.ParquetWriter, "write_table"),
        (columnar.ParquetFile, "_check"),
        (textfile, "copy_without"),
        (textfile, "content_digest"),
        (folders, "exchange"),
        (folders, "_take_over"),
        (os, "fsync"),
    ):
        monkeypatch.setattr(owner, name, _hooked(getattr(owner, name), name, hook))


def _hooked(real: Callable[..., object], name: str, hook: Callable[[str], None]) -> object:
    def call(*args: object, **kwargs: object) -> object:
        hook(name)
        return real(*args, **kwargs)

    return call


def erase_and_purge(path: Path, plan: ErasePlan) -> FilesStore:
    opened = store(path)
    assert opened.erase(plan, PERSON).rows == plan.rows
    opened.purge_history(plan)
    return opened


def test_killed_at_any_step_and_run_again_the_erasure_ends_the_same(tmp_path: Path) -> None:
    template = everything(tmp_path / "template")
    plan = planned(store(template))
    assert plan.rows == 13

    def copy(name: str) -> Path:
        return Path(shutil.copytree(template, tmp_path / name))

    steps: list[str] = []
    whole = copy("whole")
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, steps.append)
        erase_and_purge(whole, plan)
    expected = contents(whole)
    assert clean(store(whole))
    assert "customer_id=c-000042/a.csv" not in expected
    assert not (whole / "customer_id=c-000042").exists()
    assert not any("vestige" in name or "crc" in name or "_meta" in name for name in expected)
    assert {"rename", "exchange", "append", "remove", "unlink", "write_table"} <= set(steps)
    for step in range(len(steps)):
        path = copy(f"killed-{step}")
        with pytest.MonkeyPatch.context() as patch:
            hooked(patch, killed_at(step))
            with pytest.raises(KilledError):
                erase_and_purge(path, plan)
        name = f"killed before step {step}, {steps[step]}"
        resume(path, plan)
        assert contents(path) == expected, name
        shutil.rmtree(path)


def resume(path: Path, plan: ErasePlan) -> None:
    """As the worker does: once the purge has begun, the erasure is not run again."""
    opened = store(path)
    try:
        assert opened.erase(plan, PERSON).rows == plan.rows
    except PlanOutdatedError:
        assert planned(opened).rows == 0
    opened.purge_history(plan)


_CHILD = """
import json, os, sys
import pytest
from connectors.adapters.base import ErasePlan
from tests.connectors.folders import PERSON, store
from tests.connectors.test_files_resume import die_at, hooked
path, step, plan = sys.argv[1], *map(json.loads, sys.argv[2:])
plan = ErasePlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in plan.items()})
hooked(pytest.MonkeyPatch(), die_at(step))
opened = store(path)
opened.erase(plan, PERSON)
opened.purge_history(plan)
"""


def die_at(step: int) -> Callable[[str], None]:
    passed = iter(range(step))

    def hook(_name: str) -> None:
        if next(passed, None) is None:
            os.kill(os.getpid(), 9)

    return hook


@pytest.mark.parametrize("step", [9, 23, 60])
def test_a_worker_killed_by_the_system_is_resumed(folder: Path, step: int) -> None:
    plan = planned(store(folder))
    arguments = [str(folder), str(step), json.dumps(vars(plan))]
    died = subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=False, timeout=120)
    assert died.returncode == -9
    opened = erase_and_purge(folder, plan)
    assert clean(opened)
    assert not list(folder.rglob(".vestige-*"))


def test_what_a_dead_attempt_leaves_is_found_and_swept_by_the_next_plan(folder: Path) -> None:
    plan = planned(store(folder))
    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, lambda name: killed(name, "unlink"))
        with pytest.raises(KilledError):
            store(folder).erase(plan, PERSON)
    (left,) = [p for p in folder.rglob(".vestige-*") if p.suffix != ".journal"]
    assert b"c-000042" in left.read_bytes() or left.suffix == ".gz"
    (folder / "new.csv").write_bytes(HEADER + OTHERS[0])  # so that the old plan is outdated
    opened = store(folder)
    with pytest.raises(PlanOutdatedError, match="changed since the plan was made"):
        opened.erase(plan, PERSON)
    assert not left.exists()
    left.write_bytes(b"PAR1 half a file")
    findings = opened.find_subject(PERSON)
    assert [o.kind for o in findings.objects].count("orphan") == 1
    second = opened.plan_erase(findings, mode="purge")
    opened.erase(second, PERSON)
    opened.purge_history(second)
    assert clean(opened)
    assert not list(folder.rglob(".vestige-*"))
    assert (folder / "new.csv").read_bytes() == HEADER + OTHERS[0]


def killed(name: str, wanted: str) -> None:
    if name == wanted:
        raise KilledError


def test_running_a_finished_erasure_again_changes_nothing(folder: Path) -> None:
    opened = store(folder)
    plan = planned(opened)
    first = opened.erase(plan, PERSON)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    assert opened.erase(plan, PERSON) == first
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before
    opened.purge_history(plan)
    done = contents(folder)
    opened.purge_history(plan)
    with pytest.raises(PlanOutdatedError):
        opened.erase(plan, PERSON)
    assert contents(folder) == done


# Other writers.


@pytest.mark.parametrize("change", ["replaced", "added", "removed", "renamed"])
def test_a_plan_for_other_files_is_refused_and_nothing_erased(folder: Path, change: str) -> None:
    opened = store(folder)
    findings = opened.find_subject(PERSON)
    plan = opened.plan_erase(findings, mode="purge")
    path = folder / "orders.csv"
    if change == "replaced":
        path.write_bytes(csv_with_person().replace(b"plain", b"PLAIN"))
    elif change == "added":
        (folder / "more.csv").write_bytes(HEADER + THEIRS[0])
    elif change == "removed":
        path.unlink()
    else:
        path.rename(folder / "renamed.csv")
    before = contents(folder)
    with pytest.raises(PlanOutdatedError, match="plan again"):
        opened.erase(plan, PERSON)
    with pytest.raises(PlanOutdatedError, match="Search again"):
        opened.plan_erase(findings, mode="purge")
    assert contents(folder) == before


class Intruder:
    """Another writer, who comes once, at one moment of the erasure."""

    def __init__(self, path: Path, how: str, moment: str) -> None:
        self.path, self.how, self.moment = path, how, moment
        self.body = None if how == "removes" else csv_with_person() + b"c-000123,,today\r\n"
        self.came = False

    def __call__(self, name: str) -> None:
        if name != self.moment or self.came:
            return
        self.came = True
        if self.body is None:
            self.path.unlink()
        elif self.how == "appends":
            with self.path.open("ab") as file:
                file.write(self.body[len(csv_with_person()) :])
        else:
            self.path.with_name("incoming").write_bytes(self.body)
            self.path.with_name("incoming").replace(self.path)


@pytest.mark.parametrize("moment", ["content_digest", "append", "exchange"])
@pytest.mark.parametrize("how", ["replaces", "appends", "removes"])
def test_a_writer_who_comes_in_between_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, how: str
) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_with_person())
    opened = store(tmp_path)
    plan = planned(opened)
    intruder = Intruder(path, how, moment)
    with monkeypatch.context() as patch:
        hooked(patch, intruder)
        with pytest.raises(PlanOutdatedError):
            opened.erase(plan, PERSON)
    assert intruder.came
    assert (path.read_bytes() if path.exists() else None) == intruder.body
    if intruder.body is not None:
        assert clean(erase_and_purge(tmp_path, planned(store(tmp_path))))
        assert path.read_bytes().endswith(b"today\r\n")


def test_a_writer_who_holds_the_old_file_open_loses_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_with_person())
    opened = store(tmp_path)
    plan = planned(opened)
    with path.open("ab", buffering=0) as held:

        def swap(left: Path, right: Path) -> None:
            exchange(left, right)
            held.write(b"c-000123,,today\r\n")

        monkeypatch.setattr(folders, "exchange", swap)
        with pytest.raises(PlanOutdatedError):
            opened.erase(plan, PERSON)
    assert path.read_bytes().startswith(csv_with_person() + b"c-000123,,today\r\n")


def test_a_file_that_is_removed_while_it_goes_is_put_back_if_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "customer_id=c-000042" / "a.csv"
    path.parent.mkdir()
    path.write_bytes(b"email,n\n,1\n")
    plan = planned(store(tmp_path))
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self == path:
            path.write_bytes(b"email,n\n,1\n,2\n")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PlanOutdatedError):
        store(tmp_path).erase(plan, PERSON)
    assert path.read_bytes() == b"email,n\n,1\n,2\n"


def test_files_that_come_during_the_erasure_stay_and_are_scanned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store(folder)
    plan = planned(opened)

    def bring(name: str) -> None:
        if name == "exchange":
            (folder / "late.csv").write_bytes(HEADER + THEIRS[0] + OTHERS[0])

    hooked(monkeypatch, bring)
    assert opened.erase(plan, PERSON).rows == plan.rows
    opened.purge_history(plan)
    report = opened.verify_erased(EVERY_NEEDLE, opened.control_subject(PERSON))
    assert {trace.path for trace in report.traces} == {"late.csv"}


def test_two_workers_in_one_folder_do_not_meet(folder: Path) -> None:
    plan = planned(store(folder))
    before = contents(folder)
    with locked_folder(folder) as mine:
        assert mine
        with pytest.raises(StoreError, match="Another erasure is at work"):
            store(folder).erase(plan, PERSON)
        with pytest.raises(StoreError, match="Another erasure is at work"):
            store(folder).purge_history(plan)
    assert contents(folder) == before
    erase_and_purge(folder, plan)


def test_without_an_exchange_the_old_file_is_kept_until_it_was_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    class NoExchange:
        def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    monkeypatch.setattr(ctypes, "CDLL", NoExchange)
    assert clean(erase_and_purge(folder, planned(store(folder))))
    assert not list(folder.rglob("*vestige*"))


# A disk that gives out.


def test_a_full_disk_leaves_every_file_as_it_was(folder: Path) -> None:
    """The kernel refuses every write beyond a size, in a process of its own."""
    big = b"".join(b"c-%06d,,%s\r\n" % (n, b"x" * 50) for n in range(5000))
    (folder / "orders.csv").write_bytes(HEADER + THEIRS[0] + big)
    plan = planned(store(folder))
    before = contents(folder)
    limited = f"""
import resource, signal, json, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({200_000}, {200_000}))
from connectors.adapters.base import ErasePlan, StoreError
from tests.connectors.folders import PERSON, store
plan = ErasePlan(**{{k: tuple(v) if isinstance(v, list) else v
                    for k, v in json.loads(sys.argv[2]).items()}})
try:
    store(sys.argv[1]).erase(plan, PERSON)
except StoreError as exc:
    print(exc)
"""
    ran = subprocess.run(
        [sys.executable, "-c", limited, str(folder), json.dumps(vars(plan))],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "orders.csv could not be rewritten: File too large." in ran.stdout
    after = contents(folder)
    assert after["orders.csv"] == before["orders.csv"]
    assert not [name for name in after if "vestige" in name and not name.endswith(".journal")]
    assert clean(erase_and_purge(folder, plan))


@pytest.mark.parametrize("step", ["copy_without", "write_table", "append", "fsync"])
def test_no_space_at_any_step_is_a_clear_error_and_can_be_run_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    plan = planned(store(folder))

    def full(name: str) -> None:
        if name == step:
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        hooked(patch, full)
        with pytest.raises(StoreError, match=r"could not be rewritten: No space left on device"):
            store(folder).erase(plan, PERSON)
    assert not [p for p in folder.rglob(".vestige-*") if p.suffix != ".journal"]
    assert clean(erase_and_purge(folder, plan))


def test_what_was_written_wrongly_replaces_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(store(folder))
    before = contents(folder)

    def lossy(source: Path, target: Path, _ranges: Any) -> str:
        target.write_bytes(HEADER)
        return "0" * 64

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textfile, "copy_without", lossy)
        with pytest.raises(StoreError, match="the disk does not hold"):
            store(folder).erase(plan, PERSON)
    assert contents(folder) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
