"""How much one erasure rewrites, told from the ranges of identifiers in files."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from django.test import Client

from accounts.models import User
from connectors.adapters.delta import DeltaStore
from connectors.clustering import Range, advice
from tests.compliance.builders import connected


def test_files_that_hold_some_of_everybody_are_all_rewritten() -> None:
    found = advice("customer", [Range("00001", "99999", 100)] * 50)
    assert found
    assert found.now == 1
    assert found.ordered == pytest.approx(0.02)
    assert found.pays


def test_files_in_order_are_rewritten_one_by_one() -> None:
    ranges = [Range(100 * number, 100 * number + 99, 100) for number in range(50)]
    found = advice("customer", ranges)
    assert found
    assert found.now == pytest.approx(0.02)
    assert not found.pays


def test_large_files_count_more() -> None:
    """Whoever stands in the large file costs nine tenths, and nine of ten do."""
    ranges = [Range(0, 9, 900), *(Range(10 * n, 10 * n + 9, 25) for n in range(1, 5))]
    found = advice("customer", ranges)
    assert found
    assert found.now == found.ordered == pytest.approx(0.81 + 4 * 0.025**2)
    assert not found.pays


def test_few_files_tell_nothing() -> None:
    assert advice("customer", [Range(1, 2, 100)] * 3) is None
    assert advice("customer", [Range(1, 2, 0)] * 9) is None


def spread(folder: Path) -> DeltaStore:
    """Everybody bought something in each of eight months."""
    for month in range(8):
        ids = [f"{number:05d}" for number in range(400)]
        rows = pl.DataFrame({"customer_id": ids, "email": ids, "month": [month] * 400})
        rows.write_delta(str(folder), mode="append" if month else "error")
    return DeltaStore(str(folder), ["customer_id", "email"])


def test_a_delta_table_says_its_ranges_and_what_ordering_it_brings(tmp_path: Path) -> None:
    store = spread(tmp_path / "t")
    before = advice("customer_id", store.ranges(["customer_id"])["customer_id"])
    assert before
    assert before.now == 1
    assert before.pays
    size = sum(item.bytes for item in store.ranges(["customer_id"])["customer_id"]) // 8
    DeltaTable(str(tmp_path / "t")).optimize.z_order(["customer_id"], target_size=size)
    after = advice("customer_id", store.ranges(["customer_id"])["customer_id"])
    assert after is None or after.now < 0.3
    assert store.ranges(["no_such_column"])["no_such_column"] == []


@pytest.mark.django_db
def test_the_page_advises_an_order_where_it_pays(
    tmp_path: Path, client: Client, auditor: User
) -> None:
    spread(tmp_path / "t")
    connector = connected(tmp_path / "t")
    client.force_login(auditor)
    page = client.get(f"/stores/{connector.pk}/").content.decode()
    assert "About 100% of the newest version" in page
    assert "it would be about 1" in page
    assert "ZORDER BY (customer_id)" in page
