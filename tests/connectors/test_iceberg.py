"""Finding, erasing and purging in real Iceberg tables."""

import ast
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table
from pyiceberg.table.statistics import BlobMetadata, StatisticsFile

from connectors.adapters.base import PlanOutdatedError, StoreError, StoreNotFoundError
from connectors.adapters.iceberg import IcebergStore
from connectors.clock import now
from tests.connectors.iceberg_builders import (
    EVERY_NEEDLE,
    PERSON,
    append,
    clean,
    customers,
    erase,
    folder,
    location,
    make,
    person,
    planned,
    rows_of,
    store,
    table,
    table_with_person,
    without_person,
)
from tests.connectors.test_scan_avro import puffin, sketch

BRANCHES = ("main", "audit", "clean")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return table_with_person(tmp_path)


def files(lake: Path) -> set[str]:
    return {p.relative_to(folder(lake)).as_posix() for p in folder(lake).rglob("*") if p.is_file()}


def places(lake: Path) -> set[str]:
    report = store(lake).verify_erased(EVERY_NEEDLE, None)
    return {trace.where for trace in report.traces}


def test_every_branch_is_erased_and_nothing_else_changes(lake: Path) -> None:
    opened = store(lake)
    before = {b: without_person(rows_of(lake, b)) for b in BRANCHES}
    heads = {ref: v for v in opened.versions() for ref in v.refs}
    plan = planned(opened)
    erased = opened.erase(plan, PERSON)
    assert (plan.rows, erased.rows) == (4, 4)
    assert erased.detail["branches"] == ["audit", "main"]
    assert erased.detail["rows_kept"] == 20 + 20 + 10
    assert len(erased.objects_removed) == len(erased.objects_added) == 3
    assert erased.new_version == {r: v.id for v in opened.versions() for r in v.refs}["main"]
    purged = opened.purge_history(plan)
    assert purged.detail["young_files_left"] == []
    assert clean(opened)
    for branch, rows in before.items():
        assert rows_of(lake, branch).equals(rows), branch
    after = {ref: v for v in opened.versions() for ref in v.refs}
    assert len(opened.versions()) == 3
    # What nobody had to touch keeps its name and its content.
    assert after["clean"] == heads["clean"]
    assert set(plan.versions_lost) == {v.id for v in heads.values()} - {heads["clean"].id} | {
        version for version in plan.versions_lost if version not in {v.id for v in heads.values()}
    }


def test_what_deleting_and_expiring_leaves_behind_is_found(lake: Path) -> None:
    """What many do: delete the rows, expire the snapshots, and believe that they are gone."""
    with table(lake) as opened:
        for branch in ("main", "audit"):
            opened.delete("customer_id = 'c-000042-northern-branch'", branch=branch)
        heads = {ref.snapshot_id for ref in opened.metadata.refs.values()}
        old = [s.snapshot_id for s in opened.metadata.snapshots if s.snapshot_id not in heads]
        opened.maintenance.expire_snapshots().by_ids(old).commit()
    assert without_person(rows_of(lake)).equals(rows_of(lake))
    found = places(lake)
    assert {"column customer_id", "column email", "footer statistics of email"} <= found
    # In deflated blocks of the manifests that are current, cut to 16 characters.
    report = store(lake).verify_erased([PERSON["email"][0].upper()], None)
    assert any(t.path.endswith("-m0.avro") and "cut to 16" in t.where for t in report.traces)
    # A search names the files, so that the same plan removes them as it should.
    opened_store = store(lake)
    plan = planned(opened_store)
    assert {o.kind for o in opened_store.find_subject(PERSON).objects} == {"orphan", "log"}
    assert opened_store.erase(plan, PERSON).rows == 0
    opened_store.purge_history(plan)
    assert clean(opened_store)


