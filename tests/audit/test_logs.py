"""Logs of organisation units, and the main log as their parent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client

from accounts.models import ApiKey, User
from audit import signer
from audit.actions import append, create_log, forget_subject, record_checkpoints, sequence
from audit.ledger.checkpoint import parse
from audit.ledger.judge import judge_file
from audit.ledger.verify import verify_bundle
from audit.logs import MAIN, LogRef, all_logs, log_named
from audit.models import Log
from audit.queries import (
    entries,
    event_of,
    evidence,
    stored_log_outcome,
    units_that_know,
    verifier_key,
)
from audit.subjects import SubjectRef, lookup
from tests.audit.attacks.forging import event_of as stored_event
from tests.audit.attacks.forging import forget_signatures, rebuild_tree, reseal
from tests.audit.builders import as_database_owner, event, sql
from tests.builders import Api

pytestmark = pytest.mark.django_db
EVENT = {"type": "READ", "actor": "service:etl", "resource": "dataset:shop:orders"}
ANN = SubjectRef("customer", "ann")


@pytest.fixture(autouse=True)
def own_keys(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """Keys of its own for each test: they outlive the rollback of the database."""
    settings.VESTIGE_KEYS = tmp_path
    yield
    signer._verified.clear()
    signer._memory_written.clear()


def post(client: Client, address: str, body: Any) -> Any:
    return client.post(address, json.dumps(body), "application/json")


def made(api: Api, admin: User, name: str = "eu") -> dict[str, Any]:
    answer = post(api(admin), "/api/v1/logs", {"name": name, "title": "Europe"})
    assert answer.status_code == 201, answer.content
    sequence()
    return dict(answer.json())


def bound_to(api: Api, user: User, name: str) -> Client:
    """A client whose key is bound to this log, made by an administrator as they would."""
    client = api(user)
    ApiKey.objects.filter(user=user).update(log=name)
    return client


def filled(admin: User, size: int = 300) -> LogRef:
    """A unit's log whose first entries the main log holds, and that was signed with them."""
    sequence()
    log = create_log("eu", title="Europe", by=admin)
    append([event(number) for number in range(size - 5)], by=admin, log=log)
    assert record_checkpoints() == 1
    append([event(number) for number in range(size - 5, size)], by=admin, log=log)
    return log


def faults(log: LogRef = MAIN) -> str:
    return " ".join(finding.sentence for finding in stored_log_outcome(log=log, full=True).findings)


# Making one


def test_an_administrator_makes_a_log_and_nobody_else(
    api: Api, admin: User, pipeline: User, auditor: User
) -> None:
    log = made(api, admin)
    assert log["origin"].endswith("/eu")
    assert log["vkey"].startswith(f"{log['origin']}+")
    assert log["vkey"] != verifier_key(MAIN)
    told = event_of(entries().order_by("-seq")[0])
    assert (told["type"], told["resource"]) == ("log.created", "log:eu")
    assert told["details"] == {"log": "eu", "origin": log["origin"], "vkey": log["vkey"]}
    for user in (pipeline, auditor):
        answer = post(api(user), "/api/v1/logs", {"name": "us", "title": "US"})
        assert answer.status_code == 403
    assert [log.name for log in all_logs()] == ["main", "eu"]


@pytest.mark.parametrize(
    ("name", "title", "field"),
    [
        ("eu", "Europe again", "name"),
        ("EU", "Europe", "name"),
        ("../eu", "Europe", "name"),
        ("tile", "Tiles", "name"),
        ("main", "Main", "name"),
        ("", "Nothing", "name"),
        ("a" * 41, "Long", "name"),
        ("us", " ", "title"),
        ("us", "x" * 201, "title"),
    ],
)
def test_a_log_that_cannot_be_is_refused_by_field(
    name: str, title: str, field: str, api: Api, admin: User
) -> None:
    made(api, admin)
    answer = post(api(admin), "/api/v1/logs", {"name": name, "title": title})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert Log.objects.count() == 2


# Appending and reading


