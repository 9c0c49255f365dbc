"""Which Iceberg tables may be connected, by page and REST, and catalogs in PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection as under_test
from django.test import Client
from pyiceberg.catalog.sql import SqlCatalog
from pytest_django import Settings

from accounts.models import User
from connectors.adapters.base import OptionError, StoreError
from connectors.adapters.iceberg import IcebergStore, parse_place
from connectors.models import Connector
from connectors.openers import LocationOutsideError
from connectors.queries import open_location, open_store
from tests.audit.installations import own_database
from tests.builders import Api
from tests.connectors.iceberg_builders import (
    COLUMNS,
    PERSON,
    clean,
    erase,
    folder,
    location,
    make,
    table_with_person,
)

SUBJECT_COLUMNS = {"customer_id": "customer", "email": "email"}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return table_with_person(tmp_path.resolve())


def wanted(lake: Path, **more: Any) -> dict[str, Any]:
    body = {"kind": "iceberg", "location": location(lake), "subject_columns": SUBJECT_COLUMNS}
    return {**body, **more}


def post(api: Api, by: User, body: dict[str, Any]) -> Any:
    return api(by).post("/api/v1/connectors", body, content_type="application/json")


@pytest.mark.django_db
def test_a_table_is_connected_by_rest_and_read_page_by_page(
    lake: Path, data_owner: User, api: Api, browser: Client
) -> None:
    answer = post(api, data_owner, wanted(lake, options={"orphan_grace_minutes": 30}))
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert made["location"] == location(lake)
    assert made["dataset"]["name"] == "shop.orders"
    again = post(
        api, data_owner, wanted(lake, location=location(lake).replace("#", "/../catalog.db#"))
    )
    assert "connected already" in again.json()["detail"]
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{made['id']}/").content.decode()
    assert "shop.orders" in page
    assert "audit" in page
    assert open_store(Connector.objects.get(pk=made["id"]), role="verifier").kind == "iceberg"


@pytest.mark.django_db
def test_the_form_offers_iceberg_and_says_how_to_write_it(
    lake: Path, data_owner: User, browser: Client
) -> None:
    browser.force_login(data_owner)
    page = browser.get("/stores/connect/").content.decode()
    assert "Apache Iceberg" in page
    assert "catalog.db#shop.orders" in page
    given = {
        "kind": "iceberg",
        "location": location(lake),
        "subject_columns": "customer_id = customer\nemail = email",
        "options": "orphan_grace_minutes = 30",
        "test": "1",
    }
    assert "It keeps 4 versions" in browser.post("/stores/connect/", given).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"location": "/data/lake/orders"}, "location", "begins with its catalog"),
        ({"location": "sqlite:////nowhere.db#a.b"}, "location", "There is no file at"),
        ({"location": "sqlite:////nowhere.db#orders"}, "location", "names no table"),
        ({"location": "sqlite://nowhere.db#a.b"}, "location", "after three slashes"),
        ({"location": "https://u:s3cret@h/x#a.b"}, "location", "user name or a password"),
        ({"location": "https://h/x?token=1#a.b"}, "location", "may not stand there"),
        ({"location": "http://lake.example/x#a.b"}, "location", "by https:// only"),
        ({"location": "https://lake.example/x#a.b"}, "location", "VESTIGE_STORE_HOSTS"),
        ({"location": "postgresql://db.example/d#a.b"}, "location", "VESTIGE_STORE_HOSTS"),
        ({"location": "postgresql://db.example#a.b"}, "location", "names no database"),
        ({"options": {"password": "s3cret"}}, "options", "no option password"),
        ({"options": {"orphan_grace_minutes": "soon"}}, "options", "number of minutes"),
        ({"options": {"unrelated_columns": "city"}}, "options", "list of names"),
        ({"options": {"token_file": "/etc/passwd"}}, "options", "VESTIGE_STORE_SECRETS"),
        ({"options": {"catalog": "other"}}, "location", "There is no table shop.orders"),
        ({"subject_columns": {"phone": "phone"}}, "subject_columns", "has no column phone"),
    ],
)  # fmt: skip
def test_what_cannot_be_connected_is_refused_by_field(
    tmp_path: Path, data_owner: User, api: Api, change: dict[str, Any], field: str, reason: str
) -> None:
    answer = post(api, data_owner, wanted(make(tmp_path)) | change)
    assert answer.status_code == 400, answer.content
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert reason in error["reason"]
    assert "s3cret" not in answer.content.decode()


@pytest.mark.django_db
def test_a_table_whose_history_is_kept_is_connected_and_one_of_a_rest_catalog_is_not(
    lake: Path, data_owner: User, api: Api, settings: Settings
) -> None:
    settings.VESTIGE_STORE_HOSTS = ["lake.example"]
    kept = {"options": {"history": "keep"}}
    rest = wanted(lake, location="https://lake.example/x#shop.orders", **kept)
    answer = post(api, data_owner, rest)
    assert answer.status_code == 400
    assert [e["field"] for e in answer.json()["errors"]] == ["options"]
    assert "A REST catalog takes no change of snapshots that exist" in answer.json()["detail"]
    assert post(api, data_owner, wanted(lake, **kept)).status_code == 201


def test_catalog_and_files_have_to_lie_below_the_allowed_folders(
    lake: Path, tmp_path: Path, settings: Settings
) -> None:
    settings.VESTIGE_STORE_ROOTS = [str(tmp_path / "other")]
    with pytest.raises(LocationOutsideError):
        open_location("iceberg", location(lake), COLUMNS, {}, role="reader")
    # The catalog may be opened, but what it leads to may not.
    allowed = tmp_path / "other"
    allowed.mkdir()
    (lake / "catalog.db").rename(allowed / "catalog.db")
    where = f"sqlite:///{allowed}/catalog.db#shop.orders"
    opened = open_location("iceberg", where, COLUMNS, {}, role="reader").store
    for asked in (opened.versions, lambda: opened.verify_erased(["x"], None)):
        with pytest.raises(LocationOutsideError):
            asked()


def test_files_that_a_manipulated_table_names_elsewhere_are_not_read(
    lake: Path, tmp_path: Path, settings: Settings
) -> None:
    settings.VESTIGE_STORE_ROOTS = [str(lake)]
    outside = tmp_path.parent / f"{tmp_path.name}-outside.avro"
    outside.write_bytes(b"secret")
    newest = sorted((folder(lake) / "metadata").glob("*.metadata.json"))[-1]
    metadata = json.loads(newest.read_text())
    for snapshot in metadata["snapshots"]:
        snapshot["manifest-list"] = f"file://{outside}"
    newest.write_text(json.dumps(metadata))
    opened = open_location("iceberg", location(lake), COLUMNS, {}, role="reader").store
    with pytest.raises(StoreError, match="outside"):
        opened.versions()
    metadata["properties"] = {"write.py-location-provider.impl": "os.path.join"}
    newest.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="names its own code"):
        opened.versions()
    metadata["location"] = "gs://bucket/orders"
    newest.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="neither on this machine nor in S3"):
        opened.verify_erased(["x"], None)


def test_one_place_has_one_spelling() -> None:
    for given, kept in (
        ("sqlite:////data/x/../c.db#a.b.t", "sqlite:////data/c.db#a.b.t"),
        ("postgres://DB.example/cat#a.t", "postgresql://db.example:5432/cat#a.t"),
        ("postgresql:///cat?host=/run/pg#a.t", "postgresql:///cat?host=/run/pg#a.t"),
        ("https://Lake.example:443/ice/#a.t", "https://lake.example/ice#a.t"),
        ("http://localhost:8181/#a.t", "http://localhost:8181#a.t"),
    ):
        assert parse_place(given).location == kept
        assert parse_place(kept).location == kept
    assert parse_place("sqlite:////c.db#a.b.t").namespace == ("a", "b")


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The same lake with its catalog in PostgreSQL; yields its folder and location."""
    if under_test.vendor != "postgresql":
        pytest.skip("DATABASE_URL names no PostgreSQL")
    root = table_with_person(tmp_path.resolve())
    with own_database() as url:
        parts = urlsplit(url)
        name, socket = parts.path.strip("/"), parse_qs(parts.query)["host"][0]
        user = parts.username or ""
        newest = sorted((folder(root) / "metadata").glob("*.metadata.json"))[-1]
        uri = f"postgresql+psycopg://{user}@/{name}?host={socket}"
        opened = SqlCatalog("lake", uri=uri, warehouse=f"file://{root}/warehouse")
        opened.create_namespace("shop")
        opened.register_table("shop.orders", f"file://{newest}")
        opened.close()
        yield root, f"postgresql:///{name}?host={socket}#shop.orders"


