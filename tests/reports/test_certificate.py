"""The certificate: never before the verification, no person in it, and proofs that break."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from audit.ledger.bundle import build, parse, statement_digest
from audit.ledger.verify import verify_bundle, verify_pdf
from audit.queries import entries_for, entry, event_of
from compliance.actions.notices import waive
from compliance.actions.plans import amend_plan, approve_plan
from compliance.models import Mail, Request
from compliance.queries import current_plan
from compliance.states import State
from datasheets.rendering import RenderError
from reports import rendering, tasks
from reports.models import Certificate
from reports.queries import LEASE
from reports.tasks import render_due_documents
from tests.builders import Api, sequenced, user
from tests.compliance.builders import (
    EMAIL,
    PERSON,
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
    said = json.loads(b"".join(answer.streaming_content))
    assert answer["Content-Type"] == "application/json"
    assert said["number"] == "C-" + row.request.reference.removeprefix("R-")
    assert said["totals"] | {"files_scanned": 0, "bytes_scanned": 0} == {
        "locations": 1, "versions": 3, "rows_found": 3, "rows_erased": 3, "traces": 0,
        "unreadable": 0, "files_scanned": 0, "bytes_scanned": 0,
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


def test_the_request_is_complete_once_the_certificate_is_there(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    request = Request.objects.get(pk=row.request_id)
    assert request.state == State.COMPLETED
    assert request.certificate_issued_at
    assert request.certificate_due_at is None


def test_no_personal_data_are_in_the_certificate(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    pdf = builders.path_of(row.pdf_file, tmp_path)
    texts = [
        builders.path_of(row.json_file, tmp_path).read_text(),
        builders.text_of(pdf),
        builders.attachments(pdf)["evidence.json"].decode(),
    ]
    for text in texts:
        assert EMAIL not in text
        assert f'"{PERSON.value}"' not in text
        assert row.request.subject_lookup not in text
    assert row.request.pseudonyms[0] in texts[0]


def test_the_log_commits_to_the_statement(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    assert row.entry is not None
    assert row.content is not None
    said = event_of(entry(row.entry))
    assert said["type"] == "certificate.issued"
    assert said["resource"] == row.request.resource
    assert said["details"]["statement_sha256"] == statement_digest(row.content)
    rendered = [e for e in sequenced() if e.type == "document.rendered"]
    assert event_of(rendered[0])["details"]["pdf_sha256"] == row.pdf_sha256


@pytest.mark.parametrize("ending", ["pdf", "json"])
def test_the_verifier_says_valid_without_a_server(tmp_path: Path, ending: str) -> None:
    row, _ = certified(tmp_path)
    name = row.pdf_file if ending == "pdf" else row.json_file
    status, said = builders.verified_offline(builders.path_of(name, tmp_path))
    assert status == 0, said
    assert "VALID" in said
    assert f"Entry {row.entry} (certificate.issued" in said


def test_one_changed_byte_of_the_bundle_makes_the_pdf_invalid(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    pdf = builders.path_of(row.pdf_file, tmp_path)
    bundle = builders.attachments(pdf)["evidence.json"]
    for place in range(7, len(bundle), len(bundle) // 40):
        changed = bytearray(bundle)
        changed[place] ^= 0x01
        assert not verify_bundle(bytes(changed)).valid, f"byte {place} may be changed"
    spoiled = bundle.replace(b'"rows_erased":3', b'"rows_erased":4', 1)
    assert spoiled != bundle
    status, said = builders.verified_offline(
        builders.with_attachment(pdf, "evidence.json", spoiled)
    )
    assert status == 1
    assert "NOT VALID" in said
    same = builders.with_attachment(pdf, "evidence.json", bundle)
    assert builders.verified_offline(same)[0] == 0, "the change made it invalid, not the writing"


def test_a_forged_statement_with_a_fitting_digest_is_found_out(tmp_path: Path) -> None:
    """Whoever edits the statement can recompute the bundle's digest, but not the signed log."""
    row, _ = certified(tmp_path)
    said = json.loads(builders.path_of(row.json_file, tmp_path).read_bytes())["evidence"]
    genuine = parse(said)
    said["statement"]["totals"]["traces"] = 7
    forged = build(
        purpose=genuine.purpose, statement=said["statement"], origin=genuine.origin,
        vkey=genuine.vkey, checkpoint=genuine.checkpoint,
        entries=[(e.seq, e.leaf, e.proof) for e in genuine.entries],
    )  # fmt: skip
    assert [check.name for check in verify_bundle(forged).faults] == ["statement"]


