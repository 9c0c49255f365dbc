import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from connectors.adapters.base import PlanOutdatedError, StoreError, StoreNotFoundError
from connectors.adapters.delta import DeltaStore
from connectors.adapters.delta.commit import write_commit
from tests.connectors.builders import (
    CHANGES,
    EVERY_NEEDLE,
    PERSON,
    append,
    customers,
    erase,
    rows_of,
    store,
    table_with_person,
    without_person,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_with_person(tmp_path / "customers")


def test_every_retained_version_is_listed_with_what_it_holds(table: Path) -> None:
    versions = store(table).versions()
    assert [v.id for v in versions] == ["0", "1", "2", "3", "4"]
    assert [v.rows for v in versions] == [51, 101, 152, 152, 202]
    assert [v.operation for v in versions] == ["WRITE", "WRITE", "WRITE", "UPDATE", "WRITE"]
    assert [v.parents for v in versions] == [(), ("0",), ("1",), ("2",), ("3",)]
    assert versions[0].schema == (
        ("customer_id", "string"),
        ("email", "string"),
        ("bought", "long"),
        ("price", "double"),
    )
    newest = versions[-1]
    assert newest.bytes == sum((table / o.path).stat().st_size for o in newest.objects)
    assert newest.rows == rows_of(table).height
    assert abs(newest.created_at - datetime.now(UTC)) < timedelta(minutes=5)  # noqa: TID251


def test_the_digest_of_a_version_changes_when_a_byte_of_its_files_changes(table: Path) -> None:
    before = store(table).versions()
    victim = table / before[0].objects[0].path
    data = bytearray(victim.read_bytes())
    data[20] ^= 1
    victim.write_bytes(data)
    after = store(table).versions()
    assert before[0].digest != after[0].digest
    untouched = [v for v in before if victim.name not in {o.path for o in v.objects}]
    assert {v.digest for v in untouched} <= {v.digest for v in after}


def test_versions_read_after_a_checkpoint_are_those_of_the_log(table: Path) -> None:
    before = store(table).versions()
    DeltaTable(str(table)).create_checkpoint()
    for version in range(4):
        (table / "_delta_log" / f"{version:020d}.json").unlink()
    after = store(table).versions()
    assert [(v.id, v.rows, v.digest) for v in after] == [
        (v.id, v.rows, v.digest) for v in before[4:]
    ]


def test_a_version_whose_files_are_gone_is_no_longer_listed(table: Path) -> None:
    DeltaTable(str(table)).vacuum(0, enforce_retention_duration=False, dry_run=False)
    assert [v.id for v in store(table).versions()] == ["3", "4", "5", "6"]


def test_a_profile_counts_rows_nulls_and_duplicates_of_a_version(tmp_path: Path) -> None:
    frame = pl.DataFrame({"customer_id": ["a", None, "b", "b"], "n": [1, 2, 3, 3]})
    append(tmp_path / "t", frame)
    append(tmp_path / "t", frame)
    profile = store(tmp_path / "t", ["customer_id"]).profile("0")
    assert profile["rows"] == 4
    assert profile["duplicates"] == 1
    assert profile["columns"]["customer_id"] == {"type": "string", "nulls": 1, "distinct": 3}


def test_a_person_is_found_in_every_version_file_and_change(table: Path) -> None:
    findings = store(table).find_subject(PERSON)
    assert findings.rows_by_version == {"0": 1, "1": 1, "2": 2, "3": 2, "4": 2}
    data = [o for o in findings.objects if o.kind == "data"]
    assert sum(o.rows for o in data) == 4
    changes = [o for o in findings.objects if o.kind == "change_data"]
    assert [(o.rows, o.versions) for o in changes] == [(4, ("3",))]
    for found in data:
        on_disk = pl.read_parquet(table / found.path)
        hits = on_disk.filter(pl.col("customer_id") == PERSON["customer_id"][0]).height
        assert found.rows == hits
        assert found.bytes == (table / found.path).stat().st_size


def test_the_search_agrees_with_reading_every_version_one_by_one(table: Path) -> None:
    findings = store(table).find_subject(PERSON)
    for version, rows in findings.rows_by_version.items():
        frame = pl.read_delta(str(table), version=int(version))
        assert frame.height - without_person(frame).height == rows


def test_other_identifiers_in_the_persons_rows_are_returned(table: Path) -> None:
    findings = store(table).find_subject({"customer_id": PERSON["customer_id"]})
    assert findings.linked == {"email": ("Ann.Archer@Mail.example",)}


def test_an_email_address_is_found_in_any_case(table: Path) -> None:
    asked = {"email": ["ANN.ARCHER@mail.EXAMPLE "]}
    findings = store(table).find_subject(asked)
    assert findings.rows_by_version["4"] == 2
    assert findings.linked == {"customer_id": ("c-000042",)}


def test_a_customer_number_in_another_case_is_somebody_else(table: Path) -> None:
    findings = store(table).find_subject({"customer_id": ["C-000042"]})
    assert not any(findings.rows_by_version.values())


def test_a_person_without_rows_gives_findings_without_rows(table: Path) -> None:
    opened = store(table)
    findings = opened.find_subject({"customer_id": ["c-999999"]})
    assert findings.objects == ()
    assert set(findings.rows_by_version.values()) == {0}
    plan = opened.plan_erase(findings, mode="purge")
    before = sorted(p.name for p in table.rglob("*"))
    assert opened.erase(plan, {"customer_id": ["c-999999"]}).rows == 0
    opened.purge_history(plan)
    assert sorted(p.name for p in table.rglob("*")) == before, "nothing justified losing history"


def test_a_log_that_names_the_person_is_found_where_no_row_is_left(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(0, 60))
    table = DeltaTable(str(path))
    table.delete("customer_id = 'c-000042'")
    table.vacuum(0, enforce_retention_duration=False, dry_run=False, full=True)
    opened = store(path)
    asked = {"customer_id": PERSON["customer_id"]}
    findings = opened.find_subject(asked)
    assert {o.kind for o in findings.objects} == {"log"}
    assert not opened.verify_erased(PERSON["customer_id"], None).clean
    erase(opened, asked)
    assert opened.verify_erased(PERSON["customer_id"], None).clean


def test_progress_is_told_while_searching(table: Path) -> None:
    told: list[tuple[str, int, int, int]] = []
    store(table).find_subject(PERSON, lambda *step: told.append(step))
    assert told[0][:2] == ("find", 0)
    phase, done, total, size = told[-1]
    assert (phase, done) == ("find", total)
    assert size == sum(p.stat().st_size for p in table.rglob("*.parquet"))


def test_a_column_that_never_existed_is_refused_by_name(table: Path) -> None:
    with pytest.raises(StoreError, match="no column phone in any version"):
        store(table).find_subject({"phone": ["123"]})


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="There is no folder at"):
        store(tmp_path / "nowhere").versions()


