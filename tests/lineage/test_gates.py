"""The version policy and quality gates of the guide's Appendix B."""

from typing import Any

import pytest

from accounts.models import User
from lineage.gates import Candidate, Current, Limit, evaluate, next_version
from tests.builders import Api, sequenced
from tests.lineage.builders import dataset, run_event, take_in

OLD = Current(version="1.4.2", schema={"id": "int", "mail": "string"}, sources=("a",), rows=1000)


@pytest.mark.parametrize(
    ("candidate", "verdict", "change", "version"),
    [
        (Candidate(), "pass", "patch", "1.4.3"),
        (Candidate(schema={"id": "int", "mail": "string"}), "pass", "patch", "1.4.3"),
        (Candidate(schema={"mail": "string", "id": "int"}), "pass", "patch", "1.4.3"),
        (Candidate(schema={"id": "int"}), "review", "major", "2.0.0"),
        (Candidate(schema={"id": "long", "mail": "string"}), "review", "major", "2.0.0"),
        (Candidate(schema={"id": "int", "mail": "string", "x": "int"}), "review", "major", "2.0.0"),
        (Candidate(sources=["a", "b"]), "pass", "minor", "1.5.0"),
        (Candidate(sources=["a"]), "pass", "patch", "1.4.3"),
        (Candidate(rows_added=100), "pass", "patch", "1.4.3"),
        (Candidate(rows_added=101), "review", "patch", "1.4.3"),
        (Candidate(rows_added=50, rows_removed=30, rows_modified=20), "pass", "patch", "1.4.3"),
        (Candidate(rows_added=50, rows_removed=30, rows_modified=21), "review", "patch", "1.4.3"),
    ],
)
def test_the_policy_on_schema_sources_and_change(
    candidate: Candidate, verdict: str, change: str, version: str
) -> None:
    found = evaluate(candidate, OLD, {}, {})

    assert (found.verdict, found.change, found.next_version) == (verdict, change, version)
    assert bool(found.reasons) == (verdict != "pass" or change != "patch")


@pytest.mark.parametrize(
    ("value", "limit", "verdict"),
    [
        (0.98, Limit(min=0.98), "pass"),
        (0.979, Limit(min=0.98), "fail"),
        (0.02, Limit(max=0.02), "pass"),
        (0.021, Limit(max=0.02), "fail"),
        (None, Limit(min=0.98), "fail"),
        (None, Limit(), "fail"),
        (float("nan"), Limit(min=0.98), "fail"),
        (float("nan"), Limit(max=0.98), "fail"),
        (5.0, Limit(min=1, max=9), "pass"),
    ],
)
def test_limits_include_their_ends_and_a_missing_metric_fails(
    value: float | None, limit: Limit, verdict: str
) -> None:
    metrics = {} if value is None else {"completeness": value}

    assert evaluate(Candidate(), OLD, metrics, {"completeness": limit}).verdict == verdict


def test_a_failed_metric_outweighs_a_review() -> None:
    found = evaluate(Candidate(rows_added=900), OLD, {}, {"completeness": Limit(min=1)})

    assert found.verdict == "fail"
    assert {reason.effect for reason in found.reasons} == {"review", "fail"}


@pytest.mark.parametrize("rows", [0, None])
def test_a_change_without_old_rows_needs_a_look(rows: int | None) -> None:
    assert evaluate(Candidate(rows_added=1), Current(rows=rows), {}, {}).verdict == "review"


@pytest.mark.parametrize(
    ("version", "change", "after"),
    [("v1.2.3", "minor", "v1.3.0"), ("7", "major", None), ("", "patch", None),
     ("1.2", "patch", None), ("1.2.3-rc1", "patch", None)],
)  # fmt: skip
def test_only_a_semantic_version_has_a_next_one(
    version: str, change: str, after: str | None
) -> None:
    assert next_version(version, change) == after


@pytest.fixture
def orders(pipeline: User) -> None:
    take_in(
        run_event(
            "load", "r1", inputs=[dataset("shop", "1")],
            outputs=[dataset(
                "orders", "1.4.2",
                schema={"fields": [{"name": "id", "type": "int"}]},
                outputFacets={"outputStatistics": {"rowCount": 1000}},
            )],
        ),
        pipeline,
    )  # fmt: skip


def _ask(api: Api, user: User, **changes: Any) -> Any:
    body = {"dataset": "dataset:s3://lake:orders", "candidate": {}} | changes
    return api(user).post("/api/v1/gates/evaluate", body, content_type="application/json")


@pytest.mark.usefixtures("orders")
def test_gates_by_rest_compare_with_the_newest_version_and_are_recorded(
    pipeline: User, api: Api
) -> None:
    answer = _ask(
        api, pipeline,
        candidate={"schema": [{"name": "id", "type": "int"}], "rows_added": 101,
                   "sources": ["dataset:s3://lake:shop"]},
        metrics={"completeness": 0.99}, limits={"completeness": {"min": 0.98}},
    )  # fmt: skip

    assert answer.status_code == 200
    assert answer.json()["verdict"] == "review"
    assert answer.json()["next_version"] == "1.4.3"
    assert "101 of 1,000 rows" in answer.json()["reasons"][0]
    assert answer.json()["findings"][0]["rule"] == "change"
    recorded = [e for e in sequenced() if e.type == "gate.evaluated"]
    assert [(e.resource, e.resource_version) for e in recorded] == [
        ("dataset:s3://lake:orders", "1.4.2")
    ]
    assert _ask(api, pipeline, candidate={"old_rows": 10_000, "rows_added": 101}).json()[
        "verdict"
    ] == "pass"  # fmt: skip


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"dataset": "dataset:s3://lake:nothing"}, 422),
        ({"dataset": "job:shop:load"}, 422),
        ({"dataset": ""}, 400),
        ({"candidate": {"rows_added": -1}}, 400),
        ({"candidate": {"schema": "all"}}, 400),
        ({"metrics": {"completeness": "good"}}, 400),
        ({"limits": {"completeness": {"min": "high"}}}, 400),
    ],
)
def test_a_gate_question_that_makes_no_sense_is_refused(
    pipeline: User, api: Api, changes: dict[str, Any], status: int
) -> None:
    answer = _ask(api, pipeline, **changes)

    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.usefixtures("orders")
def test_a_model_owner_may_not_ask_the_gates(model_owner: User, api: Api) -> None:
    assert _ask(api, model_owner).status_code == 403
