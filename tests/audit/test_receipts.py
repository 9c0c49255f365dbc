"""What a pipeline holds after it has sent events: the log's signed word."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from accounts.models import User
from audit import sequencer, signer
from audit.ledger import receipt, tree
from audit.ledger.checkpoint import InvalidNoteError, verify_note
from audit.ledger.judge import judge_file
from audit.ledger.receipt import Accepted
from audit.models import Checkpoint, Entry, Log, Tile
from audit.queries import verifier_key
from tests.audit.builders import as_database_owner, sql
from tests.builders import Api

URL = "/api/v1/events"
EVENT = {"type": "UPDATE", "actor": "service:etl", "resource": "dataset:shop:purchases"}


def send(client: Any, body: Any, content_type: str = "application/json") -> dict[str, Any]:
    data = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(URL, data=data, content_type=content_type)
    assert answer.status_code == 201, answer.content
    found: dict[str, Any] = answer.json()
    return found


def accepted(answer: dict[str, Any]) -> list[Accepted]:
    return [
        Accepted(item["id"], item["seq"], bytes.fromhex(item["leaf_hash"]))
        for item in answer["receipts"]
    ]


def valid(answer: dict[str, Any], *against: bytes) -> bool:
    data = json.dumps(answer).encode()
    return judge_file(data, trusted_vkey=verifier_key(), against=against).valid


def promise(answer: dict[str, Any], *against: bytes) -> str:
    data = json.dumps(answer).encode()
    return judge_file(data, trusted_vkey=verifier_key(), against=against).promise


def test_one_event_gets_a_receipt_that_holds_without_the_server(api: Api, pipeline: User) -> None:
    answer = send(api(pipeline), EVENT)
    assert set(answer) == {"receipts", "receipt", "log", "vkey", "checkpoint"}
    assert answer["vkey"] == verifier_key()
    assert answer["log"] == verifier_key().partition("+")[0]
    assert receipt.verify(answer["receipt"], accepted(answer), [verifier_key()]).count == 1
    assert valid(answer)
    with pytest.raises(InvalidNoteError):
        verify_note(answer["receipt"], [verifier_key()])


def test_many_events_share_one_signature(api: Api, pipeline: User) -> None:
    lines = "\n".join(json.dumps(EVENT | {"id": f"line-{n}"}) for n in range(1000))
    answer = send(api(pipeline), lines, "application/x-ndjson")
    assert receipt.parse(answer["receipt"]).count == 1000
    assert answer["receipt"].count("— ") == 1
    assert valid(answer)
    answer["receipts"][512]["id"] = "line-0"
    assert not valid(answer)


def test_repetitions_get_a_receipt_for_their_earlier_places(api: Api, pipeline: User) -> None:
    client = api(pipeline)
    first = send(client, {"events": [EVENT | {"id": f"e{n}"} for n in range(3)]})
    send(client, EVENT)
    events = [EVENT | {"id": name} for name in ("e2", "new", "e0", "e2")]
    again = send(client, {"events": events})
    seqs = [item["seq"] for item in again["receipts"]]
    start = first["receipts"][0]["seq"]
    assert [seq - start for seq in seqs] == [2, 4, 0, 2]
    assert again["receipts"][0] == first["receipts"][2]
    assert valid(again)


def test_the_logs_own_proof_shows_that_it_kept_its_word(
    api: Api, pipeline: User, auditor: User
) -> None:
    answer = send(api(pipeline), EVENT)
    send(api(pipeline), {"events": [EVENT for _ in range(300)]})
    seq = answer["receipts"][0]["seq"]
    reader = api(auditor)
    for query in ("", "?as=tlog-proof"):
        proof = reader.get(f"{URL}/{seq}/proof{query}").content
        assert promise(answer, proof) == "kept"
    mine = api(pipeline).get(f"{URL}/{seq}/proof").content
    assert promise(answer, mine) == "kept"
    size = verify_note(answer["checkpoint"], [verifier_key()]).size
    growth = reader.get(f"/log/consistency?first={size}").content
    assert valid(answer, growth)
    assert promise(answer, growth) == "not shown"
    reader.force_login(auditor)
    evidence = reader.get(f"/log/{seq}/evidence.json").content
    assert promise(answer, evidence) == "kept"


def test_a_log_that_was_sealed_again_by_its_operator_is_caught_by_the_receipt(
    api: Api, pipeline: User, auditor: User
) -> None:
    """Database, key and memory are all in one hand: the log is made anew without the event."""
    client = api(pipeline)
    send(client, {"events": [EVENT | {"id": f"e{n}"} for n in range(5)]})
    answer = send(client, EVENT | {"id": "unwanted"})
    with as_database_owner():
        for model in (Entry, Checkpoint, Tile, Log):
            model.objects.all().delete()
    (Path(settings.VESTIGE_KEYS) / "log.signed").unlink(missing_ok=True)
    signer._verified.clear()
    rest = [EVENT | {"id": f"e{n}"} for n in range(5)] + [EVENT for _ in range(30)]
    assert valid(send(client, {"events": rest}))
    proof = api(auditor).get(f"{URL}/{answer['receipts'][0]['seq']}/proof").content
    assert valid(answer)
    assert promise(answer, proof) == "broken"


def test_without_a_usable_key_the_events_are_taken_and_there_is_no_receipt(
    api: Api, pipeline: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(api(pipeline), EVENT)
    broken = tmp_path / "log.key"
    broken.write_text("nonsense")
    monkeypatch.setenv("VESTIGE_LOG_KEY_FILE", str(broken))
    answer = send(api(pipeline), EVENT | {"id": "kept"})
    assert (answer["receipt"], answer["vkey"], answer["checkpoint"]) == (None, None, None)
    assert Entry.objects.filter(event_id="kept").exists()
    monkeypatch.setenv("VESTIGE_LOG_KEY_FILE", str(tmp_path / "no" / "folder"))
    assert send(api(pipeline), EVENT)["receipt"] is None
    monkeypatch.delenv("VESTIGE_LOG_KEY_FILE")
    again = send(api(pipeline), EVENT | {"id": "kept"})
    assert again["receipts"] == answer["receipts"]
    assert valid(again)


def test_a_key_that_was_made_anew_gives_no_receipts_for_the_old_log(
    api: Api, pipeline: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(api(pipeline), EVENT)
    monkeypatch.setenv("VESTIGE_LOG_KEY_FILE", str(tmp_path / "log.key"))
    answer = send(api(pipeline), EVENT)
    assert (tmp_path / "log.key").exists()
    assert (answer["receipt"], answer["vkey"]) == (None, None)


def test_where_the_signer_refuses_the_receipt_still_says_what_was_accepted(
    api: Api, pipeline: User
) -> None:
    """Else whoever can make the signer refuse could have events taken without a trace."""
    send(api(pipeline), EVENT)
    sql("UPDATE audit_log SET frontier = %s", tree.Frontier().to_bytes())
    answer = send(api(pipeline), EVENT)
    assert answer["checkpoint"] is None
    assert valid(answer)


def test_nobody_waits_for_the_log_while_a_receipt_is_signed(
    api: Api, pipeline: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, appending, signed_while = sequencer._process, [], []

    def watched(*arguments: Any) -> None:
        appending.append(True)
        process(*arguments)
        appending.pop()

    def sign(*arguments: Any, **named: Any) -> str:
        signed_while.append(bool(appending))
        return receipt.sign(*arguments, **named)

    monkeypatch.setattr(sequencer, "_process", watched)
    monkeypatch.setattr("audit.receipts.sign", sign)
    assert valid(send(api(pipeline), EVENT))
    assert signed_while == [False]
