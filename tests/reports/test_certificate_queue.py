"""Certificates as rows of a queue: workers die, errors pass, a later one supersedes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.queries import system_user
from audit.queries import entries_for
from compliance.actions.notices import waive
from compliance.leases import LEASE
from compliance.models import Mail
from compliance.states import State
from datasheets.rendering import RenderError
from reports import actions, rendering, tasks
from reports.models import Certificate
from reports.tasks import render_due_documents
from tests.builders import sequenced
from tests.compliance.builders import (
    EMAIL,
    Team,
    connected,
    erased,
    team,
    write_table,
)
from tests.reports import builders
from tests.reports.builders import certified

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(tmp_path: Path, db: None) -> Team:
    connected(write_table(tmp_path / "purchases"))
    return team()


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
    real = rendering.rendered_certificate

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
    taken: list[Certificate | None] = []

    def overtaken(row: Certificate) -> Any:
        Certificate.objects.update(claimed_at=timezone.now() - LEASE - timedelta(seconds=1))
        taken.append(actions.claim(Certificate, row.pk, by=system_user("scheduler")))
        return rendering.rendered_certificate(row)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "rendered_certificate", overtaken)
        render_due_documents()
    row = Certificate.objects.get(request=request)
    assert taken[0] is not None
    assert (row.state, row.claim) == (Certificate.State.RENDERING, taken[0].claim)
    request.refresh_from_db()
    assert request.state == State.RESPONDING
    assert not [e for e in sequenced() if e.type == "document.rendered"]


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
