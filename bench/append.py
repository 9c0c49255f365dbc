"""Appending: one event at a time and in bulk, beside inserting the same rows without a chain.

The peer is a table with the log's columns and the log's indexes, filled by plain INSERT + commit
(as many connections as there are submitters) and by binary COPY of rows prepared beforehand.
"""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from bench.report import Line, best_rate, table

SUBMITTERS = 16
SINGLES = 4_000
BULK = 10_000
_WORKER = "bench.append_client"
_NDJSON = "application/x-ndjson"


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    lines = _singles() + _bulk()
    lines += _through_rest(lines)
    table(f"Appends of ~450-byte events on {database}", lines)
    _window()


def _by() -> Any:
    from accounts.queries import system_user

    return system_user("setup")


def _singles() -> list[Line]:
    from audit.actions import append
    from bench import events

    by = _by()
    plain = _PlainTable()
    rows = plain.rows_of(SINGLES, "single")
    inserted = _in_threads(SINGLES, lambda number: plain.insert(rows[number]))
    appended = _in_threads(SINGLES, lambda number: append([events.new(number, "s")], by=by))
    alone = _in_threads(500, lambda number: append([events.new(number, "t")], by=by), threads=1)
    plain.empty()
    inserted_alone = _in_threads(500, lambda number: plain.insert(rows[number]), threads=1)
    plain.drop()
    peer = f"INSERT+commit, {SUBMITTERS} connections"
    return [
        Line(peer, inserted),
        Line(f"append, {SUBMITTERS} submitters", appended, peer, appended / inserted),
        Line("INSERT+commit, 1 connection", inserted_alone),
        Line("append, 1 submitter", alone, "INSERT+commit, 1 connection", alone / inserted_alone),
    ]


def _bulk() -> list[Line]:
    from django.db import connection

    from audit.actions import append
    from audit.api.doors import decode
    from bench import events

    by = _by()
    plain = _PlainTable()
    rows = plain.rows_of(BULK, "bulk")
    copied = best_rate(BULK, plain.copier(rows), runs=3)
    plain.drop()
    bodies = iter([events.json_lines(BULK, f"b{turn}") for turn in range(3)])

    def whole() -> None:
        append(decode(next(bodies), _NDJSON)[0], by=by)

    from_bytes = best_rate(BULK, whole, runs=3)
    batches = iter([[events.new(n, f"c{turn}") for n in range(BULK)] for turn in range(3)])
    appended = best_rate(BULK, lambda: append(next(batches), by=by), runs=3)
    peer = "COPY" if connection.vendor == "postgresql" else "executemany"
    target = 0.4 if connection.vendor == "postgresql" else None
    return [
        Line(f"{peer} of the same rows, by {BULK:,}", copied),
        Line("append, by 10,000", appended, peer, appended / copied, target),
        Line("NDJSON decoded and appended", from_bytes, peer, from_bytes / copied, target),
    ]


def _through_rest(before: list[Line]) -> list[Line]:
    from accounts.actions import create_key
    from accounts.roles import Role
    from bench import events

    _, key = create_key(name="bench", roles=[Role.PIPELINE], by=_by())
    with _server() as port:
        singles = _client_rate(port, key)
        bodies = iter([events.json_lines(BULK, f"rest{turn}") for turn in range(4)])
        bulk = best_rate(BULK, lambda: _post(port, key, next(bodies), _NDJSON), runs=4)
    insert, copy = before[0], next(line for line in before if "same rows" in line.name)
    peer = copy.name.split(" of ")[0]
    target = 0.4 if peer == "COPY" else None
    return [
        Line(
            f"REST, one event a request, {SUBMITTERS} clients",
            singles,
            insert.name,
            singles / insert.rate,
        ),
        Line("REST, NDJSON by 10,000", bulk, peer, bulk / copy.rate, target),
    ]


def _window() -> None:
    """How long a committed change waits for its signed place, with nobody else writing."""
    from django.db import transaction

    from audit.actions import record
    from audit.events import LOG_EXPORTED

    by = _by()
    waits = []
    for number in range(300):
        committed: list[float] = []
        with transaction.atomic():
            transaction.on_commit(lambda done=committed: done.append(time.perf_counter()))  # type: ignore[misc]
            record(LOG_EXPORTED, by=by, resource="log:main", details={"size": number})
        waits.append(time.perf_counter() - committed[0])
    waits.sort()
    sys.stdout.write(
        f"From commit to signed entry: median {waits[150] * 1000:.1f} ms,"
        f" 99 of 100 within {waits[297] * 1000:.1f} ms\n"
    )


