"""Requests, deletions and suppression by REST: what is taken, what is refused and how."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from compliance.models import Request
from compliance.states import State
from tests.builders import Api, sequenced, user
from tests.compliance import builders

pytestmark = pytest.mark.django_db
SUBJECT = {"type": "customer", "value": "00004"}


def post(api: Api, by: User, path: str, body: Any) -> Any:
    return api(by).post(f"/api/v1/{path}", body, content_type="application/json")


def test_a_request_is_filed_with_its_due_date(analyst: User, api: Api) -> None:
    answer = post(api, analyst, "requests", {"rights": ["erasure"], "subject": SUBJECT})
    assert answer.status_code == 201
    assert set(answer.json()) == {"reference", "state", "due_at"}
    assert answer.json()["state"] == "verifying"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rights": ["oblivion"]}, "rights"),
        ({"rights": []}, "rights"),
        ({"subject": {"type": "customer"}}, "subject.value"),
        ({"subject": {"type": "Not a type!", "value": "1"}}, "subject"),
        ({"subject": None}, "subject"),
        ({"regime": "hipaa"}, "regime"),
        ({"contact": "nobody"}, "contact"),
        ({"received_at": "yesterday"}, "received_at"),
        ({"received_at": (timezone.now() + timedelta(days=2)).isoformat()}, "received_at"),
        ({"scope": ["dataset:no:where"]}, "scope"),
    ],
)
def test_bad_input_names_the_field_and_files_nothing(
    analyst: User, api: Api, change: dict[str, Any], field: str
) -> None:
    body = {"rights": ["erasure"], "subject": SUBJECT} | change
    answer = post(api, analyst, "requests", body)
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field
    assert not Request.objects.exists()


def test_a_body_that_is_no_json_is_a_problem(analyst: User, api: Api) -> None:
    answer = api(analyst).post("/api/v1/requests", "{", content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"


def test_references_count_up_without_gaps(analyst: User, api: Api) -> None:
    references = [
        post(api, analyst, "requests", {"subject": SUBJECT}).json()["reference"] for _ in range(3)
    ]
    year = timezone.now().year
    assert references == [f"R-{year}-000{n}" for n in (1, 2, 3)]


def test_the_true_date_of_receipt_sets_the_clock(analyst: User, api: Api) -> None:
    answer = post(
        api, analyst, "requests", {"subject": SUBJECT, "received_at": "2026-03-10T09:00:00Z"}
    )
    assert answer.json()["due_at"].startswith("2026-04-10")


def test_the_answer_never_echoes_the_person(analyst: User, api: Api) -> None:
    reference = post(
        api, analyst, "requests", {"subject": {"type": "email", "value": "anna@homes.example"}}
    ).json()["reference"]
    assert "anna" not in api(analyst).get(f"/api/v1/requests/{reference}").content.decode()


@pytest.mark.parametrize("role", ["auditor", "model_owner", "data_owner", "admin"])
def test_other_roles_file_nothing(role: str, api: Api, db: None) -> None:
    assert post(api, user(role), "requests", {"subject": SUBJECT}).status_code == 403


def test_a_pipeline_sees_the_requests_it_filed_and_no_other(
    analyst: User, pipeline: User, api: Api
) -> None:
    post(api, analyst, "requests", {"subject": SUBJECT})
    own = post(api, pipeline, "requests", {"subject": SUBJECT}).json()["reference"]
    listed = api(pipeline).get("/api/v1/requests").json()["results"]
    assert [row["reference"] for row in listed] == [own]


def test_verbs_of_other_roles_are_forbidden(analyst: User, auditor: User, api: Api) -> None:
    request = builders.filed(analyst)
    path = f"requests/{request.reference}"
    for verb, body in [
        ("verify", {"method": "x"}), ("plan", {}), ("execute", {}), ("hold", {"reason": "x"}),
        ("refuse", {"reason": "x", "ground": "excessive"}), ("withdraw", {}),
    ]:  # fmt: skip
        assert post(api, auditor, f"{path}/{verb}", body).status_code == 403, verb
    request.refresh_from_db()
    assert request.state == State.VERIFYING


def test_hold_extend_release_refuse_and_reopen_by_the_dpo(
    analyst: User, dpo: User, api: Api
) -> None:
    request = builders.in_triage(analyst)
    path = f"requests/{request.reference}"
    due = request.due_at
    assert post(api, dpo, f"{path}/hold", {"reason": ""}).status_code == 400
    assert post(api, dpo, f"{path}/hold", {"reason": "Litigation"}).json()["held_at"]
    assert post(api, dpo, f"{path}/hold", {"reason": "again"}).status_code == 409
    assert post(api, dpo, f"{path}/release", {}).json()["held_at"] is None
    extended = post(api, dpo, f"{path}/extend", {"reason": "Complex"}).json()
    assert extended["due_at"] > due.isoformat()
    assert post(api, dpo, f"{path}/extend", {"reason": "More"}).status_code == 409
    assert post(api, dpo, f"{path}/refuse", {"reason": "r", "ground": "whim"}).status_code == 400
    refused = post(api, dpo, f"{path}/refuse", {"reason": "r", "ground": "excessive"})
    assert refused.json()["state"] == "refused"
    again = post(api, dpo, f"{path}/reopen", {"reason": "Court"})
    assert again.status_code == 409, "the identity ended with the refusal"
    types = [e.type for e in sequenced()]
    for expected in ("request.held", "request.released", "request.extended", "request.refused"):
        assert expected in types


def test_a_withdrawn_request_can_be_reopened(analyst: User, dpo: User, api: Api) -> None:
    request = builders.in_triage(analyst)
    path = f"requests/{request.reference}"
    assert post(api, analyst, f"{path}/withdraw", {}).json()["state"] == "withdrawn"
    assert post(api, dpo, f"{path}/reopen", {"reason": "Mistake"}).json()["state"] == "triage"


def test_a_deletion_request_of_the_guide_keeps_its_keys(pipeline: User, api: Api) -> None:
    answer = post(api, pipeline, "deletions", {"user_id": "00004"})
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {
        "user_id", "deleted_records", "affected_models", "action_required",
        "deletion_certificate", "status", "request",
    }  # fmt: skip
    assert body["deletion_certificate"] is None, "a certificate before verification would be false"
    again = post(api, pipeline, "deletions", {"user_id": "00004"})
    assert again.status_code == 200
    assert again.json()["request"] == body["request"]


def test_suppression_answers_yes_or_no_and_echoes_nobody(pipeline: User, api: Api) -> None:
    answer = post(api, pipeline, "suppression/check", {"subjects": [SUBJECT]})
    assert answer.json() == {"results": [{"suppressed": False}]}
    bad = post(api, pipeline, "suppression/check", {"subjects": [{"type": "!", "value": "x"}]})
    assert bad.status_code == 400
