"""The compliance report: the guide's keys, all of the events, and proofs that break."""

import csv
import hashlib
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from audit.actions import create_log
from audit.ledger.verify import verify_bundle
from audit.queries import entry, event_of
from reports import compliance_report
from reports.actions import ReportRefusedError, request_report
from reports.models import Report
from reports.tasks import render_due_documents
from tests.audit.builders import as_database_owner, sql
from tests.builders import Api, sequenced, user
from tests.reports import builders
from tests.reports.builders import RESOURCE, appended, path_of, pipeline, rendered, text_of

pytestmark = pytest.mark.django_db
GUIDE_KEYS = [
    "resource", "period", "total_events", "events_by_type", "unique_actors", "version_history",
    "events",
]  # fmt: skip
EVER = {"start_date": "2020-01-01", "end_date": "2199-12-31"}


def json_of(row: Report, folder: Path) -> Any:
    return json.loads(builders.path_of(row.json_file, folder).read_bytes())


def test_the_report_has_the_guides_keys_and_the_facts(auditor: User, tmp_path: Path) -> None:
    appended(12, by=pipeline())
    appended(3, by=pipeline(), resource="dataset:shop:other")
    said = json_of(rendered(auditor), tmp_path)
    assert list(said)[:7] == GUIDE_KEYS
    assert said["resource"] == RESOURCE
    assert said["period"] == {"start": "2020-01-01", "end": "2199-12-31"}
    assert said["total_events"] == len(said["events"]) == 12
    assert said["events_by_type"] == {"CREATE": 4, "READ": 4, "TRANSFORM": 4}
    assert said["unique_actors"] == ["service:etl-0", "service:etl-1"]
    assert [(v["version"], v["events"]) for v in said["version_history"]] == [("v0", 10), ("v1", 2)]
    first = said["events"][0]
    assert first["event_type"] == "CREATE"
    assert first["actor"] == "service:etl-0"
    assert first["resource_version"] == "v0"
    assert first["details"] == {"rows": 0, "purpose": "=nightly"}
    assert first["leaf_sha256"] == bytes(entry(first["entry"]).leaf_hash).hex()
    assert {e["resource"] for e in said["events"]} == {RESOURCE}


def test_only_events_recorded_in_the_period_are_in_it(auditor: User, tmp_path: Path) -> None:
    appended(4, by=pipeline())
    today = timezone.now().date()
    inside = rendered(auditor, start=today.isoformat(), end=today.isoformat())
    assert json_of(inside, tmp_path)["total_events"] == 4
    before = today - timedelta(days=1)
    outside = rendered(auditor, start="2020-01-01", end=before.isoformat())
    assert json_of(outside, tmp_path)["total_events"] == 0


def test_the_report_names_the_units_logs_that_know_the_resource_too(
    auditor: User, admin: User, tmp_path: Path, settings: LazySettings
) -> None:
    settings.VESTIGE_KEYS = tmp_path / "keys"  # a unit's key outlives the rollback
    settings.VESTIGE_KEYS.mkdir()
    appended(2, by=pipeline())
    for name, resource in (("eu", RESOURCE), ("us", "dataset:shop:other")):
        log = create_log(name, title=name, by=admin)
        appended(3, by=pipeline(), resource=resource, log=log)
    row = rendered(auditor)
    said = json_of(row, tmp_path)
    named = [limit for limit in said["limits"] if "organisation unit" in limit]
    assert len(named) == 1
    assert named[0].startswith("The log eu of an organisation unit holds entries of this resource")
    assert said["total_events"] == 2
    assert "The log eu of an organisation unit" in text_of(path_of(row.pdf_file, tmp_path))


def test_what_is_recorded_later_does_not_change_the_report(auditor: User, tmp_path: Path) -> None:
    appended(2, by=pipeline())
    row = rendered(auditor)
    appended(5, by=pipeline())
    assert json_of(row, tmp_path)["total_events"] == 2
    Report.objects.filter(pk=row.pk).update(state=Report.State.DUE, render_after=timezone.now())
    render_due_documents()
    row.refresh_from_db()
    assert row.state == Report.State.DONE, row.failure
    assert json_of(row, tmp_path)["total_events"] == 2, "rendered again from the same statement"


