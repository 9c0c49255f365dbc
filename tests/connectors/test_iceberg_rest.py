"""Iceberg tables through a REST catalog, over a real socket and pyiceberg's own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table.update import AddSnapshotUpdate, update_table_metadata

from connectors.adapters.base import OptionError, PlanOutdatedError, StoreError, StoreNotFoundError
from connectors.adapters.iceberg import IcebergStore
from connectors.adapters.iceberg.location import ThisMachine
from connectors.references import Role
from tests.connectors.iceberg_builders import (
    COLUMNS,
    PERSON,
    append,
    clean,
    customers,
    erase,
    folder,
    planned,
    rows_of,
    table,
    table_with_person,
    without_person,
)
from tests.connectors.iceberg_rest import TOKEN, Server, served

pytestmark = pytest.mark.enable_socket
OPTIONS = {"token_env": "LAKE_TOKEN", "warehouse": "lake"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LAKE_TOKEN", TOKEN)
    with served(table_with_person(tmp_path)) as running:
        yield running


def store(server: Server, *, role: Role = "writer", **options: Any) -> IcebergStore:
    return IcebergStore(server.location, COLUMNS, OPTIONS | options, role=role)


def test_a_person_is_erased_through_a_rest_catalog(server: Server) -> None:
    opened = store(server)
    before = {b: without_person(rows_of(server.root, b)) for b in ("main", "audit", "clean")}
    assert len(opened.versions()) == 4
    assert erase(opened).rows == 4
    assert clean(store(server, role="verifier"))
    assert {b: rows_of(server.root, b).equals(rows) for b, rows in before.items()} == dict.fromkeys(
        before, True
    )
    (metadata,) = (folder(server.root) / "metadata").glob("*.metadata.json")
    assert metadata.name.startswith("000")


def test_another_writers_commit_outdates_the_plan(server: Server) -> None:
    opened = store(server)
    plan = planned(opened)
    append(server.root, customers(900, 901))
    with pytest.raises(PlanOutdatedError):
        opened.erase(plan, PERSON)
    assert rows_of(server.root).height == 64


def test_a_commit_whose_answer_was_lost_is_found_out_by_running_it_again(server: Server) -> None:
    opened = store(server)
    plan = planned(opened)
    before = without_person(rows_of(server.root))
    server.failing = 500
    with pytest.raises(StoreError, match="did not say whether the commit went through"):
        opened.erase(plan, PERSON)
    assert rows_of(server.root).equals(before)  # it did
    with pytest.raises(StoreError, match="Run the same step again"):
        opened.purge_history(plan)
    server.failing = 0
    assert opened.erase(plan, PERSON).rows == 4
    opened.purge_history(plan)
    assert clean(opened)


def test_what_the_server_itself_says_is_scanned(server: Server) -> None:
    erase(store(server))
    with table(server.root) as loaded, loaded.transaction() as change:
        change.set_properties({"comment": f"for {PERSON['email'][0]}"})
    report = store(server).verify_erased(PERSON["email"], None)
    assert "catalog: answer of the catalog" in {t.path for t in report.traces}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"token_env": "OTHER_TOKEN"}, "refused the token"),
        ({"token_env": ""}, "refused the token"),
        ({"token_env": "VESTIGE_TOKEN"}, "does not begin with VESTIGE_"),
        ({"token_env": "HOME"}, "ends with TOKEN"),
        ({"token_env": "", "token_file": "/nowhere"}, "cannot be read"),
        ({"token": "secret"}, "no option token"),
    ],
)
def test_a_token_comes_by_reference_and_a_wrong_one_is_said(
    server: Server, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], reason: str
) -> None:
    monkeypatch.setenv("OTHER_TOKEN", "wrong")
    with pytest.raises((StoreError, OptionError), match=reason) as read:
        store(server, **options).schema()
    with pytest.raises((StoreError, OptionError), match=reason) as scanned:
        store(server, **options).verify_erased(["x"], None)
    assert "wrong" not in f"{read.value}{scanned.value}"


def test_an_allowed_server_leads_nowhere_else(server: Server, tmp_path: Path) -> None:
    other = "http://127.0.0.1:9/iceberg"
    server.config = {
        "uri": other,
        "py-io-impl": "os.path.Nothing",
        "credential": "id:secret",
        "oauth2-server-uri": f"{other}/tokens",
        "rest.sigv4-enabled": "true",
    }
    assert len(store(server).versions()) == 4
    server.redirect = other
    for asked in (store(server).schema, lambda: store(server).verify_erased(["x"], None)):
        with pytest.raises(StoreError, match="cannot be"):
            asked()
    server.redirect = ""

    def refuse(path: str) -> Path:
        raise StoreError(f"not allowed: {len(path)}")

    with pytest.raises(StoreError, match="not allowed"):
        IcebergStore(server.location, COLUMNS, OPTIONS, reach=ThisMachine(refuse)).find_subject(
            PERSON
        )


def test_a_table_that_is_not_there_or_a_server_that_is_not(server: Server) -> None:
    none = server.location.replace("orders", "none")
    with pytest.raises(StoreNotFoundError):
        IcebergStore(none, COLUMNS, OPTIONS).schema()
    with pytest.raises(StoreNotFoundError):
        IcebergStore(none, COLUMNS, OPTIONS).verify_erased(["x"], None)
    gone = IcebergStore("http://127.0.0.1:9/iceberg#shop.orders", COLUMNS, OPTIONS)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9"):
        gone.schema()
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9"):
        gone.verify_erased(["x"], None)


def test_older_snapshots_cannot_be_kept_in_a_rest_catalog(server: Server) -> None:
    """Its own rules for new snapshots refuse one with an older number, so none can be exchanged."""
    opened = store(server)
    before = {path: path.read_bytes() for path in folder(server.root).rglob("*.*")}
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="keep_history")
    assert plan.blockers == (
        "A REST catalog takes no change of snapshots that exist, so the older ones of its tables "
        'cannot be kept: leave out "history = keep", and they are purged.',
    )
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)
    assert {path: path.read_bytes() for path in folder(server.root).rglob("*.*")} == before
    with table(server.root) as loaded:
        first, second, *_ = loaded.metadata.snapshots
        loaded.maintenance.expire_snapshots().by_id(second.snapshot_id).commit()
        with pytest.raises(ValueError, match="older than last sequence number"):
            update_table_metadata(loaded.metadata, (AddSnapshotUpdate(snapshot=second),))
    assert first.sequence_number == 1
