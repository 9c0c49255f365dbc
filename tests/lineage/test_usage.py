"""Whose data went into what: recorded, asked for, explained and forgotten."""

import json
from typing import Any

import pytest

from accounts.models import User
from audit.queries import unseal
from audit.subjects import SubjectRef, lookup
from lineage.actions import forget_usage, put_model_in_use
from lineage.models import Usage, Version
from tests.builders import Api, sequenced
from tests.lineage.builders import at, dataset, run_event, take_in

DANA = {"type": "customer", "value": "00004"}
RECORD = {
    "subject": DANA, "data_id": "dataset:s3://lake:features@2", "model_id": "model:churn@3",
    "prediction_id": "p-1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def lineage(pipeline: User) -> None:
    for event in [
        run_event("load", "l1", outputs=[dataset("raw", "1")]),
        run_event(
            "build", "b1", minutes=5, inputs=[dataset("raw", "1")],
            outputs=[dataset("features", "2")],
            job_facets={"sourceCodeLocation": {"type": "git", "url": "https://git/x",
                                               "version": "abc123"}},
        ),
        run_event("train", "t1", minutes=10, inputs=[dataset("features", "2")],
                  outputs=[dataset("churn", "3", model=True)]),
        run_event("train", "t2", minutes=20, inputs=[dataset("features", "2")],
                  outputs=[dataset("churn", "4", model=True)]),
    ]:  # fmt: skip
        take_in(event, pipeline)


def send(api: Api, user: User, body: Any, content_type: str = "application/json") -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api(user).post("/api/v1/usage", raw, content_type=content_type)


def asked(api: Api, user: User, subject: Any) -> Any:
    return api(user).post(
        "/api/v1/subjects/usage", {"subject": subject}, content_type="application/json"
    )


@pytest.mark.parametrize(
    ("body", "content_type", "count"),
    [
        (RECORD, "application/json", 1),
        ({"usage": [RECORD, RECORD | {"prediction_id": "p-2"}]}, "application/json", 2),
        ([RECORD], "application/json", 1),
        (f"{json.dumps(RECORD)}\n\n{json.dumps(RECORD)}\n".encode(), "application/x-ndjson", 2),
    ],
)
def test_usage_is_recorded_one_by_one_or_many_at_once(
    pipeline: User, analyst: User, api: Api, body: Any, content_type: str, count: int
) -> None:
    answer = send(api, pipeline, body, content_type)

    assert answer.status_code == 201, answer.content
    assert answer.json()["recorded"] == count
    found = asked(api, analyst, DANA).json()
    assert found["count"] == count
    assert found["usage"][0]["data_version"] == "2"
    assert found["usage"][0]["model_version"] == "3"


def test_the_log_and_the_table_hold_no_identifier(pipeline: User, api: Api) -> None:
    send(api, pipeline, RECORD | {"subject": {"type": "email", "value": "Dana@shop.example"}})

    entries = sequenced()
    leaves = b"".join(bytes(e.leaf) for e in entries)
    assert b"dana@shop.example" not in leaves.lower()
    assert b"p-1" not in leaves
    usage = Usage.objects.get()
    assert "dana" not in usage.subject_lookup.lower()
    recorded = next(e for e in entries if e.type == "usage.recorded")
    assert recorded.event_id == usage.event_id
    assert recorded.subject != ""
    assert unseal(recorded) == {"prediction_id": "p-1"}


def test_without_versions_those_of_the_time_and_in_use_count(
    pipeline: User, model_owner: User, api: Api
) -> None:
    put_model_in_use(Version.objects.get(version="3"), by=model_owner)
    bare = {"subject": DANA, "data_id": "dataset:s3://lake:features", "model_id": "model:churn"}
    send(api, pipeline, bare | {"occurred_at": at(30)})

    usage = Usage.objects.get()
    assert usage.dataset_version is not None
    assert usage.model_version is not None
    assert (usage.dataset_version.version, usage.model_version.version) == ("2", "3")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"{}\n", 422, "subject"),
        (RECORD | {"data_id": "dataset:s3://lake:nothing"}, 422, "data_id"),
        (RECORD | {"data_id": "dataset:s3://lake:features@99"}, 422, "data_id"),
        (RECORD | {"data_id": "model:churn"}, 422, "data_id"),
        (RECORD | {"model_id": "model:nobody"}, 422, "model_id"),
        (RECORD | {"subject": {"type": "customer", "value": ""}}, 422, "subject.value"),
        (RECORD | {"subject": {"type": "Not a type", "value": "1"}}, 422, "subject.type"),
        (RECORD | {"subject": "00004"}, 422, "subject"),
        (RECORD | {"subject": {"type": "customer", "value": 4}}, 422, "subject.value"),
        (RECORD | {"occurred_at": "yesterday"}, 422, "occurred_at"),
        (RECORD | {"extra": 1}, 422, "extra"),
        ({"usage": [RECORD, RECORD | {"data_id": "x"}]}, 422, "usage[1].data_id"),
        ({"usage": [RECORD, 7]}, 422, "usage[1]"),
    ],
)
def test_a_wrong_record_is_refused_by_field_and_nothing_is_kept(
    pipeline: User, api: Api, body: Any, status: int, field: str | None
) -> None:
    answer = send(api, pipeline, body)

    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    if field:
        assert answer.json()["errors"][0]["field"] == field
    assert "00004" not in answer.content.decode()
    assert not Usage.objects.exists()
    assert not [e for e in sequenced() if e.type == "usage.recorded"]


