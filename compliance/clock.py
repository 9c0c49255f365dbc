"""When an answer is due. Regulation (EEC, Euratom) 1182/71 for months; working days by country.

A regime is data. It is copied onto each request, so that a later edition of the law, or of this
table, leaves the dates of running requests alone.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import holidays
from dateutil.relativedelta import relativedelta


@dataclass(frozen=True)
class Regime:
    """`months` or `days` to answer in, and how far an extension reaches beyond that."""

    key: str
    name: str
    article: str
    edition: str
    months: int = 0
    days: int = 0
    extension_months: int = 0
    extension_days: int = 0
    rolls_over_weekends: bool = False

    def snapshot(self) -> dict[str, Any]:
        return asdict(self)


REGIMES = {
    regime.key: regime
    for regime in (
        Regime(
            "gdpr",
            "GDPR",
            "Art. 12(3) GDPR",
            "2016/679",
            months=1,
            extension_months=2,
            rolls_over_weekends=True,
        ),
        Regime(
            "uk_gdpr",
            "UK GDPR",
            "Art. 12A UK GDPR",
            "2025",
            months=1,
            extension_months=2,
            rolls_over_weekends=True,
        ),
        Regime("ccpa", "CCPA/CPRA", "Cal. Civ. Code 1798.130", "2023", days=45, extension_days=45),
        Regime("lgpd", "LGPD", "Art. 19 LGPD", "13.709/2018", days=15),
    )
}


class UnknownRegimeError(ValueError):
    pass


def regime_named(key: str) -> Regime:
    try:
        return REGIMES[key]
    except KeyError:
        raise UnknownRegimeError(
            f"There is no regime {key!r}. Known: {', '.join(REGIMES)}."
        ) from None


def _next_working_day(day: date, country: str) -> date:
    free = holidays.country_holidays(country)
    while day.weekday() >= 5 or day in free:
        day += timedelta(days=1)
    return day


def due_at(received_at: datetime, regime: dict[str, Any], *, country: str) -> datetime:
    """The last second (UTC) in which an answer is in time.

    A period of months ends on the day with the same number as the day of receipt, or on the last
    day of a shorter month (Art. 3(2)(c)); an end on a free day moves to the next working day
    (Art. 3(4)).
    """
    period = relativedelta(months=regime["months"], days=regime["days"])
    return _end(received_at, period, regime, country)


def extended_due_at(received_at: datetime, regime: dict[str, Any], *, country: str) -> datetime:
    """The same after the one extension that the regime allows."""
    period = relativedelta(
        months=regime["months"] + regime["extension_months"],
        days=regime["days"] + regime["extension_days"],
    )
    return _end(received_at, period, regime, country)


def _end(
    received_at: datetime, period: relativedelta, regime: dict[str, Any], country: str
) -> datetime:
    last = received_at.astimezone(UTC).date() + period
    if regime["rolls_over_weekends"]:
        last = _next_working_day(last, country)
    return datetime.combine(last, time(23, 59, 59), tzinfo=UTC)
