"""Broken requests to POST /api/v1/events: a problem each time, and nothing half-written."""

import gzip
import json
from typing import Any

import pytest
from django.test import Client, override_settings

from accounts.models import User
from audit.actions import sequence
from audit.models import Entry, Log, Pending, SubjectKey
from tests.audit.builders import verified
from tests.audit.fuzzing.oddities import SEED, changed, damaged, dice_for, written
from tests.builders import Api

pytestmark = pytest.mark.django_db
URL = "/api/v1/events"
LIMIT = 300_000

EVENT: dict[str, Any] = {
    "type": "UPDATE",
    "actor": "service:etl",
    "resource": "dataset:shop:purchases",
    "id": "e-1",
    "resource_version": "7",
    "occurred_at": "2026-01-01T00:00:00.5+01:00",
    "parent_id": "run-1",
    "details": {"rows": 3, "columns": ["a", "b"], "deeper": {"digest": "ab" * 32}},
    "subject": {"type": "customer", "value": "c-1"},
    "sealed": {"street": "Elm"},
}
BODIES: list[Any] = [
    EVENT,
    [EVENT, EVENT | {"id": "e-2"}],
    {"events": [EVENT, {**EVENT, "id": ""}]},
]
TYPES = [
    "application/json", "application/json; charset=utf-16", "application/x-ndjson",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
    "text/plain", "", ";", "application/json;;=", "a/b/c", "APPLICATION/NDJSON; x=\"",
]  # fmt: skip


class Door:
    """Sends bodies, and after each looks at what was written."""

    def __init__(self, client: Client) -> None:
        client.raise_request_exception = False
        self.client, self.answers = client, dict[int, int]()

    def send(self, body: bytes, content_type: str = "application/json", **headers: str) -> int:
        before = contents()
        answer = self.client.post(URL, data=body, content_type=content_type, headers=headers)
        status, after = answer.status_code, contents()
        where = f"seed {SEED}: {content_type!r} {headers} {body[:2000]!r}"
        self.answers[status] = self.answers.get(status, 0) + 1
        if status == 201:
            places = {receipt["seq"] for receipt in answer.json()["receipts"]}
            new = set(range(before[0], after[0]))
            assert places, where
            # All that is new was asked for, but for the entry that tells of new subjects' keys.
            assert len(new - places) <= 1, where
            assert max(places) < after[0], where
        else:
            assert 400 <= status < 500, f"{status} for {where}"
            assert answer["Content-Type"] == "application/problem+json", where
            assert answer.json()["status"] == status
            assert answer.json()["detail"], where
            assert after == before, f"half-written: {where}"
        return status


def contents() -> tuple[int, int, int]:
    """How many entries, keys and waiting events there are."""
    head = Log.objects.first()
    return (head.size if head else 0, SubjectKey.objects.count(), Pending.objects.count())


@pytest.fixture
def door(api: Api, pipeline: User) -> Door:
    sequence()
    return Door(api(pipeline))


def require_sound() -> None:
    sequence()
    assert verified().findings == []
    seqs = list(Entry.objects.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(len(seqs)))


@override_settings(VESTIGE_MAX_BODY_BYTES=LIMIT)
def test_changed_bodies_are_taken_whole_or_refused_whole(door: Door) -> None:
    dice = dice_for("changed bodies")
    for _ in range(500):
        body = written(dice, changed(dice, dice.choice(BODIES)))
        door.send(body, dice.choice(("application/json", "application/json", *TYPES)))
        sequence()
    require_sound()
    assert door.answers.keys() >= {201, 409, 422}


@override_settings(VESTIGE_MAX_BODY_BYTES=LIMIT)
def test_damaged_bodies_are_taken_whole_or_refused_whole(door: Door) -> None:
    dice = dice_for("damaged bodies")
    lines = b"\n".join(json.dumps(EVENT | {"id": f"line-{n}"}).encode() for n in range(3))
    for _ in range(500):
        if dice.random() < 0.3:
            door.send(damaged(dice, lines), "application/x-ndjson")
        else:
            door.send(damaged(dice, json.dumps(dice.choice(BODIES)).encode()))
        sequence()
    require_sound()
    assert door.answers.keys() >= {201, 400, 422}


