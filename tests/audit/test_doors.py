"""The REST doors of the log, as a pipeline and an auditor use them."""

import gzip
import json
from base64 import b64decode
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from audit.actions import sequence
from audit.ledger.checkpoint import parse_vkey, verify_note
from audit.ledger.hashing import leaf_hash
from audit.ledger.judge import judge_file
from audit.ledger.tiles import TileHashSource
from audit.ledger.tree import tree_root, verify_consistency, verify_inclusion
from audit.models import Checkpoint, Entry, Pending, SubjectKey
from audit.queries import entry, unseal
from audit.subjects import SubjectRef, lookup
from tests.builders import Api

URL = "/api/v1/events"
EVENT = {"type": "UPDATE", "actor": "service:etl", "resource": "dataset:shop:purchases"}


def send(client: Any, body: Any, content_type: str = "application/json", url: str = URL) -> Any:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(url, data=data, content_type=content_type)


def test_one_event_gets_its_place_and_a_signed_checkpoint(api: Api, pipeline: User) -> None:
    answer = send(api(pipeline), EVENT | {"details": {"rows": 3}})
    assert answer.status_code == 201
    body = answer.json()
    (receipt,) = body["receipts"]
    assert entry(receipt["seq"]).event_id == receipt["id"]
    assert bytes(entry(receipt["seq"]).leaf_hash).hex() == receipt["leaf_hash"]
    key = api(pipeline).get("/log/vkey").content.decode().strip()
    assert verify_note(body["checkpoint"], [key]).size > receipt["seq"]


@pytest.mark.parametrize("url", [URL, URL + "/"])
def test_many_events_keep_their_order(api: Api, pipeline: User, url: str) -> None:
    answer = send(api(pipeline), {"events": [EVENT | {"id": f"e{n}"} for n in range(5)]}, url=url)
    receipts = answer.json()["receipts"]
    assert [r["id"] for r in receipts] == ["e0", "e1", "e2", "e3", "e4"]
    assert [r["seq"] - receipts[0]["seq"] for r in receipts] == [0, 1, 2, 3, 4]


def test_json_lines_are_taken_even_compressed(api: Api, pipeline: User) -> None:
    lines = "\n".join(json.dumps(EVENT | {"id": f"line-{n}"}) for n in range(300)) + "\n \n"
    answer = send(api(pipeline), lines, "application/x-ndjson")
    assert answer.status_code == 201
    assert len(answer.json()["receipts"]) == 300
    packed = api(pipeline).post(
        URL,
        data=gzip.compress(lines.encode()),
        content_type="application/x-ndjson",
        headers={"Content-Encoding": "gzip"},
    )
    assert packed.json()["receipts"] == answer.json()["receipts"]


def test_a_repetition_gets_the_earlier_receipt(api: Api, pipeline: User) -> None:
    event = EVENT | {
        "id": "once",
        "details": {"n": 1},
        "occurred_at": "2026-01-01T00:00:00+01:00",
        "subject": {"type": "email", "value": "Ann@Example.org"},
        "sealed": {"ip": "10.0.0.1"},
    }
    first = send(api(pipeline), event).json()["receipts"]
    again = event | {
        "occurred_at": "2025-12-31T23:00:00Z",
        "subject": {"type": "email", "value": " ann@example.org"},
    }
    assert send(api(pipeline), again).json()["receipts"] == first
    assert Entry.objects.filter(event_id="once").count() == 1


def test_a_repeated_id_with_other_content_is_a_conflict_and_writes_nothing(
    api: Api, pipeline: User
) -> None:
    send(api(pipeline), EVENT | {"id": "once"})
    before = Entry.objects.count()
    events = [EVENT | {"id": "new"}, EVENT | {"id": "once", "resource": "dataset:shop:other"}]
    answer = send(api(pipeline), {"events": events})
    assert answer.status_code == 409
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "events[1].id"
    assert "once" in answer.json()["detail"]
    assert Entry.objects.count() == before


def test_the_same_id_twice_in_a_request_with_other_content_is_refused(
    api: Api, pipeline: User
) -> None:
    events = [EVENT | {"id": "a"}, EVENT | {"id": "a", "actor": "service:other"}]
    assert send(api(pipeline), {"events": events}).status_code == 409
    assert not Entry.objects.filter(event_id="a").exists()
    twice = send(api(pipeline), {"events": [events[0], events[0]]}).json()["receipts"]
    assert twice[0] == twice[1]


