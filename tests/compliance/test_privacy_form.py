"""The public form, as a data subject meets it."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.queries import system_user
from audit.subjects import SubjectRef
from compliance.actions import requests as actions
from compliance.errors import TooManyRequestsError
from compliance.models import Challenge, Request
from compliance.states import State
from compliance.tasks import send_due_mail
from tests.builders import sequenced

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _mail_in_memory(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


def file(browser: Client, email: str = "c00004@customers.example") -> str:
    """Files a request and returns the address of the confirmation page."""
    answer = browser.post("/privacy/erasure/", {"kind": "email", "email": email})
    assert answer.status_code == 302, answer.content.decode()
    return str(answer["Location"])


def code_in_mail() -> str:
    send_due_mail()
    found = re.search(r"code is (\d{6})", str(mail.outbox[-1].body))
    assert found
    return found.group(1)


def test_a_confirmed_code_brings_the_request_to_triage(browser: Client) -> None:
    page = file(browser)
    answer = browser.post(page, {"code": code_in_mail()}, follow=True)
    request = Request.objects.get()
    assert request.state == State.TRIAGE
    assert request.reference in answer.content.decode()
    assert "/privacy/status/" in answer.redirect_chain[-1][0]


def test_the_code_goes_to_the_address_and_no_subject_line_says_who(browser: Client) -> None:
    file(browser)
    code_in_mail()
    assert mail.outbox[0].to == ["c00004@customers.example"]
    assert "c00004" not in mail.outbox[0].subject


def test_a_wrong_code_is_refused_with_the_tries_that_are_left(browser: Client) -> None:
    page = file(browser)
    right = code_in_mail()
    wrong = "000000" if right != "000000" else "111111"
    answer = browser.post(page, {"code": wrong})
    assert answer.status_code == 422
    assert "4 tries left" in answer.content.decode()
    assert "request.code_refused" in {entry.type for entry in sequenced()}


def test_after_five_wrong_codes_the_right_one_is_refused_too(browser: Client) -> None:
    page = file(browser)
    right = code_in_mail()
    for _ in range(5):
        browser.post(page, {"code": "000000" if right != "000000" else "111111"})
    answer = browser.post(page, {"code": right})
    assert answer.status_code == 422
    assert Request.objects.get().state == State.VERIFYING


def test_an_old_code_is_refused_and_a_new_one_works(browser: Client) -> None:
    page = file(browser)
    old = code_in_mail()
    Challenge.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "no longer valid" in browser.post(page, {"code": old}).content.decode()
    fresh = browser.post(f"{page}again/")["Location"]
    assert browser.post(fresh, {"code": code_in_mail()}).status_code == 302
    assert Request.objects.get().state == State.TRIAGE


def test_a_code_with_spaces_is_understood(browser: Client) -> None:
    page = file(browser)
    code = code_in_mail()
    browser.post(page, {"code": f" {code[:3]} {code[3:]} "})
    assert Request.objects.get().state == State.TRIAGE


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "email", "email": ""}, "Enter your e-mail address"),
        ({"kind": "email", "email": "nobody"}, "name@example.org"),
        ({"kind": "customer", "customer": " "}, "Enter your customer number"),
        ({"kind": "passport", "email": "a@b.example"}, "not one of the available choices"),
    ],
)
def test_bad_input_is_explained_and_nothing_is_filed(
    browser: Client, fields: dict[str, str], message: str
) -> None:
    answer = browser.post("/privacy/erasure/", fields)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert not Request.objects.exists()


def test_a_robot_that_fills_the_trap_files_nothing(browser: Client) -> None:
    browser.post(
        "/privacy/erasure/", {"kind": "email", "email": "a@b.example", "website": "http://x"}
    )
    assert not Request.objects.exists()


def test_the_answer_is_the_same_for_people_we_do_not_know(browser: Client) -> None:
    known = browser.post("/privacy/erasure/", {"kind": "customer", "customer": "00004"})
    unknown = browser.post("/privacy/erasure/", {"kind": "customer", "customer": "99999"})
    assert known.status_code == unknown.status_code == 302
    pages = [browser.get(a["Location"]).content.decode() for a in (known, unknown)]
    without_secrets = [
        re.sub(r"R-\d+-\d+|/confirm/[^/\"]+/|value=\"[^\"]+\"", "", page) for page in pages
    ]
    assert without_secrets[0] == without_secrets[1]


def test_no_address_of_a_page_holds_an_identifier(browser: Client) -> None:
    page = file(browser)
    answer = browser.post(page, {"code": code_in_mail()})
    assert "00004" not in page
    assert "00004" not in answer["Location"]


def test_the_log_names_the_person_nowhere(browser: Client) -> None:
    page = file(browser)
    browser.post(page, {"code": code_in_mail()})
    leaves = b"".join(bytes(entry.leaf) for entry in sequenced())
    assert b"request.filed" in leaves
    assert b"c00004" not in leaves
    assert b"customers.example" not in leaves


def test_the_database_holds_the_identity_only_encrypted(browser: Client) -> None:
    file(browser)
    row = Request.objects.values().get()
    assert b"c00004" not in repr(row).encode()


def test_the_person_can_withdraw_before_the_erasure(browser: Client) -> None:
    page = file(browser)
    status = browser.post(page, {"code": code_in_mail()})["Location"]
    browser.post(f"{status}withdraw/")
    assert Request.objects.get().state == State.WITHDRAWN
    assert "withdrawn" in browser.get(status).content.decode().lower()


def test_a_forged_status_link_is_not_found(browser: Client) -> None:
    answer = browser.get("/privacy/status/MQ:forged:signature/")
    assert answer.status_code == 404
    page = answer.content.decode()
    assert 'href="/privacy/"' in page
    assert "Sign in" not in page


def test_a_second_verified_request_is_merged_into_the_first(browser: Client) -> None:
    for _ in range(2):
        page = file(browser)
        browser.post(page, {"code": code_in_mail()})
    first, second = Request.objects.order_by("pk")
    assert first.state == State.TRIAGE
    assert second.state == State.DUPLICATE
    assert second.merged_into == first


def test_an_unverified_request_does_not_swallow_a_verified_one(browser: Client) -> None:
    file(browser)
    page = file(browser)
    browser.post(page, {"code": code_in_mail()})
    first, second = Request.objects.order_by("pk")
    assert first.state == State.VERIFYING
    assert second.state == State.TRIAGE


def test_many_requests_about_one_person_in_an_hour_are_refused(browser: Client) -> None:
    for _ in range(5):
        file(browser)
    answer = browser.post(
        "/privacy/erasure/", {"kind": "email", "email": "c00004@customers.example"}
    )
    assert "Try again in an hour" in answer.content.decode()
    with pytest.raises(TooManyRequestsError):
        actions.file_request(
            rights=["erasure"],
            subjects=[SubjectRef("email", "c00004@customers.example")],
            by=system_user("public-form"),
            channel=Request.Channel.FORM,
        )


def test_a_mail_is_sent_once_and_then_forgotten(browser: Client) -> None:
    file(browser)
    send_due_mail()
    send_due_mail()
    assert len(mail.outbox) == 1
    row = Request.objects.get().mails.get()
    assert row.sent_at
    assert row.sealed_to is None
    assert row.sealed_body is None
