"""An installation of its own for benchmarks: fresh home, fresh database, gone afterwards.

`DATABASE_URL` names the server to measure; a database is created beside the one it names. Without
it SQLite is measured, and every table says so.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import django


@contextmanager
def installation() -> Iterator[str]:
    """Sets up Django on a fresh database; gives the database's name for the tables."""
    with tempfile.TemporaryDirectory(prefix="vestige-bench-") as home, _database() as url:
        os.environ |= {"VESTIGE_HOME": home, "DJANGO_SETTINGS_MODULE": "bench.settings"}
        os.environ.pop("DATABASE_URL", None)
        os.environ.pop("VESTIGE_KEYS_DATABASE_URL", None)  # the key store is the scratch one, too
        if url:
            os.environ["DATABASE_URL"] = url
        django.setup()
        from django.apps import apps
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0, skip_checks=True)
        # The peers have no migrations, and their tables refer to those made just now.
        call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=True)
        if apps.is_installed("pgtrigger"):
            import pgtrigger

            pgtrigger.install()
        try:
            yield "PostgreSQL" if url else "SQLite (set DATABASE_URL to measure PostgreSQL)"
        finally:
            from audit import sequencer
            from audit.actions import recording

            recording._soon.finish()  # its thread must not look for a database that is gone,
            sequencer.finish()  # nor must these
            connections.close_all()


@contextmanager
def _database() -> Iterator[str]:
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith(("postgres", "psql")):
        yield ""
        return
    import psycopg
    from psycopg import sql

    server = urlsplit(url)
    name = f"vestige_bench_{uuid4().hex[:8]}"
    with psycopg.connect(server._replace(path="/postgres").geturl(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield server._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
