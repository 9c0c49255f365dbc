"""The subject index of a connected store: built by a worker after a sync, told on page and API."""

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, LongType, NestedField, StringType

from accounts.models import User
from audit.keys import named_key
from audit.queries import event_of
from compliance.actions.erasure import execute
from compliance.queries import current_plan
from compliance.states import State
from connectors.actions import build_index, disable_connector
from connectors.adapters.base import TakesIndex
from connectors.adapters.delta import DeltaStore
from connectors.forms import OptionsField
from connectors.index import SubjectIndex
from connectors.models import Connector, StoreIndex
from connectors.openers import OPENERS
from connectors.queries import INDEX_LEASE, INDEXED_KINDS, index_of, open_store
from lineage import tasks
from lineage.actions import sync_connector
from tests.builders import Api, sequenced
from tests.compliance.builders import (
    EMAIL,
    PERSON,
    approved,
    connected,
    planned,
    purchases,
    team,
    work_off,
    write_table,
)
from tests.connectors import dvc_builders, iceberg_builders, lakefs_builders
from tests.connectors.lakefs_server import SECRET, LocalBlocks, Shop, served

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wake-ups arrive at once; the list says in which queue."""
    queues: list[str] = []

    def arrive(args: tuple[int], *, queue: str, expires: int) -> None:
        queues.append(queue)
        tasks.build_subject_index(*args)

    monkeypatch.setattr(tasks.build_subject_index, "apply_async", arrive)
    return queues


@pytest.fixture
def shop(tmp_path: Path) -> Connector:
    return connected(write_table(tmp_path / "purchases"))


def events(kind: str) -> list[Any]:
    found = [dict(event_of(entry)) for entry in sequenced()]
    return [event["details"] for event in found if event["type"] == kind]


def test_a_sync_has_the_index_built_beside_the_data(
    shop: Connector, at_once: list[str], data_owner: User, api: Api, browser: Client
) -> None:
    Connector.objects.filter(pk=shop.pk).update(queue="lake")
    browser.force_login(data_owner)
    page = f"/stores/{shop.pk}/"
    assert "A worker of the queue brings it up to date." in browser.get(page).content.decode()
    tasks.build_due_indexes()
    tasks.build_due_indexes()
    assert at_once == ["lake"], "once, in the store's own queue"
    answer = api(data_owner).get(f"/api/v1/connectors/{shop.pk}").json()
    told = answer["subject_index"]
    assert (told["files"], told["entries"], told["machine"]) == (3, 18, socket.gethostname())
    assert (told["wanted"], told["fault"], told["done"], told["total"]) == (False, "", 3, 3)
    assert told["bytes"] == sum(p.stat().st_size for p in index_of(shop).folder.glob("*.segment"))
    assert "18, each once a file" in browser.get(page).content.decode()
    (details,) = events("connector.indexed")
    assert (details["files"], details["files_hashed"], details["entries"]) == (3, 3, 18)

    purchases(4).write_delta(shop.location, mode="append")
    sync_connector(shop, by=data_owner)
    tasks.build_due_indexes()
    assert events("connector.indexed")[-1]["files_hashed"] == 1
    assert StoreIndex.objects.get().files == 4


def test_only_the_reader_finds_by_it(shop: Connector) -> None:
    tasks.build_due_indexes()
    found = {}
    for role in ("reader", "writer", "verifier"):
        opened = open_store(shop, role=role)
        assert isinstance(opened, DeltaStore)
        found[role] = opened.index is not None
    assert found == {"reader": True, "writer": False, "verifier": False}
    step = planned_step()
    assert step["search"]["method"].startswith("by index of 3 files built ")
    assert step["rows"] == 3


def planned_step() -> Any:
    plan = current_plan(planned(team().analyst))
    assert plan
    (step,) = plan.body["steps"]
    return step


def test_an_erased_person_is_forgotten_by_it_with_the_purge(shop: Connector) -> None:
    tasks.build_due_indexes()
    index = index_of(shop)
    theirs = [
        number.to_bytes(8, "little")
        for column, value in (("customer_id", PERSON.value), ("email", EMAIL))
        for number in index.hashes(column, "String", [value])
    ]

    def kept() -> list[bool]:
        bodies = [path.read_bytes() for path in index.folder.iterdir()]
        return [any(number in body for body in bodies) for number in theirs]

    assert kept() == [True, True]
    people = team()
    request = approved(people)
    execute(request, by=people.analyst)
    done = work_off(request)
    assert done.state == State.RESPONDING, done.reason
    assert kept() == [False, False], "before any worker builds it again"
    tasks.build_due_indexes()
    assert kept() == [False, False]
    assert StoreIndex.objects.get().entries == 12, "two others in three files, by two columns"
    found = open_store(shop, role="reader").find_subject({"customer_id": [PERSON.value]})
    assert not found.objects
    assert found.method.startswith("by index of 3 files")


def in_iceberg(folder: Path) -> Connector:
    iceberg_builders.make(folder, purchase_schema())
    for month in (1, 2):
        iceberg_builders.append(folder, purchases(month).to_dicts())
    return connected(iceberg_builders.location(folder), kind="iceberg")


def purchase_schema() -> Schema:
    kinds = {"customer_id": StringType(), "email": StringType(), "month": LongType()}
    fields = [NestedField(n, name, kind) for n, (name, kind) in enumerate(kinds.items(), 1)]
    return Schema(*fields, NestedField(9, "amount", DoubleType()))


def keeping_history(connector: Connector) -> Connector:
    Connector.objects.filter(pk=connector.pk).update(options={"history": "keep"})
    connector.refresh_from_db()
    return connector


def in_iceberg_with_history(folder: Path) -> Connector:
    return keeping_history(in_iceberg(folder))


def in_dvc_with_history(folder: Path) -> Connector:
    return keeping_history(in_dvc(folder))


def in_dvc(folder: Path) -> Connector:
    shop = dvc_builders.begun(folder)
    for month in (1, 2):
        shop.write("purchases.csv", purchases(month).write_csv().encode())
        shop.dvc("add", "-q", "purchases.csv")
        shop.commit(f"month {month}")
    return connected(shop.root, kind="dvc")


@pytest.mark.parametrize("made", [in_iceberg, in_iceberg_with_history, in_dvc, in_dvc_with_history])
def test_stores_of_other_kinds_are_indexed_and_forget_as_well(
    tmp_path: Path, made: Any, browser: Client
) -> None:
    forgets(made(tmp_path / "store"), browser)


@pytest.mark.enable_socket
def test_a_repository_of_lakefs_is_indexed_and_forgets_as_well(
    tmp_path: Path, browser: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setenv(lakefs_builders.SECRET_VARIABLE, SECRET)
    settings.VESTIGE_STORE_HOSTS = ["127.0.0.1"]
    shop = Shop(LocalBlocks(tmp_path / "blocks"))
    for month in (1, 2):
        shop.put("main", "purchases.csv", purchases(month).write_csv().encode())
        shop.commit("main", f"month {month}")
    with served(shop) as server:
        options = lakefs_builders.options(server)
        forgets(connected(server.location, kind="lakefs", options=options), browser)


def forgets(store: Connector, browser: Client) -> None:
    tasks.build_due_indexes()
    index = index_of(store)
    assert StoreIndex.objects.get().files == 2
    kinds = [segment_kinds(index, path.stem) for path in index.folder.glob("*.segment")]
    theirs = [
        number.to_bytes(8, "little")
        for column, value in (("customer_id", PERSON.value), ("email", EMAIL))
        for kind in {kinds[column] for kinds in kinds}
        for number in index.hashes(column, kind, [value])
    ]

    def kept() -> bool:
        return any(n in p.read_bytes() for n in theirs for p in index.folder.iterdir())

    assert kept()
    people = team()
    browser.force_login(people.data_owner)
    page = browser.get(f"/stores/{store.pk}/").content.decode()
    assert "Subject index" in page
    assert "each once a file" in page
    told = browser.get(f"/api/v1/connectors/{store.pk}").json()["subject_index"]
    assert (told["files"], told["wanted"], told["fault"]) == (2, False, "")
    request = approved(people)
    plan = current_plan(request)
    assert plan
    (step,) = plan.body["steps"]
    assert step["search"]["method"].startswith("by index of 2 files built ")
    execute(request, by=people.analyst)
    done = work_off(request)
    assert done.state == State.RESPONDING, done.reason
    assert not kept(), "before any worker builds it again"
    tasks.build_due_indexes()
    assert not kept()
    found = open_store(store, role="reader").find_subject({"customer_id": [PERSON.value]})
    assert not any(o.rows for o in found.objects)
    assert found.method.startswith("by index of ")


def segment_kinds(index: SubjectIndex, name: str) -> dict[str, str]:
    with index.segment(name) as found:
        assert found
        return dict(found.columns)


def test_what_free_texts_say_is_read_without_an_index(
    tmp_path: Path, data_owner: User, browser: Client
) -> None:
    shop = dvc_builders.begun(tmp_path / "store")
    shop.write("purchases.csv", purchases(1).write_csv().encode())
    shop.dvc("add", "-q", "purchases.csv")
    shop.commit("purchases")
    store = connected(shop.root, kind="dvc", options={"text_columns": ["amount"]})
    tasks.build_due_indexes()
    assert not StoreIndex.objects.exists()
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{store.pk}/").content.decode()
    assert "text_columns</span>: a search reads every file, for what its free texts say" in page


def test_a_worker_that_died_is_followed_by_another(
    shop: Connector, at_once: list[str], data_owner: User
) -> None:
    row = StoreIndex.objects.get()
    StoreIndex.objects.update(due_at=None, claim="ab" * 16, claimed_at=timezone.now())
    tasks.build_due_indexes()
    assert build_index(row.pk, by=data_owner) is None
    assert not at_once, "it may still be alive"
    StoreIndex.objects.update(claimed_at=timezone.now() - INDEX_LEASE - timedelta(seconds=1))
    tasks.build_due_indexes()
    assert at_once
    row.refresh_from_db()
    assert (row.files, row.claim, row.claimed_at) == (3, "", None)


def test_a_build_that_another_process_is_at_waits(shop: Connector, data_owner: User) -> None:
    with index_of(shop).building():
        tasks.build_due_indexes()
        row = StoreIndex.objects.get()
        assert (row.built_at, row.is_wanted) == (None, True)
    tasks.build_due_indexes()
    assert StoreIndex.objects.get().files == 3


def test_a_store_that_cannot_be_read_says_so_until_it_can(
    shop: Connector, tmp_path: Path, data_owner: User, browser: Client
) -> None:
    away = tmp_path / "away"
    Path(shop.location).rename(away)
    tasks.build_due_indexes()
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{shop.pk}/").content.decode()
    assert "not built" in page
    assert "There is no folder at" in page
    away.rename(shop.location)
    sync_connector(shop, by=data_owner)
    tasks.build_due_indexes()
    assert StoreIndex.objects.get().fault == ""


def test_an_option_turns_it_off(
    tmp_path: Path, data_owner: User, api: Api, browser: Client
) -> None:
    given = {
        "kind": "delta",
        "location": str(write_table(tmp_path / "t")),
        "subject_columns": {"customer_id": "customer"},
        "options": {"subject_index": "no"},
    }
    refused = api(data_owner).post("/api/v1/connectors", given, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "options"
    assert 'The option "subject_index" is true or false.' in refused.json()["detail"]
    off = OptionsField(required=False).clean("subject_index = false")
    made = api(data_owner).post(
        "/api/v1/connectors", given | {"options": off}, content_type="application/json"
    )
    assert made.status_code == 201, made.content
    connector = Connector.objects.get()
    sync_connector(connector, by=data_owner)
    assert not StoreIndex.objects.exists()
    assert made.json()["subject_index"] is None
    opened = open_store(connector, role="reader")
    assert isinstance(opened, DeltaStore)
    assert opened.index is None
    browser.force_login(data_owner)
    assert "Turned off by the option" in browser.get(f"/stores/{connector.pk}/").content.decode()


def test_a_disabled_store_keeps_none(shop: Connector, data_owner: User) -> None:
    tasks.build_due_indexes()
    folder = index_of(shop).folder
    assert list(folder.iterdir())
    disable_connector(shop, by=data_owner)
    tasks.build_due_indexes()
    assert not folder.exists()
    assert not StoreIndex.objects.exists()


def test_its_key_lies_with_the_keys_and_is_each_stores_own(shop: Connector, settings: Any) -> None:
    assert (settings.VESTIGE_KEYS / "subject-index.key").read_bytes() == named_key("subject-index")
    assert index_of(shop).folder.parent == settings.VESTIGE_INDEX
    other = Connector(pk=shop.pk + 1)
    assert index_of(other).key != index_of(shop).key


def test_the_kinds_that_take_one_are_named(shop: Connector) -> None:
    assert isinstance(open_store(shop, role="reader"), TakesIndex)
    assert set(INDEXED_KINDS) == set(OPENERS) - {"files", "sql"}
