"""When an answer is due, against dates worked out by hand from Regulation 1182/71."""

from datetime import UTC, datetime

import pytest

from compliance.clock import REGIMES, UnknownRegimeError, due_at, extended_due_at, regime_named

GDPR = REGIMES["gdpr"].snapshot()


def due(year: int, month: int, day: int, regime: str = "gdpr", country: str = "DE") -> str:
    received = datetime(year, month, day, 13, 30, tzinfo=UTC)
    return due_at(received, REGIMES[regime].snapshot(), country=country).date().isoformat()


def test_a_month_ends_on_the_same_date() -> None:
    assert due(2026, 3, 10) == "2026-04-10"


def test_a_month_from_31_january_ends_with_february() -> None:
    assert due(2028, 1, 31) == "2028-02-29"  # a Tuesday in a leap year


def test_a_month_from_31_august_ends_on_30_september() -> None:
    assert due(2026, 8, 31) == "2026-09-30"


def test_an_end_on_a_saturday_moves_to_monday() -> None:
    assert due(2026, 1, 14) == "2026-02-16"  # 14 February 2026 is a Saturday


def test_an_end_on_a_holiday_moves_past_it() -> None:
    # 25 December 2026 is a Friday, the 26th (Saturday) is a holiday too, then comes Sunday.
    assert due(2026, 11, 25) == "2026-12-28"


def test_holidays_are_those_of_the_country() -> None:
    # 14 July 2026, a Tuesday, is a holiday in France and not in Germany.
    assert due(2026, 6, 14, country="FR") == "2026-07-15"
    assert due(2026, 6, 14, country="DE") == "2026-07-14"


def test_days_are_counted_without_rolling_over() -> None:
    assert due(2026, 1, 1, regime="ccpa") == "2026-02-15"  # a Sunday


def test_due_is_the_last_second_of_the_day_in_utc() -> None:
    moment = due_at(datetime(2026, 3, 10, tzinfo=UTC), GDPR, country="DE")
    assert moment.isoformat() == "2026-04-10T23:59:59+00:00"


def test_an_extension_reaches_two_months_beyond_the_first() -> None:
    received = datetime(2026, 3, 10, tzinfo=UTC)
    assert extended_due_at(received, GDPR, country="DE").date().isoformat() == "2026-06-10"


def test_an_unknown_regime_is_named_in_the_error() -> None:
    with pytest.raises(UnknownRegimeError, match="hipaa"):
        regime_named("hipaa")