def test_what_a_bound_key_sends_goes_to_its_log_and_the_receipt_names_it(
    api: Api, admin: User, pipeline: User
) -> None:
    log = made(api, admin)
    client, before = bound_to(api, pipeline, "eu"), entries().count()
    answer = post(client, "/api/v1/events", {"events": [EVENT | {"id": "e-1"}, EVENT]})
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert body["log"] == log["origin"]
    assert parse(body["checkpoint"])[0].origin == log["origin"]
    assert [one["seq"] for one in body["receipts"]] == [0, 1]
    verdict = judge_file(answer.content, trusted_vkey=log["vkey"])
    assert verdict.valid, verdict.checks
    assert not judge_file(answer.content, trusted_vkey=verifier_key(MAIN)).valid
    assert entries().count() == before
    # The same again is the same entry; in another log the name is free.
    again = post(client, "/api/v1/events", EVENT | {"id": "e-1"})
    assert again.json()["receipts"][0]["seq"] == 0


def test_a_bound_key_reaches_its_log_and_nothing_else(
    api: Api, admin: User, pipeline: User, auditor: User
) -> None:
    made(api, admin)
    made(api, admin, "us")
    append([event(1)], by=pipeline, log=log_named("us"))
    client = bound_to(api, pipeline, "eu")
    post(client, "/api/v1/events", EVENT)
    reader = bound_to(api, auditor, "eu")
    listed = reader.get("/api/v1/events").json()["results"]
    assert [row["resource"] for row in listed] == [EVENT["resource"]]
    for name in ("us", "main", "nowhere"):
        for address in ("/api/v1/events", "/api/v1/log/checkpoint"):
            answer = reader.get(f"{address}?log={name}")
            assert answer.status_code == 404, (name, address, answer.content)
        assert post(client, f"/api/v1/events?log={name}", EVENT).status_code == 404
    assert reader.get("/api/v1/datasets").status_code == 403
    assert post(client, "/api/v1/logs", {"name": "x", "title": "X"}).status_code == 403


def test_who_is_not_bound_names_the_log(api: Api, admin: User, auditor: User) -> None:
    log = made(api, admin)
    append([event(number) for number in range(3)], by=admin, log=log_named("eu"))
    client = api(auditor)
    assert len(client.get("/api/v1/events?log=eu").json()["results"]) == 3
    assert all(
        row["type"] != "UPDATE" for row in client.get("/api/v1/events?limit=500").json()["results"]
    )
    for address in ("/api/v1/log/checkpoint?log=eu", "/log/eu/checkpoint"):
        assert parse(client.get(address).content.decode())[0].origin == log["origin"]
    assert client.get("/api/v1/events?log=nowhere").json()["errors"][0]["field"] == "log"


def test_evidence_of_a_units_log_opens_offline_with_its_key(
    api: Api, admin: User, pipeline: User
) -> None:
    log = made(api, admin)
    append([event(number) for number in range(300)], by=pipeline, log=log_named("eu"))
    bundle = json.loads(json.dumps(evidence([0, 255, 299], purpose="test", log=log_named("eu"))))
    assert verify_bundle(bundle, trusted_vkey=log["vkey"]).valid
    assert not verify_bundle(bundle, trusted_vkey=verifier_key(MAIN)).valid


def test_a_person_is_forgotten_in_every_log_at_once(
    api: Api, admin: User, pipeline: User, auditor: User
) -> None:
    made(api, admin)
    sealed = {"subject": ANN, "sealed": {"address": "street 1"}}
    append([event(1, **sealed)], by=pipeline, log=log_named("eu"))
    append([event(2, **sealed)], by=pipeline)
    sequence()
    forget_subject(lookup(ANN), by=admin)
    sequence()
    told = event_of(entries().filter(type="subject.erased").order_by("-seq")[0])
    assert told["details"]["sealed_entries"] == 2
    assert [faults(log) for log in all_logs()] == ["", ""]


# The parent


def test_the_main_log_holds_each_new_checkpoint_once(admin: User, auditor: User, api: Api) -> None:
    log = filled(admin)
    assert record_checkpoints() == 1
    assert record_checkpoints() == 0
    told = [event_of(row) for row in entries().filter(type="log.checkpoint").order_by("seq")]
    assert [one["details"]["size"] for one in told] == [295, 300]
    assert {one["resource"] for one in told} == {"log:eu"}
    row = api(auditor).get("/api/v1/logs").json()["results"][1]
    assert (row["name"], row["size"], row["in_parent"]["size"]) == ("eu", 300, 300)
    assert [faults(one) for one in all_logs()] == ["", ""]
    assert log.resource == "log:eu"


