"""The gate that lakeFS calls before a merge, called by the stand-in as the real server would."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from accounts.roles import Role
from audit.queries import event_of
from compliance.actions.erasure import execute
from compliance.states import State
from connectors.adapters.lakefs import merging
from connectors.models import Connector
from tests.builders import api, sequenced, user
from tests.compliance.builders import approved, connected, purchases, team, work_off
from tests.connectors.lakefs_builders import SECRET_VARIABLE, options
from tests.connectors.lakefs_server import (
    REPOSITORY,
    SECRET,
    Commit,
    LocalBlocks,
    RefusedError,
    Server,
    Shop,
    models,
    served,
)

pytestmark = [pytest.mark.django_db, pytest.mark.enable_socket]
EXAMPLE = Path(__file__).parents[2] / "docs" / "lakefs-gate.yaml"
GATE = "/api/v1/gates/lakefs"
ANSWERS: list[Any] = []  # of the gate, to the server
THEIRS = b"00004,c00004@customers.example,1,9.0\n"
MORE = b"00060,c00060@customers.example,1,5.0\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Server]:
    """A protected branch with 22 purchases of others and four of the person."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]
    shop = Shop(LocalBlocks(tmp_path / "blocks"))
    shop.put("main", "purchases.csv", purchases(1).write_csv().encode())
    others = b"".join(b"%05d,c@customers.example,1,2.5\n" % n for n in range(100, 120))
    shop.put("main", "more.csv", b"customer_id,email,month,amount\n" + others + THEIRS * 3)
    shop.commit("main", "first")
    with served(shop) as running:
        yield running


@pytest.fixture
def connector(server: Server) -> Connector:
    return connected(server.location, kind="lakefs", options=options(server))


@pytest.fixture
def gated(server: Server, connector: Connector) -> Iterator[Shop]:
    """The branch carries our example action, and lakeFS knows the key of a pipeline."""
    shop = server.shop
    action = EXAMPLE.read_text().replace("connector: '1'", f"connector: '{connector.pk}'")
    shop.put("main", "_lakefs_actions/vestige-gate.yaml", action.encode())
    shop.commit("main", "a gate")
    shop.protected = ["main"]
    header = api(user(Role.PIPELINE)).defaults["HTTP_AUTHORIZATION"]
    shop.environment = {"VESTIGE_GATE_KEY": header.removeprefix("Bearer ")}
    ours = {alias: connections[alias] for alias in connections}
    for one in ours.values():
        one.inc_thread_sharing()

    def posted(url: str, headers: Mapping[str, str], event: dict[str, Any]) -> int:
        for alias, one in ours.items():  # in the server's thread, while the test waits for it
            connections[alias] = one
        parts = urlsplit(url)
        answer = Client(headers=dict(headers)).post(
            f"{parts.path}?{parts.query}", event, content_type="application/json"
        )
        ANSWERS.append(answer)
        return answer.status_code

    shop.webhook = posted
    yield shop
    for one in ours.values():
        one.dec_thread_sharing()


def merge(shop: Shop, source: str, **given: Any) -> Commit:
    return shop.merge(source, "main", models.Merge(**given))


def change(shop: Shop, path: str, body: bytes, branch: str = "feature-x") -> str:
    shop.begin(branch, "main")
    shop.put(branch, path, body)
    shop.commit(branch, "a change")
    return branch


def verdicts(connector: Connector) -> list[dict[str, Any]]:
    rows = [e for e in sequenced() if e.type == "gate.merge_judged"]
    return [event_of(row)["details"] for row in rows if row.resource == connector.resource]


def file_of(shop: Shop, path: str) -> bytes:
    return shop.path_of(shop.resolve("main")[1][path]).read_bytes()


def test_a_small_merge_passes_and_its_verdict_is_recorded(
    gated: Shop, connector: Connector
) -> None:
    before = gated.branches["main"].head
    source = change(gated, "purchases.csv", file_of(gated, "purchases.csv") + MORE)
    merge(gated, source)
    (verdict,) = verdicts(connector)
    assert (verdict["verdict"], verdict["let_in"], verdict["rules"]) == ("pass", True, [])
    assert verdict["destination"] == before
    assert verdict["source"] == gated.branches[source].head
    assert gated.runs[-1]["status"] == 200


@pytest.mark.parametrize(
    ("path", "body", "rule", "said"),
    [
        ("new.csv", b"customer_id,email,age\n00070,a@b.example,30\n", "schema", "added: age"),
        ("new.csv", b"customer_id,email\n" + b"00070,\n" * 9, "change", "9 of 26 rows change"),
        ("more.csv", b"customer_id,email,month,amount\n", "change", "23 of 26 rows change"),
    ],
)
def test_what_a_person_has_to_review_is_refused_unless_the_action_says_otherwise(
    gated: Shop, connector: Connector, path: str, body: bytes, rule: str, said: str
) -> None:
    source = change(gated, path, body)
    head = gated.branches["main"].head
    with pytest.raises(RefusedError) as caught:
        merge(gated, source)
    assert caught.value.status == 412
    assert gated.branches["main"].head == head
    assert ANSWERS[-1].status_code == 409
    assert said in ANSWERS[-1].json()["detail"]
    event = event_for(gated, source)
    key = gated.environment["VESTIGE_GATE_KEY"]
    passing = Client(headers={"authorization": f"Bearer {key}"}).post(
        f"{GATE}?connector={connector.pk}&review=pass", event, content_type="application/json"
    )
    assert passing.status_code == 200, passing.content
    assert passing.json()["verdict"] == "review"
    assert rule in [reason["rule"] for reason in passing.json()["reasons"]]


