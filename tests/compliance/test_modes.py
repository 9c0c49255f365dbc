"""What becomes of older versions, chosen for one plan: purged, or kept without the person."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.test import Client

from accounts.models import User
from compliance.actions.erasure import execute
from compliance.actions.plans import approve_plan
from compliance.models import Request
from compliance.queries import current_plan
from compliance.states import State
from compliance.tasks import discover_request
from tests.builders import Api
from tests.compliance import builders
from tests.compliance.builders import Team

pytestmark = pytest.mark.django_db
NODE = "dataset:shop:purchases"
KEEP = {NODE: "keep_history"}


def modes_of_plan(request: Request) -> dict[str, str]:
    request.refresh_from_db()
    plan = current_plan(request)
    assert plan, request.reason
    return {step["dataset"]: step["mode"] for step in plan.body["steps"]}


def ask(api: Api, by: User, request: Request, **body: Any) -> Any:
    """Posts the verb; what it made due is done at once."""
    answer = api(by).post(
        f"/api/v1/requests/{request.reference}/plan", body, content_type="application/json"
    )
    discover_request(request.pk)
    return answer


def test_older_versions_stay_readable_without_the_person_if_the_plan_says_so(
    people: Team, table: Path, api: Api
) -> None:
    request = builders.in_triage(people.analyst)
    assert ask(api, people.analyst, request, modes=KEEP).status_code == 202
    assert modes_of_plan(request) == KEEP
    plan = current_plan(request)
    assert plan
    for approver in (people.dpo, people.data_owner):
        approve_plan(request, plan_hash=plan.hash, by=approver)
    request.refresh_from_db()
    execute(request, by=people.analyst)
    builders.work_off(request)
    assert request.state == State.RESPONDING, request.reason
    for version in range(3):
        left = pl.read_delta(str(table), version=version)["customer_id"].to_list()
        assert set(left) == {"00021", "00050"}


def test_the_choice_stays_when_the_stores_are_searched_again(people: Team, api: Api) -> None:
    request = builders.in_triage(people.analyst)
    ask(api, people.analyst, request, modes=KEEP)
    ask(api, people.analyst, request)
    assert modes_of_plan(request) == KEEP
    ask(api, people.analyst, request, modes={NODE: "purge"})
    assert modes_of_plan(request) == {NODE: "purge"}


def test_another_choice_voids_the_approvals(people: Team, api: Api) -> None:
    request = builders.approved(people)
    signed = current_plan(request)
    assert signed
    ask(api, people.analyst, request, modes=KEEP)
    assert not signed.approvals.filter(voided_at=None).exists()
    assert modes_of_plan(request) == KEEP


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"modes": {"dataset:shop:else": "purge"}}, "not a location that this request searches"),
        ({"modes": {NODE: "forget"}}, "not a valid choice"),
        ({"modes": {"dataset:shop:leads": "keep_history"}}, "stores offer purge"),
        ({"modes": KEEP, "retain": []}, "needs a new search"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_and_nothing_is_searched(
    people: Team, api: Api, tmp_path: Path, body: dict[str, Any], said: str
) -> None:
    leads = tmp_path / "leads"
    leads.mkdir()
    pl.DataFrame({"customer_id": ["00004"], "email": ["a@x.example"]}).write_csv(leads / "a.csv")
    builders.connected(leads, name="leads", kind="files")
    request = builders.in_triage(people.analyst)
    answer = ask(api, people.analyst, request, **body)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    request.refresh_from_db()
    assert (request.state, request.modes) == (State.TRIAGE, {})


def test_the_page_offers_the_choice_and_searches_again_with_it(
    people: Team, client: Client
) -> None:
    request = builders.planned(people.analyst)
    client.force_login(people.analyst)
    page = client.get(f"/requests/{request.reference}/").content.decode()
    assert "Change what becomes of older versions" in page
    client.post(
        f"/requests/{request.reference}/mode/",
        {"mode-dataset": NODE, "mode-mode": "keep_history"},
    )
    discover_request(request.pk)
    assert modes_of_plan(request) == KEEP
    page = client.get(f"/requests/{request.reference}/").content.decode()
    assert "every version stays readable without them" in page