def test_the_pdf_is_signed_and_a_changed_page_breaks_the_signature(tmp_path: Path) -> None:
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    from reports import signing

    row, _ = certified(tmp_path)
    pdf = builders.path_of(row.pdf_file, tmp_path)
    data = pdf.read_bytes()

    def status(content: bytes) -> Any:
        import io

        signature = PdfFileReader(io.BytesIO(content)).embedded_signatures[0]
        context = ValidationContext(trust_roots=[signature.signer_cert])
        return signature, validate_pdf_signature(signature, context)

    signature, found = status(data)
    assert found.intact
    assert found.valid
    assert found.coverage.name == "ENTIRE_FILE"
    assert signature.signer_cert.sha256.hex() == signing.certificate_sha256()
    assert row.content
    assert row.content["signing_certificate_sha256"] == signing.certificate_sha256()
    place = data.index(b"stream\n") + 40
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    assert not status(changed)[1].intact


def test_the_signed_pdf_is_still_archival_and_accessible(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    with pikepdf.open(builders.path_of(row.pdf_file, tmp_path)) as pdf:
        meta = pdf.open_metadata()
        assert (meta["pdfaid:part"], meta["pdfaid:conformance"]) == ("3", "A")
        assert meta["pdfuaid:part"] == "1"
        assert meta["dc:title"] == f"Certificate of erasure {row.number}"
        assert pdf.Root.Lang == "en"
        assert pdf.Root.MarkInfo.Marked
        assert "/StructTreeRoot" in pdf.Root
        (evidence,) = pdf.Root.AF
        assert evidence.AFRelationship == "/Supplement"
        (field,) = pdf.Root.AcroForm.Fields
        assert all(edge < -1000 for edge in field.Rect), "out of the page: need not be tagged"
        assert field.F & 4, "printable, as PDF/A asks"


def test_a_reader_finds_the_facts_and_the_way_to_check_on_the_pages(tmp_path: Path) -> None:
    row, people = certified(tmp_path)
    text = builders.text_of(builders.path_of(row.pdf_file, tmp_path))
    for words in (
        row.number, row.request.reference, "Erased, and verified by an independent scan",
        str(people.dpo), str(people.data_owner), "shop / purchases", "Art. 77 GDPR",
        f"python -m audit.ledger verify {row.number}.pdf", "not legal advice",
    ):  # fmt: skip
        assert words in text, words


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


def test_when_the_last_notice_is_answered_a_final_certificate_supersedes_the_first(
    tmp_path: Path, browser: Client
) -> None:
    first, people = certified(tmp_path, model="1")
    waive(
        first.request.notices.get(),
        reason="The model is switched off next week.",
        until=timezone.now() + timedelta(days=30),
        by=people.dpo,
    )
    render_due_documents()
    second = Certificate.objects.get(supersedes=first)
    assert second.number == f"{first.number}-2"
    assert second.content
    assert second.content["supersedes"] == first.number
    assert second.content["status"] == "final"
    browser.force_login(people.analyst)
    page = browser.get(f"/certificates/{first.number}/").content.decode()
    assert "A later certificate supersedes this one" in page
    newest = browser.get(f"/certificates/{first.request.reference}/").content.decode()
    assert f"Certificate {second.number}" in newest
    first.refresh_from_db()
    assert builders.verified_offline(builders.path_of(first.pdf_file, tmp_path))[0] == 0


def test_a_notice_answered_while_the_first_is_rendered_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(write_table(tmp_path / "purchases"))
    from tests.compliance.builders import tell_training

    tell_training("1", "1")
    people = team()
    request = erased(people)
    real = tasks.rendered_certificate

    def answered_meanwhile(row: Certificate) -> Any:
        done = real(row)
        monkeypatch.setattr(tasks, "rendered_certificate", real)
        later = timezone.now() + timedelta(days=9)
        waive(request.notices.get(), reason="Switched off.", until=later, by=people.dpo)
        return done

    monkeypatch.setattr(tasks, "rendered_certificate", answered_meanwhile)
    render_due_documents()
    render_due_documents()
    statuses = [c.content["status"] for c in Certificate.objects.order_by("pk") if c.content]
    assert statuses == ["interim", "final"]


def test_running_the_sweep_again_changes_nothing(tmp_path: Path) -> None:
    row, _ = certified(tmp_path)
    before = len(sequenced())
    mails = Mail.objects.count()
    render_due_documents()
    assert len(sequenced()) == before
    assert Mail.objects.count() == mails
    assert Certificate.objects.get() == row


def test_a_worker_that_dies_after_issuing_is_followed_by_one_that_goes_on(
    people: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement is bound to the log once; the second worker renders the same one."""
    request = erased(people)

    class Killed(BaseException):
        pass

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "rendered_certificate", die)
        with pytest.raises(Killed):
            render_due_documents()
    row = Certificate.objects.get(request=request)
    assert row.state == Certificate.State.RENDERING
    issued = row.statement_sha256
    assert issued
    render_due_documents()
    assert Certificate.objects.get().state == Certificate.State.RENDERING, "its lease still runs"
    Certificate.objects.update(claimed_at=timezone.now() - LEASE - timedelta(seconds=1))
    render_due_documents()
    row.refresh_from_db()
    assert row.state == Certificate.State.DONE
    assert row.statement_sha256 == issued
    sequenced()
    kinds = [e.type for e in entries_for(request.resource)]
    assert kinds.count("certificate.issued") == 1
    assert kinds.count("request.completed") == 1


def test_a_worker_that_was_thought_dead_cannot_finish_what_another_took_over(
    people: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = erased(people)
    real = tasks.rendered_certificate

    def overtaken(row: Certificate) -> Any:
        monkeypatch.setattr(tasks, "rendered_certificate", real)
        Certificate.objects.update(claimed_at=timezone.now() - LEASE - timedelta(seconds=1))
        render_due_documents()
        return real(row)

    monkeypatch.setattr(tasks, "rendered_certificate", overtaken)
    render_due_documents()
    row = Certificate.objects.get(request=request)
    assert row.state == Certificate.State.DONE
    assert len([e for e in sequenced() if e.type == "document.rendered"]) == 1


def test_what_cannot_be_rendered_is_tried_again_then_shown_and_can_be_retried(
    people: Team, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = erased(people)

    def broken(*args: object, **kwargs: object) -> bytes:
        raise RenderError("The renderer is out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr(rendering, "render_pdf", broken)
        for _ in range(5):
            render_due_documents()
            Certificate.objects.update(render_after=timezone.now())
    row = Certificate.objects.get(request=request)
    assert row.state == Certificate.State.FAILED
    request.refresh_from_db()
    assert request.state == State.RESPONDING, "nothing is complete without its certificate"
    assert "certificate.failed" in [e.type for e in sequenced()]

    browser.force_login(people.analyst)
    page = browser.get(f"/certificates/{row.number}/").content.decode()
    assert "out of memory" in page
    assert "Try again" in page
    assert browser.post(f"/certificates/{row.number}/retry/").status_code == 302
    render_due_documents()
    row.refresh_from_db()
    assert row.state == Certificate.State.DONE


def test_an_unexpected_error_is_put_back_and_quotes_nothing(
    people: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = erased(people)

    def broken(*args: object) -> None:
        raise KeyError(EMAIL)

    monkeypatch.setattr(tasks, "rendered_certificate", broken)
    with pytest.raises(KeyError):
        render_due_documents()
    row = Certificate.objects.get(request=request)
    assert row.state == Certificate.State.DUE
    assert row.failure == "Unexpected error (KeyError)."
    assert row.render_after > timezone.now()


def test_who_may_not_see_the_request_does_not_see_its_certificate(
    tmp_path: Path, browser: Client, api: Api, admin: User, auditor: User
) -> None:
    row, _ = certified(tmp_path)
    assert api(admin).get(address(row.request)).status_code == 403
    other_pipeline = user(Role.PIPELINE)
    assert api(other_pipeline).get(address(row.request)).status_code == 404
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
    data = b"".join(answer.streaming_content)
    assert answer["Content-Type"] == "application/pdf"
    assert f'filename="{row.number}.pdf"' in answer["Content-Disposition"]
    assert verify_pdf(data).valid
    (said,) = [event_of(e) for e in sequenced() if e.type == "document.exported"]
    assert said["actor"] == auditor.actor
    assert said["details"]["sha256"] == row.pdf_sha256


def test_the_evidence_alone_can_be_taken_away(tmp_path: Path, browser: Client) -> None:
    row, people = certified(tmp_path)
    browser.force_login(people.dpo)
    answer = browser.get(f"/certificates/{row.number}/certificate.evidence.json")
    data = b"".join(answer.streaming_content)
    assert verify_bundle(data).valid
    assert data == builders.attachments(builders.path_of(row.pdf_file, tmp_path))["evidence.json"]
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
