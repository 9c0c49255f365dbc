"""Ten thousand events a request, beside COPY of the same rows; and where the request's time goes.

COPY gets rows that were made ready beforehand, for a table that begins with the entries of the log;
appending makes its rows itself. The parts of a request are timed with the functions that do the
work there, one after the other in one process. What remains of the append is the database's part,
that is what none of it falls into: the events are checked and chained while PostgreSQL takes in
those before. What remains of the request is the way there and back.
"""

import http.client
from collections.abc import Callable
from typing import Any

from bench import events
from bench.append import actor
from bench.plain import PlainTable
from bench.report import Line, beside, best_rates, say, table
from bench.rest import server

BULK, TURNS = 10_000, 10
NDJSON = "application/x-ndjson"
COPY, APPEND, DECODED = "COPY of the same rows", "append", "NDJSON decoded and appended"
REQUEST = "POST /api/v1/events as NDJSON"


def run(database: str) -> None:
    """Prints the tables. Django must be set up on a scratch installation."""
    from accounts.actions import create_key
    from accounts.roles import Role
    from audit.actions import append
    from audit.api.doors import decode

    by, plain = actor(), PlainTable()
    plain.copy_log()
    _, key = create_key(name="bulk", roles=[Role.PIPELINE], by=by)
    fillers = iter([plain.copier(plain.rows_of(BULK, f"f{turn}")) for turn in range(TURNS)])
    batches = iter([[events.new(n, f"e{turn}") for n in range(BULK)] for turn in range(TURNS)])
    bodies = iter([events.json_lines(BULK, f"d{turn}") for turn in range(2 * TURNS)])
    parts = _Parts()
    with server(workers=1, threads=2) as port:
        rates = best_rates(
            BULK,
            {
                COPY: lambda: next(fillers)(),
                APPEND: lambda: append(next(batches), by=by),
                DECODED: lambda: append(decode(next(bodies), NDJSON)[0], by=by),
                REQUEST: lambda: _post(port, key, next(bodies)),
                **parts.works,
            },
            runs=TURNS,
        )
    plain.drop()
    copies = database == "PostgreSQL"
    table(
        f"{BULK:,} events at once on {database} (SQLite: executemany instead of COPY)",
        [
            Line(COPY, rates[COPY]),
            beside(APPEND, COPY, rates, 0.7 if copies else None),
            beside(DECODED, COPY, rates),
            beside(REQUEST, COPY, rates),
        ],
    )
    _shares({name: BULK / rate for name, rate in rates.items()}, list(parts.works))


def _shares(seconds: dict[str, float], parts: list[str]) -> None:
    known = {name: seconds[name] for name in parts}
    decode, *appending, answer = parts
    known["database (what else the append takes)"] = seconds[APPEND] - sum(
        seconds[name] for name in appending
    )
    known["receive, admit, send (what else the request takes)"] = (
        seconds[REQUEST] - seconds[APPEND] - seconds[decode] - seconds[answer]
    )
    say(f"Where the {seconds[REQUEST] * 1000:.0f} ms of such a request go:")
    for name, part in known.items():
        say(f"  {name:<52} {part * 1000:6.1f} ms  {part / seconds[REQUEST]:5.0%}")


class _Parts:
    """The work of a request in its stages, each on what the stage before would give it."""

    def __init__(self) -> None:
        from audit import intake

        self._body = events.json_lines(BULK, "parts")
        self._new = [events.new(number, "parts") for number in range(BULK)]
        self._prepared = [
            intake.prepare(event, by="user:1", index=0, keys={}) for event in self._new
        ]
        self.works: dict[str, Callable[[], object]] = {
            "decode": self._decode,
            "checks and canonical JSON": self._prepare,
            "chain and tree": self._chain,
            "sign": self._sign,
            "answer": self._answer,
        }

    def _decode(self) -> None:
        from audit.api.doors import decode

        decode(self._body, NDJSON)

    def _prepare(self) -> None:
        from audit import intake

        for event in self._new:
            intake.require_outside_type(event, 0)
            intake.prepare(event, by="user:1", index=0, keys={})

    def _chain(self) -> None:
        from audit import proofs
        from audit.ledger.hashing import leaf_hash
        from audit.ledger.leaf import GENESIS, pack
        from audit.ledger.tree import Frontier

        previous, hashes, frontier = GENESIS, list[bytes](), Frontier()
        for number, event in enumerate(self._prepared):
            previous = leaf_hash(pack(number, 1_700_000_000_000_000, previous, event.event))
            hashes.append(previous)
        frontier.extend(hashes)
        proofs.grow(0, hashes, {})

    def _sign(self) -> None:
        from audit import signer

        signer.sign_head()

    def _answer(self) -> None:
        import orjson

        receipts: list[dict[str, Any]] = [
            {"id": event.event_id, "seq": number, "leaf_hash": bytes(32).hex()}
            for number, event in enumerate(self._prepared)
        ]
        orjson.dumps({"receipts": receipts, "checkpoint": "x" * 200})


def _post(port: int, key: str, body: bytes) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": NDJSON}
    client.request("POST", "/api/v1/events", body, headers)
    answer = client.getresponse()
    if answer.status != 201:
        raise RuntimeError(f"{answer.status}: {answer.read()[:300]!r}")
    answer.read()
    client.close()
