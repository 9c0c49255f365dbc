"""Reading a store's versions into the registry, with real Delta tables on disk."""

import json
from pathlib import Path

import pytest

from accounts.models import User
from connectors.actions import create_connector
from connectors.models import Connector
from connectors.queries import open_store
from lineage.actions import sync_connector
from lineage.models import Dataset, Edge, Version
from lineage.queries import downstream_models
from tests.builders import Api, sequenced
from tests.connectors.builders import append, customers, erase, table_with_person
from tests.lineage.builders import dataset, run_event, take_in


@pytest.fixture
def connector(data_owner: User, tmp_path: Path) -> Connector:
    return create_connector(
        kind="delta",
        location=str(table_with_person(tmp_path / "customers")),
        subject_columns={"customer_id": "customer", "email": "email"},
        dataset={"namespace": "s3://lake", "name": "customers"},
        name="Customers",
        owner=data_owner,
        by=data_owner,
    )


def _versions() -> dict[str, Version]:
    found = Version.objects.filter(read_by=None, dataset__kind=Dataset.Kind.DATASET)
    return {v.version: v for v in found}


def test_a_sync_registers_every_version_of_the_table(
    connector: Connector, data_owner: User
) -> None:
    result = sync_connector(connector, by=data_owner)

    found = _versions()
    assert list(result.added) == ["0", "1", "2", "3", "4"] == sorted(found)
    table = Dataset.objects.get()
    assert table.node == "dataset:s3://lake:customers"
    assert (table.personal_data, table.owner, table.connector) == (True, data_owner, connector)
    assert found["0"].rows == 51
    assert found["4"].rows == 202
    assert len(found["4"].digest) == 64
    assert {c["name"] for c in found["0"].schema} == {"customer_id", "email", "bought", "price"}
    parents = Edge.objects.filter(kind=Edge.Kind.VERSION)
    assert {(e.source.version, e.target.version) for e in parents} == {
        ("0", "1"), ("1", "2"), ("2", "3"), ("3", "4"),
    }  # fmt: skip


def test_a_second_sync_of_an_unchanged_table_finds_nothing_new(
    connector: Connector, data_owner: User
) -> None:
    sync_connector(connector, by=data_owner)
    recorded = len(sequenced())

    again = sync_connector(connector, by=data_owner)

    assert (again.versions, again.added, again.purged, again.changed) == (5, (), (), ())
    assert [e.type for e in sequenced()[recorded:]] == ["connector.synced"]


def test_store_and_pipeline_speak_of_the_same_version(
    connector: Connector, data_owner: User, pipeline: User
) -> None:
    take_in(
        run_event(
            "train", "t1", inputs=[dataset("customers", "3")],
            outputs=[dataset("churn", "1", model=True)],
        ),
        pipeline,
    )  # fmt: skip
    sync_connector(connector, by=data_owner)

    third = Version.objects.get(dataset__name="customers", version="3")
    assert third.in_store
    assert third.dated_by == Version.DatedBy.STORE
    assert [a.version.node for a in downstream_models([third.pk])] == ["model:churn@1"]


def test_purged_versions_are_marked_and_logged_and_the_new_one_affects_no_old_model(
    connector: Connector, data_owner: User, pipeline: User
) -> None:
    sync_connector(connector, by=data_owner)
    take_in(
        run_event(
            "train", "t1", inputs=[dataset("customers", "4")],
            outputs=[dataset("churn", "1", model=True)],
        ),
        pipeline,
    )  # fmt: skip
    erase(open_store(connector, role="writer"))  # type: ignore[arg-type]

    result = sync_connector(connector, by=data_owner, because="request:R-2026-0001")

    found = _versions()
    assert sorted(result.purged) == ["0", "1", "2", "3", "4"]
    assert all(found[name].purged_at for name in result.purged)
    assert [found[name].purged_at for name in result.added] == [None] * len(result.added)
    purged = [e for e in sequenced() if e.type == "dataset.version_purged"]
    assert sorted(e.resource_version for e in purged) == ["0", "1", "2", "3", "4"]
    assert b"request:R-2026-0001" in bytes(purged[0].leaf)
    assert downstream_models([found[result.added[0]].pk]) == []
    assert [a.version.node for a in downstream_models([found["4"].pk])] == ["model:churn@1"]


def test_other_content_under_the_same_name_is_a_finding(
    connector: Connector, data_owner: User, tmp_path: Path
) -> None:
    sync_connector(connector, by=data_owner)
    table = Path(connector.location)
    for commit in sorted((table / "_delta_log").glob("*.json"))[:1]:
        added = [json.loads(line) for line in commit.read_text().splitlines()]
        name = next(line["add"]["path"] for line in added if "add" in line)
        file = table / name
        file.write_bytes(file.read_bytes()[:-9] + b"tampered!")

    result = sync_connector(connector, by=data_owner)

    assert "0" in result.changed
    findings = [e for e in sequenced() if e.type == "dataset.version_changed"]
    assert {e.resource_version for e in findings} == set(result.changed)


def test_a_version_that_comes_back_is_a_finding(connector: Connector, data_owner: User) -> None:
    sync_connector(connector, by=data_owner)
    table, hidden = Path(connector.location), Path(connector.location + ".hidden")
    table.rename(hidden)
    append(table, customers(1, 5))
    assert set(sync_connector(connector, by=data_owner).purged) == {"1", "2", "3", "4"}
    table.rename(str(table) + ".other")
    hidden.rename(table)

    result = sync_connector(connector, by=data_owner)

    assert set(result.returned) == {"1", "2", "3", "4"}
    assert all(v.purged_at is None for v in _versions().values())
    assert "dataset.version_returned" in {e.type for e in sequenced()}


def test_sync_by_rest(connector: Connector, analyst: User, auditor: User, api: Api) -> None:
    done = api(analyst).post(f"/api/v1/connectors/{connector.pk}/sync")

    assert done.status_code == 200
    assert done.json()["added"] == ["0", "1", "2", "3", "4"]
    assert done.json()["dataset"] == "dataset:s3://lake:customers"
    assert api(auditor).post(f"/api/v1/connectors/{connector.pk}/sync").status_code == 403
    assert api(analyst).post("/api/v1/connectors/999/sync").status_code == 404


def test_a_table_that_is_gone_purges_nothing(connector: Connector, analyst: User, api: Api) -> None:
    sync_connector(connector, by=analyst)
    Path(connector.location).rename(connector.location + ".moved")

    refused = api(analyst).post(f"/api/v1/connectors/{connector.pk}/sync")

    assert refused.status_code == 422
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["errors"][0]["field"] == "location"
    assert not Version.objects.exclude(purged_at=None).exists()