def event_for(shop: Shop, source: str, **more: Any) -> dict[str, Any]:
    return {
        "event_type": "pre-merge",
        "repository_id": REPOSITORY,
        "branch_id": "main",
        "source_ref": shop.branches[source].head,
        **more,
    }


def test_an_erased_person_is_kept_out_and_the_erasure_itself_passes_the_gate(
    gated: Shop, connector: Connector
) -> None:
    people = team()
    request = approved(people)
    execute(request, by=people.analyst)
    done = work_off(request)
    assert done.state == State.RESPONDING, done.reason
    (erasing,) = verdicts(connector)  # of 4 rows of 26, more than others may change unseen
    assert (erasing["verdict"], erasing["let_in"], erasing["rules"]) == ("pass", True, [])

    source = change(gated, "again.csv", purchases(2).write_csv().encode())
    with pytest.raises(RefusedError):
        merge(gated, source)
    refused = ANSWERS[-1].json()
    assert refused["verdict"] == "fail"
    assert "2 identifiers of people who were erased would come in again" in refused["detail"]
    assert "00004" not in ANSWERS[-1].content.decode()
    assert verdicts(connector)[-1]["rules"] == ["change", "suppression"]
    # Whoever writes the plan's id into a merge of their own is no erasure.
    plan = gated.commits[gated.branches["main"].head].metadata["vestige-plan"]
    small = change(gated, "more.csv", b"customer_id,email,month,amount\n", branch="small")
    with pytest.raises(RefusedError):
        merge(gated, small, metadata={"vestige-plan": plan})


def test_what_came_in_past_the_gate_is_found(gated: Shop, connector: Connector) -> None:
    """A branch that deletes the action is not judged; the log of the branch says so."""
    merge(gated, change(gated, "purchases.csv", file_of(gated, "purchases.csv") + MORE))
    asked = api(user(Role.AUDITOR))
    where = f"{GATE}/unjudged?connector={connector.pk}&branch=main"
    sequenced()
    assert asked.get(where).json() == []
    sneaky = change(gated, "x.csv", b"customer_id,email\n" + b"00080,\n" * 50, branch="sneaky")
    gated.remove(sneaky, "_lakefs_actions/vestige-gate.yaml")
    gated.commit(sneaky, "tidy up")
    past = merge(gated, sneaky)
    gated.protected = []
    gated.put("main", "y.csv", b"customer_id,email\n00081,\n")
    direct = gated.commit("main", "by hand")
    found = asked.get(where).json()
    assert [f["commit"] for f in found] == [direct.id, past.id]
    assert found[0]["finding"] == "There is no verdict on it."


def test_the_door_refuses_strangers_and_nonsense(gated: Shop, connector: Connector) -> None:
    source = change(gated, "purchases.csv", file_of(gated, "purchases.csv") + MORE)
    event = event_for(gated, source)
    where = f"{GATE}?connector={connector.pk}"

    def status(by: User, body: dict[str, Any], place: str = where) -> int:
        answer = api(by).post(place, body, content_type="application/json")
        return int(answer.status_code)

    assert Client().post(where, event, content_type="application/json").status_code in (401, 403)
    assert status(user(Role.MODEL_OWNER), event) == 403
    pipeline = user(Role.PIPELINE)
    assert status(pipeline, event) == 200
    assert status(pipeline, event, GATE) == 400
    assert status(pipeline, event, f"{GATE}?connector=99999") == 400
    assert status(pipeline, event | {"repository_id": "other"}) == 400
    assert status(pipeline, event | {"event_type": "post-merge"}) == 400
    assert status(pipeline, event | {"branch_id": "../main"}) == 400
    assert status(pipeline, event | {"source_ref": "main"}) == 400


def test_a_merge_that_is_too_large_for_the_minute_is_refused(
    gated: Shop, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "MOST_BYTES", 100)
    with pytest.raises(RefusedError):
        merge(gated, change(gated, "purchases.csv", file_of(gated, "purchases.csv") + MORE))
    assert "Merge in smaller parts" in ANSWERS[-1].json()["detail"]
    assert verdicts(connector)[-1]["rules"] == ["size"]


def test_a_merge_that_cannot_be_read_is_refused_without_a_word_of_why(
    gated: Shop, connector: Connector
) -> None:
    source = change(gated, "purchases.csv", file_of(gated, "purchases.csv") + MORE)
    gated.failing = 500
    key = gated.environment["VESTIGE_GATE_KEY"]
    answer = Client(headers={"authorization": f"Bearer {key}"}).post(
        f"{GATE}?connector={connector.pk}", event_for(gated, source),
        content_type="application/json",
    )  # fmt: skip
    assert answer.status_code == 409
    assert "cannot read what the merge would bring" in answer.json()["detail"]
    assert answer.json()["verdict"] == "fail"
