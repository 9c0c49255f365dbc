"""The page on which several plans are approved at once."""

import pytest
from django.test import Client

from accounts.models import User
from accounts.roles import Role
from audit.subjects import SubjectRef
from compliance.actions.plans import start_discovery
from compliance.models import Request
from compliance.queries import approvals_missing, current_plan
from compliance.states import State
from compliance.tasks import discover_request
from tests.builders import sequenced, user
from tests.compliance import builders
from tests.compliance.builders import Team

pytestmark = pytest.mark.django_db
PAGE = "/requests/approvals/"
OTHER = SubjectRef("customer", "00021")


def both(people: Team) -> tuple[Request, Request]:
    return builders.planned(people.analyst), builders.planned(people.analyst, OTHER)


def value(request: Request) -> str:
    plan = current_plan(request)
    assert plan is not None
    return f"{request.reference} {plan.hash}"


def post(client: Client, by: User, *plans: str) -> str:
    client.force_login(by)
    return client.post(PAGE, {"plan": plans}, follow=True).content.decode()


def missing(request: Request) -> list[str]:
    plan = current_plan(request)
    assert plan is not None
    return approvals_missing(plan)


def test_two_people_approve_two_plans_in_two_clicks(people: Team, client: Client) -> None:
    first, second = both(people)
    client.force_login(people.dpo)
    shown = client.get(PAGE).content.decode()
    assert f'value="{value(first)}"' in shown
    assert "Erases <strong>3</strong> rows" in shown
    assert "Your approval of 2 plans is recorded." in post(
        client, people.dpo, value(first), value(second)
    )
    assert missing(first) == missing(second) == [Role.DATA_OWNER]
    post(client, people.data_owner, value(first), value(second))
    for request in (first, second):
        request.refresh_from_db()
        assert request.state == State.SCHEDULED
    signed = [entry for entry in sequenced() if entry.type == "plan.approved"]
    assert len(signed) == 4
    assert "No plan awaits approval" in client.get(PAGE).content.decode()


def test_only_what_is_ticked_is_approved(people: Team, client: Client) -> None:
    first, second = both(people)
    assert "Your approval of 1 plan is recorded." in post(client, people.dpo, value(first))
    assert len(missing(first)) == 1
    assert len(missing(second)) == 2
    assert "No plan was chosen" in post(client, people.dpo)


def test_a_plan_that_changed_meanwhile_is_named_and_keeps_no_other_back(
    people: Team, client: Client
) -> None:
    first, second = both(people)
    old, other = value(first), value(second)
    start_discovery(first, by=people.analyst)
    said = post(client, people.dpo, old, other, "R-0 nothing")
    assert f"{first.reference}: Its plan no longer awaits approval." in said
    assert "R-0: Its plan no longer awaits approval." in said
    discover_request(first.pk)
    plan = current_plan(first)
    assert plan is not None
    said = post(client, people.dpo, f"{first.reference} {'0' * 64}")
    assert f"{first.reference}: The hash is not that of the current plan." in said
    assert missing(second) == [Role.DATA_OWNER]


def test_who_made_a_plan_sees_why_it_is_not_theirs_to_approve(people: Team, client: Client) -> None:
    dpo = user(Role.DPO, Role.ANALYST)
    request = builders.planned(dpo)
    client.force_login(dpo)
    shown = client.get(PAGE).content.decode()
    assert "You made this plan. Somebody else must approve it." in shown
    assert value(request) not in shown
    assert "You made this plan" in post(client, dpo, value(request))
    assert len(missing(request)) == 2


@pytest.mark.parametrize("role", [Role.ANALYST, Role.AUDITOR, Role.PIPELINE, Role.MODEL_OWNER])
def test_other_roles_do_not_see_the_page(people: Team, client: Client, role: str) -> None:
    client.force_login(user(role))
    assert client.get(PAGE).status_code == 403
    assert PAGE not in client.get("/requests/").content.decode()
