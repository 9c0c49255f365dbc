"""Kill -9 between any two steps, and an old backup brought back: what the next process finds."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Composable, Identifier, Literal

from tests.audit.crashes.points import BATCH, POINTS, Point
from tests.audit.installations import ROOT, empty_installation

_KILLED = 9
_WHEN = int(os.environ.get("VESTIGE_TEST_SEED", "7"))
_ROUNDS = 4


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with empty_installation(tmp_path_factory.mktemp("home")) as environment:
        yield environment


@pytest.fixture(scope="module")
def crashes(installation: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What was found after each crash, one after the other in the same log."""
    return {found["name"]: found for found in run(installation, "points")}


def run(environment: dict[str, str], *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.audit.crashes.run_and_kill", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def require_sound(found: dict[str, Any]) -> None:
    """Nothing that was acknowledged is lost, nothing is there twice, and the log went on."""
    assert found["ended"] == _KILLED, found["said"]
    assert found["said"] == []
    assert found["went_on"] == 0
    assert found["acknowledged"] > 0
    assert found["lost"] == []
    assert found["repeated"], "what was sent again got other places"
    assert found["dense"], "the log has a gap"
    assert found["still_waiting"] == 0
    assert (found["refusal"], found["signed"]) == ("", True)
    assert found["extends"], "the log forked"
    assert found["holds_before"] == "[]"
    assert found["findings"] == []


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_process_that_is_killed_loses_nothing_and_leaves_nothing_half(
    crashes: dict[str, dict[str, Any]], point: Point
) -> None:
    if point.name not in crashes and point.locked is False:
        pytest.skip("SQLite has no way without the lock.")
    found = crashes[point.name]
    require_sound(found)
    if point.path in ("record", "hold"):
        assert (found["waiting"], found["placed"]) == (int(point.waits), int(point.durable))
    else:
        assert found["in_log"] == (BATCH if point.durable else 0)


def test_threads_that_are_killed_at_any_moment_lose_nothing(installation: dict[str, str]) -> None:
    rounds = run(installation, "random", str(_WHEN), str(_ROUNDS))
    assert len(rounds) == _ROUNDS
    for found in rounds:
        require_sound(found)


def test_a_database_restored_from_an_old_backup_is_noticed(
    tmp_path: Path, installation: dict[str, str]
) -> None:
    """By verify_log before anything else happens, and by the signer at the next append."""
    run(installation, "append", "20")
    with backed_up(installation, tmp_path):
        (newest,) = run(installation, "append", "30")
        assert (newest["size"], newest["refusal"]) == (newest["note_size"], "")
    checked = subprocess.run(
        [sys.executable, "manage.py", "verify_log"],
        cwd=ROOT, env=installation, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 1
    assert f"covers {newest['size']} entries, and the log has {newest['size'] - 30}" in (
        checked.stderr
    )
    (after,) = run(installation, "append", "1")
    assert "Entries were removed, or an old backup was restored" in after["refusal"]
    assert after["note_size"] == newest["size"] - 30
    (after,) = run(installation, "append", "40")  # as long as before, but another log
    assert "does not extend the signed tree" in after["refusal"]


@contextmanager
def backed_up(environment: dict[str, str], folder: Path) -> Iterator[None]:
    """The database is copied at the start, and the copy comes back at the end."""
    if "DATABASE_URL" not in environment:
        database, copy = Path(environment["VESTIGE_HOME"]) / "vestige.sqlite3", folder / "copy"
        with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(copy)) as then:
            now.backup(then)
        yield
        for suffix in ("", "-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        copy.rename(database)
        return
    server = urlsplit(environment["DATABASE_URL"])
    name, copied = server.path[1:], f"{server.path[1:]}_copy"
    with psycopg.connect(server._replace(path="/postgres").geturl(), autocommit=True) as admin:
        statement(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                  " WHERE datname = {}", Literal(name))  # fmt: skip
        statement(admin, "CREATE DATABASE {} TEMPLATE {}", Identifier(copied), Identifier(name))
        yield
        statement(admin, "DROP DATABASE {} WITH (FORCE)", Identifier(name))
        statement(admin, "ALTER DATABASE {} RENAME TO {}", Identifier(copied), Identifier(name))


def statement(server: psycopg.Connection, text: LiteralString, *parts: Composable) -> None:
    server.execute(SQL(text).format(*parts))
