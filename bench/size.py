"""What a large log costs: proofs and memory of the verifier at two sizes, and browsing.

`python -m bench size --entries 10000000` makes a log of that size (about 1 kB of disk an entry);
without the option it has a million entries.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from bench.biglog import RARE, grow
from bench.report import Line, percentile, say, table

SMALL = 10_000
PROOFS, VIEWS = 400, 24
_PAGE_LIMIT_MS, _SLOW_MS = 300, 100
_PATIENCE = 4.0  # seconds for one page, however slow


def run(database: str, entries: int = 1_000_000) -> None:
    """Prints the tables. Django must be set up on a scratch installation."""
    if shutil.disk_usage(".").free < entries * 2_500:
        raise RuntimeError(f"a log of {entries:,} entries needs {entries * 2_500:,} bytes of disk")
    grow(entries // 10)
    lean = _peaks()
    grow(entries)
    _analyse()
    _proofs(database, entries)
    _memory(database, entries, lean)
    _browse(database, entries)


def _analyse() -> None:
    """What autovacuum does to a table that has grown, soon after."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":
            cursor.execute("CHECKPOINT")


def _proofs(database: str, entries: int) -> None:
    """p95 in the tree of all entries, beside that in the tree of the first ones, in turns."""
    from audit import proofs
    from audit.models import MAIN_LOG

    chosen, lines = random.Random(7), list[Line]()  # noqa: S311  # places, not secrets

    def inclusion(size: int) -> None:
        proofs.inclusion(MAIN_LOG, chosen.randrange(size), size)

    def consistency(size: int) -> None:
        proofs.consistency(MAIN_LOG, chosen.randrange(size - 1) + 1, size)

    for prove in (inclusion, consistency):
        waits: dict[int, list[float]] = {SMALL: [], entries: []}
        for _ in range(PROOFS):
            for size, found in waits.items():
                started = time.perf_counter()
                prove(size)
                found.append(time.perf_counter() - started)
        small, large = (percentile(found, 0.95) * 1000 for found in waits.values())
        peer = f"{prove.__name__}, tree of {SMALL:,} entries"
        name = f"{prove.__name__}, tree of {entries:,} entries"
        lines.append(Line(peer, small, unit="ms"))
        lines.append(Line(name, large, peer, large / small, 10, at_most=True, unit="ms"))
    table(f"Proofs from {database}: p95", lines)


def _peaks() -> dict[str, dict[str, float]]:
    return {
        processes: orjson.loads(
            subprocess.run(
                [sys.executable, "-m", "bench.memory", processes],
                check=True,
                stdout=subprocess.PIPE,
                env=dict(os.environ),
            ).stdout
        )
        for processes in ("one", "two")
    }


def _memory(database: str, entries: int, lean: dict[str, dict[str, float]]) -> None:
    large, lines = _peaks(), list[Line]()
    for processes, before in lean.items():
        peer = f"{processes}, {entries // 10:,} entries"
        after = large[processes]
        lines.append(Line(peer, before["megabytes"], unit="MB"))
        lines.append(
            Line(
                f"{processes}, {entries:,} entries",
                after["megabytes"],
                peer,
                after["megabytes"] / before["megabytes"],
                1.2,
                at_most=True,
                unit="MB",
            )
        )
    table(f"Peak memory of verify_log on {database}, by number of processes", lines)
    for processes, after in large.items():
        say(f"Verified by {processes}: {entries / after['seconds']:,.0f} entries/s")


def _browse(database: str, entries: int) -> None:
    """The log's pages as a signed-in auditor gets them, without the network in between."""
    get = _browser()
    lines, slow = list[Line](), list[str]()
    for name, address in _addresses(get):
        waits, queries = _view(get, address)
        ratio = percentile(waits, 0.95) * 1000 / _PAGE_LIMIT_MS
        lines.append(
            Line(
                name,
                percentile(waits, 0.95) * 1000,
                f"{_PAGE_LIMIT_MS} ms (median {percentile(waits, 0.5) * 1000:.0f} ms)",
                ratio,
                1.0,
                at_most=True,
                unit="ms",
            )
        )
        slow += [f"{name}\n  {plan}" for plan in _slow_plans(queries)]
    table(f"Pages over {entries:,} entries on {database}: p95", lines)
    for plan in slow:
        say(f"\nSlow on the page {plan}")


Get = Callable[[str], Any]


def _browser() -> Get:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from accounts.models import Grant
    from accounts.roles import Role

    users = get_user_model()._default_manager
    auditor = users.create(username="bench-auditor", name="Auditor")
    Grant.objects.create(user=auditor, role=Role.AUDITOR)
    client = Client()
    client.force_login(auditor)

    def get(address: str) -> Any:
        answer = client.get(address)
        if answer.status_code != 200:
            raise RuntimeError(f"{address}: {answer.status_code}")
        return answer

    return get


def _addresses(get: Get) -> Iterator[tuple[str, str]]:
    from audit.intake import time_text
    from audit.queries import entries

    def recorded(seq: int) -> str:
        return time_text(entries().get(seq=seq).recorded_at)

    last = entries().order_by("-seq").values_list("seq", flat=True)[0]
    middle = last // 2
    resource = "resource=dataset:warehouse:purchases_77"
    queries = {
        "first page": "",
        "last page": "cursor=before-40",
        "a page in the middle": f"cursor=before-{middle}",
        "by resource": resource,
        "by a rare resource": f"resource={RARE}",
        "by a resource that is not there": "resource=dataset:warehouse:none",
        "by type": "type=READ",
        "by a rare type": "type=DELETE",
        "by actor": "actor=service:pipeline-7",
        "by a name that nobody has": "actor=Nobody",
        "since the middle": f"since={recorded(middle)}",
        "until the middle": f"until={recorded(middle)}",
        "by rare type and actor": "type=DELETE&actor=service:pipeline-7",
        "by resource and type": f"{resource}&type=UPDATE",
        "by resource and type that never meet": f"{resource}&type=request.filed",
        "by type and actor that never meet": "type=pipeline.finished&actor=service:pipeline-0",
        "by version": "resource_version=123456",
        "by kind of sender": "kind=system",
        "by kind that sent nothing": "kind=person",
        "by id": "id=big-00000077-4e0f-9c1d-aa00bb11cc22",
        "by subject": f"subject={'0' * 32}",
    }
    for name, query in queries.items():
        yield f"log, {name}", f"/log/?{query}"
    yield "an entry", f"/log/{middle}/"
    yield "REST list by resource", f"/api/v1/events?{resource}"
    yield "verification page", "/log/verification/"


def _view(get: Get, address: str) -> tuple[list[float], list[tuple[float, str]]]:
    """How long each of some visits took, and the statements of one: (seconds, SQL)."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as seen:
        get(address)
    statements = [(float(query["time"]), query["sql"]) for query in seen.captured_queries]
    waits: list[float] = []
    while len(waits) < VIEWS and (sum(waits) < _PATIENCE or len(waits) < 3):
        started = time.perf_counter()
        get(address)
        waits.append(time.perf_counter() - started)
    return waits, statements


def _slow_plans(queries: list[tuple[float, str]]) -> list[str]:
    """The plans of the statements that took long."""
    from django.db import connection

    explain = (
        "EXPLAIN (ANALYZE, BUFFERS)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    )
    plans = []
    for seconds, sql in queries:
        if seconds * 1000 >= _SLOW_MS and sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"{explain} {sql}")
                lines = [str(row[-1]) for row in cursor.fetchall()]
            plans.append("\n  ".join([f"{seconds * 1000:.0f} ms: {sql}", *lines]))
    return plans
