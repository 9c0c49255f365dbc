"""Policies, holds and prunings through pages, REST and the command."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit import retention, tasks
from audit.actions import (
    RetentionError,
    place_hold,
    replace_policies,
    sequence,
    set_policy,
)
from audit.events import define, is_permanent
from audit.ledger.tree import verify_inclusion
from audit.models import Entry, LogHold, PrunedRange, Pruning, RetentionPolicy
from audit.queries import EntryPrunedError, entry, event_of, evidence
from compliance.models import Request
from compliance.states import State
from reports.compliance_report import Question, compliance_report
from tests.audit.past import old_log, pruned, ranges
from tests.builders import Api
from tests.compliance.builders import filed

pytestmark = pytest.mark.django_db
RULE: dict[str, Any] = {"event_class": "READ", "days": 365, "ground": "Contract 12"}


@pytest.fixture
def gone(dpo: User, pipeline: User, admin: User) -> int:
    """Entries 0 to 511 are pruned; gives the entry that says why."""
    old_log((512, "READ"), (20, "UPDATE"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    pruned(dpo)
    sequence()
    return Entry.objects.get(type="log.pruned").seq


def body(answer: Any) -> Any:
    return json.loads(answer.content)


def page_for(user: User, path: str, status: int = 200) -> str:
    client = Client()
    client.force_login(user)
    answer = client.get(path)
    assert answer.status_code == status
    return str(answer.content.decode())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_class": "log.pruned"}, "event_class"),
        ({"event_class": "kek.*"}, "event_class"),
        ({"event_class": "subject.erased"}, "event_class"),
        ({"event_class": "certificate.issued"}, "event_class"),
        ({"event_class": "report.issued"}, "event_class"),
        ({"event_class": "lineage*"}, "event_class"),
        ({"event_class": "*.received"}, "event_class"),
        ({"event_class": ""}, "event_class"),
        ({"days": 0}, "days"),
        ({"days": 40_000}, "days"),
        ({"days": 182}, "shorter_because"),
        ({"ground": " "}, "ground"),
        ({"ground": "x" * 201}, "ground"),
    ],
)
def test_a_policy_that_cannot_be_so_is_refused(
    admin: User, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(RetentionError) as refused:
        set_policy(**RULE | change, by=admin)
    assert refused.value.field == field
    assert not RetentionPolicy.objects.exists()


def test_less_than_six_months_needs_a_reason_of_its_own(admin: User) -> None:
    policy = set_policy(
        "READ", 30, ground="Contract", shorter_because="no AI system writes these", by=admin
    )
    assert policy.shorter_because == "no AI system writes these"
    assert set_policy("READ", 183, ground="AI Act", by=admin).shorter_because == ""


def test_a_changed_policy_keeps_its_history(admin: User) -> None:
    set_policy("READ", 365, ground="Contract 12", by=admin)
    set_policy("READ", 400, ground="Contract 13", by=admin)
    assert RetentionPolicy.objects.filter(ended_at=None).count() == 1
    sequence()
    said = event_of(Entry.objects.filter(type="log.retention_set").latest("seq"))["details"]
    assert (said["days"], said["was"], said["ground"]) == (400, 365, "Contract 13")


def test_replacing_policies_touches_only_what_changes(admin: User) -> None:
    first = set_policy("READ", 365, ground="Contract 12", by=admin)
    set_policy("UPDATE", 365, ground="Contract 12", by=admin)
    replace_policies([RULE, RULE | {"event_class": "lineage.*"}], by=admin)
    assert list(retention.policies(1).values_list("event_class", flat=True)) == [
        "READ",
        "lineage.*",
    ]
    assert retention.policies(1).get(event_class="READ").pk == first.pk


@pytest.mark.parametrize(
    "hold",
    [
        {},
        {"resource": "a", "subject": "ab" * 16},
        {"subject": "customer 4711"},
        {"start": 5},
        {"start": 5, "stop": 5},
        {"start": -1, "stop": 5},
        {"resource": "x" * 513},
        {"resource": "a", "reason": ""},
    ],
)
def test_a_hold_that_cannot_be_so_is_refused(dpo: User, hold: dict[str, Any]) -> None:
    with pytest.raises(RetentionError):
        place_hold(**{"reason": "court case"} | hold, by=dpo)
    assert not LogHold.objects.exists()


def test_the_reason_of_a_hold_is_not_in_the_log(dpo: User) -> None:
    place_hold(resource="request:R-1", reason="Miller against us", by=dpo)
    sequence()
    leaf = bytes(Entry.objects.get(type="log.hold_placed").leaf)
    assert b"Miller" not in leaf
    assert b"reason_sha256" in leaf


def test_what_commits_to_a_statement_is_permanent() -> None:
    define("test.committed", "statement_sha256")
    define("test.passing", "number")
    names = ["test.committed", "report.issued", "datasheet.issued", "request.completed"]
    assert all(map(is_permanent, [*names, "document.rendered", "kek.epoch.destroyed"]))
    assert not is_permanent("test.passing")


def test_open_requests_hold_their_entries(analyst: User) -> None:
    request = filed(analyst)
    assert retention.held_by_cases()["open requests"] == [request.resource]
    Request.objects.update(state=State.REFUSED)
    assert retention.held_by_cases()["open requests"] == []


def test_a_pruned_entry_says_so_everywhere(gone: int, auditor: User, api: Api) -> None:
    with pytest.raises(EntryPrunedError, match=f"Entry {gone} says why"):
        entry(7)
    with pytest.raises(EntryPrunedError):
        evidence([7], purpose="too late")
    reader = api(auditor)
    answer = reader.get("/api/v1/events/7")
    assert answer.status_code == 410
    assert body(answer)["pruned"] == {"start": 0, "stop": 512, "entry": gone}
    assert reader.get("/api/v1/events/999999").status_code == 404
    assert reader.get("/log/tile/entries/001").status_code == 410
    assert reader.get("/log/tile/entries/001.p/7").status_code == 410
    assert reader.get("/log/tile/0/001").status_code == 200
    shown = page_for(auditor, "/log/7/", 410)
    assert f'href="/log/{gone}/"' in shown
    assert "Contract 12" in shown
    assert f"entry {gone}" in page_for(auditor, "/log/")


def test_the_place_of_a_pruned_entry_can_still_be_proved(
    gone: int, auditor: User, api: Api
) -> None:
    answer = body(api(auditor).get("/api/v1/events/7/proof"))
    verify_inclusion(
        7,
        answer["size"],
        bytes.fromhex(answer["leaf_hash"]),
        [bytes.fromhex(item) for item in answer["proof"]],
        bytes.fromhex(answer["root"]),
    )
    assert api(auditor).get("/api/v1/events/7/proof?as=tlog-proof").status_code == 410
    assert api(auditor).get("/api/v1/log/consistency?first=100&second=300").status_code == 200


def test_lists_and_exports_say_what_is_missing(gone: int, auditor: User, api: Api) -> None:
    stretch = {"start": 0, "stop": 512, "entry": gone}
    assert body(api(auditor).get("/api/v1/events"))["pruned"] == [stretch]
    client = Client()
    client.force_login(auditor)
    lines = b"".join(client.get("/log/export.jsonl").streaming_content).splitlines()  # type: ignore[attr-defined]
    assert json.loads(lines[0]) == {"pruned": stretch}
    assert json.loads(lines[1])["seq"] == 512
    text = b"".join(client.get("/log/export.csv").streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (rows[0]["seq"], rows[0]["type"]) == ("0 to 511", "(pruned)")
    sequence()
    said = event_of(Entry.objects.filter(type="log.exported").earliest("seq"))
    assert said["details"]["pruned"] == 512


def test_a_report_says_what_of_its_period_is_gone(gone: int) -> None:
    def limits(days_ago: int) -> list[str]:
        now = timezone.now()
        question = Question(
            1, "dataset:shop:table-1", "", "", now - timedelta(days=days_ago), now, gone, "user:1"
        )
        report = compliance_report(question).statement(now)
        assert bool(report["pruned"]) is (days_ago > 400)
        return [limit for limit in report["limits"] if "past their retention" in limit]

    assert limits(100) == []
    (said,) = limits(500)
    assert "Entries 0 to 511" in said
    assert f"Entry {gone} says" in said


def test_the_doors_set_policies_hold_plan_and_prune(
    dpo: User, admin: User, pipeline: User, auditor: User, api: Api
) -> None:
    old_log((512, "READ"), by=pipeline)
    manager, officer, reader = api(admin), api(dpo), api(auditor)
    kind = "application/json"
    put = manager.put("/api/v1/log/retention", json.dumps({"policies": [RULE]}), kind)
    assert put.status_code == 200
    assert body(reader.get("/api/v1/log/retention"))["policies"][0]["set_by"] == admin.actor
    wrong = manager.put(
        "/api/v1/log/retention", json.dumps({"policies": [RULE | {"days": 5}]}), kind
    )
    assert wrong.status_code == 422
    assert body(wrong)["errors"][0]["field"] == "shorter_because"
    placed = officer.post("/api/v1/log/holds", {"start": 0, "stop": 5, "reason": "court"}, kind)
    assert placed.status_code == 201
    held = body(officer.post("/api/v1/log/prunings", {}, kind))
    assert held["plan"]["ranges"] == [[256, 512]]
    number = body(placed)["id"]
    assert len(body(reader.get("/api/v1/log/holds"))["results"]) == 1
    assert officer.delete(f"/api/v1/log/holds/{number}").status_code == 204
    assert officer.delete(f"/api/v1/log/holds/{number}").status_code == 404
    stale = officer.post("/api/v1/log/prunings", {"plan_hash": held["plan_hash"]}, kind)
    assert stale.status_code == 409
    plan = body(manager.post("/api/v1/log/prunings", {}, kind))
    execute = {"plan_hash": plan["plan_hash"]}
    assert manager.post("/api/v1/log/prunings", execute, kind).status_code == 403
    assert reader.post("/api/v1/log/prunings", {}, kind).status_code == 403
    started = officer.post("/api/v1/log/prunings", execute, kind)
    assert started.status_code == 202
    assert officer.post("/api/v1/log/prunings", {}, kind).status_code == 409
    tasks.continue_pruning()
    done = body(reader.get(f"/api/v1/log/prunings/{body(started)['id']}"))
    assert (done["state"], done["pruned"]) == ("done", 512)
    assert body(reader.get("/api/v1/log/prunings"))["results"][0]["id"] == done["id"]


def test_who_set_the_policy_is_refused_at_the_door(dpo: User, pipeline: User, api: Api) -> None:
    old_log((256, "READ"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=dpo)
    plan = body(api(dpo).post("/api/v1/log/prunings", {}, "application/json"))
    answer = api(dpo).post(
        "/api/v1/log/prunings", {"plan_hash": plan["plan_hash"]}, "application/json"
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("text", ["{", '{"days": 1}', '{"policies": [{"event_class": 1}]}'])
def test_a_body_that_cannot_be_read_is_named(admin: User, api: Api, text: str) -> None:
    answer = api(admin).put("/api/v1/log/retention", text, "application/json")
    assert answer.status_code in (400, 422)
    assert answer["Content-Type"] == "application/problem+json"


def test_the_page_goes_from_nothing_to_what_went(
    dpo: User, admin: User, pipeline: User, auditor: User
) -> None:
    empty = page_for(auditor, "/log/retention/")
    for words in ("No policy yet", "Nothing is held", "Not looked at yet", "Nothing was pruned"):
        assert words in empty
    assert "Set a policy" not in empty
    old_log((512, "READ"), by=pipeline)
    manager, officer = Client(), Client()
    manager.force_login(admin)
    officer.force_login(dpo)
    refused = manager.post("/log/retention/", RULE | {"days": 7})
    assert refused.status_code == 422
    assert "Say why less is lawful" in refused.content.decode()
    assert manager.post("/log/retention/", RULE).status_code == 302
    assert manager.post("/log/retention/hold/", {"first": 0, "last": 0}).status_code == 422
    hold = {"first": 0, "last": 0, "reason": "court case"}
    assert officer.post("/log/retention/hold/", hold).status_code == 302
    assert manager.post("/log/retention/plan/").status_code == 302
    shown = page_for(auditor, "/log/retention/")
    assert "256 in 1 tile" in shown
    assert "court case" in shown
    officer.post(f"/log/retention/hold/{LogHold.objects.get().pk}/release/")
    officer.post("/log/retention/plan/")
    plan = Pruning.objects.get().plan_hash
    address = f"/log/retention/prune/{plan}/"
    assert manager.get(address).status_code == 403
    assert "Delete 512 entries for ever" in page_for(dpo, address)
    assert officer.post(address).status_code == 302
    assert "Pruning" in page_for(auditor, "/log/retention/")
    tasks.continue_pruning()
    assert ranges() == [(0, 512)]
    assert "log.pruned" in page_for(auditor, "/log/retention/")
    assert officer.get(address).status_code == 404
    assert manager.post("/log/retention/end/", {"event_class": "READ"}).status_code == 302
    assert "No policy yet" in page_for(auditor, "/log/retention/")


def test_pages_and_doors_need_their_permissions(pipeline: User, auditor: User, api: Api) -> None:
    assert api(pipeline).get("/api/v1/log/retention").status_code == 403
    client = Client()
    client.force_login(auditor)
    for path in ("", "hold/", "plan/", "end/", "hold/1/release/", f"prune/{'0' * 64}/"):
        assert client.post(f"/log/retention/{path}").status_code == 403, path


def test_the_night_plans_and_deletes_only_when_told_to(
    admin: User, pipeline: User, settings: Any
) -> None:
    tasks.plan_nightly()
    assert not Pruning.objects.exists()
    old_log((256, "READ"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    tasks.plan_nightly()
    assert Pruning.objects.get().state == "planned"
    assert not PrunedRange.objects.exists()
    settings.VESTIGE_PRUNE = "auto"
    tasks.plan_nightly()
    assert ranges() == [(0, 256)]
    assert event_of(Entry.objects.get(type="log.pruned"))["by"] == "vestige:scheduler"


def test_the_command_shows_and_prunes_by_the_hash(admin: User, pipeline: User) -> None:
    old_log((256, "READ"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    out = io.StringIO()
    call_command("prune_log", dry_run=True, stdout=out)
    assert "256 entries in 1 tiles may go" in out.getvalue()
    with pytest.raises(CommandError, match="not the newest plan"):
        call_command("prune_log", plan="0" * 64)
    plan = Pruning.objects.get().plan_hash
    call_command("prune_log", plan=plan, stdout=out, stderr=io.StringIO())
    assert "256 entries are pruned" in out.getvalue()
    assert ranges() == [(0, 256)]
