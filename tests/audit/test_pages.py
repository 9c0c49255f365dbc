"""The log's pages, as an auditor reads them."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.actions import append, forget_subject, sequence, verify_new_entries
from audit.ledger.verify import verify_file
from audit.models import Entry, Log, Pending, Verification
from audit.queries import event_of
from audit.subjects import SubjectRef, lookup
from tests.audit.builders import as_database_owner, event, log_with, sql


@pytest.fixture
def reader(auditor: User) -> Client:
    client = Client()
    client.force_login(auditor)
    return client


def text_of(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(content.decode())


def test_the_log_shows_names_before_ids(reader: Client, auditor: User) -> None:
    append([event(resource=auditor.actor, actor=auditor.actor)], by=auditor)
    page = text_of(reader.get("/log/"))
    assert page.count(auditor.name) >= 3  # in the menu, as the actor and as the resource
    assert ">user:" not in page


def test_a_resource_with_a_bare_number_says_what_it_is(reader: Client, auditor: User) -> None:
    append([event(resource="report:7", actor=auditor.actor)], by=auditor)
    assert ">report 7</a>" in text_of(reader.get("/log/"))


def test_the_facts_of_an_entry_are_written_for_people(reader: Client, auditor: User) -> None:
    details = {"rights": ["erasure", "access"], "scope": [], "counts": {"a": 1}, "late": False}
    [receipt] = append([event(details=details)], by=auditor)
    page = text_of(reader.get(f"/log/{receipt.seq}/"))
    for written in ("erasure, access", "{&quot;a&quot;: 1}", "No"):
        assert f"<dd>{written}</dd>" in page
    assert "[&#x27;erasure" not in page


def test_filters_stand_in_the_address_and_pages_go_on_by_number(reader: Client) -> None:
    log_with(300)
    first = text_of(reader.get("/log/?resource=dataset:shop:table-1"))
    assert 'value="dataset:shop:table-1"' in first
    assert "table-2" not in first
    address = "/log/?resource=dataset%3Ashop%3Atable-1&cursor=before-"
    assert address.replace("&", "&amp;") in first
    shown = list(
        Entry.objects.filter(resource="dataset:shop:table-1")
        .order_by("-seq")
        .values_list("seq", flat=True)
    )
    second = text_of(reader.get(f"{address}{shown[49]}"))
    assert f'href="/log/{shown[50]}/"' in second
    assert f'href="/log/{shown[49]}/"' not in second
    assert 'rel="prev"' in second


def test_a_filter_by_name_and_by_kind_finds_what_people_did(
    reader: Client, auditor: User, pipeline: User
) -> None:
    append([event(actor="service:etl", resource="dataset:a:robot")], by=pipeline)
    append([event(actor=auditor.actor, resource="dataset:a:human")], by=auditor)
    by_name = text_of(reader.get("/log/", {"actor": auditor.name.upper()}))
    assert "a / human" in by_name
    assert "a / robot" not in by_name
    assert "a / robot" not in text_of(reader.get("/log/?kind=system"))


@pytest.mark.parametrize("query", ["since=rubbish", "cursor=rubbish", "kind=robot"])
def test_a_filter_that_cannot_be_read_is_said_in_the_form(reader: Client, query: str) -> None:
    answer = reader.get(f"/log/?{query}")
    assert answer.status_code == 400


def test_a_filter_without_a_match_says_so(reader: Client) -> None:
    assert "No entry matches" in text_of(reader.get("/log/?type=never.happened"))


def test_an_entry_shows_its_event_hashes_and_proof(reader: Client) -> None:
    log_with(300)
    row = Entry.objects.get(seq=100)
    page = text_of(reader.get("/log/100/"))
    assert bytes(row.leaf_hash).hex() in page
    assert bytes(Entry.objects.get(seq=99).leaf_hash).hex() in page
    assert page.count('<li><span class="hash"') >= 8
    assert "resource_version" in page
    assert reader.get("/log/99999/").status_code == 404
    assert reader.get("/log/99999999999999999999999/").status_code == 404


def test_the_evidence_of_an_entry_verifies_offline(reader: Client) -> None:
    log_with(300)
    answer = reader.get("/log/100/evidence.json")
    assert "attachment" in answer["Content-Disposition"]
    verdict = verify_file(answer.content)
    assert verdict.valid
    assert verdict.entries == [100]


def test_a_person_who_was_forgotten_cannot_be_traced_from_the_page(
    reader: Client, analyst: User
) -> None:
    person = SubjectRef("email", "ann@example.org")
    append([event(subject=person, sealed={"street": "Elm Street"})], by=analyst)
    seq = Entry.objects.exclude(subject="").get().seq
    before = text_of(reader.get(f"/log/{seq}/"))
    assert "key kept" in before
    assert "Elm Street" not in before
    forget_subject(lookup(person), by=analyst)
    assert "key destroyed" in text_of(reader.get(f"/log/{seq}/"))


def test_an_export_holds_the_whole_population_and_is_recorded(
    reader: Client, auditor: User
) -> None:
    log_with(300)
    answer = reader.get("/log/export.csv?resource=dataset:shop:table-1")
    rows = list(csv.DictReader(io.StringIO(text_of(answer))))
    assert [int(row["seq"]) for row in rows] == list(
        Entry.objects.filter(resource="dataset:shop:table-1")
        .order_by("seq")
        .values_list("seq", flat=True)
    )
    lines = [json.loads(line) for line in text_of(reader.get("/log/export.jsonl")).splitlines()]
    assert [line["seq"] for line in lines] == list(range(300))
    sequence()
    first, second = Entry.objects.filter(type="log.exported").order_by("seq")
    assert event_of(first)["actor"] == auditor.actor
    assert event_of(first)["details"] == {
        "format": "csv",
        "filters": {"resource": "dataset:shop:table-1"},
        "entries": len(rows),
        "size": 300,
    }
    assert event_of(second)["details"]["entries"] == 300


def test_what_was_typed_into_a_filter_that_matches_nothing_stays_out_of_the_log(
    reader: Client,
) -> None:
    log_with(10)
    reader.get("/log/export.csv?actor=ann@example.org")
    sequence()
    exported = Entry.objects.get(type="log.exported")
    assert b"ann@example.org" not in bytes(exported.leaf)


def test_a_cell_that_a_spreadsheet_would_run_is_defused(reader: Client, analyst: User) -> None:
    append([event(actor="=HYPERLINK(1)")], by=analyst)
    assert "'=HYPERLINK(1)" in text_of(reader.get("/log/export.csv?type=UPDATE"))


def test_verify_now_checks_all_entries_and_says_so(reader: Client, auditor: User) -> None:
    log_with(300)
    assert "never verified" in text_of(reader.get("/log/"))
    answer = reader.post("/log/verify/", follow=True)
    page = text_of(answer)
    assert "The log holds" in page
    # The record of the check is an entry as well, and is checked with the rest.
    assert "301 of 301" in page
    assert event_of(Entry.objects.get(type="log.verified"))["details"]["outcome"] == "holds"
    assert 'class="card integrity ok"' in text_of(reader.get("/log/"))


def test_entries_added_since_the_check_turn_the_strip_amber_until_they_are_checked(
    reader: Client, analyst: User
) -> None:
    log_with(300)
    reader.post("/log/verify/")
    append([event(n) for n in range(600)], by=analyst)
    page = text_of(reader.get("/log/"))
    assert 'class="card integrity warn"' in page
    assert "301 of 901" in page
    verify_new_entries()
    assert "901 of 901" in text_of(reader.get("/log/"))


def test_a_change_among_the_new_entries_is_found_when_they_are_checked(
    reader: Client, analyst: User
) -> None:
    log_with(300)
    reader.post("/log/verify/")
    append([event(n) for n in range(600)], by=analyst)
    for statement in (
        "UPDATE audit_entry SET actor = 'x' WHERE seq = 777",
        "DELETE FROM audit_entry WHERE seq = 777",
    ):
        Verification.objects.exclude(ok=True).delete()
        with as_database_owner():
            sql(statement)
        found = verify_new_entries()
        assert found is not None
        assert found.first_bad == 777
    page = text_of(reader.get("/log/verification/"))
    assert 'class="card integrity bad"' in page
    assert "777" in page


def test_a_log_that_does_not_hold_is_shown_in_red_with_the_entry(reader: Client) -> None:
    log_with(300)
    with as_database_owner():
        sql("UPDATE audit_entry SET actor = 'x' WHERE seq = 200")
    page = text_of(reader.post("/log/verify/", follow=True))
    assert "The log does not hold. The first bad entry is number 200." in page
    assert 'class="card integrity bad"' in page


def test_only_those_who_may_verify_start_a_check(client: Client, analyst: User) -> None:
    client.force_login(analyst)
    assert "Verify now" not in text_of(client.get("/log/"))
    assert client.post("/log/verify/").status_code == 403


def test_the_log_is_for_those_who_may_read_it(
    client: Client, model_owner: User, pipeline: User
) -> None:
    assert client.get("/log/").status_code == 302
    for user in (model_owner, pipeline):
        client.force_login(user)
        for address in (
            "/log/",
            "/log/0/",
            "/log/0/evidence.json",
            "/log/export.csv",
            "/log/verification/",
        ):
            assert client.get(address).status_code == 403


@pytest.mark.django_db
def test_the_verifier_is_open_to_everybody(client: Client) -> None:
    assert client.get("/verify/").status_code == 200


# Health


@pytest.mark.django_db
def test_liveness_needs_nothing(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def readiness(client: Client) -> dict[str, Any]:
    answer = client.get("/readyz")
    body: dict[str, Any] = answer.json()
    assert answer.status_code == (200 if body["ready"] else 503)
    return {name: check["ok"] for name, check in body["checks"].items()}


def test_readiness_names_what_is_missing(client: Client, analyst: User, settings: Any) -> None:
    sequence()
    settings.CELERY_BROKER_URL = "redis+socket:///nowhere/redis.sock"
    assert readiness(client) == {
        "database": True,
        "keys": True,
        "broker": False,
        "sequencer": True,
        "checkpoint": True,
    }
    settings.CELERY_BROKER_URL = "memory://"
    assert readiness(client)["broker"]
    Pending.objects.create(
        log_id=1, event_id="late", event=b"{}", created_at=timezone.now() - timedelta(minutes=2)
    )
    assert not readiness(client)["sequencer"]
    Pending.objects.all().delete()
    Log.objects.update(refusal="The log was changed.")
    assert not readiness(client)["checkpoint"]
    assert client.get("/readyz").status_code == 503


def test_readiness_needs_the_key_of_the_epoch(client: Client, auditor: User, settings: Any) -> None:
    append([event(subject=SubjectRef("customer", "c-7"), sealed={"note": "x"})], by=auditor)
    assert readiness(client)["keys"]
    settings.VESTIGE_EPOCH_KEYS_DIR = "/nowhere"
    assert not readiness(client)["keys"]
    assert "/nowhere" not in text_of(client.get("/readyz"))
