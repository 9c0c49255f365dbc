"""Copies that no erasure reaches: stated, dated, asked about by the clock, closed by a person."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.queries import entries_for, event_of
from audit.subjects import SubjectRef
from compliance.actions.erasure import execute
from compliance.actions.plans import approve_plan
from compliance.actions.requests import certificate_issued
from compliance.actions.tails import close_tail, prolong_tail
from compliance.errors import InvalidInputError, NotPermittedError, WrongStateError
from compliance.models import Request, Tail
from compliance.queries import (
    certificate_facts,
    current_plan,
    resources_of_open_cases,
    status_token,
)
from compliance.states import State
from compliance.tasks import ask_about_due_tails, run_step, send_due_mail
from connectors.actions import ConnectorError
from connectors.models import Connector
from connectors.tails import state_tails
from reports.models import Certificate
from reports.tasks import render_due_documents
from tests.builders import Api, sequenced
from tests.compliance.builders import (
    Team,
    approved,
    connected,
    erased,
    filed,
    in_triage,
    purchases,
    search,
    team,
    work_off,
    write_table,
)

pytestmark = pytest.mark.django_db
TAILS = [{"what": "nightly backups", "days": 35}, {"what": "archive of the log", "days": 7}]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "purchases")


@pytest.fixture
def store(table: Path, db: None) -> Connector:
    connector = connected(table)
    state_tails(connector, TAILS, by=connector.owner)
    return connector


@pytest.fixture
def people(store: Connector) -> Team:
    found = team()
    User.objects.filter(pk=found.dpo.pk).update(email="dpo@shop.example")
    found.dpo.refresh_from_db()
    return found


def answered(people: Team, **fields: Any) -> Request:
    """Erased and certified; both copies are still to end."""
    request = erased(people, **fields)
    render_due_documents()
    request.refresh_from_db()
    return request


def pass_days(days: int) -> None:
    """As if so many days had gone by."""
    for tail in Tail.objects.all():
        tail.until -= timedelta(days=days)
        tail.asked_at = tail.asked_at and tail.asked_at - timedelta(days=days)
        tail.save()


def types(request: Request) -> list[str]:
    sequenced()
    return [entry.type for entry in entries_for(request.resource)]


def mails_to_dpo() -> list[Any]:
    send_due_mail()
    return [message for message in mail.outbox if message.to == ["dpo@shop.example"]]


def test_the_person_is_answered_and_the_request_waits_for_the_copies(people: Team) -> None:
    request = answered(people, contact="c00004@customers.example")
    assert request.state == State.TAIL_OPEN
    assert not request.sealed_identity
    days = [(tail.what, (tail.until - timezone.now()).days) for tail in Tail.objects.all()]
    assert days == [("archive of the log", 6), ("nightly backups", 34)]
    send_due_mail()
    text = str(mail.outbox[-1].body)
    assert "Backup copies that cannot be changed still hold them" in text
    assert "nightly" not in text  # what copies there are is nobody's business outside
    assert "request.completed" not in types(request)
    assert request.resource in resources_of_open_cases()
    Request.objects.filter(pk=request.pk).update(due_at=timezone.now() - timedelta(days=1))
    request.refresh_from_db()
    assert not request.is_overdue
    # A certificate in between, as after a retraining notice was closed, changes nothing; and who
    # asks again is not answered by the old request.
    certificate_issued(request, "C-1-2", "0" * 64, by=people.dpo)
    assert request.state == State.TAIL_OPEN
    assert types(request).count("request.tail_open") == 1
    assert in_triage(people.analyst).state == State.TRIAGE


def test_the_clock_asks_once_a_week_until_somebody_answers(people: Team) -> None:
    request = erased(people)
    ask_about_due_tails()
    assert not mails_to_dpo()
    pass_days(8)
    ask_about_due_tails()
    ask_about_due_tails()
    (first,) = mails_to_dpo()
    assert "archive of the log" in first.body
    assert request.reference in first.body
    assert "c00004" not in first.body
    pass_days(6)
    ask_about_due_tails()
    assert len(mails_to_dpo()) == 1
    pass_days(2)
    ask_about_due_tails()
    assert len(mails_to_dpo()) == 2
    until = timezone.now() + timedelta(days=10)
    late = Tail.objects.get(what="archive of the log")
    prolong_tail(request, tail=late.pk, until=until, reason="It was moved.", by=people.dpo)
    pass_days(8)
    ask_about_due_tails()
    assert len(mails_to_dpo()) == 2
    pass_days(3)
    ask_about_due_tails()
    assert len(mails_to_dpo()) == 3
    for tail in Tail.objects.all():
        close_tail(request, tail=tail.pk, note="The bucket is empty.", by=people.dpo)
    pass_days(40)
    ask_about_due_tails()
    assert len(mails_to_dpo()) == 3
    assert types(request).count("erasure.tail_asked") == 3


def test_after_the_last_copy_a_final_certificate_completes_the_request(
    people: Team, client: Client
) -> None:
    request = answered(people)
    first, second = Tail.objects.all()
    interim = json.loads(Certificate.objects.get(request=request).statement)
    assert interim["status"] == "interim"
    assert [(t["what"], t["confirmed_at"]) for t in interim["tails"]] == [
        ("archive of the log", None), ("nightly backups", None),
    ]  # fmt: skip
    client.force_login(people.dpo)
    page = client.get(f"/certificates/{request.reference}/").content.decode()
    assert "Erased and verified; a copy is still to end" in page
    close_tail(request, tail=first.pk, note="Looked at it.", by=people.dpo)
    assert request.certificate_due_at is None
    close_tail(request, tail=second.pk, note="Gone with the month.", by=people.dpo)
    assert request.certificate_due_at
    render_due_documents()
    request.refresh_from_db()
    assert request.state == State.COMPLETED
    final = json.loads(Certificate.objects.order_by("pk").last().statement)
    assert final["status"] == "final"
    assert final["supersedes"] == interim["number"]
    assert [tail["confirmed_by"] for tail in final["tails"]] == [str(people.dpo)] * 2
    assert "Gone with the month" not in json.dumps([event_of(e) for e in sequenced()])
    completed = types(request)
    assert completed.index("request.tail_open") < completed.index("request.completed")


def test_what_a_plan_erased_that_failed_later_is_in_the_copies_all_the_same(
    people: Team, table: Path
) -> None:
    request = approved(people)
    execute(request, by=people.analyst)
    run_step(request.steps.get().pk)
    copy = table / "copy-of-last-month.parquet"
    purchases(9).write_parquet(copy)
    assert work_off(request).state == State.BLOCKED
    copy.unlink()
    search(request, by=people.analyst)
    plan = current_plan(request)
    assert plan
    for approver in (people.dpo, people.data_owner):
        approve_plan(request, plan_hash=plan.hash, by=approver)
    execute(request, by=people.analyst)
    work_off(request)
    assert certificate_facts(request).tails_open == 2


def test_where_nothing_stood_no_copy_is_left(people: Team) -> None:
    request = answered(people, person=SubjectRef("customer", "99999"))
    assert request.state == State.COMPLETED
    assert not Tail.objects.exists()


def test_only_who_decides_closes_and_says_how_it_is_known(people: Team) -> None:
    request = erased(people)
    tail, _ = Tail.objects.all()
    with pytest.raises(NotPermittedError):
        close_tail(request, tail=tail.pk, note="Gone.", by=people.analyst)
    with pytest.raises(InvalidInputError, match="how you know"):
        close_tail(request, tail=tail.pk, note="  ", by=people.dpo)
    with pytest.raises(InvalidInputError, match="lies ahead"):
        prolong_tail(request, tail=tail.pk, until=timezone.now(), reason="No.", by=people.dpo)
    with pytest.raises(InvalidInputError, match="has no copy"):
        close_tail(filed(people.analyst), tail=tail.pk, note="Gone.", by=people.dpo)
    close_tail(request, tail=tail.pk, note="Gone.", by=people.dpo)
    with pytest.raises(WrongStateError, match="closed already"):
        close_tail(request, tail=tail.pk, note="Gone.", by=people.dpo)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"what": "", "days": 3}], "Number 1 has no name"),
        ([{"what": "a\nb", "days": 3}], "cannot be printed"),
        ([*TAILS, {"what": "tapes", "days": 0}], 'Number 3, "tapes", needs the days'),
        ([{"what": "tapes", "days": True}], "a whole number from 1"),
        ([{"what": "tapes", "days": 9999}], "to 3,660"),
        ([{"what": "tapes", "days": 1}] * 2, "stand there twice"),
        ([{"what": f"t{n}", "days": 1} for n in range(21)], "at most 20"),
    ],
)
def test_what_makes_no_copy_is_refused(store: Connector, given: Any, said: str) -> None:
    with pytest.raises(ConnectorError, match=said):
        state_tails(store, given, by=store.owner)
    store.refresh_from_db()
    assert store.tails == TAILS


def test_by_rest(people: Team, store: Connector, api: Api, admin: User) -> None:
    stated = [{"what": "tapes", "days": 90}]
    address = f"/api/v1/connectors/{store.pk}/tails"
    assert api(people.analyst).put(address, json.dumps(stated), "application/json").status_code in (
        403,
        404,
    )
    answer = api(admin).put(address, json.dumps([{"what": "tapes", "days": 0}]), "application/json")
    assert answer.status_code == 400, answer.content
    answer = api(admin).put(address, json.dumps(stated), "application/json")
    assert answer.json()["tails"] == stated
    request = answered(people)
    client, path = api(people.dpo), f"/api/v1/requests/{request.reference}"
    (tail,) = client.get(path).json()["tails"]
    assert tail["what"] == "tapes"
    assert tail["closed_at"] is None
    later = (timezone.now() + timedelta(days=100)).isoformat()
    body = {"tail": tail["id"], "until": later, "reason": "A legal duty."}
    assert client.post(f"{path}/prolong_tail", body, "application/json").status_code == 200
    body = {"tail": tail["id"], "note": "Overwritten, says the archive's list."}
    assert (
        api(people.analyst).post(f"{path}/close_tail", body, "application/json").status_code == 403
    )
    closed = client.post(f"{path}/close_tail", body, "application/json").json()
    assert closed["tails"][0]["closed_at"]


def test_on_the_pages(people: Team, store: Connector, client: Any, admin: User) -> None:
    client.force_login(admin)
    page = client.get(f"/stores/{store.pk}/").content.decode()
    assert "nightly backups = 35" in page
    refused = client.post(f"/stores/{store.pk}/tails/", {"tails": "tapes"})
    assert "Line 1 is not" in refused.content.decode()
    client.post(f"/stores/{store.pk}/tails/", {"tails": "tapes = 5\nreplica = 1 = 2"})
    store.refresh_from_db()
    assert store.tails == [{"what": "tapes", "days": 5}, {"what": "replica = 1", "days": 2}]
    request = answered(people)
    client.force_login(people.dpo)
    assert request.reference in client.get("/requests/?show=copies").content.decode()
    place = f"/requests/{request.reference}/"
    assert "It is gone" in client.get(place).content.decode()
    tail = Tail.objects.get(what="tapes")
    unsaid = client.post(f"{place}copies/{tail.pk}/close/", {f"close-{tail.pk}-note": ""})
    assert "This field is required" in unsaid.content.decode()
    client.post(f"{place}copies/{tail.pk}/close/", {f"close-{tail.pk}-note": "Looked."})
    tail.refresh_from_db()
    assert tail.closed_by == people.dpo
    page = client.get(f"/privacy/status/{status_token(request)}/").content.decode()
    assert "the last one ends on" in page
    assert "tapes" not in page
