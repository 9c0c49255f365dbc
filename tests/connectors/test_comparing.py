"""What differs between two versions of a store: columns, objects, rows; by page and by REST."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from accounts.models import User
from connectors import queries
from connectors.actions import create_connector
from connectors.adapters.base import PhysicalObject, StoreError, StoreVersion
from connectors.comparing import (
    ColumnChange,
    RowChanges,
    compare,
    row_changes,
    shared_objects,
    sharing,
    steps,
)
from connectors.models import Connector
from connectors.queries import version_changes, versions_of
from tests.builders import Api
from tests.connectors.builders import append, customers, hide_rows, vectors_allowed
from tests.connectors.test_connectors import connected

MADE = datetime(2026, 1, 1, tzinfo=UTC)


def version(name: str, *objects: PhysicalObject, parents: tuple[str, ...] = ()) -> StoreVersion:
    return StoreVersion(name, MADE, "write", parents, objects=objects)


A, B, C = PhysicalObject("a", 10), PhysicalObject("b", 20), PhysicalObject("c", 5)


def test_objects_are_told_apart_by_path_size_and_digest() -> None:
    read, again = replace(A, digest="1"), replace(A, digest="2")
    found = compare(version("1", A, B), version("2", A, C))
    assert (found.added, found.removed, found.shared) == ((C,), (B,), (A,))
    assert found.apart_bytes == 25
    for before, after in ((A, replace(A, bytes=11)), (read, again)):
        found = compare(version("1", before), version("2", after))
        assert (found.added, found.removed, found.rewritten) == ((after,), (before,), ("a",))
    assert compare(version("1", A), version("2", read)).rewritten == ()  # one was not read


def test_columns_that_came_went_or_changed() -> None:
    old = replace(version("1"), schema=(("id", "long"), ("gone", "string"), ("same", "date")))
    new = replace(version("2"), schema=(("id", "string"), ("same", "date"), ("new", "date")))
    assert compare(old, new).columns == (
        ColumnChange("id", "long", "string"),
        ColumnChange("gone", "string", ""),
        ColumnChange("new", "", "date"),
    )


def test_what_versions_share_is_counted_once() -> None:
    versions = [
        version("1", A),
        version("2", A, B, parents=("1",)),
        version("3", C, parents=("2",)),
    ]
    found = sharing(versions)
    assert (found.objects, found.bytes, found.reads, found.bytes_read) == (3, 35, 4, 45)
    sizes = [(step.shared, step.added, step.dropped) for step in steps(versions)]
    assert sizes == [(0, 10, 0), (10, 20, 0), (0, 5, 30)]
    assert steps(versions[1:])[0].shared == 0  # its parent is not kept any more
    assert sharing([]).times == 1


def test_a_file_is_listed_with_the_versions_that_read_it_and_what_that_saves() -> None:
    versions = [version("3", B, C), version("2", A, B), version("1", A, B)]
    found = [(one.object, one.versions, one.saved) for one in shared_objects(versions)]
    assert found == [(B, ("3", "2", "1"), 2 * B.bytes), (A, ("2", "1"), A.bytes), (C, ("3",), 0)]


def frame(*rows: tuple[int, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.Int64, "name": pl.String}, orient="row")


def test_rows_are_counted_as_often_as_they_are_there() -> None:
    old, new = frame((1, "a"), (1, "a"), (2, "b")), frame((1, "a"), (3, "c"), (3, "c"))
    assert row_changes([old], [new]) == RowChanges(2, 2)
    assert row_changes([old], [old[:1], old[1:]]) == RowChanges(0, 0)
    assert row_changes([], [new]) == RowChanges(3, 0)
    assert row_changes([], []) == RowChanges(0, 0)


def test_a_row_with_the_same_key_and_other_values_was_modified() -> None:
    old, new = frame((1, "a"), (2, "b"), (4, "d")), frame((1, "a"), (2, "B"), (3, "c"))
    assert row_changes([old], [new], ["id"]) == RowChanges(1, 1, 1)
    with pytest.raises(ValueError, match="column order"):
        row_changes([old], [new], ["order"])


def test_only_columns_of_both_sides_and_no_widths_of_numbers_count() -> None:
    old = frame((1, "a"))
    new = old.with_columns(pl.col("id").cast(pl.Int16), extra=pl.lit("x"))
    assert row_changes([old], [new]) == RowChanges(0, 0)


ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=8)


@given(ROWS, ROWS)
def test_added_and_removed_are_the_differences_of_two_bags(
    old: list[tuple[int, str]], new: list[tuple[int, str]]
) -> None:
    gone = sum(max(0, old.count(row) - new.count(row)) for row in set(old))
    come = sum(max(0, new.count(row) - old.count(row)) for row in set(new))
    assert row_changes([frame(*old)], [frame(*new)]) == RowChanges(come, gone)
    keyed = row_changes([frame(*old)], [frame(*new)], ["id"])
    assert keyed.modified is not None
    assert (keyed.added + keyed.modified, keyed.removed + keyed.modified) == (come, gone)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Version 0: 50 rows. 1: 30 more. 2: two of these dearer. 3: ten deleted."""
    path = tmp_path / "customers"
    append(path, customers(0, 50))
    append(path, customers(50, 80))
    delta = DeltaTable(str(path))
    delta.update(predicate="customer_id in ('c-000060', 'c-000061')", new_values={"price": "1.0"})
    delta.delete("customer_id < 'c-000010'")
    return path


