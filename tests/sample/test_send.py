"""What leaves the sample company, seen from the other end of the wire."""

from collections.abc import Iterator

import pytest
import requests

from lineage.intake.openlineage import decode
from sample.rest import Vestige, VestigeRefusedError
from sample.runs import Ran, runs_of
from sample.send import LineageDisabledError, send_lineage
from tests.sample import builders
from tests.sample.recorder import Answer, Received, Recorder, recording

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def server() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


def some_runs() -> list[Ran]:
    folder = builders.built()
    return [r for r in runs_of(folder / "store", folder / "models") if r.job.name == "train"]


def test_lineage_goes_to_the_openlineage_door_with_the_key(server: Recorder) -> None:
    assert send_lineage(server.url, "the-key", some_runs()) == 4

    assert {(r.method, r.path) for r in server.received} == {("POST", "/api/v1/lineage")}
    assert {r.headers["Authorization"] for r in server.received} == {"Bearer the-key"}
    reports = [decode(r.body) for r in server.received]
    assert [r.run.state for r in reports if r.run] == ["running", "complete"] * 2


def test_sent_twice_the_bodies_are_the_same_so_that_they_count_once(server: Recorder) -> None:
    for _ in range(2):
        send_lineage(server.url, "the-key", some_runs())

    bodies = [r.body for r in server.received]
    assert bodies[:4] == bodies[4:]
    assert len(set(bodies)) == 4


def test_a_busy_server_is_asked_again_until_it_takes_the_event(server: Recorder) -> None:
    def busy_at_first(request: Received) -> Answer:
        if len(server.received) == 1:
            return 503, {}, {"Retry-After": "0"}
        return 201, {}, {}

    server.answer = busy_at_first

    send_lineage(server.url, "the-key", some_runs())

    bodies = [r.body for r in server.received]
    assert len(bodies) == 5
    assert bodies[0] == bodies[1]


def test_a_refused_event_is_not_passed_over(server: Recorder) -> None:
    server.answer = lambda _: (422, {"title": "Invalid input"}, {})

    with pytest.raises(requests.HTTPError, match="422"):
        send_lineage(server.url, "the-key", some_runs())


def test_no_variable_of_the_machine_sends_the_lineage_elsewhere(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recording() as elsewhere:
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", elsewhere.url)
        monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
        monkeypatch.setenv("http_proxy", elsewhere.url)

        send_lineage(server.url, "the-key", some_runs())
        with Vestige(server.url, "the-key") as vestige:
            vestige.post("/api/v1/events")

    assert len(server.received) == 5
    assert elsewhere.received == []


def test_switched_off_by_the_environment_it_says_so_instead_of_sending_nothing(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")

    with pytest.raises(LineageDisabledError, match="Unset it"):
        send_lineage(server.url, "the-key", some_runs())


def test_a_problem_is_told_with_the_fields_it_names(server: Recorder) -> None:
    problem = {
        "title": "Invalid input",
        "detail": "The store cannot be opened.",
        "errors": [{"field": "location", "reason": "There is no table."}],
    }
    server.answer = lambda _: (400, problem, {})

    with Vestige(server.url, "the-key") as vestige, pytest.raises(VestigeRefusedError) as refused:
        vestige.post("/api/v1/connectors", {"kind": "delta"})

    assert str(refused.value) == (
        "POST /api/v1/connectors: 400 Bad Request: The store cannot be opened."
        " location: There is no table."
    )
    assert refused.value.status == 400


def test_a_list_is_read_to_its_last_page(server: Recorder) -> None:
    def paged(request: Received) -> Answer:
        if "cursor" in request.path:
            return 200, {"next": None, "results": [{"id": 2}]}, {}
        return 200, {"next": f"{server.url}/api/v1/keys?cursor=x", "results": [{"id": 1}]}, {}

    server.answer = paged

    with Vestige(server.url, "the-key") as vestige:
        assert [key["id"] for key in vestige.listed("/api/v1/keys")] == [1, 2]


def test_a_server_that_asks_for_patience_gets_it(server: Recorder) -> None:
    def busy_at_first(request: Received) -> Answer:
        if len(server.received) < 3:
            return 503, {"title": "Busy"}, {"Retry-After": "0"}
        return 200, {"done": True}, {}

    server.answer = busy_at_first

    with Vestige(server.url, "the-key") as vestige:
        assert vestige.post("/api/v1/usage", {"usage": []}) == {"done": True}


def test_nobody_at_the_address_is_said_as_such() -> None:
    with recording() as gone:
        url = gone.url

    with (
        Vestige(url, "the-key") as vestige,
        pytest.raises(VestigeRefusedError, match="does not answer"),
    ):
        vestige.get("/api/v1/keys")
