"""Discovery, the plan and its approvals, on real Delta tables."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from accounts.models import User
from audit.subjects import SubjectRef
from compliance.actions.erasure import execute
from compliance.actions.plans import amend_plan, approve_plan, start_discovery
from compliance.discovery import plan_hash
from compliance.errors import (
    ApproverIsAuthorError,
    InvalidInputError,
    NotPermittedError,
    PlanChangedSinceApprovalError,
    WrongStateError,
)
from compliance.models import Plan, Request
from compliance.queries import current_plan, identifiers_of
from compliance.states import State
from tests.builders import Api, sequenced, user
from tests.compliance import builders
from tests.compliance.builders import EMAIL, PERSON, Team

pytestmark = pytest.mark.django_db


def plan_of(request: Request) -> Plan:
    plan = current_plan(request)
    assert plan, request.reason
    return plan


def test_the_plan_counts_the_persons_rows_in_every_version(people: Team) -> None:
    step = plan_of(builders.planned(people.analyst)).body["steps"][0]
    assert step["rows_by_version"] == {"0": 1, "1": 2, "2": 3}
    assert step["rows"] == 3
    assert {o["rows"] for o in step["objects"] if o["kind"] == "data"} == {1}


def test_an_email_address_leads_to_the_customer_number(people: Team) -> None:
    request = builders.planned(people.analyst, SubjectRef("email", EMAIL.upper()))
    assert set(identifiers_of(request)) == {PERSON, SubjectRef("email", EMAIL)}
    assert plan_of(request).body["steps"][0]["rows"] == 3


def test_a_shared_address_is_a_question_and_not_an_erasure(tmp_path: Path, db: None) -> None:
    path = tmp_path / "shared"
    pl.DataFrame(
        {"customer_id": [f"C{i}" for i in range(5)], "email": ["family@homes.example"] * 5}
    ).write_delta(str(path))
    builders.connected(path, name="shared")
    people = builders.team()
    request = builders.planned(people.analyst, SubjectRef("email", "family@homes.example"))
    plan = plan_of(request)
    assert "5 different identifiers" in plan.body["questions"][0]
    with pytest.raises(WrongStateError, match="cannot be approved yet"):
        approve_plan(request, plan_hash=plan.hash, by=people.dpo)


def test_a_number_column_leads_to_no_other_customer(tmp_path: Path, db: None) -> None:
    """4 in a column of whole numbers is "00004"; a customer called "4" is somebody else."""
    numbers, texts = tmp_path / "numbers", tmp_path / "texts"
    pl.DataFrame({"customer_id": [4], "email": [EMAIL]}).write_delta(str(numbers))
    pl.DataFrame(
        {"customer_id": ["00004", "4"], "email": [None, "four@homes.example"]}
    ).write_delta(str(texts))
    builders.connected(numbers, name="numbers")
    builders.connected(texts, name="texts")
    request = builders.planned(builders.team().analyst)
    assert set(identifiers_of(request)) == {PERSON, SubjectRef("email", EMAIL)}
    assert [s["rows"] for s in plan_of(request).body["steps"]] == [1, 1]


def test_the_plan_names_the_models_that_descend_and_which_are_in_use(people: Team) -> None:
    builders.tell_training("1", "1")
    models = plan_of(builders.planned(people.analyst)).body["affected_models"]
    assert [(m["model"], m["version"]) for m in models] == [("model:again", "1")]
    assert "shop" in models[0]["path"][0]


def test_a_second_person_is_traced_to_models_of_versions_that_the_first_erasure_purged(
    people: Team,
) -> None:
    """The model learned from both; that the first erasure purged its data must not hide it."""
    builders.tell_training("1", "1")
    builders.erased(people)
    second = builders.planned(people.analyst, SubjectRef("customer", "00021"))
    models = plan_of(second).body["affected_models"]
    assert [(m["version"], m["because"]) for m in models] == [("1", "purged versions")]


def test_recorded_usage_leads_to_a_model_that_lineage_does_not_connect(
    people: Team, api: Api
) -> None:
    builders.tell_training("1", "1")
    answer = api(user("pipeline")).post(
        "/api/v1/usage",
        {
            "subject": {"type": "customer", "value": "77777"},
            "data_id": "dataset:shop:purchases@1",
            "model_id": "model:again@1",
        },
        content_type="application/json",
    )
    assert answer.status_code == 201, answer.content
    request = builders.planned(people.analyst, SubjectRef("customer", "77777"))
    models = plan_of(request).body["affected_models"]
    assert [(m["version"], m["because"]) for m in models] == [("1", "usage records")]


def test_the_plan_and_the_log_hold_no_identity(people: Team) -> None:
    request = builders.planned(people.analyst, SubjectRef("email", EMAIL))
    assert "00004" not in repr(plan_of(request).body)
    assert "customers.example" not in repr(plan_of(request).body)
    leaves = b"".join(bytes(entry.leaf) for entry in sequenced())
    assert b"plan.made" in leaves
    assert EMAIL.encode() not in leaves


def test_a_person_without_rows_gets_a_plan_that_only_scans(people: Team) -> None:
    step = plan_of(builders.planned(people.analyst, SubjectRef("customer", "77777"))).body["steps"][
        0
    ]
    assert (step["rows"], step["method"]) == (0, "scan")


def test_a_store_that_is_gone_blocks_the_request_and_says_which(people: Team, table: Path) -> None:
    table.rename(table.with_name("moved"))
    request = builders.planned(people.analyst)
    assert request.state == State.BLOCKED
    assert str(table) in request.reason
    assert not request.plans.exists()


def test_two_people_who_did_not_write_it_approve_the_plan(people: Team) -> None:
    request = builders.approved(people)
    assert request.state == State.SCHEDULED
    events = [e.type for e in sequenced()]
    assert events.count("plan.approved") == 2


def test_approving_own_plan_is_refused_and_recorded(table: Path, people: Team) -> None:
    both = user("analyst", "dpo")
    request = builders.planned(both)
    with pytest.raises(ApproverIsAuthorError):
        approve_plan(request, plan_hash=plan_of(request).hash, by=both)
    assert "plan.approval_refused" in [e.type for e in sequenced()]


def test_a_stale_hash_is_refused(people: Team) -> None:
    request = builders.planned(people.analyst)
    stale = plan_of(request).hash
    builders.search(request, by=people.analyst)
    with pytest.raises(PlanChangedSinceApprovalError, match=plan_of(request).hash):
        approve_plan(request, plan_hash=stale, by=people.dpo)


def test_one_person_with_both_roles_gives_one_approval(people: Team) -> None:
    both = user("dpo", "data_owner")
    request = builders.planned(people.analyst)
    approve_plan(request, plan_hash=plan_of(request).hash, by=both)
    with pytest.raises(WrongStateError, match="already"):
        approve_plan(request, plan_hash=plan_of(request).hash, by=both)
    request.refresh_from_db()
    assert request.state == State.APPROVAL


def test_two_dpos_do_not_replace_the_data_owner(people: Team) -> None:
    request = builders.planned(people.analyst)
    approve_plan(request, plan_hash=plan_of(request).hash, by=people.dpo)
    with pytest.raises(WrongStateError, match="Data owner"):
        approve_plan(request, plan_hash=plan_of(request).hash, by=user("dpo"))


@pytest.mark.parametrize("role", ["analyst", "auditor", "model_owner", "admin", "pipeline"])
def test_other_roles_do_not_approve(people: Team, role: str) -> None:
    request = builders.planned(people.analyst)
    with pytest.raises(NotPermittedError):
        approve_plan(request, plan_hash=plan_of(request).hash, by=user(role))


def test_searching_again_voids_both_approvals(people: Team) -> None:
    request = builders.approved(people)
    builders.search(request, by=people.analyst)
    assert request.state == State.REVIEW
    assert not plan_of(request).approvals.exists()
    with pytest.raises(WrongStateError):
        execute(request, by=people.analyst)
    assert "plan.approvals_voided" in [e.type for e in sequenced()]


def test_keeping_a_location_changes_the_hash_and_voids_the_approvals(people: Team) -> None:
    request = builders.approved(people)
    before = plan_of(request).hash
    kept = {"dataset": "dataset:shop:purchases", "exemption": "17(3)(b)", "reason": "Tax law"}
    amend_plan(request, retain=[kept], by=people.analyst)
    request.refresh_from_db()
    assert request.state == State.REVIEW
    assert plan_of(request).hash != before
    assert plan_of(request).body["steps"][0]["method"] == "retain"


@pytest.mark.parametrize(
    ("kept", "field"),
    [
        ({"dataset": "dataset:x:y", "exemption": "17(3)(b)", "reason": "r"}, "retain.dataset"),
        ({"dataset": "dataset:shop:purchases", "exemption": "17", "reason": "r"},
         "retain.exemption"),
        ({"dataset": "dataset:shop:purchases", "exemption": "17(3)(b)", "reason": " "},
         "retain.exemption"),
    ],
)  # fmt: skip
def test_a_wrong_exemption_is_refused(people: Team, kept: dict[str, str], field: str) -> None:
    request = builders.planned(people.analyst)
    with pytest.raises(InvalidInputError) as refused:
        amend_plan(request, retain=[kept], by=people.analyst)
    assert refused.value.field == field


def test_a_plan_changed_in_the_database_is_not_executed(people: Team) -> None:
    request = builders.approved(people)
    plan = plan_of(request)
    plan.body["steps"][0]["rows"] = 1
    Plan.objects.filter(pk=plan.pk).update(body=plan.body)
    with pytest.raises(PlanChangedSinceApprovalError):
        execute(request, by=people.analyst)


def test_the_hash_is_that_of_the_canonical_body(people: Team) -> None:
    plan = plan_of(builders.planned(people.analyst))
    shuffled = dict(reversed(list(plan.body.items())))
    assert plan_hash(shuffled) == plan.hash


def test_the_analyst_alone_plans(people: Team) -> None:
    request = builders.in_triage(people.analyst)
    with pytest.raises(NotPermittedError):
        start_discovery(request, by=people.dpo)


def test_rest_answers_with_the_plan_and_refuses_as_problems(people: Team, api: Api) -> None:
    request = builders.planned(people.analyst)
    path = f"/api/v1/requests/{request.reference}"
    body: dict[str, Any] = api(people.analyst).get(path).json()
    assert body["state"] == "review"
    assert body["plan"]["hash"] == plan_of(request).hash
    assert body["plan"]["author"] == people.analyst.actor

    def approve(by: User, hash_: str) -> Any:
        return api(by).post(
            f"{path}/approve", {"plan_hash": hash_}, content_type="application/json"
        )

    assert approve(people.analyst, body["plan"]["hash"]).status_code == 403
    stale = approve(people.dpo, "0" * 64)
    assert stale.status_code == 409
    assert stale["Content-Type"] == "application/problem+json"
    assert approve(people.dpo, body["plan"]["hash"]).status_code == 200
    assert api(people.analyst).post(f"{path}/execute").status_code == 409
    assert approve(people.data_owner, body["plan"]["hash"]).status_code == 200
    assert api(people.analyst).post(f"{path}/execute").status_code == 202


def test_versions_are_searched_also_when_newer_ones_no_longer_hold_the_person(
    people: Team, table: Path
) -> None:
    DeltaTable(str(table)).delete("customer_id = '00004'")
    step = plan_of(builders.planned(people.analyst)).body["steps"][0]
    assert step["rows_by_version"].get("3", 0) == 0
    assert step["rows"] == 3