BAD: list[tuple[dict[str, Any], str, int]] = [
    ({"details": {"price": 1.5}}, "details.price", 422),
    ({"details": {"list": [1, {"x": 2.5}]}}, "details.list[1].x", 422),
    ({"details": {"n": 2**53}}, "details.n", 422),
    ({"details": {"größe": 1}}, "details.größe", 422),
    ({"sealed": {"weight": 80.5}, "subject": {"type": "c", "value": "1"}}, "sealed.weight", 422),
    ({"type": "user.created"}, "type", 422),
    ({"type": "Upper.Case"}, "type", 422),
    ({"type": "create"}, "type", 422),
    ({"actor": ""}, "actor", 422),
    ({"actor": 7}, "actor", 422),
    ({"resource": "a\nb"}, "resource", 422),
    ({"resource": "r" * 600}, "resource", 422),
    ({"occurred_at": "yesterday"}, "occurred_at", 422),
    ({"occurred_at": "2026-01-01T00:00:00"}, "occurred_at", 422),
    ({"occurred_at": "0001-01-01T00:00:00+23:00"}, "occurred_at", 422),
    ({"id": "has space"}, "id", 422),
    ({"surprise": 1}, "surprise", 422),
    ({"sealed": {"a": "b"}}, "sealed", 422),
    ({"subject": {"type": "customer"}}, "subject.value", 422),
    ({"subject": {"type": "no type", "value": "x"}}, "subject.type", 422),
    ({"details": {"blob": "x" * 61_000}}, "details", 413),
]


@pytest.mark.parametrize(("members", "field", "status"), BAD)
def test_a_bad_event_is_refused_with_its_index_and_field_and_nothing_is_written(
    api: Api, pipeline: User, members: dict[str, Any], field: str, status: int
) -> None:
    client = api(pipeline)
    sequence()
    entries, keys = Entry.objects.count(), SubjectKey.objects.count()
    events = [EVENT, EVENT | {"subject": {"type": "customer", "value": "9"}}, EVENT | members]
    answer = send(client, {"events": events})
    assert answer.status_code == status
    assert answer.json()["errors"][0]["field"] == f"events[2].{field}"
    single = send(client, EVENT | members)
    assert single.status_code == status
    assert single.json()["errors"][0]["field"] == field
    lines = "\n".join(json.dumps(event) for event in events)
    by_line = send(client, lines, "application/x-ndjson")
    assert by_line.status_code == status
    assert by_line.json()["errors"][0]["field"] == f"events[2].{field}"
    sequence()
    assert Entry.objects.count() == entries
    assert SubjectKey.objects.count() == keys


def test_a_missing_member_is_named(api: Api, pipeline: User) -> None:
    answer = send(api(pipeline), {"events": [EVENT, {"type": "READ", "resource": "r"}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "events[1].actor"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"events": 7}',
        b"[]",
        b'{"events": []}',
        b"null",
        b"7",
        b'"text"',
        b"[[]]",
    ],
)
def test_a_body_that_holds_no_events_is_refused(api: Api, pipeline: User, body: bytes) -> None:
    for content_type in ("application/json", "application/x-ndjson"):
        answer = send(api(pipeline), body, content_type)
        assert answer.status_code in (400, 422)
        assert answer["Content-Type"] == "application/problem+json"


def test_a_float_is_refused_with_the_remedy(api: Api, pipeline: User) -> None:
    error = send(api(pipeline), EVENT | {"details": {"price": 1.5}}).json()["errors"][0]
    assert "string" in error["fix"]


