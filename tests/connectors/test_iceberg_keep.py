"""An erasure in an Iceberg table after which every snapshot still reads, without the person."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

from connectors.adapters.base import PlanOutdatedError, StoreError
from tests.connectors.iceberg_builders import (
    PERSON,
    append,
    clean,
    customers,
    folder,
    make,
    person,
    row,
    store,
    table,
    table_with_person,
    without_person,
)
from tests.connectors.iceberg_history import (
    erase,
    every_snapshot,
    identity,
    metadata,
    others,
    planned,
    rows,
)


def manifests(lake: Path) -> list[tuple[Path, list[dict[str, Any]]]]:
    """Every manifest in the folder, read with other code."""
    found = []
    for path in sorted((folder(lake) / "metadata").glob("*.avro")):
        with path.open("rb") as body:
            records = [r for r in fastavro.reader(body) if isinstance(r, dict)]
        if not path.name.startswith("snap-"):
            found.append((path, records))
    return found


def entries(lake: Path, snapshots: Collection[int]) -> dict[int, list[tuple[Any, ...]]]:
    """Who did what when, as the manifests of each snapshot tell."""
    with table(lake) as opened:
        return {
            snapshot.snapshot_id: sorted(
                (
                    manifest.sequence_number,
                    manifest.min_sequence_number,
                    manifest.added_snapshot_id,
                    entry.status,
                    entry.snapshot_id,
                    entry.sequence_number,
                    entry.file_sequence_number,
                )
                for manifest in snapshot.manifests(opened.io)
                for entry in manifest.fetch_manifest_entry(opened.io, discard_deleted=False)
            )
            for snapshot in opened.snapshots()
            if snapshot.snapshot_id in snapshots
        }


def true_totals(lake: Path) -> dict[int, dict[str, str]]:
    """What each snapshot's summary should say, as its manifests and the files on disk tell."""
    with table(lake) as opened:
        totals = {}
        for snapshot in opened.metadata.snapshots:
            entries = [
                entry
                for manifest in snapshot.manifests(opened.io)
                for entry in manifest.fetch_manifest_entry(opened.io, discard_deleted=False)
            ]
            live = [e.data_file for e in entries if e.status != 2]
            mine = [e for e in entries if e.snapshot_id == snapshot.snapshot_id]
            added = [e.data_file for e in mine if e.status == 1]
            removed = [e.data_file for e in mine if e.status == 2]
            numbers = {"total-data-files": len(live)}
            for file in live:
                size = Path(file.file_path.removeprefix("file://")).stat().st_size
                assert size == file.file_size_in_bytes
            numbers["total-records"] = sum(f.record_count for f in live)
            numbers["total-files-size"] = sum(f.file_size_in_bytes for f in live)
            numbers["added-data-files"] = len(added)
            numbers["added-records"] = sum(f.record_count for f in added)
            numbers["added-files-size"] = sum(f.file_size_in_bytes for f in added)
            numbers["deleted-data-files"] = len(removed)
            numbers["deleted-records"] = sum(f.record_count for f in removed)
            numbers["removed-files-size"] = sum(f.file_size_in_bytes for f in removed)
            totals[snapshot.snapshot_id] = {name: str(n) for name, n in numbers.items()}
    return totals


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A tag, three branches, and a snapshot in which somebody deleted rows of the person."""
    made = table_with_person(tmp_path, tag=True)
    with table(made) as opened:
        head = opened.current_snapshot()
        assert head is not None
        opened.manage_snapshots().create_tag(head.snapshot_id, "with-person").commit()
        opened.delete("customer_id = 'c-000042-northern-branch' AND bought = 1")
    append(made, customers(400, 410))
    return made


def test_every_snapshot_branch_and_tag_reads_the_same_without_the_person(lake: Path) -> None:
    before, was = every_snapshot(lake), metadata(lake)
    told = entries(lake, before)
    held = {n for n, f in before.items() if without_person(f).height < f.height}
    assert 2 < len(held) < len(before)
    erased = erase(store(lake))

    now, found = every_snapshot(lake), metadata(lake)
    assert rows(now, before) == others(before)
    assert entries(lake, before) == told
    assert {n: i for n, i in identity(found).items() if n in before} == identity(was)
    assert found.snapshot_log[: len(was.snapshot_log)] == was.snapshot_log
    assert {n: r for n, r in found.refs.items() if r.snapshot_ref_type == "tag"} == {
        n: r for n, r in was.refs.items() if r.snapshot_ref_type == "tag"
    }
    # Branches that read a new manifest have one more snapshot, with the rows of the one before.
    for name in ("main", "audit"):
        head = found.snapshot_by_name(name)
        assert head is not None
        assert head.parent_snapshot_id == was.refs[name].snapshot_id
        assert now[head.snapshot_id].equals(now[was.refs[name].snapshot_id])
    assert found.refs["clean"] == was.refs["clean"]
    assert erased.new_version == str(found.current_snapshot_id)
    assert len(found.snapshots) == len(was.snapshots) + 2


def test_no_byte_of_the_person_is_left(lake: Path) -> None:
    opened = store(lake)
    erase(opened)
    assert clean(opened)
    for path in (p for p in folder(lake).rglob("*") if p.is_file()):
        assert b"archer" not in path.read_bytes().lower(), path.name
    for path, entries in manifests(lake):
        for entry in entries:
            file = entry["data_file"]
            assert Path(file["file_path"].removeprefix("file://")).is_file(), path.name
            bounds = [b["value"] for b in (*file["lower_bounds"], *file["upper_bounds"])]
            assert not any(v.lower().startswith((b"c-000042", b"ann.")) for v in bounds), path.name
    names = [p.name for p in (folder(lake) / "metadata").glob("*.metadata.json")]
    assert len(names) == 1


def test_the_counts_in_summaries_are_true(lake: Path) -> None:
    def wrong() -> list[tuple[int, str]]:
        true = true_totals(lake)
        return [
            (s.snapshot_id, name)
            for s in metadata(lake).snapshots
            for name, number in true[s.snapshot_id].items()
            if s.summary and (s.summary[name] or "0") != number
        ]

    assert wrong() == []
    erase(store(lake))
    assert wrong() == []


def test_each_file_is_rewritten_once_and_files_without_the_person_stay(lake: Path) -> None:
    data = folder(lake) / "data"
    before = {p.name: p.read_bytes() for p in data.iterdir()}
    erased = erase(store(lake))
    after = {p.name: p.read_bytes() for p in data.iterdir()}
    removed = {path.rpartition("/")[2] for path in erased.objects_removed}
    assert before.keys() - after.keys() == removed
    assert after.keys() - before.keys() == {p.rpartition("/")[2] for p in erased.objects_added}
    assert all(after[name] == before[name] for name in before.keys() & after.keys())
    assert erased.rows == 5  # four, and one of them again where somebody had rewritten its file


def test_a_person_who_is_in_history_only_leaves_it(tmp_path: Path) -> None:
    lake = make(tmp_path)
    append(lake, customers(1, 9, person()))
    with table(lake) as opened:
        opened.delete("customer_id = 'c-000042-northern-branch'")
    append(lake, customers(9, 12))
    before = every_snapshot(lake)
    assert erase(store(lake)).rows == 1
    assert rows(every_snapshot(lake), before) == others(before)
    assert clean(store(lake))


def test_bounds_of_a_file_that_is_long_gone_leave_too(tmp_path: Path) -> None:
    lake = make(tmp_path)
    append(lake, customers(1, 3, person()))
    with table(lake) as opened:
        old = opened.current_snapshot()
        assert old is not None
        opened.delete("customer_id = 'c-000042-northern-branch'")
        opened.maintenance.expire_snapshots().by_id(old.snapshot_id).commit()
    before = every_snapshot(lake)
    assert not any(without_person(f).height < f.height for f in before.values())
    erase(store(lake))
    assert rows(every_snapshot(lake), before) == others(before)
    assert clean(store(lake))


def test_a_file_with_nobody_else_is_left_out_of_every_snapshot(tmp_path: Path) -> None:
    lake = make(tmp_path)
    append(lake, [person()])
    append(lake, customers(1, 9))
    before = every_snapshot(lake)
    assert sorted(f.height for f in before.values()) == [1, 9]
    erase(store(lake))
    now = every_snapshot(lake)
    assert rows(now, before) == others(before)
    assert sorted(now[n].height for n in before) == [0, 8]
    assert clean(store(lake))


def test_notes_of_a_snapshot_that_name_the_person_go_and_others_stay(tmp_path: Path) -> None:
    lake = make(tmp_path)
    with table(lake) as opened:
        schema = opened.schema().as_arrow()
        notes = {"query": "email = 'ann.archer@mail.example'", "job": "nightly"}
        opened.append(
            pl.DataFrame([row(1), person()]).to_arrow().cast(schema), snapshot_properties=notes
        )
    erase(store(lake))
    (first, _) = metadata(lake).snapshots
    assert first.summary is not None
    assert first.summary["job"] == "nightly"
    assert first.summary["query"] is None
    assert clean(store(lake))


def test_a_property_that_names_the_person_is_refused_before_anything_changes(
    tmp_path: Path,
) -> None:
    lake = table_with_person(tmp_path, properties={"asked-by": "ann.archer@mail.example"})
    before = every_snapshot(lake)
    with pytest.raises(StoreError, match="names the person in its schema") as caught:
        store(lake).erase(planned(store(lake)), PERSON)
    assert "archer" not in str(caught.value).lower()
    assert rows(every_snapshot(lake), before) == {n: f.to_dicts() for n, f in before.items()}


def test_a_writer_who_had_read_the_table_before_does_not_bring_the_person_back(lake: Path) -> None:
    """The library tries again, on top of what is there by then."""
    with table(lake) as early:
        transaction = early.transaction()
        transaction.append(pl.DataFrame([row(900)]).to_arrow().cast(early.schema().as_arrow()))
        erase(store(lake))
        before = every_snapshot(lake)
        transaction.commit_transaction()
    now, found = every_snapshot(lake), metadata(lake)
    assert rows(now, before) == {n: f.to_dicts() for n, f in before.items()}
    head = found.current_snapshot()
    assert head is not None
    assert now[head.snapshot_id].height == before[head.parent_snapshot_id or 0].height + 1
    assert clean(store(lake))


def test_a_commit_after_the_plan_outdates_it(lake: Path) -> None:
    plan = planned(store(lake))
    append(lake, customers(900, 903))
    before = every_snapshot(lake)
    with pytest.raises(PlanOutdatedError):
        store(lake).erase(plan, PERSON)
    assert rows(every_snapshot(lake), before) == {n: f.to_dicts() for n, f in before.items()}
    erase(store(lake))
    assert rows(every_snapshot(lake), before) == others(before)


def test_a_second_person_is_erased_from_what_was_restated(lake: Path) -> None:
    erase(store(lake))
    second = {"customer_id": ["c-000105-northern-branch"]}
    before = every_snapshot(lake)
    opened = store(lake)
    plan = opened.plan_erase(opened.find_subject(second), mode="keep_history")
    opened.erase(plan, second)
    opened.purge_history(plan)
    now = every_snapshot(lake)
    for number, frame in before.items():
        kept = frame.filter(pl.col("customer_id") != second["customer_id"][0])
        assert now[number].equals(kept)
    assert clean(opened, second)
    assert clean(opened)


def test_nobody_found_changes_nothing(lake: Path) -> None:
    opened = store(lake)
    nobody = {"email": ["nobody@nowhere.example"]}
    before = {p: p.read_bytes() for p in folder(lake).rglob("*") if p.is_file()}
    plan = opened.plan_erase(opened.find_subject(nobody), mode="keep_history")
    opened.erase(plan, nobody)
    opened.purge_history(plan)
    assert {p: p.read_bytes() for p in folder(lake).rglob("*") if p.is_file()} == before


def test_the_catalog_names_the_metadata_that_is_there(lake: Path) -> None:
    erase(store(lake))
    with table(lake) as opened:
        current = Path(opened.metadata_location.removeprefix("file://"))
    assert json.loads(current.read_text())["current-snapshot-id"] > 0