def test_a_catalog_in_postgresql_serves_as_well(postgresql: tuple[Path, str]) -> None:
    _, where = postgresql
    opened = IcebergStore(where, COLUMNS, {"user": "vestige"})
    assert erase(opened).rows == 4
    assert clean(IcebergStore(where, COLUMNS, {"user": "vestige"}, role="verifier"))
    with pytest.raises(StoreError, match=r"cannot be read or written \(OperationalError\)"):
        IcebergStore(where, COLUMNS, {"user": "nobody-like-this"}).versions()
    with pytest.raises(OptionError, match="ends with PASSWORD"):
        IcebergStore(where, COLUMNS, {"user": "vestige", "password_env": "HOME"}).versions()
    assert opened.find_subject(PERSON).objects == ()


def test_a_catalog_in_postgresql_keeps_every_snapshot(postgresql: tuple[Path, str]) -> None:
    _, where = postgresql
    opened = IcebergStore(where, COLUMNS, {"user": "vestige", "history": "keep"})
    before = {version.id: version.rows for version in opened.versions()}
    found = opened.find_subject(PERSON)
    plan = opened.plan_erase(found, mode="keep_history")
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    now = {version.id: version.rows for version in opened.versions()}
    assert {number: now[number] for number in before} == {
        number: (rows or 0) - found.rows_by_version[number] for number, rows in before.items()
    }
    assert clean(IcebergStore(where, COLUMNS, {"user": "vestige"}, role="verifier"))