def test_findings_say_which_snapshots_read_what(lake: Path) -> None:
    opened = store(lake)
    found = opened.find_subject(PERSON)
    versions = {ref: v.id for v in opened.versions() for ref in v.refs}
    assert found.rows_by_version[versions["main"]] == 3
    assert found.rows_by_version[versions["audit"]] == 1
    assert found.rows_by_version[versions["clean"]] == 0
    data = [o for o in found.objects if o.kind == "data"]
    assert sorted((o.rows, len(o.versions)) for o in data) == [(1, 1), (1, 2), (2, 1)]
    assert found.files_searched == 4
    assert {o.kind for o in found.objects} == {"data", "log"}


def test_identifiers_in_the_persons_own_rows_are_linked(lake: Path) -> None:
    linked = store(lake).find_subject({"customer_id": PERSON["customer_id"]}).linked
    assert linked == {"email": ("Ann.Archer@Mail.example",)}
    nested = store(lake, ("customer_id", "account.mail"))
    assert nested.find_subject({"customer_id": PERSON["customer_id"]}).linked == {
        "account.mail": tuple(f"inner{n}@shop.example" for n in range(4))
    }


def test_versions_are_snapshots_with_their_facts(lake: Path) -> None:
    opened = store(lake)
    versions = opened.versions()
    assert [v.rows for v in versions] == [20, 41, 31, 63]
    assert [v.operation for v in versions] == ["append"] * 4
    assert [set(v.refs) for v in versions] == [{"clean"}, set(), {"audit"}, {"main"}]
    first, second, audit, main = versions
    assert [second.parents, main.parents, audit.parents] == [
        (first.id,),
        (second.id,),
        (first.id,),
    ]
    assert first.schema[:4] == (
        ("customer_id", "string"), ("email", "string"), ("bought", "long"), ("price", "double"),
    )  # fmt: skip
    assert all(len(o.digest or "") == 64 for v in versions for o in v.objects)
    assert abs(first.created_at - now()).total_seconds() < 60
    assert {v.digest for v in opened.versions(digests=False)} == {None}


def test_a_profile_counts_and_shows_no_values(lake: Path) -> None:
    opened = store(lake)
    found = opened.profile(opened.versions()[0].id)
    assert (found["rows"], found["files"]) == (20, 1)
    assert found["columns"]["customer_id"] == {"type": "string", "nulls": 0, "distinct": 20}
    assert found["columns"]["bought"]["distinct"] == 7
    assert "shop.example" not in json.dumps(found)


def test_identifier_values_and_the_control_are_of_the_asked_snapshot(lake: Path) -> None:
    opened = store(lake)
    first, _, audit, _ = opened.versions()
    assert len(set(opened.identifier_values("customer_id", first.id))) == 20
    assert PERSON["customer_id"][0] in set(opened.identifier_values("customer_id", audit.id))
    assert set(opened.identifier_values("account.mail", audit.id)) >= {"inner3@shop.example"}
    column, value = opened.control_subject(PERSON) or ("", "")
    assert column == "customer_id"
    assert value.endswith("-northern-branch")
    assert value not in EVERY_NEEDLE
    with pytest.raises(StoreError, match="has no snapshot 12"):
        list(opened.identifier_values("customer_id", "12"))
    with pytest.raises(StoreError, match="never had a column phone"):
        list(opened.identifier_values("phone", first.id))


def test_a_tag_on_a_snapshot_with_the_person_blocks_until_it_is_gone(lake: Path) -> None:
    opened = store(lake)
    with table(lake) as loaded:
        head = loaded.current_snapshot()
        assert head is not None
        loaded.manage_snapshots().create_tag(head.snapshot_id, "v2").commit()
    plan = planned(opened)
    assert len(plan.blockers) == 1
    assert 'The tag "v2" keeps a snapshot that holds the person' in plan.blockers[0]
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)
    with table(lake) as loaded:
        loaded.manage_snapshots().remove_tag("v2").commit()
    erase(opened)
    assert clean(opened)


def test_a_tag_on_a_snapshot_without_the_person_stays_as_it_is(tmp_path: Path) -> None:
    lake = table_with_person(tmp_path, tag=True)
    opened = store(lake)
    (tagged,) = [v for v in opened.versions() if "v1" in v.refs]
    erase(opened)
    assert clean(opened)
    assert [v for v in opened.versions() if "v1" in v.refs] == [tagged]


