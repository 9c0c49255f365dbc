"""All entries of a resource with their proof, by REST and from the log page."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from accounts.queries import system_user
from audit import completeness
from audit.actions import append, sequence
from audit.ledger.verify import Verdict, verify_bundle
from audit.models import Entry
from audit.queries import verifier_key
from tests.audit.builders import event
from tests.builders import Api

pytestmark = pytest.mark.django_db
URL = "/api/v1/events/complete"
NAME = "dataset:shop:orders"
ASKED: dict[str, Any] = {"resource": NAME}


@pytest.fixture
def log(auditor: User, pipeline: User) -> int:
    """How many entries there are; five are of the resource."""
    sequence()
    for name in (NAME, "other", NAME, NAME, "other", NAME, NAME, "other"):
        append([event(resource=name)], by=system_user("setup"))
    return Entry.objects.count()


def verdict_of(content: bytes) -> Verdict:
    verdict = verify_bundle(content, trusted_vkey=verifier_key())
    assert verdict.valid, verdict.as_dict()
    return verdict


def said(content: bytes) -> str:
    checks = verdict_of(content).checks
    return next(check.sentence for check in checks if check.name == "complete")


@pytest.mark.parametrize("url", [URL, URL + "/"])
def test_all_entries_of_a_resource_are_given_with_their_proof(
    api: Api, auditor: User, log: int, url: str
) -> None:
    answer = api(auditor).get(url, ASKED)
    assert answer.status_code == 200
    assert (
        said(answer.content) == f"All 5 entries of {NAME} from entry 0 to entry {log - 1} are here."
    )
    newest = Entry.objects.latest("seq")
    assert (newest.type, newest.by) == ("log.heads", auditor.actor)


def test_asking_again_records_nothing_new(api: Api, auditor: User, log: int) -> None:
    client = api(auditor)
    first = client.get(URL, ASKED)
    size = Entry.objects.count()
    assert said(client.get(URL, ASKED).content) == said(first.content)
    assert Entry.objects.count() == size


def test_a_resource_without_entries_is_shown_to_have_none(
    api: Api, auditor: User, log: int
) -> None:
    answer = api(auditor).get(URL, {"resource": "dataset:nobody"})
    assert said(answer.content).startswith("dataset:nobody has no entry from entry 0")


def test_a_range_can_be_asked_for(api: Api, auditor: User, log: int) -> None:
    first = Entry.objects.filter(resource=NAME).earliest("seq").seq
    client = api(auditor)
    answer = client.get(URL, ASKED | {"since": first + 1, "until": first + 4})
    assert said(answer.content) == (
        f"All 2 entries of {NAME} from entry {first + 1} to entry {first + 3} are here."
    )
    assert not Entry.objects.filter(type="log.heads").exists(), "the next entry closes it"
    answer = client.get(URL, ASKED | {"until": log})
    assert said(answer.content).startswith("All 5 entries")
    newest = Entry.objects.count() - 1
    answer = client.get(URL, ASKED | {"since": newest})
    assert answer.status_code == 409
    assert "begin earlier" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [({}, "resource"), ({"resource": ""}, "resource"), ({"resource": "x" * 513}, "resource"),
     ({"resource": "a\x00b"}, "resource"), (ASKED | {"since": "-1"}, "since"),
     (ASKED | {"since": "9" * 30}, "since"), (ASKED | {"until": "x"}, "until"),
     (ASKED | {"until": "99999"}, "until"),
     (ASKED | {"since": "3", "until": "3"}, "until")],
)  # fmt: skip
def test_bad_input_names_the_field(
    api: Api, auditor: User, log: int, query: dict[str, str], field: str
) -> None:
    answer = api(auditor).get(URL, query)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_who_may_not_read_the_log_gets_nothing(api: Api, pipeline: User, log: int) -> None:
    assert api(pipeline).get(URL, ASKED).status_code == 403
    assert Client().get(URL, ASKED).status_code == 401
    assert api(pipeline).post(URL).status_code == 405


def test_too_many_entries_are_refused_with_a_way_out(
    api: Api, auditor: User, log: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "MOST_ENTRIES", 3)
    answer = api(auditor).get(URL, ASKED)
    assert answer.status_code == 413
    until = int(answer.json()["detail"].rpartition("until=")[2].rstrip("."))
    part = api(auditor).get(URL, ASKED | {"until": until})
    assert said(part.content).startswith("All 3 entries")
    rest = api(auditor).get(URL, ASKED | {"since": until})
    assert said(rest.content).startswith("All 2 entries")


def test_the_log_page_of_a_resource_offers_the_proof(auditor: User, log: int) -> None:
    browser = Client()
    browser.force_login(auditor)
    address = f"/log/complete.json?resource={NAME.replace(':', '%3A')}"
    assert address in browser.get("/log/", ASKED).content.decode()
    assert "complete.json" not in browser.get("/log/").content.decode()
    answer = browser.get(address)
    assert answer["Content-Disposition"] == 'attachment; filename="vestige-complete.json"'
    assert said(answer.content).startswith("All 5 entries")
    for wrong in ("", "?resource=a&since=7000"):
        refused = browser.get(f"/log/complete.json{wrong}", follow=True)
        assert "needed here" in refused.content.decode() or "Name a resource" in (
            refused.content.decode()
        )
    assert Client().get(address).status_code == 302