@pytest.mark.parametrize("ending", ["pdf", "json"])
def test_the_verifier_says_valid_and_not_after_a_change(
    auditor: User, tmp_path: Path, ending: str
) -> None:
    appended(5, by=pipeline())
    row = rendered(auditor)
    if ending == "json":
        file = builders.path_of(row.json_file, tmp_path)
        changed = tmp_path / "changed.json"
        changed.write_bytes(file.read_bytes().replace(b'"rows": 3', b'"rows": 4', 1))
    else:
        file = builders.path_of(row.pdf_file, tmp_path)
        bundle = builders.attachments(file)["evidence.json"]
        spoiled = bundle.replace(b'"total_events":5', b'"total_events":6', 1)
        assert spoiled != bundle
        changed = builders.with_attachment(file, "evidence.json", spoiled)
    assert changed.read_bytes() != file.read_bytes()
    status, said = builders.verified_offline(file)
    assert status == 0, said
    assert "report.issued" in said
    assert "7 entries proven" in said, "the events, what binds the report, what proves it complete"
    assert f"All 5 entries of {RESOURCE} from entry 0 to entry " in said
    status, said = builders.verified_offline(changed)
    assert status == 1
    assert "NOT VALID" in said


def test_a_long_report_shows_the_ends_and_carries_all(auditor: User, tmp_path: Path) -> None:
    appended(620, by=pipeline())
    row = rendered(auditor)
    pdf = builders.path_of(row.pdf_file, tmp_path)
    text = builders.text_of(pdf)
    assert "500 of 620 shown" in text
    assert "120 events are not shown here" in text
    said = json_of(row, tmp_path)
    assert said["events_sha256"] in text.replace(" ", "")
    files = builders.attachments(pdf)
    lines = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    assert lines == said["events"]
    assert hashlib.sha256(files["events.jsonl"]).hexdigest() == said["events_sha256"]
    rows = list(csv.DictReader(io.StringIO(files["events.csv"].decode())))
    assert [row["event_id"] for row in rows] == [line["event_id"] for line in lines]
    for described in said["attachments"]:
        data = files[described["name"]]
        assert hashlib.sha256(data).hexdigest() == described["sha256"]
        assert len(data) == described["bytes"]
    assert len(json.loads(files["evidence.json"])["entries"]) == 622
    with pikepdf.open(pdf) as opened:
        kinds = {str(spec.UF): str(spec.AFRelationship) for spec in opened.Root.AF}
    assert kinds == {
        "events.jsonl": "/Data", "events.csv": "/Alternative", "evidence.json": "/Supplement",
    }  # fmt: skip


def test_a_very_long_report_proves_what_it_shows_and_says_so(
    auditor: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compliance_report, "MOST_PROVED", 10)
    monkeypatch.setattr(compliance_report, "MOST_SHOWN", 6)
    appended(30, by=pipeline())
    row = rendered(auditor)
    said = json_of(row, tmp_path)
    assert said["entries"]["proved"] == 6
    assert len(said["evidence"]["entries"]) == 7
    assert verify_bundle(said["evidence"]).valid
    assert builders.verified_offline(builders.path_of(row.json_file, tmp_path))[0] == 0


def test_too_many_events_for_one_document_are_refused_with_a_way_out(
    auditor: User, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compliance_report, "MOST_EVENTS", 3)
    appended(4, by=pipeline())
    row = rendered(auditor)
    assert row.state == Report.State.FAILED
    assert "shorter period" in row.failure
    browser.force_login(auditor)
    page = browser.get(f"/reports/{row.pk}/").content.decode()
    assert "shorter period" in page
    assert "Try again" in page
    monkeypatch.setattr(compliance_report, "MOST_EVENTS", 50)
    assert browser.post(f"/reports/{row.pk}/retry/").status_code == 302
    render_due_documents()
    row.refresh_from_db()
    assert row.state == Report.State.DONE


def test_an_unknown_resource_gives_an_empty_report_that_says_so(
    auditor: User, browser: Client, tmp_path: Path
) -> None:
    row = rendered(auditor, resource="dataset:nobody:nothing")
    assert row.state == Report.State.DONE, row.failure
    said = json_of(row, tmp_path)
    assert said["total_events"] == 0
    assert said["events"] == []
    pdf = builders.path_of(row.pdf_file, tmp_path)
    assert "The log holds no event of this resource" in builders.text_of(pdf)
    assert builders.verified_offline(pdf)[0] == 0
    browser.force_login(auditor)
    page = browser.get(f"/reports/{row.pk}/").content.decode()
    assert "The log holds no event of this resource" in page