@pytest.mark.django_db
def test_versions_of_a_table_are_compared(table: Path, data_owner: User) -> None:
    store = connected(table, data_owner)

    def rows(old: str, new: str, *key: str) -> RowChanges | None:
        return version_changes(store, old, new, key=key).rows

    assert rows("0", "1") == RowChanges(30, 0)
    assert rows("1", "0") == RowChanges(0, 30)
    assert rows("1", "2") == RowChanges(2, 2)
    assert rows("1", "2", "customer_id") == RowChanges(0, 0, 2)
    assert rows("2", "3", "customer_id") == RowChanges(0, 10, 0)
    assert rows("0", "3", "customer_id") == RowChanges(30, 10, 0)
    assert len(version_changes(store, "0", "1").comparison.shared) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("inline", [True, False])
def test_rows_behind_deletion_vectors_are_gone(
    tmp_path: Path, data_owner: User, *, inline: bool
) -> None:
    append(tmp_path / "customers", customers(0, 50))
    vectors_allowed(tmp_path / "customers", 1)
    hide_rows(tmp_path / "customers", 2, [3, 4, 5], inline=inline)
    store = connected(tmp_path / "customers", data_owner)
    assert version_changes(store, "1", "2").rows == RowChanges(0, 3)
    assert version_changes(store, "2", "0").rows == RowChanges(3, 0)


@pytest.mark.django_db
def test_partitioned_tables_and_new_columns_are_compared(tmp_path: Path, data_owner: User) -> None:
    path = tmp_path / "customers"
    for first, more in ((0, {}), (5, {"schema_mode": "merge"})):
        rows = customers(first, first + 5).with_columns(region=pl.lit("eu"))
        rows = rows.with_columns(note=pl.lit("x")) if more else rows
        options: dict[str, Any] = {"mode": "append", "partition_by": ["region"], **more}
        write_deltalake(str(path), rows.to_arrow(), **options)
    found = version_changes(connected(path, data_owner), "0", "1")
    assert found.rows == RowChanges(5, 0)
    assert found.comparison.columns == (ColumnChange("note", "", "string"),)


