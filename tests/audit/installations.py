"""Installations of their own, for what cannot be tested inside a transaction, or is killed."""

import atexit
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
Environment = dict[str, str]
_DATABASES = ("DATABASE_URL", "VESTIGE_KEYS_DATABASE_URL")


@contextmanager
def installation(home: Path) -> Iterator[Environment]:
    """The environment of an empty installation, not migrated yet, on the database under test."""
    environment = _environment(home)
    if connection.vendor != "postgresql":
        yield environment
        return
    with own_database() as url:
        yield environment | {"DATABASE_URL": url}


def _environment(home: Path) -> Environment:
    environment = os.environ | {"VESTIGE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    for name in ("DJANGO_SETTINGS_MODULE", *_DATABASES):
        environment.pop(name, None)
    return environment


@contextmanager
def empty_installation(home: Path, *, apart: bool = False) -> Iterator[Environment]:
    """As `installation`, migrated: a copy of one that was migrated once.

    `apart`: the key store is a database of its own, as it always is on SQLite.
    """
    template, databases = _template(apart=apart and connection.vendor == "postgresql")
    shutil.copytree(template, home, dirs_exist_ok=True)
    with ExitStack() as kept:
        yield _environment(home) | {
            setting: kept.enter_context(own_database(name)) for setting, name in databases.items()
        }


@cache
def _template(*, apart: bool) -> tuple[Path, dict[str, str]]:
    """The home of a migrated installation, and the names of its databases, if they are elsewhere.

    These by the settings that name them.
    """
    kept = ExitStack()
    atexit.register(kept.close)
    home = Path(kept.enter_context(TemporaryDirectory(prefix="vestige-template-")))
    environment = kept.enter_context(installation(home))
    if apart:
        environment["VESTIGE_KEYS_DATABASE_URL"] = kept.enter_context(own_database())
    manage(environment, "migrate", "--skip-checks", "-v0")
    return home, {
        setting: urlsplit(environment[setting]).path[1:]
        for setting in _DATABASES
        if setting in environment
    }


@contextmanager
def own_database(template: str = "template1") -> Iterator[str]:
    """An empty PostgreSQL database beside the one under test, or a copy of one that nobody uses."""
    name = f"vestige_test_{uuid4().hex[:12]}"
    server = urlsplit(settings.DATABASE_URL)
    copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(server._replace(path="/postgres").geturl(), autocommit=True) as admin:
        admin.execute(copied.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield server._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def manage(environment: Environment, *arguments: str, status: int = 0) -> str:
    done = _run(environment, [str(ROOT / "manage.py"), *arguments])
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def run(environment: Environment, code: str, *arguments: str, status: int = 0) -> str:
    """Run Python in a process of its own, with Django set up; what it wrote."""
    done = _run(environment, ["-c", _SET_UP + code, *arguments])
    assert done.returncode == status, done.stderr
    return done.stdout


def run_file(environment: Environment, path: Path) -> str:
    """As `run`, of a file that sets Django up itself."""
    done = _run(environment, [str(path)])
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(environment: Environment, code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _SET_UP + code], env=environment, stdout=subprocess.PIPE, text=True
    )


def _run(environment: Environment, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


_SET_UP = """
import os, signal, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
import django
django.setup()
from django.db import connections, transaction
from audit import actions, epochs, keylog, queries, sealing
from audit.events import define
from audit.models import *
from audit.subjects import SubjectRef, lookup
NOTED = define("test.noted", "n")
class Setup: actor = "user:1"
by = Setup()
def ref(name): return SubjectRef("customer", str(name))
def note(name):
    with transaction.atomic():
        return actions.record(NOTED, by=by, resource="x", subject=ref(name),
                              sealed={"who": str(name)})
def forget(name):
    with transaction.atomic():
        return actions.forget_subject(lookup(ref(name)), by=by)
def opened():
    actions.sequence()
    rows = Entry.objects.filter(type="test.noted").order_by("seq")
    return [(queries.unseal(row) or {}).get("who") for row in rows]
def die(*args, **kwargs): os.kill(os.getpid(), signal.SIGKILL)
def killed_at(owner, name, act):
    "Act in a process of its own that is killed when it comes to call `owner.name`."
    connections.close_all()
    child = os.fork()
    if not child:
        setattr(owner, name, die)
        try: act()
        finally: os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), name + " was never called"
"""
