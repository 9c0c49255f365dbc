"""Folders in which somebody deleted a person by hand: no reader finds them, and the bytes do."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.connectors.folders import EVERY_NEEDLE, PERSON, clean, erase, frame, planned, store

EMAIL = "ann.archer@mail.example"


def customers() -> pd.DataFrame:
    """One row of the person; the columns that name people are categories, as texts that repeat
    often are."""
    rows = [{"customer_id": f"c-{n:06d}", "email": f"n{n}@shop.example"} for n in range(100, 110)]
    rows.insert(4, {"customer_id": "c-000042", "email": EMAIL})
    return pd.DataFrame(rows).astype("category")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "lake"
    (root / "parts").mkdir(parents=True)
    customers().to_csv(root / "customers.csv", index=False)
    customers().to_json(root / "events.jsonl.gz", orient="records", lines=True)
    customers().to_parquet(root / "categories.parquet")
    customers().astype(str).to_parquet(root / "parts" / "part-0.parquet")
    return root


def delete_by_hand(folder: Path) -> None:
    """As recipes have it: read, keep the rows of everybody else, write; and keep a copy, in case
    something goes wrong."""
    rows = pd.read_parquet(folder / "categories.parquet")
    rows[rows.email != EMAIL].to_parquet(folder / "categories.parquet")

    shutil.copy(folder / "customers.csv", folder / "customers.csv.bak")
    lines = pd.read_csv(folder / "customers.csv")
    lines[lines.email != EMAIL].to_csv(folder / "customers.csv", index=False)

    shutil.copy(folder / "events.jsonl.gz", folder / "events.jsonl.gz~")
    events = pd.read_json(folder / "events.jsonl.gz", lines=True)
    events[events.email != EMAIL].to_json(folder / "events.jsonl.gz", orient="records", lines=True)

    part = folder / "parts" / "part-0.parquet"
    part.rename(part.with_name("_part-0.parquet"))  # what readers of folders leave out
    table = pq.read_table(part.with_name("_part-0.parquet"))
    pq.write_table(table.filter(pc.field("email") != EMAIL), part)


def rows_that_readers_see(folder: Path) -> Iterator[pd.DataFrame]:
    yield pd.read_csv(folder / "customers.csv")
    yield pd.read_json(folder / "events.jsonl.gz", lines=True)
    yield pd.read_parquet(folder / "categories.parquet")
    yield ds.dataset(folder / "parts", format="parquet").to_table().to_pandas()


def test_the_naive_recipe_leaves_traces_that_no_reader_sees_and_the_scan_finds(
    folder: Path,
) -> None:
    assert all(EMAIL in set(rows.email) for rows in rows_that_readers_see(folder))
    delete_by_hand(folder)
    for rows in rows_that_readers_see(folder):
        assert EMAIL not in set(rows.email)
        assert len(rows) == 10
    opened = store(folder, writable=False)
    report = opened.verify_erased(EVERY_NEEDLE, opened.control_subject(PERSON))
    assert report.control_found
    decoded = {(t.path, t.where) for t in report.traces if t.where != "raw bytes"}
    assert {path for path, _ in decoded} == {
        "categories.parquet",
        "customers.csv.bak",
        "events.jsonl.gz~!",
        "parts/_part-0.parquet",
    }
    assert ("categories.parquet", "dictionary page of column email") in decoded
    assert ("categories.parquet", "dictionary page of column customer_id") in decoded
    assert ("parts/_part-0.parquet", "column email") in decoded


def test_vestige_leaves_nothing_in_the_same_folder(folder: Path) -> None:
    opened = store(folder)
    assert erase(opened).rows == 4
    assert clean(opened)
    for rows in rows_that_readers_see(folder):
        assert EMAIL not in set(rows.email)
        assert len(rows) == 10
    assert list(pd.read_parquet(folder / "categories.parquet").dtypes) == ["category"] * 2


def test_vestige_finishes_what_was_deleted_by_hand(folder: Path) -> None:
    delete_by_hand(folder)
    opened = store(folder)
    plan = planned(opened)
    assert (plan.objects, plan.rows) == (("categories.parquet", "parts/_part-0.parquet"), 1)
    copies = ("customers.csv.bak", "events.jsonl.gz~")
    assert [b.partition(" names")[0] for b in plan.blockers] == list(copies)
    before = pd.read_parquet(folder / "categories.parquet")
    for copy in copies:
        (folder / copy).unlink()
    erase(opened)
    assert clean(opened)
    after = pd.read_parquet(folder / "categories.parquet")
    assert after.astype(str).equals(before.astype(str))
    assert planned(opened).objects == ()


def test_a_category_that_no_row_has_any_more_is_found_in_each_row_group(tmp_path: Path) -> None:
    """pyarrow writes all categories of a filtered table with each of its row groups."""
    emails = pa.array([*(f"n{n}@shop.example" for n in range(9)), EMAIL]).dictionary_encode()
    kept = pa.table({"email": emails}).slice(0, 9)
    pq.write_table(kept, tmp_path / "a.parquet", row_group_size=3)
    assert (tmp_path / "a.parquet").read_bytes().count(EMAIL.encode()) >= 3
    opened = store(tmp_path, ["email"])
    needles = {"email": [EMAIL.upper()]}
    assert erase(opened, needles).objects == ("a.parquet",)
    assert clean(opened, needles)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == kept.to_pylist()
    assert planned(opened, {"email": ["nobody@shop.example"]}).objects == ()


def test_a_category_inside_a_struct_is_found(tmp_path: Path) -> None:
    emails = pa.array(["n0@shop.example", EMAIL]).dictionary_encode()
    accounts = pa.StructArray.from_arrays([emails], ["email"])
    pq.write_table(pa.table({"account": accounts}).slice(0, 1), tmp_path / "a.parquet")
    opened = store(tmp_path, ["account.email"])
    needles = {"account.email": [EMAIL]}
    assert erase(opened, needles).objects == ("a.parquet",)
    assert clean(opened, needles)


def test_a_packed_copy_of_lines_is_read_whatever_its_name(tmp_path: Path) -> None:
    line = f'{{"customer_id": "c-000042", "email": "{EMAIL}"}}\n'.encode()
    frame(person=False).write_parquet(tmp_path / "a.parquet")
    for name in ("events.jsonl.gz.1", ".events.jsonl.gz.swp", "events.old"):
        (tmp_path / name).write_bytes(gzip.compress(line))
    opened = store(tmp_path)
    report = opened.verify_erased(EVERY_NEEDLE, opened.control_subject(PERSON))
    assert {trace.path for trace in report.traces} == {
        "events.jsonl.gz.1!", ".events.jsonl.gz.swp!", "events.old!",
    }  # fmt: skip
    assert len(planned(opened).blockers) == 3
