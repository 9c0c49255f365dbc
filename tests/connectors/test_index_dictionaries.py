"""Which Parquet files may name somebody in a dictionary whom no row names."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.formats.dictionaries import has_unused_values

NAMES = pa.array(["ann", "bob", None, "cid"] * 50).dictionary_encode()


def parquet(folder: Path, values: pa.Array, **options: object) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table({"who": values, "n": range(len(values))}), path, **options)
    return path


@pytest.mark.parametrize(
    ("values", "unused"),
    [
        (NAMES, False),
        (NAMES.cast(pa.string()), False),
        (NAMES.filter(pa.array([True, False, True, True] * 50)), True),
        (NAMES.slice(0, 0), False),
        (pa.array([[1, None]] * 4).cast(pa.list_(pa.int64())), False),
        (pa.ListArray.from_arrays([0, 1, 2], NAMES.slice(0, 2)), True),
        (pa.StructArray.from_arrays([NAMES.slice(1, 1)], ["name"]), True),
        (pa.StructArray.from_arrays([NAMES], ["name"]), False),
    ],
    ids=[
        "all used",
        "texts",
        "filtered",
        "no rows",
        "numbers",
        "a list",
        "a struct",
        "struct, used",
    ],
)
def test_a_value_that_no_row_has_is_noticed(
    tmp_path: Path,
    values: pa.Array,
    unused: bool,  # noqa: FBT001  # a case, not a switch
) -> None:
    assert has_unused_values(parquet(tmp_path, values), {"who"}) is unused
    assert not has_unused_values(parquet(tmp_path, values), {"n"})


def test_texts_that_outgrow_their_dictionary_are_all_used(tmp_path: Path) -> None:
    many = pa.array([f"person {number:08}" for number in range(400_000)])
    path = parquet(tmp_path, many, dictionary_pagesize_limit=10_000, row_group_size=150_000)
    assert not has_unused_values(path, {"who"})


def test_other_writers_keep_no_such_values_and_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    people = pl.DataFrame({"who": ["ann", "bob"]}, schema={"who": pl.Categorical})
    people.filter(pl.col("who") == "bob").write_parquet(path)
    assert not has_unused_values(path, {"who"})
    assert b"ann" not in path.read_bytes()