def test_nobody_outside_can_vouch_for_a_certificate(api: Api, pipeline: User) -> None:
    """An entry with this fact would make a forged statement pass the offline verifier."""
    answer = send(api(pipeline), EVENT | {"details": {"statement_sha256": "0" * 64}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "details.statement_sha256"
    assert not Entry.objects.exclude(type__startswith="user.").exists()


def test_a_deeply_nested_event_is_refused(api: Api, pipeline: User) -> None:
    nested = '{"a":' * 500 + "1" + "}" * 500
    answer = send(api(pipeline), json.dumps(EVENT)[:-1] + ', "details": ' + nested + "}")
    assert answer.status_code in (400, 422)


def test_only_pipelines_append_and_only_readers_read(
    api: Api, pipeline: User, auditor: User, model_owner: User
) -> None:
    assert send(api(auditor), EVENT).status_code == 403
    assert api(pipeline).get(URL).status_code == 403
    assert api(auditor).get(URL).status_code == 200
    assert api(model_owner).get(f"{URL}/0").status_code == 403
    assert send(Client(), EVENT).status_code == 401
    assert Client().get("/api/v1/log/checkpoint").status_code in (200, 404)


def test_the_raw_identifier_never_reaches_the_log(api: Api, pipeline: User) -> None:
    secret = "ann.secret@example.org"
    subject = {"type": "email", "value": secret}
    answer = send(api(pipeline), EVENT | {"subject": subject, "sealed": {"mail": secret}})
    assert answer.status_code == 201
    sequence()
    for row in Entry.objects.all():
        assert secret.encode() not in bytes(row.leaf)
        assert secret not in f"{row.subject}{row.resource}{row.actor}{row.event_id}"
    for pending in Pending.objects.all():
        assert secret.encode() not in bytes(pending.event)
    row = entry(answer.json()["receipts"][0]["seq"])
    assert row.subject
    assert unseal(row) == {"mail": secret}
    key = SubjectKey.objects.get(pseudonym=row.subject)
    assert key.lookup == lookup(SubjectRef("email", secret))
    refused = send(api(pipeline), EVENT | {"subject": subject | {"value": secret * 40}})
    assert refused.status_code == 422
    assert secret not in refused.content.decode()


def test_the_log_is_listed_by_filter_and_page(api: Api, pipeline: User, auditor: User) -> None:
    events = [EVENT | {"id": f"p{n}", "resource_version": str(n % 2)} for n in range(7)]
    send(api(pipeline), {"events": events})
    reader = api(auditor)
    address: str | None = f"{URL}?resource=dataset:shop:purchases&resource_version=0&limit=3"
    seen: list[str] = []
    pages = []
    while address:
        page = reader.get(address).json()
        pages.append(page)
        seen += [row["id"] for row in page["results"]]
        address = page["next"]
    assert seen == ["p6", "p4", "p2", "p0"]
    assert len(pages) == 2
    back = reader.get(pages[1]["previous"]).json()
    assert [row["id"] for row in back["results"]] == ["p6", "p4", "p2"]
    assert reader.get(f"{URL}?id=p3").json()["results"][0]["resource_version"] == "1"
    assert reader.get(f"{URL}?type=CREATE").json()["results"] == []
    assert reader.get(f"{URL}?until=2020-01-01").json()["results"] == []
    assert len(reader.get(f"{URL}?actor=service:etl&since=2020-01-01").json()["results"]) == 7


@pytest.mark.parametrize(
    "query", ["since=now", "kind=robot", "limit=x", "cursor=abc", "cursor=before-x", "resource=%00"]
)
def test_a_filter_that_is_none_is_a_problem(api: Api, auditor: User, query: str) -> None:
    answer = api(auditor).get(f"{URL}?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


def test_an_entry_comes_with_its_leaf_and_a_proof_that_others_can_check(
    api: Api, pipeline: User, auditor: User
) -> None:
    send(api(pipeline), {"events": [EVENT | {"id": f"x{n}"} for n in range(600)]})
    reader = api(auditor)
    key = reader.get("/api/v1/log/vkey").content.decode().strip()
    for seq in (0, 255, 256, 599):
        row = reader.get(f"{URL}/{seq}").json()
        leaf = b64decode(row["leaf"])
        assert leaf_hash(leaf).hex() == row["leaf_hash"]
        proof = reader.get(f"{URL}/{seq}/proof").json()
        path = [bytes.fromhex(item) for item in proof["proof"]]
        root = verify_note(proof["checkpoint"], [key]).root
        assert root.hex() == proof["root"]
        verify_inclusion(seq, proof["size"], leaf_hash(leaf), path, root)
    older = reader.get(f"{URL}/5/proof?size=300").json()
    path = [bytes.fromhex(item) for item in older["proof"]]
    leaf_5 = bytes(entry(5).leaf_hash)
    verify_inclusion(5, 300, leaf_5, path, bytes.fromhex(older["root"]))
    assert reader.get(f"{URL}/500/proof?size=300").status_code == 404
    assert reader.get(f"{URL}/5/proof?size=99999").status_code == 400
    assert reader.get(f"{URL}/99999").status_code == 404
    assert reader.get(f"{URL}/99999/proof").status_code == 404


def test_a_proof_is_to_be_had_as_a_file_for_other_tools(
    api: Api, pipeline: User, auditor: User, model_owner: User
) -> None:
    send(api(pipeline), {"events": [EVENT | {"id": f"x{n}"} for n in range(300)]})
    reader = api(auditor)
    key = reader.get("/log/vkey").content.decode().strip()
    for seq in (0, 255, 299):
        answer = reader.get(f"{URL}/{seq}/proof?as=tlog-proof")
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert f'"vestige-entry-{seq}.tlog-proof"' in answer["Content-Disposition"]
        assert answer.content.startswith(b"c2sp.org/tlog-proof@v1\nextra ")
        verdict = judge_file(answer.content, trusted_vkey=key)
        assert verdict.valid, verdict.checks
        assert verdict.entries == [seq]
    kept = Checkpoint.objects.order_by("size").first()
    assert kept is not None
    older = reader.get(f"{URL}/0/proof?as=tlog-proof&size={kept.size}")
    assert older.content.decode().endswith(kept.note)
    assert reader.get(f"{URL}/0/proof?as=tlog-proof&size=250").status_code == 404
    assert reader.get(f"{URL}/0/proof?as=pdf").json()["errors"][0]["field"] == "as"
    assert api(pipeline).get(f"{URL}/0/proof?as=tlog-proof").status_code == 403
    assert api(pipeline).get(f"{URL}/0/proof").status_code == 200
    assert api(model_owner).get(f"{URL}/0/proof").status_code == 403
    assert Client().get(f"{URL}/0/proof").status_code == 401
    assert reader.post(f"{URL}/0/proof").status_code == 405
    reader.force_login(auditor)
    page = reader.get("/log/299/").content.decode()
    assert 'href="/api/v1/events/299/proof?as=tlog-proof"' in page


def test_two_checkpoints_are_shown_to_be_of_one_log(api: Api, pipeline: User, client: Any) -> None:
    send(api(pipeline), {"events": [EVENT for _ in range(100)]})
    first = client.get("/log/checkpoint").content.decode()
    send(api(pipeline), {"events": [EVENT for _ in range(700)]})
    second = client.get("/log/checkpoint").content.decode()
    key = client.get("/log/vkey").content.decode().strip()
    assert parse_vkey(key).name == settings.VESTIGE_ORIGIN
    old, new = verify_note(first, [key]), verify_note(second, [key])
    proof = client.get(f"/log/consistency?first={old.size}&second={new.size}").json()
    path = [bytes.fromhex(item) for item in proof["proof"]]
    verify_consistency(old.size, new.size, old.root, new.root, path)
    assert client.get("/api/v1/log/consistency?first=9&second=3").status_code == 400
    assert client.get("/api/v1/log/consistency").status_code == 400


def test_the_tree_can_be_rebuilt_from_the_tiles_alone(
    api: Api, pipeline: User, auditor: User, client: Any
) -> None:
    send(api(pipeline), {"events": [EVENT for _ in range(700)]})
    sequence()
    key = client.get("/log/vkey").content.decode().strip()
    signed = verify_note(client.get("/log/checkpoint").content.decode(), [key])

    def read(level: int, index: int) -> bytes:
        from audit.ledger.tiles import tile_path, tile_width

        path = tile_path(level, index, tile_width(level, index, signed.size))
        answer = client.get(f"/log/{path}")
        assert answer.status_code == 200
        return bytes(answer.content)

    assert tree_root(signed.size, TileHashSource(read)) == signed.root
    assert client.get("/api/v1/log/tile/0/000").content == read(0, 0)
    assert client.get("/log/tile/0/009").status_code == 404
    assert client.get("/log/tile/0/0").status_code == 404
    assert client.get("/log/tile/entries/000").status_code == 401
    assert api(auditor).get("/log/tile/entries/000").status_code == 200


def test_hash_tiles_can_be_kept_to_those_who_read_the_log(
    api: Api, pipeline: User, auditor: User, client: Any, settings: Any
) -> None:
    settings.VESTIGE_PUBLIC_TILES = False
    send(api(pipeline), {"events": [EVENT for _ in range(300)]})
    assert client.get("/log/tile/0/000").status_code == 401
    assert api(pipeline).get("/log/tile/0/000").status_code == 403
    answer = api(auditor).get("/log/tile/0/000")
    assert (answer.status_code, len(answer.content)) == (200, 8192)
    assert answer["Cache-Control"].startswith("private")
    assert client.get("/log/checkpoint").status_code == 200


def test_the_doors_stand_in_the_openapi_schema(client: Any) -> None:
    schema = client.get("/api/v1/schema/?format=json").json()
    assert {"get", "post"} <= schema["paths"]["/api/v1/events"].keys()
    assert "/log/tile/{path}" in schema["paths"]
