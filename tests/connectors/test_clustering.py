"""How much one erasure rewrites, told from the ranges of identifiers in files."""

import pytest

from connectors.clustering import Range, advice


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