def test_a_units_log_that_was_sealed_again_with_its_own_key_is_caught_by_the_parent(
    admin: User,
) -> None:
    log = filled(admin)
    with as_database_owner():
        moment, text = stored_event(7, log.id)
        reseal({7: (moment, text.replace(b"etl-1", b"etl-9"))}, log.id)
        forget_signatures(log.id)
    signer._memory_file("eu").unlink(missing_ok=True)
    signer._verified.clear()
    assert signer.sign_head(log=log) is not None  # the key signs what it finds
    assert "of the main log" in faults(log)
    assert "it tells of another tree of 295 entries of the log eu" in faults()


def test_entries_that_a_units_log_lost_are_missed_by_the_parent(admin: User) -> None:
    log = filled(admin)
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE log_id = %s AND seq >= 290", log.id)
        rebuild_tree(log.id)
    assert "it tells of 295 entries of the log eu, which has 290" in faults()


def test_a_log_that_is_gone_or_slipped_in_is_named(admin: User) -> None:
    log = filled(admin)
    with as_database_owner():
        for table in ("audit_entry", "audit_tile", "audit_checkpoint"):
            sql(f"DELETE FROM {table} WHERE log_id = %s", log.id)  # noqa: S608  # as named above
        sql("DELETE FROM audit_log WHERE id = %s", log.id)
        sql(
            "INSERT INTO audit_log (id, name, title, origin, size, last_hash, last_timestamp_us,"
            " frontier, note, note_size, refusal) SELECT 9, 'us', '', 'x/us', 0, last_hash, 0,"
            " frontier, '', -1, '' FROM audit_log WHERE id = 1"
        )
    assert "the log eu was made, and the log is gone" in faults()
    assert "no entry tells that the log us was made" in faults()


# What people see


def test_the_command_checks_every_log_and_names_the_one_that_does_not_hold(
    admin: User, capsys: pytest.CaptureFixture[str]
) -> None:
    log = filled(admin)
    call_command("verify_log")
    said = capsys.readouterr().out
    assert said.count("The log holds.") == 2
    call_command("verify_log", log="eu")
    assert capsys.readouterr().out.count("The log holds.") == 1
    with as_database_owner():
        sql("UPDATE audit_entry SET actor = 'x' WHERE log_id = %s AND seq = 7", log.id)
    with pytest.raises(SystemExit):
        call_command("verify_log")
    written = capsys.readouterr()
    assert "The log eu does NOT hold" in written.out + written.err


def test_the_pages_show_one_log_at_a_time(client: Client, admin: User, auditor: User) -> None:
    client.force_login(auditor)
    assert 'name="log"' not in client.get("/log/").content.decode()
    filled(admin)
    page = client.get("/log/?log=eu").content.decode()
    assert 'name="log"' in page
    assert "dataset:shop:table-4" in page
    assert "dataset:shop:table-4" not in client.get("/log/").content.decode()
    entry = client.get("/log/299/?log=eu")
    assert entry.status_code == 200
    assert client.get("/log/299/").status_code == 404
    assert client.get("/log/verification/?log=eu").status_code == 200
    assert client.get("/log/?log=nowhere").status_code in (200, 404)


def test_an_administrator_makes_a_log_on_a_page(client: Client, admin: User) -> None:
    sequence()
    client.force_login(admin)
    page = client.get("/log/logs/").content.decode()
    assert "No unit has a log of its own" in page
    refused = client.post("/log/logs/", {"name": "Not a name", "title": "Europe"})
    assert refused.status_code == 422
    assert "lower-case letters" in refused.content.decode()
    assert client.post("/log/logs/", {"name": "eu", "title": "Europe"}).status_code == 302
    assert "Europe" in client.get("/log/logs/").content.decode()


def test_a_report_says_which_other_logs_know_the_resource(admin: User) -> None:
    filled(admin)
    assert units_that_know("dataset:shop:table-4") == ["eu"]
    assert units_that_know("dataset:shop:none") == []
