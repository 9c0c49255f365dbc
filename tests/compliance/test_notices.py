"""Retraining notices: told, acknowledged, closed by facts and never by a word."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import User
from accounts.roles import Role
from compliance.actions.notices import acknowledge, start_retraining, submit_evidence, waive
from compliance.errors import InvalidInputError, NotPermittedError, WrongStateError
from compliance.models import Notice, Request
from compliance.states import NoticeState
from compliance.tasks import issue_due_notices, send_due_mail
from lineage.actions import put_model_in_use, retire_model_version, sync_connector
from lineage.models import Version
from tests.builders import Api, sequenced, user
from tests.compliance import builders

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(db: None) -> User:
    return user(Role.MODEL_OWNER)


@pytest.fixture
def request_(table: Path, owner: User) -> Request:
    builders.connected(table)
    builders.tell_training("1", "2")
    put_model_in_use(version("1"), by=owner)
    return builders.erased(builders.team())


def version(name: str) -> Version:
    return Version.objects.get(dataset__name="again", dataset__kind="model", version=name)


def notice_of(request: Request) -> Notice:
    return request.notices.get()


def retrain(request: Request, name: str = "2", *, on: str | None = None) -> Version:
    """A pipeline trains on the newest version of the erased table, after the erasure."""
    connector = request.steps.get().connector
    sync_connector(connector, by=user(Role.DATA_OWNER))
    newest = (
        Version.objects.filter(dataset__name="purchases", purged_at=None)
        .order_by("-created_at", "-pk")
        .first()
    )
    assert newest
    builders.tell_training(name, on or newest.version, at=timezone.now() + timedelta(seconds=2))
    return version(name)


def release(new: Version, owner: User) -> None:
    put_model_in_use(new, by=owner)
    retire_model_version(version("1"), by=owner)


def test_a_notice_is_issued_for_the_model_that_learned_from_the_person(request_: Request) -> None:
    notice = notice_of(request_)
    assert notice.model_version == version("1")
    assert notice.was_in_use
    assert len(notice.path) >= 2
    assert "notice.issued" in [e.type for e in sequenced()]


def test_the_answer_to_a_notice_is_explained_and_not_called_optional(
    request_: Request, owner: User, client: Client
) -> None:
    client.force_login(owner)
    page = client.get(f"/notices/{notice_of(request_).pk}/").content.decode()
    label = page.partition('<label for="id_model_version">')[2].partition("</label>")[0]
    assert label == "Answered by"
    assert "or the retirement" in page


def test_the_owners_get_one_mail_that_names_no_person(request_: Request, owner: User,
                                                      settings: Settings) -> None:  # fmt: skip
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    for _ in range(2):
        issue_due_notices()
        send_due_mail()
    ours = [m for m in mail.outbox if m.to == [owner.email]]
    assert len(ours) == 1
    assert "again version 1" in ours[0].body
    assert "00004" not in f"{ours[0].body}{ours[0].subject}"


def test_an_open_notice_is_reminded_of_after_a_week(request_: Request, owner: User) -> None:
    issue_due_notices()
    Notice.objects.update(mail_due_at=timezone.now() - timedelta(seconds=1))
    issue_due_notices()
    assert [e.type for e in sequenced()].count("notice.sent") == 2


def test_a_new_version_without_the_person_closes_the_notice(request_: Request, owner: User) -> None:
    notice = notice_of(request_)
    acknowledge(notice, by=owner)
    start_retraining(notice, by=owner)
    new = retrain(request_)
    release(new, owner)
    checks = submit_evidence(notice, replacement=new, by=owner)
    assert [c.finding for c in checks if not c.passed] == []
    notice.refresh_from_db()
    assert notice.state == NoticeState.CLOSED
    assert notice.replacement == new
    request_.refresh_from_db()
    assert request_.certificate_due_at, "a certificate that says so is due"


def test_a_version_trained_before_the_erasure_is_no_answer(table: Path, owner: User) -> None:
    builders.connected(table)
    builders.tell_training("1", "2", at=timezone.now() - timedelta(days=2))
    builders.tell_training("2", "2", at=timezone.now() - timedelta(days=1))
    request = builders.erased(builders.team())
    notice = request.notices.get(model_version=version("1"))
    checks = submit_evidence(notice, replacement=version("2"), by=owner)
    failed = {c.name for c in checks if not c.passed}
    assert "trained after the erasure" in failed
    notice.refresh_from_db()
    assert notice.state == NoticeState.REJECTED_EVIDENCE


def test_data_into_which_the_person_came_back_are_no_answer(
    request_: Request, owner: User, table: Path
) -> None:
    """The check reads the data: what lineage or the owner says is not enough."""
    builders.purchases(12).write_delta(str(table), mode="append")
    new = retrain(request_)
    release(new, owner)
    checks = submit_evidence(notice_of(request_), replacement=new, by=owner)
    failed = [c for c in checks if not c.passed]
    assert len(failed) == 1
    assert "erased person" in failed[0].finding


def test_a_person_who_came_back_as_a_number_is_found(owner: User, tmp_path: Path) -> None:
    """Customer "00004" is 4 where a table keeps customer numbers as integers."""
    path = tmp_path / "numbers"
    rows = pl.DataFrame({"customer_id": [4, 21], "email": [None, "c00021@customers.example"]})
    rows.write_delta(str(path))
    builders.connected(path)
    builders.tell_training("1", "0")
    request = builders.erased(builders.team())
    assert request.steps.get().outcome == "erased"
    rows.write_delta(str(path), mode="append")
    checks = submit_evidence(request.notices.get(), replacement=retrain(request), by=owner)
    failed = [c.finding for c in checks if not c.passed]
    assert any("erased person" in finding for finding in failed), failed


def test_data_that_nobody_can_read_are_no_answer(request_: Request, owner: User) -> None:
    new = retrain(request_, on="999")
    release(new, owner)
    checks = submit_evidence(notice_of(request_), replacement=new, by=owner)
    assert any(not c.passed and "excludes the person" in c.name for c in checks)


def test_an_old_version_that_is_still_in_use_keeps_the_notice_open(
    request_: Request, owner: User
) -> None:
    checks = submit_evidence(notice_of(request_), replacement=retrain(request_), by=owner)
    assert [c.name for c in checks if not c.passed] == ["old version out of use"]


def test_retiring_the_model_closes_the_notice(request_: Request, owner: User) -> None:
    notice = notice_of(request_)
    assert not submit_evidence(notice, replacement=None, by=owner)[0].passed
    retire_model_version(version("1"), by=owner)
    submit_evidence(notice, replacement=None, by=owner)
    notice.refresh_from_db()
    assert (notice.state, notice.disposition) == (NoticeState.CLOSED, "retire")


def test_only_a_model_owner_answers_and_only_the_dpo_waives(
    request_: Request, owner: User, dpo: User
) -> None:
    notice = notice_of(request_)
    with pytest.raises(NotPermittedError):
        acknowledge(notice, by=dpo)
    with pytest.raises(NotPermittedError):
        waive(notice, reason="r", until=timezone.now() + timedelta(days=1), by=owner)
    with pytest.raises(InvalidInputError, match="future"):
        waive(notice, reason="r", until=timezone.now() - timedelta(days=1), by=dpo)
    waive(notice, reason="Assessed as anonymous", until=timezone.now() + timedelta(days=1), by=dpo)
    assert notice.state == NoticeState.WAIVED
    with pytest.raises(WrongStateError):
        acknowledge(notice, by=owner)


def test_a_version_of_another_model_is_refused(request_: Request, owner: User, api: Api) -> None:
    notice = notice_of(request_)
    answer = api(owner).post(
        f"/api/v1/notices/{notice.pk}/evidence", {"model_version": "77"},
        content_type="application/json",
    )  # fmt: skip
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "model_version"


def test_the_notice_by_rest(request_: Request, owner: User, api: Api) -> None:
    client = api(owner)
    listed = client.get("/api/v1/notices").json()["results"]
    assert [n["model_version"] for n in listed] == ["1"]
    path = f"/api/v1/notices/{listed[0]['id']}"
    assert client.post(f"{path}/acknowledge").json()["state"] == "acknowledged"
    assert client.post(f"{path}/start").json()["state"] == "in_progress"
    new = retrain(request_)
    release(new, owner)
    done = client.post(
        f"{path}/evidence", {"model_version": "2"}, content_type="application/json"
    ).json()
    assert done["state"] == "closed"
    assert all(check["passed"] for check in done["checks"])


def test_the_retrained_table_really_excludes_the_person(request_: Request, table: Path) -> None:
    assert "00004" not in pl.read_delta(str(table))["customer_id"].to_list()