def test_a_tag_whose_manifests_remember_the_person_is_moved_to_a_clean_snapshot(
    tmp_path: Path,
) -> None:
    lake = make(tmp_path)
    append(lake, customers(1, 20))
    append(lake, customers(20, 30, person()))
    with table(lake) as loaded:
        loaded.delete("customer_id = 'c-000042-northern-branch'")
        head = loaded.current_snapshot()
        assert head is not None
        loaded.manage_snapshots().create_tag(head.snapshot_id, "after").commit()
    before = rows_of(lake)
    opened = store(lake)
    plan = erase(opened)
    assert str(head.snapshot_id) in plan.versions_lost
    assert clean(opened)
    assert rows_of(lake, "after").equals(before)
    assert rows_of(lake).equals(before)


def test_another_writers_commit_after_the_search_or_the_plan_outdates_it(lake: Path) -> None:
    opened = store(lake)
    found = opened.find_subject(PERSON)
    plan = opened.plan_erase(found, mode="purge")
    append(lake, customers(500, 502))
    before = files(lake)
    with pytest.raises(PlanOutdatedError, match="Search again"):
        opened.plan_erase(found, mode="purge")
    with pytest.raises(PlanOutdatedError, match="Nothing was erased"):
        opened.erase(plan, PERSON)
    assert files(lake) == before
    erase(opened)
    assert clean(opened)


@pytest.mark.parametrize("branch", ["audit", "clean"])
def test_a_commit_to_any_branch_outdates_a_plan(lake: Path, branch: str) -> None:
    opened = store(lake)
    plan = planned(opened)
    append(lake, customers(500, 502), branch=branch)
    with pytest.raises(PlanOutdatedError):
        opened.erase(plan, PERSON)
    assert rows_of(lake).height == 63


def test_a_branch_that_is_made_after_the_plan_is_erased_too(lake: Path) -> None:
    opened = store(lake)
    plan = planned(opened)
    with table(lake) as loaded:
        past = loaded.metadata.snapshots[1].snapshot_id
        loaded.manage_snapshots().create_branch(past, "new").commit()
    before = without_person(rows_of(lake, "new"))
    opened.erase(plan, PERSON)
    opened.purge_history(plan)
    assert clean(opened)
    assert rows_of(lake, "new").equals(before)


def test_nobody_found_means_nothing_is_purged(lake: Path) -> None:
    opened = store(lake)
    needles = {"customer_id": ["c-999999-nobody-at-all"]}
    plan = planned(opened, needles)
    assert (plan.objects, plan.versions_lost, plan.blockers) == ((), (), ())
    before = files(lake)
    assert opened.erase(plan, needles).rows == 0
    assert opened.purge_history(plan).detail == {"note": "nothing to purge"}
    assert files(lake) == before


def test_statistics_of_expired_snapshots_go_with_them(lake: Path) -> None:
    blob = b"\x02\x03\x03" + PERSON["email"][0].encode()
    path = puffin(folder(lake) / "metadata" / "top.stats", sketch(blob), blob)
    with table(lake) as loaded:
        head = loaded.current_snapshot()
        assert head is not None
        _add_statistics(loaded, head.snapshot_id, path)
    assert "raw bytes" in places(lake)
    erase(store(lake))
    assert clean(store(lake))
    assert not path.exists()


def _add_statistics(loaded: Table, snapshot_id: int, path: Path) -> None:
    described = BlobMetadata.model_validate(
        {
            "type": "apache-datasketches-theta-v1",
            "snapshot-id": snapshot_id,
            "sequence-number": 1,
            "fields": [1],
        }
    )
    with loaded.update_statistics() as update:
        update.set_statistics(
            StatisticsFile.model_validate(
                {
                    "snapshot-id": snapshot_id,
                    "statistics-path": f"file://{path}",
                    "file-size-in-bytes": path.stat().st_size,
                    "file-footer-size-in-bytes": 100,
                    "blob-metadata": [described],
                }
            )
        )


