"""The list of requests, and what a request's page says while it is worked on."""

import pytest
from django.test import Client

from compliance.actions.erasure import execute
from compliance.models import Step
from compliance.states import State
from tests.compliance.builders import Team, approved, in_triage

pytestmark = pytest.mark.django_db


def test_a_search_in_the_wrong_tab_leads_to_all_requests(people: Team, client: Client) -> None:
    case = in_triage(people.analyst)
    client.force_login(people.analyst)
    page = client.get(f"/requests/?show=ended&q={case.reference}").content.decode()
    address = f"?show=all&amp;q={case.reference}"
    assert f'href="{address}">Search all requests</a>' in page
    found = client.get(f"/requests/{address.replace('&amp;', '&')}").content.decode()
    assert f">{case.reference}</a>" in found
    assert "Search all requests" not in found


def test_progress_without_a_total_yet_is_not_shown_as_nothing_of_nothing(
    people: Team, client: Client
) -> None:
    case = approved(people)
    execute(case, by=people.analyst)
    case.refresh_from_db()
    assert case.state == State.EXECUTING
    Step.objects.update(phase=Step.Phase.ERASING)
    client.force_login(people.analyst)
    page = client.get(f"/requests/{case.reference}/").content.decode()
    assert "not counted yet" in page
    assert "0 of 0" not in page
    Step.objects.update(done=2, total=5)
    assert "2 of 5 files" in client.get(f"/requests/{case.reference}/").content.decode()
