"""Installations of their own, for what cannot be tested inside a transaction."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def empty_installation(home: Path) -> Iterator[dict[str, str]]:
    """The environment of an empty installation, on a database of its own of the kind tested."""
    environment = os.environ | {"VESTIGE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    if connection.vendor != "postgresql":
        environment.pop("DATABASE_URL", None)
        yield migrated(environment)
        return
    name = f"vestige_test_{uuid4().hex[:12]}"
    server = urlsplit(settings.DATABASE_URL)
    with psycopg.connect(server._replace(path="/postgres").geturl(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield migrated(
                environment | {"DATABASE_URL": server._replace(path=f"/{name}").geturl()}
            )
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def migrated(environment: dict[str, str]) -> dict[str, str]:
    manage(environment, "migrate", "--skip-checks", "-v0")
    return environment


def manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