def test_leftovers_of_writers_are_searched_and_removed(lake: Path) -> None:
    data = folder(lake) / "data"
    bodies = {p.name: pq.read_table(p) for p in data.glob("*.parquet")}
    named = [t for t in bodies.values() if PERSON["customer_id"][0] in t["customer_id"].to_pylist()]
    pq.write_table(named[0], data / "left-over.parquet")
    pq.write_table(pa.table({"customer_id": ["c-7"]}), data / "about-to-be-committed.parquet")
    (data / "broken.parquet").write_bytes(b"PAR1")
    opened = store(lake)
    found = opened.find_subject(PERSON)
    assert [o.path for o in found.objects if o.kind == "orphan"] == ["data/left-over.parquet"]
    assert "1 of those outside could not be read" in found.method
    plan = opened.plan_erase(found, mode="purge")
    opened.erase(plan, PERSON)
    purged = opened.purge_history(plan)
    # A young file that names nobody may be somebody's who is about to commit.
    young = ["data/about-to-be-committed.parquet", "data/broken.parquet"]
    assert purged.detail["young_files_left"] == young
    assert not (data / "left-over.parquet").exists()
    (data / "broken.parquet").unlink()
    assert clean(opened)


def test_a_corrupted_file_is_a_clear_error(lake: Path) -> None:
    opened = store(lake)
    data = sorted((folder(lake) / "data").glob("*.parquet"))[0]
    body = data.read_bytes()
    data.write_bytes(body[: len(body) // 2])
    with pytest.raises(StoreError, match=r"data/.*\.parquet of the table shop.orders cannot be"):
        opened.find_subject(PERSON)
    data.unlink()
    with pytest.raises(StoreError, match="is not there"):
        opened.find_subject(PERSON)
    data.write_bytes(body)
    manifest = sorted((folder(lake) / "metadata").glob("*-m0.avro"))[0]
    good = manifest.read_bytes()
    manifest.write_bytes(good[:-20])
    with pytest.raises(StoreError, match=r"The manifest .*-m0\.avro of the table .* is damaged"):
        opened.find_subject(PERSON)
    report = opened.verify_erased(["nobody@nowhere.example"], None)
    assert len(report.unreadable) == 1
    manifest.write_bytes(good)
    newest = sorted((folder(lake) / "metadata").glob("*.metadata.json"))[-1]
    newest.write_text("{")
    with pytest.raises(StoreError, match="a file is damaged or was removed"):
        opened.find_subject(PERSON)
    with pytest.raises(StoreError, match="current metadata file"):
        opened.verify_erased(["nobody@nowhere.example"], None)


def test_what_is_not_there_is_said(tmp_path: Path, lake: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no file at"):
        IcebergStore(f"sqlite:///{tmp_path}/none.db#a.b", ["x"]).schema()
    with pytest.raises(StoreNotFoundError, match=r"no table shop\.none"):
        IcebergStore(location(lake).replace("orders", "none"), ["x"]).schema()
    with pytest.raises(StoreError, match="has no column phone"):
        store(lake, ("phone",)).find_subject({"phone": ["1"]})
    with pytest.raises(StoreError, match="for reading only"):
        store(lake, role="reader").erase(planned(store(lake)), PERSON)
    with pytest.raises(StoreError, match='no mode "forget"'):
        store(lake).plan_erase(store(lake).find_subject(PERSON), mode="forget")


def test_no_message_or_plan_names_the_person(lake: Path) -> None:
    opened = store(lake)
    found = opened.find_subject(PERSON)
    plan = opened.plan_erase(found, mode="purge")
    text = f"{found.objects}{found.method}{plan}{opened.erase(plan, PERSON)}".lower()
    assert not any(needle.lower() in text for needle in EVERY_NEEDLE)


def test_the_verification_does_not_use_icebergs_own_library() -> None:
    root = Path(__file__).resolve().parents[2] / "connectors"
    waiting = ["connectors.adapters.iceberg.verify"]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        path = root.parent / (module.replace(".", "/") + ".py")
        if module in seen or not path.is_file():
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("pyiceberg") for name in names), module
            waiting += [name for name in names if name.startswith("connectors.")]
    assert {"connectors.adapters.iceberg.entry", "connectors.scan.manifests"} <= seen
