import hashlib
import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from sample.company import CUTOFFS, FEATURES, PURCHASES, SOURCE_FILE, WINDOW
from sample.tables import (
    SampleTableError,
    build,
    build_features,
    features_as_of,
    orders,
    read,
    versions,
)
from tests.sample import builders

STORE = "store"


def purchases(version: int | None = None) -> pl.DataFrame:
    return read(builders.built() / STORE, PURCHASES, version)


def test_the_copied_file_is_the_published_one_that_its_sources_name() -> None:
    digest = hashlib.sha256(SOURCE_FILE.read_bytes()).hexdigest()

    assert digest in (SOURCE_FILE.parent / "SOURCES.md").read_text()
    assert orders().height == 6919
    assert orders()["customer_id"].n_unique() == 2357


def test_the_first_load_appends_one_real_month_a_version() -> None:
    for version, month in ((0, "199701"), (1, "199702"), (17, "199806")):
        loaded = purchases(version)
        expected = orders().filter(pl.col("date").str.slice(0, 6) <= month)

        assert loaded.sort(loaded.columns).equals(expected.sort(expected.columns))


def test_every_email_is_made_from_the_customer_number_under_a_reserved_domain() -> None:
    rows = purchases(17).unique("customer_id")

    assert rows["email"].to_list() == [f"c{n}@customers.example" for n in rows["customer_id"]]


def test_the_correction_keeps_one_of_each_order_that_was_sent_twice() -> None:
    before, after = purchases(17), purchases(18)

    assert before.height - after.height == 21
    assert not after.is_duplicated().any()
    assert after.join(before, on=before.columns, how="anti").is_empty()
    assert before.join(after, on=before.columns, how="anti").is_empty()


def test_cleaning_leaves_the_customers_who_never_paid_in_the_history_only() -> None:
    before, after = purchases(18), purchases(19)
    unpaid = before.filter(pl.col("amount") == 0)["customer_id"]

    assert unpaid.len() == 8
    assert not set(unpaid) & set(after["customer_id"])
    assert after["customer_id"].n_unique() == 2357 - 8


def test_cleaning_loses_no_money_and_counts_a_day_once() -> None:
    before, after = purchases(18), purchases(19)

    assert float(after["amount"].sum()) == pytest.approx(before["amount"].sum())
    assert after["orders"].sum() == before.filter(pl.col("amount") > 0).height
    assert not after.select("customer_id", "date").is_duplicated().any()


def test_features_know_nothing_of_what_comes_after_the_cutoff() -> None:
    cutoff = CUTOFFS[1]
    known = purchases().filter(pl.col("date") <= cutoff)
    columns = [name for name in FEATURES.columns if name != "bought_again"]

    assert (
        features_as_of(known, cutoff)
        .select(columns)
        .equals(features_as_of(purchases(), cutoff).select(columns))
    )


@pytest.mark.parametrize(
    ("days", "label"), [(0, False), (1, True), (WINDOW.days, True), (WINDOW.days + 1, False)]
)
def test_the_label_is_a_purchase_within_the_90_days_after_the_cutoff(
    days: int,
    label: bool,  # noqa: FBT001  # a case, not a switch
) -> None:
    cutoff = CUTOFFS[0]
    first = purchases().head(1).with_columns(pl.lit(cutoff - timedelta(30)).alias("date"))
    again = first.with_columns(pl.lit(cutoff + timedelta(days)).alias("date"))

    made = features_as_of(pl.concat([first, again]), cutoff)

    assert made["bought_again"].to_list() == [label]


def test_the_features_of_a_customer_are_what_their_purchases_say() -> None:
    """Customer 00004 bought on 1 and 18 January, on 2 August and on 12 December 1997."""
    made = features_as_of(purchases(), date(1997, 10, 3)).row(
        by_predicate=pl.col("customer_id") == "00004", named=True
    )

    assert made["recency_days"] == 62
    assert made["frequency"] == 2
    assert made["monetary"] == pytest.approx((29.33 + 29.73 + 14.96) / 3, abs=1e-4)
    assert made["tenure_days"] == 275
    assert made["bought_again"] is True


def test_each_quarter_of_features_has_a_version_of_its_own() -> None:
    store = builders.built() / STORE

    assert [read(store, FEATURES, v)["as_of"].unique().to_list() for v in range(3)] == [
        [cutoff] for cutoff in CUTOFFS
    ]


def test_made_anew_every_version_has_the_same_rows(tmp_path: Path) -> None:
    build(tmp_path / STORE)

    for table in (PURCHASES, FEATURES):
        made = versions(tmp_path / STORE, table)
        assert [v.version for v in made] == list(range(len(made)))
        for version in made:
            again = read(tmp_path / STORE, table, version.version)
            assert again.equals(read(builders.built() / STORE, table, version.version))


def test_building_again_does_not_bring_an_erased_customer_back(tmp_path: Path) -> None:
    store = builders.copied(tmp_path) / STORE
    DeltaTable(str(store / "purchases")).delete("customer_id = '00004'")

    build(store)

    assert "00004" not in read(store, PURCHASES)["customer_id"]


def test_a_build_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    half = tmp_path / "store.building"
    shutil.copytree(builders.built() / STORE / "customer_features", half / "customer_features")

    build(tmp_path / STORE)

    assert len(versions(tmp_path / STORE, FEATURES)) == len(CUTOFFS)
    assert not half.exists()


def test_features_built_after_an_erasure_are_a_new_version_without_the_customer(
    tmp_path: Path,
) -> None:
    store = builders.copied(tmp_path) / STORE
    DeltaTable(str(store / "purchases")).delete("customer_id = '00004'")

    version = build_features(store, CUTOFFS[1])

    assert version == len(CUTOFFS)
    assert "00004" not in read(store, FEATURES)["customer_id"]
    assert versions(store, FEATURES)[-1].facts["purchases_version"] == "20"


def test_a_version_that_is_not_there_is_named_with_the_current_one() -> None:
    with pytest.raises(SampleTableError, match=r"no version 99 any more.* current one is 19"):
        purchases(99)


def test_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(SampleTableError, match=r"python -m sample\.load"):
        read(tmp_path, PURCHASES)
