"""The home page: what it claims about the log, whom it shows what, and the self-checks."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from audit.actions import note_anchor, note_anchor_fault, verify_stored_log
from audit.queries import head
from audit.subjects import SubjectRef
from compliance.actions.requests import file_request
from compliance.models import Notice, Request, Step
from lineage.models import Version
from reports.home import integrity
from reports.models import Certificate
from reports.self_checks import self_checks
from tests.audit.builders import as_database_owner, sql
from tests.builders import user
from tests.compliance.builders import (
    connected,
    erased,
    in_triage,
    planned,
    team,
    tell_training,
    write_table,
)
from tests.reports.builders import appended, certified, pipeline

pytestmark = pytest.mark.django_db


def page_for(somebody: User) -> str:
    browser = Client()
    browser.force_login(somebody)
    answer = browser.get("/")
    assert answer.status_code == 200
    return answer.content.decode()


def counts(somebody: User) -> dict[str, int]:
    return {check.label: check.count for check in self_checks(somebody)}


def test_the_home_page_is_for_those_who_sign_in() -> None:
    answer = Client().get("/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in/")


def test_a_log_that_nobody_has_verified_is_not_green(auditor: User) -> None:
    appended(3, by=pipeline())
    assert (integrity()["kind"], integrity()["word"]) == ("warn", "never verified")
    assert "never verified" in page_for(auditor)


def test_green_only_when_every_entry_was_verified(auditor: User) -> None:
    appended(3, by=pipeline())
    verify_stored_log(by=auditor)
    log = head()
    assert log
    strip = integrity()
    assert (strip["kind"], strip["word"]) == ("ok", "verified")
    assert strip["verified"] == strip["total"] == log.size
    appended(2, by=pipeline())
    strip = integrity()
    assert strip["total"] - strip["verified"] == 2
    assert (strip["kind"], strip["word"]) == ("warn", "partial")


def test_a_log_that_was_tampered_with_is_red(auditor: User) -> None:
    appended(3, by=pipeline())
    with as_database_owner():
        sql("UPDATE audit_entry SET type = 'DELETE' WHERE seq = 1")
    verify_stored_log(by=auditor)
    strip = integrity()
    assert (strip["kind"], strip["word"]) == ("bad", "does not hold")
    page = page_for(auditor)
    assert "does not hold" in page
    assert "Entry 1" in page


def test_the_home_page_says_what_a_witness_says(auditor: User) -> None:
    appended(3, by=pipeline())
    assert "by nobody" in page_for(auditor)
    verify_stored_log(by=auditor)
    log = head()
    assert log
    note_anchor(
        log.pk, "witness", "witness.example/w1", size=log.size, root=bytes(32), note=log.note
    )
    assert f"Held outside</dt><dd>{log.size} entries" in page_for(auditor)
    note_anchor_fault(log.pk, "witness", "witness.example/w1", fault="It refuses.", grave=True)
    strip = integrity()
    assert (strip["kind"], strip["word"]) == ("bad", "contradicted outside")
    assert "by nobody" in page_for(auditor)


def test_the_auditor_sees_erasures_checks_and_one_record(tmp_path: Path, auditor: User) -> None:
    row, _ = certified(tmp_path, model="1")
    page = page_for(auditor)
    assert "Evidence at a glance" in page
    assert "Your work" not in page
    assert row.request.reference in page
    assert "One record, start to end" in page
    assert f"Walk through {row.number}" in page
    assert "Found in 3 versions" in page
    assert "0 of 1 notices closed" in page


def test_before_the_first_request_the_pages_say_what_comes(auditor: User) -> None:
    page = page_for(auditor)
    assert "No request yet" in page
    assert "One record, start to end" not in page


def test_each_role_sees_its_work_first(tmp_path: Path, model_owner: User) -> None:
    connected(write_table(tmp_path / "purchases"))
    tell_training("1", "1")
    people = team()
    first = planned(people.analyst)
    for approver in (people.dpo, people.data_owner):
        page = page_for(approver)
        assert page.index("Your work") < page.index("Erasures that need an eye")
        assert "Read the plan and approve it" in page
        assert first.reference in page
    second = in_triage(people.analyst, SubjectRef("customer", "00021"))
    page = page_for(people.analyst)
    assert "Search the stores and plan" in page
    assert f"/requests/{second.reference}/" in page
    assert "Read the plan and approve it" not in page
    assert "Nothing waits for you" in page_for(model_owner)
    erased(team(), SubjectRef("customer", "00050"))
    page = page_for(model_owner)
    assert "Notice" in page
    assert "retrain without the person, or retire" in page
    assert "Erasures that need an eye" not in page, "a model owner reads no cases"


def test_an_author_is_not_asked_to_approve_their_own_plan(tmp_path: Path) -> None:
    connected(write_table(tmp_path / "purchases"))
    both = user(Role.ANALYST, Role.DPO)
    planned(both)
    assert "Read the plan and approve it" not in page_for(both)


def test_who_has_several_plans_to_approve_is_led_to_the_page_for_them(tmp_path: Path) -> None:
    connected(write_table(tmp_path / "purchases"))
    people = team()
    planned(people.analyst)
    assert "plans on one page" not in page_for(people.dpo)
    planned(people.analyst, SubjectRef("customer", "00021"))
    page = page_for(people.dpo)
    assert '<a href="/requests/approvals/">Approve 2 plans on one page</a>' in page
    assert page.count("Plan awaits approval") == 4  # as the queue calls it, in both tables
    assert "plans on one page" not in page_for(people.analyst)


def test_a_code_is_spoken_of_only_where_one_was_sent(tmp_path: Path) -> None:
    connected(write_table(tmp_path / "purchases"))
    analyst = team().analyst
    for channel in (Request.Channel.FORM, Request.Channel.STAFF):
        filed = file_request(
            rights=["erasure"],
            subjects=[SubjectRef("customer", f"1{channel}")],
            channel=channel,
            by=analyst,
        )
        said = page_for(analyst)
        assert said.count("Waits for a code that was sent") == 1
        browser = Client()
        browser.force_login(analyst)
        shown = browser.get(f"/requests/{filed.reference}/").content.decode()
        assert ("No code was sent" in shown) == (channel == Request.Channel.STAFF)


def test_administrators_see_the_log_and_no_cases(tmp_path: Path, admin: User) -> None:
    row, _ = certified(tmp_path)
    page = page_for(admin)
    assert "Evidence at a glance" in page
    assert row.request.reference not in page
    assert page_for(user(Role.PIPELINE)).count("<h2>Welcome</h2>") == 1


def test_self_checks_find_what_is_missing(tmp_path: Path, auditor: User) -> None:
    row, _ = certified(tmp_path, model="1")
    good = counts(auditor)
    assert good["Closed erasures without a certificate"] == 0
    assert good["Closed erasures with a store that was not scanned"] == 0
    assert good["Models in use that learned from data purged since, without a notice"] == 0
    assert good["Retraining notices past their date"] == 0
    assert good["Requests past their due date"] == 0

    Version.objects.filter(dataset__kind="model").update(in_use=True)
    Notice.objects.update(due_at=timezone.now() - timedelta(days=1))
    assert counts(auditor)["Retraining notices past their date"] == 1
    assert (
        counts(auditor)["Models in use that learned from data purged since, without a notice"] == 0
    )
    Notice.objects.all().delete()
    assert (
        counts(auditor)["Models in use that learned from data purged since, without a notice"] == 1
    )
    Step.objects.update(report={})
    assert counts(auditor)["Closed erasures with a store that was not scanned"] == 1
    Certificate.objects.all().delete()
    assert counts(auditor)["Closed erasures without a certificate"] == 1
    Request.objects.filter(pk=row.request_id).update(
        state="review", due_at=timezone.now() - timedelta(days=1)
    )
    assert counts(auditor)["Requests past their due date"] == 1
    assert "overdue" in page_for(auditor)


def test_versions_without_a_producer_are_counted(tmp_path: Path, auditor: User) -> None:
    connected(write_table(tmp_path / "purchases"))
    label = "Dataset versions without a known producer"
    assert counts(auditor)[label] == Version.objects.filter(produced_by=None).count() > 0


def test_nobody_is_told_of_lists_they_may_not_open(model_owner: User) -> None:
    labels = set(counts(model_owner))
    assert "Retraining notices past their date" in labels
    assert not any("erasures" in label or "Requests" in label for label in labels)


def test_every_self_check_leads_to_a_page_that_opens(auditor: User) -> None:
    browser = Client()
    browser.force_login(auditor)
    for check in self_checks(auditor):
        assert browser.get(check.url).status_code == 200, check.label


def test_the_page_costs_no_more_queries_with_more_requests(tmp_path: Path, auditor: User) -> None:
    from audit.subjects import SubjectRef

    connected(write_table(tmp_path / "purchases"))
    people = team()
    browser = Client()
    browser.force_login(auditor)

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            assert browser.get("/").status_code == 200
        return len(found)

    planned(people.analyst)
    few = queries()
    for number in range(8):
        in_triage(people.analyst, SubjectRef("customer", f"1{number:04d}"))
    assert queries() <= few + 2
    assert few < 45