def test_asking_about_a_person_is_itself_recorded(pipeline: User, analyst: User, api: Api) -> None:
    send(api, pipeline, RECORD)
    asked(api, analyst, DANA)

    reads = [e for e in sequenced() if e.type == "usage.read"]
    assert [e.by for e in reads] == [analyst.actor]


def test_a_stranger_has_no_usage_and_a_wrong_subject_is_refused(analyst: User, api: Api) -> None:
    assert asked(api, analyst, {"type": "customer", "value": "99999"}).json() == {
        "count": 0, "usage": [],
    }  # fmt: skip
    wrong = asked(api, analyst, {"type": "No Type", "value": "1"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "subject.type"


def test_only_analysts_and_dpos_ask_about_persons(
    auditor: User, pipeline: User, dpo: User, api: Api
) -> None:
    assert asked(api, auditor, DANA).status_code == 403
    assert asked(api, pipeline, DANA).status_code == 403
    assert asked(api, dpo, DANA).status_code == 200
    assert send(api, auditor, RECORD).status_code == 403


def test_a_prediction_is_explained_with_the_keys_of_the_guide(
    pipeline: User, auditor: User, api: Api
) -> None:
    send(api, pipeline, {"usage": [RECORD, RECORD | {"prediction_id": "p-2"}]})

    answer = api(auditor).get("/api/v1/predictions/p-1/explanation")

    assert answer.status_code == 200
    found = answer.json()
    assert set(found) == {
        "prediction_id", "model_used", "model_version", "training_data_version", "data_sources",
        "processing_steps", "user_data_contribution",
    }  # fmt: skip
    assert found["prediction_id"] == "p-1"
    assert (found["model_used"], found["model_version"]) == ("model:churn", "3")
    assert found["training_data_version"] == "dataset:s3://lake:features@2"
    sources = found["data_sources"]
    assert [(s["dataset"], s["version"], s["used_for_training"]) for s in sources] == [
        ("dataset:s3://lake:features", "2", True), ("dataset:s3://lake:raw", "1", False),
    ]  # fmt: skip
    assert [s["job"] for s in found["processing_steps"]] == [
        "job:shop:load", "job:shop:build", "job:shop:train",
    ]  # fmt: skip
    assert found["processing_steps"][1]["source_code"]["version"] == "abc123"
    assert found["user_data_contribution"]["records_in_prediction"] == 1
    assert found["user_data_contribution"]["records_in_model"] == 2
    assert "00004" not in answer.content.decode()
    assert "prediction.explained" in {e.type for e in sequenced()}


def test_an_unknown_prediction_has_no_explanation(auditor: User, api: Api) -> None:
    answer = api(auditor).get("/api/v1/predictions/nobody/explanation")
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


def test_a_forgotten_person_leaves_usage_without_a_name(
    pipeline: User, analyst: User, api: Api
) -> None:
    send(api, pipeline, {"usage": [RECORD, RECORD | {"subject": {"type": "customer",
                                                                 "value": "7"}}]})  # fmt: skip
    key = lookup(SubjectRef("customer", "00004"))

    assert forget_usage([key, ""], by=analyst, because="request:R-2026-0001") == 1
    assert forget_usage([key], by=analyst) == 0

    assert asked(api, analyst, DANA).json()["count"] == 0
    gone = Usage.objects.get(subject_lookup="")
    assert (gone.prediction_id, gone.data_id) == ("", "dataset:s3://lake:features")
    assert gone.erased_at is not None
    assert asked(api, analyst, {"type": "customer", "value": "7"}).json()["count"] == 1
    assert sum(e.type == "usage.erased" for e in sequenced()) == 1
