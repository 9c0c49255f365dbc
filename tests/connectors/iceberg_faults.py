"""Erasures in Iceberg tables that end in the middle, at whatever step one asks for."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from connectors.adapters.base import ErasePlan
from connectors.adapters.iceberg import IcebergStore, purge
from connectors.adapters.iceberg.files import FolderFiles
from connectors.folders import LocalFolder
from tests.connectors.iceberg_builders import PERSON, store


class KilledError(BaseException):
    """The process is gone: from here on it can do nothing any more."""


def hooked(monkeypatch: pytest.MonkeyPatch, hook: Callable[[str], None]) -> None:
    """Call the hook before everything that changes the disk, and after the catalog has changed."""

    def before(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            hook(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    before(LocalFolder, "remove")
    before(LocalFolder, "remove_empty_folders")
    before(pq.ParquetWriter, "write_table")
    before(FolderFiles, "new_output")
    real_commit = SqlCatalog.commit_table
    real_clear = purge.clear_sqlite_catalog

    def commit(*args: object) -> object:
        hook("commit_table")
        answer = real_commit(*args)  # type: ignore[arg-type]
        hook("after commit_table")
        return answer

    def clear(path: Path) -> None:
        hook("clear_sqlite_catalog")
        real_clear(path)

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    monkeypatch.setattr("connectors.adapters.iceberg.store.clear_sqlite_catalog", clear)


def dying_at(step: int, die: Callable[[], None]) -> Callable[[str], None]:
    passed = iter(range(step))

    def hook(_name: str) -> None:
        if next(passed, None) is None:
            die()

    return hook


def killed() -> None:
    raise KilledError


def erase_and_purge(lake: Path, plan: ErasePlan) -> IcebergStore:
    opened = store(lake)
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    return opened


def disk(lake: Path) -> dict[str, bytes]:
    return {
        p.relative_to(lake).as_posix(): p.read_bytes()
        for p in lake.rglob("*")
        if p.is_file() and not p.name.endswith(("-wal", "-shm", "-journal"))
    }


def ends_of_runs(steps: list[str]) -> list[int]:
    """Of equal steps in a row (a file after another is removed): the first and the last."""
    runs: list[list[int]] = []
    for number, name in enumerate(steps):
        if not number or steps[number - 1] != name:
            runs.append([])
        runs[-1].append(number)
    return sorted({n for run in runs for n in (run[0], run[-1])})


def kind_of(path: str) -> str:
    """What a file is, whatever its name in one run."""
    return f"{path.rpartition('/')[0]} {path.rpartition('.')[2]} {'snap-' in path}"


_CHILD = """
import json, os, signal, sys
from pathlib import Path
import pytest
from connectors.adapters.base import ErasePlan
from tests.connectors.iceberg_faults import dying_at, erase_and_purge, hooked
lake, step, plan = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
plan = ErasePlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in plan.items()})
hooked(pytest.MonkeyPatch(), dying_at(step, lambda: os.kill(os.getpid(), signal.SIGKILL)))
erase_and_purge(lake, plan)
"""


def kill_at(step: int, lake: Path, plan: ErasePlan) -> None:
    """Carry out the plan in a process of its own, which the system kills there."""
    arguments = [str(lake), str(step), json.dumps(vars(plan))]
    died = subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL
