"""The certificate: never before the verification, what it states, and who sees it."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from accounts.roles import Role
from audit.ledger.bundle import statement_digest
from audit.ledger.verify import verify_bundle, verify_pdf
from audit.queries import entry, event_of
from compliance.actions.plans import amend_plan, approve_plan
from compliance.models import Request
from compliance.queries import current_plan
from compliance.states import State
from reports.models import Certificate
from reports.queries import certificates_visible_to
from reports.tasks import render_due_documents
from tests.builders import Api, sequenced, user
from tests.compliance.builders import (
    Team,
    approved,
    connected,
    erased,
    in_triage,
    planned,
    team,
    work_off,
    write_table,
)
from tests.reports import builders
from tests.reports.builders import certified

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(tmp_path: Path, db: None) -> Team:
    connected(write_table(tmp_path / "purchases"))
    return team()


def address(request: Request, ending: str = "") -> str:
    return f"/api/v1/requests/{request.reference}/certificate{ending}"


@pytest.mark.parametrize("stage", [in_triage, planned, None])
def test_there_is_no_certificate_before_every_store_is_scanned(
    people: Team, api: Api, stage: Any
) -> None:
    request = stage(people.analyst) if stage else approved(people)
    render_due_documents()
    for ending in ("", ".pdf"):
        answer = api(people.analyst).get(address(request, ending))
        assert answer.status_code == 409
        assert answer["Content-Type"] == "application/problem+json"
        assert "before that it would be false" in answer.json()["detail"]
    assert not Certificate.objects.exists()


def test_while_it_is_rendered_the_answer_says_so(people: Team, api: Api) -> None:
    request = erased(people)
    answer = api(people.analyst).get(address(request))
    assert answer.status_code == 409
    assert "being rendered" in answer.json()["detail"]
    assert api(people.analyst).get("/api/v1/requests/R-2026-9999/certificate").status_code == 404


def test_the_certificate_states_the_facts_of_the_erasure(tmp_path: Path, api: Api) -> None:
    row, people = certified(tmp_path, model="1")
    answer = api(people.analyst).get(address(row.request))
    said = json.loads(builders.streamed(answer))
    assert answer["Content-Type"] == "application/json"
    assert said["number"] == "C-" + row.request.reference.removeprefix("R-")
    assert said["totals"] | {"files_scanned": 0, "bytes_scanned": 0} == {
        "locations": 1, "versions": 3, "histories_kept": 0, "rows_found": 3, "rows_erased": 3,
        "traces": 0, "unreadable": 0, "files_scanned": 0, "bytes_scanned": 0,
    }  # fmt: skip
    assert said["totals"]["files_scanned"] > 0
    (place,) = said["locations"]
    assert place["dataset"] == "dataset:shop:purchases"
    assert place["outcome"] == "erased"
    assert [v["rows"] for v in place["rows_by_version"]] == [1, 2, 3]
    assert place["scan"]["control_found"] is True
    assert [a["role"] for a in said["approvals"]] == ["Data protection officer", "Data owner"]
    assert {a["name"] for a in said["approvals"]} == {str(people.dpo), str(people.data_owner)}
    plan = current_plan(row.request)
    assert plan
    assert {said["plan"]["sha256"], *(a["plan_sha256"] for a in said["approvals"])} == {plan.hash}
    (model,) = said["models"]
    assert (model["model"], model["version"], model["notice_state"]) == (
        "model:again",
        "1",
        "issued",
    )
    assert said["status"] == "interim"
    assert said["request"]["identity_checked_by"] == "two held attributes"
    assert said["request"]["in_time"] is True
    assert "Art. 77" in " ".join(said["remedies"])
    assert "Art. 79" in " ".join(said["remedies"])
    assert "not legal advice" in said["disclaimer"]
    assert len(said["limits"]) >= 5


def test_the_log_commits_to_the_statement_and_the_request_is_complete(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    assert row.entry is not None
    assert row.content is not None
    said = event_of(entry(row.entry))
    assert said["type"] == "certificate.issued"
    assert said["resource"] == row.request.resource
    assert said["details"]["statement_sha256"] == statement_digest(row.content)
    rendered = [e for e in sequenced() if e.type == "document.rendered"]
    assert event_of(rendered[0])["details"]["pdf_sha256"] == row.pdf_sha256
    request = Request.objects.get(pk=row.request_id)
    assert request.state == State.COMPLETED
    assert request.certificate_issued_at
    assert request.certificate_due_at is None


def test_a_kept_location_makes_the_certificate_partial(people: Team, tmp_path: Path) -> None:
    request = planned(people.analyst)
    kept = {"dataset": "dataset:shop:purchases", "exemption": "17(3)(b)", "reason": "Tax law"}
    plan = amend_plan(request, retain=[kept], by=people.analyst)
    for approver in (people.dpo, people.data_owner):
        approve_plan(request, plan_hash=plan.hash, by=approver)
    from compliance.actions.erasure import execute

    request.refresh_from_db()
    execute(request, by=people.analyst)
    work_off(request)
    render_due_documents()
    row = Certificate.objects.get(request=request)
    assert row.content
    assert row.content["status"] == "partial"
    assert row.content["retained"] == [kept]
    assert row.content["totals"]["rows_erased"] == 0
    text = builders.text_of(builders.path_of(row.pdf_file, tmp_path))
    assert "Erased, and verified" not in text
    assert "17(3)(b)" in text


def test_when_nothing_was_held_the_certificate_says_that(tmp_path: Path) -> None:
    from audit.subjects import SubjectRef

    connected(write_table(tmp_path / "purchases"))
    request = erased(team(), SubjectRef("customer", "77777"))
    render_due_documents()
    row = Certificate.objects.get(request=request)
    assert row.content
    assert row.content["totals"]["rows_found"] == 0
    text = builders.text_of(builders.path_of(row.pdf_file, tmp_path))
    assert "Searched everywhere: nothing was held" in text
    assert "Erased, and verified" not in text


def test_who_may_not_see_the_request_does_not_see_its_certificate(
    tmp_path: Path, browser: Client, api: Api, admin: User, auditor: User
) -> None:
    row, _ = certified(tmp_path)
    assert api(admin).get(address(row.request)).status_code == 403
    other_pipeline = user(Role.PIPELINE)
    assert api(other_pipeline).get(address(row.request)).status_code == 404
    assert not certificates_visible_to(admin).exists()
    assert not certificates_visible_to(other_pipeline).exists()
    assert certificates_visible_to(auditor).get() == row
    browser.force_login(admin)
    assert browser.get(f"/certificates/{row.number}/").status_code == 403
    browser.force_login(auditor)
    page = browser.get(f"/certificates/{row.number}/").content.decode()
    assert "checked just now" in page
    assert "Try again" not in page
    assert browser.post(f"/certificates/{row.number}/retry/").status_code == 403


def test_the_page_of_a_request_without_certificate_says_why(people: Team, browser: Client) -> None:
    request = in_triage(people.analyst)
    browser.force_login(people.analyst)
    page = browser.get(f"/certificates/{request.reference}/")
    assert page.status_code == 200
    assert "before that it would be false" in page.content.decode()
    assert browser.get("/certificates/R-2000-0001/").status_code == 404


def test_each_download_is_on_record(tmp_path: Path, browser: Client, auditor: User) -> None:
    row, _ = certified(tmp_path)
    browser.force_login(auditor)
    answer = browser.get(f"/certificates/{row.number}/certificate.pdf")
    data = builders.streamed(answer)
    assert answer["Content-Type"] == "application/pdf"
    assert f'filename="{row.number}.pdf"' in answer["Content-Disposition"]
    assert verify_pdf(data).valid
    (said,) = [event_of(e) for e in sequenced() if e.type == "document.exported"]
    assert said["actor"] == auditor.actor
    assert said["details"]["sha256"] == row.pdf_sha256

    alone = browser.get(f"/certificates/{row.number}/certificate.evidence.json")
    evidence = builders.streamed(alone)
    assert verify_bundle(evidence).valid
    assert (
        evidence == builders.attachments(builders.path_of(row.pdf_file, tmp_path))["evidence.json"]
    )
    assert browser.get(f"/certificates/{row.number}/certificate.exe").status_code == 404


def test_a_file_that_was_changed_on_disk_is_not_called_valid(
    tmp_path: Path, browser: Client, settings: Any
) -> None:
    row, people = certified(tmp_path)
    browser.force_login(people.dpo)
    assert "checked just now" in browser.get(f"/certificates/{row.number}/").content.decode()
    path = Path(settings.VESTIGE_DOCUMENTS) / row.json_file
    path.write_bytes(path.read_bytes().replace(b"erased", b"kept!!", 1))
    page = browser.get(f"/certificates/{row.number}/").content.decode()
    assert "do not rely on this document" in page
    assert "The JSON file was changed since it was rendered." in page
    path.unlink()
    assert (
        "is gone from the documents" in browser.get(f"/certificates/{row.number}/").content.decode()
    )