def test_a_folder_without_a_log_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(StoreNotFoundError, match="holds no Delta table"):
        store(tmp_path).versions()


def test_a_damaged_log_is_named(table: Path) -> None:
    (table / "_delta_log" / f"{2:020d}.json").write_text('{"add": {"pa')
    with pytest.raises(StoreError, match=r"00002\.json .*cannot be read"):
        store(table).versions()


def test_a_damaged_data_file_is_named(table: Path) -> None:
    victim = next(p for p in table.glob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    with pytest.raises(StoreError, match=victim.name):
        store(table).find_subject(PERSON)


def test_a_lost_file_of_the_current_version_is_named(table: Path) -> None:
    newest = store(table).versions()[-1].objects[0].path
    (table / newest).unlink()
    with pytest.raises(StoreError, match="refers to a file that is not there"):
        store(table).find_subject(PERSON)


def test_an_unknown_version_is_refused_with_those_that_exist(table: Path) -> None:
    with pytest.raises(StoreError, match="no version 77; it keeps 0 to 4"):
        store(table).schema("77")


def test_an_object_store_address_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(StoreError, match='"gs://" cannot be opened yet'):
        DeltaStore("gs://bucket/table", ["customer_id"])


def test_after_the_erasure_no_byte_names_the_person_and_all_others_are_there(table: Path) -> None:
    opened = store(table)
    before = rows_of(table)
    control = opened.control_subject(PERSON)
    assert not opened.verify_erased(EVERY_NEEDLE, control).clean
    erase(opened)
    report = opened.verify_erased(EVERY_NEEDLE, control)
    assert report.clean, report
    assert report.control_found
    assert report.files == sum(p.is_file() for p in table.rglob("*"))
    assert rows_of(table).equals(without_person(before))
    for file in table.rglob("*"):
        if file.is_file():
            raw = file.read_bytes().lower()
            assert not any(needle.lower().encode() in raw for needle in EVERY_NEEDLE), file


@pytest.mark.usefixtures("patient")
def test_the_erased_table_goes_on_working(table: Path) -> None:
    erase(store(table))
    rows = rows_of(table).height
    append(table, customers(300, 320))
    again = DeltaTable(str(table))
    assert pl.read_delta(str(table)).height == rows + 20
    assert pl.scan_delta(str(table)).filter(pl.col("customer_id") == "c-000210").collect().height
    again.optimize.compact()
    assert rows_of(table).height == rows + 20


def test_the_plan_says_what_will_be_done_and_holds_no_identifier(table: Path) -> None:
    opened = store(table)
    findings = opened.find_subject(PERSON)
    plan = opened.plan_erase(findings, mode="purge")
    assert plan.snapshot == "4"
    assert plan.rows == sum(o.rows for o in findings.objects) == 8
    assert plan.versions_lost == ("0", "1", "2", "3", "4")
    assert plan.blockers == ()
    assert not any(needle.lower() in repr(plan).lower() for needle in EVERY_NEEDLE)


def test_the_commit_of_an_erasure_holds_counts_and_no_identifier(table: Path) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    erased = opened.erase(plan, PERSON)
    assert erased.new_version == "5"
    assert erased.rows == 2
    commit = (table / "_delta_log" / f"{5:020d}.json").read_text()
    assert not any(needle.lower() in commit.lower() for needle in EVERY_NEEDLE)
    history = DeltaTable(str(table)).history(1)[0]
    assert history["operation"] == "DELETE"
    assert history["operationMetrics"]["numDeletedRows"] == "2"


def test_statistics_of_rewritten_files_still_skip_and_never_hide_rows(table: Path) -> None:
    opened = store(table)
    erase(opened)
    for row in rows_of(table).sample(40, seed=1).iter_rows(named=True):
        found = pl.scan_delta(str(table)).filter(
            (pl.col("customer_id") == row["customer_id"]) & (pl.col("price") == row["price"])
        )
        assert found.collect().height == 1
    stats = DeltaTable(str(table)).get_add_actions(flatten=True)
    assert pl.DataFrame(stats)["num_records"].sum() == rows_of(table).height


def test_a_commit_between_plan_and_erasure_makes_the_plan_outdated(table: Path) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    append(table, customers(900, 910, person=True))
    before = sorted((p.name, p.stat().st_size) for p in table.rglob("*"))
    with pytest.raises(PlanOutdatedError, match="version 5; the plan was made for version 4"):
        opened.erase(plan, PERSON)
    assert sorted((p.name, p.stat().st_size) for p in table.rglob("*")) == before


def test_rows_that_the_plan_does_not_name_are_not_erased(table: Path) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    before = rows_of(table)
    with pytest.raises(PlanOutdatedError, match="which the plan does not name"):
        opened.erase(plan, {"customer_id": [*PERSON["customer_id"], "c-000255"]})
    assert rows_of(table).equals(before)


def test_a_commit_between_search_and_plan_asks_for_a_new_search(table: Path) -> None:
    opened = store(table)
    findings = opened.find_subject(PERSON)
    append(table, customers(900, 910, person=True))
    with pytest.raises(PlanOutdatedError, match="was not searched yet"):
        opened.plan_erase(findings, mode="purge")


def test_a_commit_during_the_erasure_wins_and_nothing_is_left_behind(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")

    def slow(*args: object, **kwargs: object) -> int:
        append(table, customers(900, 910))
        return write_commit(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("connectors.adapters.delta.erase.write_commit", slow)
    with pytest.raises(PlanOutdatedError, match="Another writer committed version 5"):
        opened.erase(plan, PERSON)
    assert not list(table.glob("*vestige*"))
    assert rows_of(table).height == 212


def test_purging_before_erasing_is_refused(table: Path) -> None:
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    with pytest.raises(StoreError, match="Erase first, then purge"):
        opened.purge_history(plan)
    assert len(opened.versions()) == 5


def test_a_store_opened_for_reading_does_not_erase(table: Path) -> None:
    reader = DeltaStore(str(table), ["customer_id", "email"], writable=False)
    plan = reader.plan_erase(reader.find_subject(PERSON), mode="purge")
    with pytest.raises(StoreError, match="opened for reading only"):
        reader.erase(plan, PERSON)
    with pytest.raises(StoreError, match="opened for reading only"):
        reader.purge_history(plan)


def test_table_properties_are_as_before(tmp_path: Path) -> None:
    path = tmp_path / "t"
    properties = {**CHANGES, "delta.logRetentionDuration": "interval 7 days"}
    append(path, customers(0, 50), configuration=properties)
    erase(store(path))
    assert DeltaTable(str(path)).metadata().configuration == properties


def test_the_naive_recipe_leaves_traces_that_the_scan_finds(table: Path) -> None:
    naive = DeltaTable(str(table))
    naive.delete("customer_id = 'c-000042'")
    naive.vacuum(0, enforce_retention_duration=False, dry_run=False)
    report = store(table).verify_erased(EVERY_NEEDLE, None)
    assert not report.clean
    places = {(t.path.split("/")[0], t.where.split(" of ")[0]) for t in report.traces}
    assert ("_delta_log", "JSON value") in places, "the predicate stands in the commit"
    assert any(folder == "_change_data" for folder, _ in places), "deleted rows are in change data"


def test_all_rows_of_a_table_can_be_the_persons(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(0, 2, person=True)[1:2])
    append(path, customers(0, 2, person=True)[1:2])
    opened = store(path)
    assert opened.control_subject(PERSON) is None
    erase(opened)
    report = opened.verify_erased(EVERY_NEEDLE, None)
    assert report.clean
    assert rows_of(path).height == 0
    append(path, customers(5, 9))
    assert rows_of(path).height == 4


def test_rows_without_an_identifier_are_nobodys_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "t"
    frame = pl.DataFrame(
        {"customer_id": [None, "c-000042", None, "c-000007"], "email": [None] * 4},
        schema={"customer_id": pl.String, "email": pl.String},
    )
    append(path, frame)
    erase(store(path))
    left = pl.read_delta(str(path))["customer_id"].to_list()
    assert sorted(left, key=str) == [None, None, "c-000007"] or left.count(None) == 2
    assert "c-000042" not in left
    assert len(left) == 3


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int32, pl.Float64, pl.Decimal(12, 2)])
def test_a_number_column_holds_the_number_of_the_identifier(
    tmp_path: Path, kind: pl.DataType
) -> None:
    path = tmp_path / "t"
    frame = pl.DataFrame(
        {"customer_id": [4, 44, None, 400, 4], "quantity": [4, 4, 1, 2, 3]},
        schema_overrides={"quantity": pl.Int64},
    ).with_columns(pl.col("customer_id").cast(kind))
    append(path, frame)
    append(path, frame)
    opened = store(path, ["customer_id"])
    needles = {"customer_id": ["00004"]}
    control = opened.control_subject(needles)
    assert control is not None
    assert not opened.verify_erased(["00004"], control).clean
    erase(opened, needles)
    report = opened.verify_erased(["00004"], control)
    assert report.clean, report
    left = pl.read_delta(str(path))
    assert left.height == 6
    assert left["quantity"].sort().to_list() == [1, 1, 2, 2, 4, 4]


def test_only_the_files_with_the_person_are_rewritten(table: Path) -> None:
    opened = store(table)
    before = {o.path: o.digest for o in opened.versions()[-1].objects}
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    erased = opened.erase(plan, PERSON)
    after = {o.path: o.digest for o in opened.versions()[-1].objects}
    kept = set(before) - set(erased.objects_removed)
    assert len(kept) == 2
    assert {p: after[p] for p in kept} == {p: before[p] for p in kept}


def test_a_leftover_with_the_person_is_removed_and_other_young_files_stay(table: Path) -> None:
    stray = table / "part-00000-stray.parquet"
    customers(500, 510, person=True).write_parquet(stray)
    young = table / "part-00000-of-a-writer-about-to-commit.parquet"
    customers(510, 520).write_parquet(young)
    (table / "README.md").write_text("The customers of the shop.")
    opened = store(table)
    findings = opened.find_subject(PERSON)
    assert [(o.path, o.rows) for o in findings.objects if o.kind == "orphan"] == [(stray.name, 1)]
    plan = opened.plan_erase(findings, mode="purge")
    opened.erase(plan, PERSON)
    purged = opened.purge_history(plan)
    assert not stray.exists()
    assert young.exists()
    assert (table / "README.md").exists()
    assert purged.detail["young_files_left"] == [young.name]
    assert opened.verify_erased(EVERY_NEEDLE, None).clean


def test_old_leftovers_are_removed(table: Path) -> None:
    old = table / "part-00000-crashed.parquet"
    old.write_bytes(b"PAR1 broken off")
    opened = store(table, orphan_grace_minutes=0)
    erase(opened)
    assert not old.exists()
    assert opened.verify_erased(EVERY_NEEDLE, None).clean


def test_identifier_values_are_those_of_one_version(table: Path) -> None:
    values = set(store(table).identifier_values("customer_id", "1"))
    assert values == {f"c-{n:06d}" for n in range(100, 200)} | set(PERSON["customer_id"])
    with pytest.raises(StoreError, match="no column phone"):
        list(store(table).identifier_values("phone", "1"))


def test_another_table_inside_the_folder_blocks_the_plan(table: Path, tmp_path: Path) -> None:
    inner = table / "features"
    table_with_person(tmp_path / "other")
    shutil.copytree(tmp_path / "other", inner)
    opened = store(table)
    plan = opened.plan_erase(opened.find_subject(PERSON), mode="purge")
    assert any("Another Delta table lies inside" in blocker for blocker in plan.blockers)
    with pytest.raises(StoreError, match="cannot be carried out"):
        opened.erase(plan, PERSON)
    assert len(store(inner).versions()) == 5


def test_an_append_only_table_blocks_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "t"
    append(path, customers(0, 50), configuration={"delta.appendOnly": "true"})
    opened = store(path)
    asked = {"customer_id": PERSON["customer_id"]}
    plan = opened.plan_erase(opened.find_subject(asked), mode="purge")
    assert any("append-only" in blocker for blocker in plan.blockers)


def test_checksums_and_compacted_logs_that_name_the_person_are_removed(table: Path) -> None:
    log = table / "_delta_log"
    stats = '{"add": {"stats": "{\\"minValues\\": {\\"customer_id\\": \\"c-000042\\"}}"}}'
    (log / f"{1:020d}.crc").write_text(stats)
    (log / f".{1:020d}.json.crc").write_bytes(b"crc\x00\x00\x00\x02\x00")
    (log / f"{0:020d}.{3:020d}.compacted.json").write_text(stats)
    opened = store(table)
    erase(opened)
    assert opened.verify_erased(EVERY_NEEDLE, None).clean
    assert sorted(p.name for p in log.iterdir()) == [
        f"{6:020d}.checkpoint.parquet",
        f"{6:020d}.json",
        f"{7:020d}.json",
        "_last_checkpoint",
    ]