def _client_rate(port: int, key: str) -> float:
    """Requests a second of clients in processes of their own, as clients are."""
    started = time.perf_counter()
    clients = [
        subprocess.Popen([sys.executable, "-m", _WORKER, str(port), key, str(n), str(SINGLES // 2)])
        for n in range(2)
    ]
    if any(client.wait() for client in clients):
        raise RuntimeError("a client of the benchmark failed")
    return SINGLES // 2 * 2 / (time.perf_counter() - started)


def _post(port: int, key: str, body: bytes, content_type: str) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request(
        "POST",
        "/api/v1/events",
        body,
        {"Authorization": f"Bearer {key}", "Content-Type": content_type},
    )
    answer = client.getresponse()
    if answer.status != 201:
        raise RuntimeError(f"{answer.status}: {answer.read()[:300]!r}")
    answer.read()
    client.close()


@contextmanager
def _server() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [
            sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(port),
            "--workers", "2", "--blocking-threads", "8", "--no-access-log", "--log-level", "error",
            "config.wsgi:application",
        ],
        env=os.environ | {"PORT": str(port)},
    )  # fmt: skip
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(1)
        yield port
    finally:
        server.terminate()
        server.wait()


def _in_threads(count: int, work: Callable[[int], object], *, threads: int = SUBMITTERS) -> float:
    """How many a second, each thread on a connection of its own that is open already."""
    from django.db import connection

    ready, faults = threading.Barrier(threads + 1), list[BaseException]()

    def loop(first: int) -> None:
        try:
            connection.ensure_connection()
            ready.wait()
            for number in range(first, count, threads):
                work(number)
        except BaseException as exc:  # noqa: BLE001  # raised below
            faults.append(exc)
        finally:
            connection.close()

    running = [threading.Thread(target=loop, args=(first,)) for first in range(threads)]
    for thread in running:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in running:
        thread.join()
    if faults:
        raise faults[0]
    return count / (time.perf_counter() - started)


class _PlainTable:
    """The log's columns and indexes without chain, triggers and head."""

    def __init__(self) -> None:
        from django.db import connection

        self.postgresql = connection.vendor == "postgresql"
        with connection.cursor() as cursor:
            if self.postgresql:
                cursor.execute("CREATE TABLE bench_plain (LIKE audit_entry INCLUDING ALL)")
                return
            cursor.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = 'audit_entry'"
                " AND type IN ('table', 'index') AND sql IS NOT NULL ORDER BY type DESC"
            )
            for (statement,) in cursor.fetchall():
                cursor.execute(
                    statement.replace("audit_entry", "bench_plain").replace('"entry_', '"plain_')
                )

    def rows_of(self, count: int, run: str) -> list[Any]:
        from audit import intake, storage
        from audit.ledger.hashing import leaf_hash
        from audit.ledger.leaf import GENESIS, pack
        from bench import events

        rows = []
        for number in range(count):
            event = intake.prepare(events.new(number, run), by="user:1", index=0, keys={})
            leaf = pack(number, 1_700_000_000_000_000, GENESIS, event.event)
            rows.append(storage.Row(number, 1_700_000_000_000_000, leaf, leaf_hash(leaf), event))
        return rows

    def insert(self, row: Any) -> None:
        from django.db import connection

        from audit import storage

        with connection.cursor() as cursor:
            cursor.execute(self._insert_sql(), storage._values(1, row))

    def copier(self, rows: list[Any]) -> Callable[[], None]:
        """Fills the empty table with rows that were made ready before."""
        from django.db import connection, transaction

        from audit import storage

        values = [storage._values(1, row) for row in rows]
        parts = [storage._copy_rows(1, rows[at : at + 512]) for at in range(0, len(rows), 512)]

        def fill() -> None:
            self.empty()
            with transaction.atomic(), connection.cursor() as cursor:
                if not self.postgresql:
                    cursor.executemany(self._insert_sql(), values)
                    return
                columns = storage._ENTRY_COLUMNS
                with cursor.copy(
                    f"COPY bench_plain ({columns}) FROM STDIN (FORMAT BINARY)"
                ) as copy:
                    copy.write(storage._COPY_HEADER)
                    for part in parts:
                        copy.write(part)
                    copy.write(storage._COPY_TRAILER)

        return fill

    def empty(self) -> None:
        self._execute("TRUNCATE bench_plain" if self.postgresql else "DELETE FROM bench_plain")

    def drop(self) -> None:
        self._execute("DROP TABLE bench_plain")

    def _execute(self, statement: str) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement)

    def _insert_sql(self) -> str:
        from audit import storage

        return (
            f"INSERT INTO bench_plain ({storage._ENTRY_COLUMNS})"  # noqa: S608
            f" VALUES {storage._ENTRY_VALUES}"
        )


def event_body(number: int, run: str) -> bytes:
    from bench import events

    return orjson.dumps(events.body(number, run))