@pytest.mark.parametrize(
    ("start", "end", "field", "words"),
    [
        ("2026-02-30", "2026-03-01", "start_date", "no date that exists"),
        ("yesterday", "2026-03-01", "start_date", "no date that exists"),
        ("2026-03-02", "2026-03-01", "end_date", "ends before it starts"),
        ("2026-03-01", "", "end_date", ""),
        ("0001-01-01", "2026-03-01", "start_date", "out of range"),
        ("2026-01-01", "9999-12-31", "end_date", "out of range"),
        ("2026-01-01T00:00:00+99:00", "2026-03-01", "start_date", "no date that exists"),
    ],
)
def test_bad_dates_are_field_errors(
    auditor: User, api: Api, start: str, end: str, field: str, words: str
) -> None:
    answer = api(auditor).post(
        "/api/v1/reports",
        {"kind": "compliance", "resource": RESOURCE, "start_date": start, "end_date": end},
        content_type="application/json",
    )
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["reason"]
    assert not Report.objects.exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "horoscope"}, "kind"),
        ({"resource": ""}, "resource"),
        ({"resource": "x" * 513}, "resource"),
        ({"resource": "a\u202eb"}, "resource"),
        ({"resource": None}, "resource"),
    ],
)
def test_bad_input_names_the_field(
    auditor: User, api: Api, given: dict[str, Any], field: str
) -> None:
    body = {"kind": "compliance", "resource": RESOURCE, **EVER} | given
    answer = api(auditor).post("/api/v1/reports", body, content_type="application/json")
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    missing = api(auditor).post("/api/v1/reports", {}, content_type="application/json")
    assert {e["field"] for e in missing.json()["errors"]} == {
        "kind", "resource", "start_date", "end_date",
    }  # fmt: skip


def test_both_ends_of_the_period_are_included(auditor: User) -> None:
    row = request_report(
        kind="compliance", resource=RESOURCE, start="2026-01-01", end="2026-01-31", by=auditor
    )
    assert row.start_at.isoformat() == "2026-01-01T00:00:00+00:00"
    assert row.before_at.isoformat() == "2026-02-01T00:00:00+00:00"
    exact = request_report(
        kind="compliance", resource=RESOURCE, start="2026-01-01T01:00:00+01:00",
        end="2026-01-01T09:00:00Z", by=auditor,
    )  # fmt: skip
    assert exact.start_at == row.start_at
    assert exact.before_at.isoformat() == "2026-01-01T09:00:00.000001+00:00"
    with pytest.raises(ReportRefusedError, match="ends before"):
        request_report(
            kind="compliance", resource=RESOURCE, start="2026-01-02", end="2026-01-01", by=auditor
        )


def test_the_whole_flow_by_rest(auditor: User, api: Api) -> None:
    appended(3, by=pipeline())
    client = api(auditor)
    asked = client.post(
        "/api/v1/reports",
        {"kind": "compliance", "resource": RESOURCE, **EVER},
        content_type="application/json",
    )
    assert asked.status_code == 202
    said = asked.json()
    assert set(said) == {"id", "state", "url"}
    assert said["state"] == "due"
    assert asked["Location"] == said["url"] == f"/api/v1/reports/{said['id']}"
    waiting = client.get(said["url"])
    assert (waiting.status_code, waiting.json()["state"]) == (202, "due")
    early = client.get(f"{said['url']}.pdf")
    assert early.status_code == 409
    assert early["Content-Type"] == "application/problem+json"

    render_due_documents()
    done = client.get(said["url"])
    assert done.status_code == 200
    result = done.json()
    assert result["state"] == "done"
    assert set(GUIDE_KEYS) <= set(result)
    assert len(result["events"]) == result["total_events"] == 3
    for ending, kind in (("json", "application/json"), ("pdf", "application/pdf")):
        answer = client.get(result[ending], headers={"Accept": kind})
        assert answer.status_code == 200
        assert answer["Content-Type"] == kind
        data = builders.streamed(answer)
        assert hashlib.sha256(data).hexdigest() == result[f"{ending}_sha256"]
    listed = client.get("/api/v1/reports").json()
    assert [row["id"] for row in listed["results"]] == [said["id"]]
    assert client.get("/api/v1/reports/4711").status_code == 404


def test_who_may_not_ask_for_reports_sees_none(auditor: User, api: Api, browser: Client) -> None:
    row = rendered(auditor)
    for role in (Role.PIPELINE, Role.MODEL_OWNER, Role.DATA_OWNER, Role.ADMIN):
        client = api(user(role))
        for path in ("", f"/{row.pk}", f"/{row.pk}.json", f"/{row.pk}.pdf"):
            assert client.get(f"/api/v1/reports{path}").status_code == 403
        body = {"kind": "compliance", "resource": RESOURCE, **EVER}
        asked = client.post("/api/v1/reports", body, content_type="application/json")
        assert asked.status_code == 403
        browser.force_login(user(role))
        assert browser.get(f"/reports/{row.pk}/").status_code == 403
    assert Client().get("/api/v1/reports").status_code == 401
    assert Client().get("/reports/").status_code == 302


def test_hostile_text_is_shown_as_text(auditor: User, browser: Client, tmp_path: Path) -> None:
    from audit.actions import append
    from audit.intake import NewEvent

    evil = '<script>alert(1)</script><a rel="attachment" href="file:///etc/passwd">x</a>'
    append(
        [
            NewEvent(
                type="UPDATE", actor=f"service:{evil}", resource=f"dataset:shop:{evil}",
                resource_version="1", details={"note": f"{evil} 🙂 Żółć"},
            )
        ],
        by=pipeline(),
    )  # fmt: skip
    row = rendered(auditor, resource=f"dataset:shop:{evil}")
    assert row.state == Report.State.DONE, row.failure
    pdf = builders.path_of(row.pdf_file, tmp_path)
    assert set(builders.attachments(pdf)) == {"events.jsonl", "events.csv", "evidence.json"}
    text = builders.text_of(pdf).replace(" ", "")
    assert "<script>alert(1)</script>" in text
    assert "[U+1F642]Żółć" in text
    browser.force_login(auditor)
    for path in ("/reports/", f"/reports/{row.pk}/"):
        page = browser.get(path).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_column_that_disagrees_with_its_leaf_stops_the_report(auditor: User) -> None:
    """A database owner moves another resource's entry under this one: no report may carry it."""
    appended(2, by=pipeline())
    appended(1, by=pipeline(), resource="dataset:shop:other")
    with as_database_owner():
        sql(
            "UPDATE audit_entry SET resource = %s WHERE resource = %s",
            RESOURCE,
            "dataset:shop:other",
        )
    row = rendered(auditor)
    assert row.state == Report.State.FAILED
    assert "Verify the log" in row.failure


def test_asking_issuing_and_taking_away_are_recorded(auditor: User, api: Api) -> None:
    appended(1, by=pipeline())
    row = rendered(auditor)
    answer = api(auditor).get(f"/api/v1/reports/{row.pk}.json")
    assert builders.streamed(answer)
    found = [(e.type, event_of(e)) for e in sequenced() if e.resource == f"report:{row.pk}"]
    assert [kind for kind, _ in found] == [
        "report.requested", "report.issued", "document.rendered", "document.exported",
    ]  # fmt: skip
    issued = found[1][1]["details"]
    assert issued["statement_sha256"] == row.statement_sha256
    assert issued["events"] == 1
    assert found[3][1]["actor"] == auditor.actor


def test_a_report_is_asked_for_and_followed_in_the_browser(auditor: User, browser: Client) -> None:
    appended(2, by=pipeline())
    browser.force_login(auditor)
    page = browser.get("/reports/").content.decode()
    assert "No report yet" in page
    wrong = browser.post("/reports/", {"resource": RESOURCE, "period": "own"})
    assert wrong.status_code == 422
    assert "Enter the first day." in wrong.content.decode()
    wrong = browser.post(
        "/reports/",
        {"resource": RESOURCE, "period": "own", "start_date": "2026-03-02",
         "end_date": "2026-03-01"},
    )  # fmt: skip
    assert "The period ends before it starts." in wrong.content.decode()
    asked = browser.post("/reports/", {"resource": RESOURCE, "period": "month"})
    assert asked.status_code == 302
    waiting = browser.get(asked["Location"]).content.decode()
    assert 'hx-trigger="every 2s"' in waiting
    assert 'http-equiv="refresh"' in waiting, "without JavaScript the page loads itself again"
    render_due_documents()
    done = browser.get(asked["Location"]).content.decode()
    assert 'hx-trigger="every 2s"' not in done
    assert "checked just now" in done
    assert "CREATE" in done
    row = Report.objects.get()
    taken = browser.get(f"/reports/{row.pk}/report.pdf")
    assert builders.streamed(taken).startswith(b"%PDF-")
    assert f"{row.resource}" in browser.get("/reports/").content.decode()


def test_period_presets_are_whole_calendar_periods() -> None:
    from datetime import date

    from reports.forms import _periods

    known = {key: (str(a), str(b)) for key, (_, a, b) in _periods(date(2026, 1, 31)).items()}
    assert known["month"] == ("2026-01-01", "2026-01-31")
    assert known["last_month"] == ("2025-12-01", "2025-12-31")
    assert known["last_quarter"] == ("2025-10-01", "2025-12-31")
    assert known["last_30_days"] == ("2026-01-02", "2026-01-31")
    assert known["year"] == ("2026-01-01", "2026-01-31")