@override_settings(VESTIGE_MAX_BODY_BYTES=LIMIT)
def test_damaged_and_hostile_compression_is_refused(door: Door) -> None:
    dice = dice_for("compression")
    packed = gzip.compress(json.dumps(EVENT).encode())
    for _ in range(250):
        door.send(damaged(dice, packed), **{"Content-Encoding": "gzip"})
        sequence()
    assert door.send(gzip.compress(bytes(200 * 2**20)), **{"Content-Encoding": "gzip"}) == 413
    twice = gzip.compress(gzip.compress(json.dumps(EVENT | {"id": "twice"}).encode()))
    assert door.send(twice, **{"Content-Encoding": "gzip"}) == 400
    for encoding in ("br", "gzip, gzip", "GZIP ", "\u00fcber", "deflate", "x" * 5_000):
        assert door.send(packed, **{"Content-Encoding": encoding}) in (201, 400, 415)
    require_sound()


SHORT = b'{"type":"READ","actor":"a","resource":"r","details":{"n":%b}}'
HOSTILE = {
    "lists in lists": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
    "deep details": json.dumps(EVENT)[:-1].encode() + b',"details":' + b"[" * 50_000,
    "deep and closed": b'{"events":' + b"[" * 9_000 + b"]" * 9_000 + b"}",
    "a long number": SHORT % (b"9" * 9_000),
    "a long fraction": SHORT % (b"0." + b"1" * 9_000),
    "a long exponent": SHORT % (b"1e" + b"9" * 900),
    "many keys": json.dumps(EVENT | {"details": {str(n): n for n in range(9_000)}}).encode(),
    "many events": json.dumps([{"type": "nobody.asked"}] * 5_000).encode(),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(EVENT).encode(),
    "utf-16": json.dumps(EVENT).encode("utf-16"),
    "utf-32": json.dumps(EVENT).encode("utf-32"),
    "latin-1": json.dumps(EVENT | {"actor": "\u00fc"}, ensure_ascii=False).encode("latin-1"),
    "zeros": bytes(5_000),
    "too much": b" " * (LIMIT + 1),
    "just enough": b" " * LIMIT,
    "lone surrogates": json.dumps(EVENT | {"details": {"a": "\ud800"}}).encode(),
    "overlong utf-8": b'{"type":"READ","actor":"\xc0\xaf","resource":"r"}',
    "a key twice": b'{"type":"READ","type":"READ","actor":"a","actor":"b","resource":"r","id":"2"}',
}  # fmt: skip


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
@override_settings(VESTIGE_MAX_BODY_BYTES=LIMIT)
def test_hostile_bodies_are_answered(door: Door, content_type: str) -> None:
    for body in HOSTILE.values():
        door.send(body, content_type)
    require_sound()


@pytest.mark.parametrize("length", ["", "-1", "abc", "1e3", "\u0661", "9" * 40, "0", "5", "+5"])
def test_a_length_that_is_none_is_answered(door: Door, length: str) -> None:
    body = json.dumps(EVENT).encode()
    answer = door.client.post(
        URL, data=body, content_type="application/json", CONTENT_LENGTH=length
    )
    assert answer.status_code in (201, 400, 413, 422)
    require_sound()


TIMES = [
    "2026-01-01T00:00:00.123456Z", "2026-01-01t00:00:00.123456Z", "2026-W01-1T00:00:00.000000Z",
    "20260101T00:00:00.00000000Z", "2026-01-01T00:00:00,123456Z", "2026-01-01T00:00:00.12345678Z",
    "2026-01-01T00:00Z", "2026-01-01T00Z", "2026-01-01T00:00:00+00:00:30.5", "2026-001T00:00:00Z",
    "2026-01-01T24:00:00.000000Z", "2026-01-01T23:59:60.000000Z", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00Z", "2026-01-01T00:00:00.123456+23:59", "2026-01-01T00:00:00.123456z",
    "2026-01-01T00:00:00.\u0661\u0661\u0661\u0661\u0661\u0661Z",
]  # fmt: skip


def test_a_time_that_is_taken_is_one_that_the_verifier_reads(door: Door) -> None:
    for time in TIMES:
        door.send(json.dumps(EVENT | {"id": "", "occurred_at": time}).encode())
    require_sound()
    assert verified().entries == Entry.objects.count()