@pytest.mark.django_db
def test_snapshots_of_an_iceberg_table_are_compared(tmp_path: Path, data_owner: User) -> None:
    catalog = SqlCatalog("t", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.customers", customers(0, 20).to_arrow().schema)
    table.append(customers(0, 20).to_arrow())
    table.append(customers(20, 30).to_arrow())
    table.delete("customer_id = 'c-000003'")
    with table.update_schema() as change:
        change.rename_column("bought", "times")
    dearer = customers(20, 30).with_columns(price=pl.lit(1.0)).rename({"bought": "times"})
    table.append(dearer.to_arrow())
    first, second, third, last = (str(s.snapshot_id) for s in table.snapshots())
    store = create_connector(
        kind="iceberg",
        location=f"sqlite:///{tmp_path}/catalog.db#shop.customers",
        subject_columns={"customer_id": "customer"},
        by=data_owner,
    )

    def rows(old: str, new: str, *key: str) -> RowChanges | None:
        return version_changes(store, old, new, key=key).rows

    assert rows(first, second) == RowChanges(10, 0)
    assert rows(second, third) == RowChanges(0, 1)
    assert rows(third, second, "customer_id") == RowChanges(1, 0, 0)
    assert rows(third, last, "customer_id") == RowChanges(10, 0, 0)
    found = version_changes(store, third, last).comparison
    assert found.columns == (ColumnChange("bought", "long", ""), ColumnChange("times", "", "long"))


@pytest.mark.django_db
def test_what_is_too_large_to_wait_for_is_not_compared(
    table: Path, data_owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MOST_ROW_BYTES", 10)
    found = version_changes(connected(table, data_owner), "0", "1")
    assert found.rows is None
    assert "closer together" in found.why_not


@pytest.mark.django_db
def test_a_file_that_cannot_be_read_is_said(table: Path, data_owner: User) -> None:
    store = connected(table, data_owner)
    (path,) = DeltaTable(str(table), version=0).file_uris()
    Path(path).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="row by row"):
        version_changes(store, "0", "3")


@pytest.mark.django_db
def test_versions_and_comparisons_by_rest(table: Path, api: Api, data_owner: User) -> None:
    store = connected(table, data_owner)
    at = f"/api/v1/connectors/{store.pk}"
    listed = api(data_owner).get(f"{at}/versions").json()
    assert [(v["id"], v["rows"]) for v in listed] == [("3", 70), ("2", 80), ("1", 80), ("0", 50)]
    found = api(data_owner).get(f"{at}/compare?old=1&new=2&key=customer_id").json()
    assert found["rows"] == {"added": 0, "removed": 0, "modified": 2}
    assert (found["old"], found["new"], found["objects_shared"]) == ("1", "2", 1)
    assert len(found["objects_added"]) == len(found["objects_removed"]) == 1
    unknown = api(data_owner).get(f"{at}/compare?old=1&new=9")
    assert unknown.status_code == 404
    assert "no version 9" in unknown.json()["detail"]
    for query, field in (("old=1", "new"), ("old=0&new=1&key=nope", "key")):
        wrong = api(data_owner).get(f"{at}/compare?{query}")
        assert wrong.status_code == 400
        assert wrong.json()["errors"][0]["field"] == field
    table.rename(table.with_name("moved"))
    assert api(data_owner).get(f"{at}/versions").status_code == 409


@pytest.mark.django_db
def test_the_pages_draw_and_compare(table: Path, browser: Client, data_owner: User) -> None:
    store = connected(table, data_owner)
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{store.pk}/").content.decode()
    assert page.count('<svg class="bar"') == 3  # the oldest has none before it
    assert f"/stores/{store.pk}/compare/?old=2&amp;new=3" in page
    newest = browser.get(f"/stores/{store.pk}/compare/")
    assert newest.context["changes"].rows == RowChanges(0, 10)
    chosen = browser.get(f"/stores/{store.pk}/compare/?old=1&new=2&key=customer_id")
    assert "Rows modified" in chosen.content.decode()
    wrong = browser.get(f"/stores/{store.pk}/compare/?old=1&new=2&key=nope")
    assert "column nope" in " ".join(wrong.context["form"].errors["key"])
    assert browser.get(f"/stores/{store.pk}/compare/?old=1&new=77").context["form"].errors["new"]


@pytest.mark.django_db
def test_files_and_the_versions_that_share_them_by_page_csv_and_rest(
    table: Path, browser: Client, api: Api, data_owner: User
) -> None:
    store = connected(table, data_owner)
    browser.force_login(data_owner)
    header, *lines = browser.get(f"/stores/{store.pk}/files.csv").content.decode().splitlines()
    assert header == "file,bytes,rows,versions,saved_bytes"
    at = f"/api/v1/connectors/{store.pk}/objects"
    listed = api(data_owner).get(f"{at}?limit=2").json()
    assert (len(listed["results"]), listed["count"]) == (2, len(lines))
    first = listed["results"][0]
    assert first["saved"] == first["bytes"] * (len(first["versions"]) - 1) > 0
    names = first["versions"]
    page = browser.get(f"/stores/{store.pk}/files/").content.decode()
    assert f"{len(names)} versions, {names[-1]} to {names[0]}" in page
    everything = api(data_owner).get(f"{at}?limit=1000").json()["results"]
    read = [name for item in everything for name in item["versions"]]
    assert read.count("0") == len(store_versions(store)["0"].objects)
    table.rename(table.with_name("moved"))
    assert api(data_owner).get(at).status_code == 409
    assert browser.get(f"/stores/{store.pk}/files.csv").status_code == 302
    assert "cannot be read" in browser.get(f"/stores/{store.pk}/files/").content.decode()


def store_versions(store: Connector) -> dict[str, StoreVersion]:
    return {version.id: version for version in versions_of(store)}


@pytest.mark.django_db
def test_a_store_with_one_version_has_nothing_to_compare(
    tmp_path: Path, browser: Client, data_owner: User
) -> None:
    append(tmp_path / "one", customers(0, 5))
    store = connected(tmp_path / "one", data_owner)
    browser.force_login(data_owner)
    page = browser.get(f"/stores/{store.pk}/compare/")
    assert "nothing to compare" in page.content.decode()
    assert Connector.objects.get().pk == store.pk
