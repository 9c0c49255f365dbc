"""A compliance report proves that it leaves nothing out, or says why it cannot."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.ledger.verify import verify_document
from audit.queries import entries, entry
from reports import compliance_report
from reports.models import Report
from tests.audit.builders import as_database_owner, sql
from tests.audit.ledger.builders import with_digest
from tests.reports import builders
from tests.reports.builders import RESOURCE, appended, pipeline, rendered

pytestmark = pytest.mark.django_db


def json_of(row: Report, folder: Path) -> Any:
    return json.loads(builders.path_of(row.json_file, folder).read_bytes())


def moment(seq: int, later: int = 0) -> str:
    """When the entry was recorded, and so many microseconds later."""
    return (entry(seq).recorded_at + timedelta(microseconds=later)).isoformat()


def complete(document: dict[str, Any]) -> tuple[bool, str]:
    """What the offline verifier says of the document's completeness."""
    verdict = verify_document(document)
    said = [check.sentence for check in verdict.checks if check.name == "complete"]
    return verdict.valid, " ".join(said)


def test_a_report_is_proven_complete_and_says_so(
    auditor: User, browser: Client, tmp_path: Path
) -> None:
    appended(3, by=pipeline(), resource="dataset:shop:other")
    appended(5, by=pipeline())
    row = rendered(auditor)
    said = json_of(row, tmp_path)
    assert (said["complete"]["since"], said["complete"]["until"]) == (
        0,
        said["entries"]["as_of"] + 1,
    )
    last = said["entries"]["as_of"]
    assert said["complete"]["entries"] == said["total_events"] == 5
    assert complete(said)[0]
    assert f"between entry 0 and entry {last} of the log" in builders.text_of(
        builders.path_of(row.pdf_file, tmp_path)
    )
    browser.force_login(auditor)
    page = browser.get(f"/reports/{row.pk}/").content.decode()
    assert f"between entry 0 and entry {last}, nothing of this resource is left out" in page
    assert f"All 5 entries of {RESOURCE}" in page, "the page checks its document"


def test_leaving_an_event_out_of_report_and_evidence_is_refused(
    auditor: User, tmp_path: Path
) -> None:
    appended(4, by=pipeline())
    said = json_of(rendered(auditor), tmp_path)
    for left_out in range(4):
        evidence = dict(said["evidence"])
        evidence["entries"] = [e for e in evidence["entries"] if e["seq"] != left_out]
        valid, sentence = complete(said | {"evidence": with_digest(evidence)})
        assert not valid
        assert f"Entry {left_out}" in sentence
    evidence = {**said["evidence"], "format": "vestige-evidence/1"}
    del evidence["complete"]
    assert not complete(said | {"evidence": with_digest(evidence)})[0]


def test_a_period_that_is_over_is_proven_by_its_borders(auditor: User, tmp_path: Path) -> None:
    by = pipeline()
    for resource in (RESOURCE, "other", RESOURCE, RESOURCE, "other", RESOURCE):
        appended(1, by=by, resource=resource)
    row = rendered(auditor, start=moment(0, 1), end=moment(3))
    said = json_of(row, tmp_path)
    assert [event["entry"] for event in said["events"]] == [2, 3]
    assert said["complete"]["before"] is not None
    assert said["evidence"]["complete"][0]["heads"] is None, "entry 5 closes the period"
    assert not entries().filter(type="log.heads").exists()
    shown = {item["seq"] for item in said["evidence"]["entries"]}
    assert {0, 1, 2, 3, 4, 5} <= shown
    valid, sentence = complete(said)
    assert valid
    assert f"All 2 entries of {RESOURCE} from entry 1 to entry 3 (recorded from 2" in sentence


def test_a_report_that_cannot_be_proven_complete_says_why(
    auditor: User, browser: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compliance_report, "MOST_PROVED", 3)
    appended(4, by=pipeline())
    row = rendered(auditor)
    said = json_of(row, tmp_path)
    assert said["complete"] is None
    assert "shorter period" in said["not_complete_because"]
    assert "Not proven. The evidence carries" in builders.text_of(
        builders.path_of(row.pdf_file, tmp_path)
    )
    browser.force_login(auditor)
    assert (
        "shorter period is proven complete" in browser.get(f"/reports/{row.pk}/").content.decode()
    )
    later = (timezone.now() + timedelta(days=400)).date().isoformat()
    future = json_of(rendered(auditor, start=later, end=later), tmp_path)
    assert "had not begun" in future["not_complete_because"]


def test_a_report_on_an_edited_log_is_not_rendered(auditor: User) -> None:
    appended(4, by=pipeline())
    with as_database_owner():
        sql("UPDATE audit_entry SET resource = 'elsewhere' WHERE seq = 2")
    row = rendered(auditor)
    assert row.state == Report.State.FAILED
    assert "Entry 2" in row.failure
