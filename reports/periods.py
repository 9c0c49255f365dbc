"""The period of a report, as people and scripts write it: whole days, or exact moments."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.utils.dateparse import parse_date, parse_datetime

_EARLIEST, _LATEST = 1970, 2200


class PeriodError(ValueError):
    """The period cannot be read, or ends before it starts; `field` and `fix` say where and how."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{reason} {fix}")
        self.field, self.reason, self.fix = field, reason, fix


@dataclass(frozen=True)
class Period:
    """From `start_at` (included) to `before_at` (excluded), and how it was asked for."""

    start_text: str
    end_text: str
    start_at: datetime
    before_at: datetime


def parsed_period(start: str, end: str) -> Period:
    """Both ends are included: an end date means the end of that day, in UTC.

    Each is a date (2026-01-31) or an RFC 3339 time; a time without an offset is UTC. Raises
    PeriodError.
    """
    first, _ = _moment("start_date", start)
    last, length = _moment("end_date", end)
    if last < first:
        raise PeriodError(
            "end_date", "The period ends before it starts.", "Give an end on or after the start."
        )
    return Period(start.strip(), end.strip(), first, last + length)


def _moment(field: str, text: str) -> tuple[datetime, timedelta]:
    """The moment, and how long what was written lasts: a day, or the log's microsecond."""
    written = text.strip()
    fix = "Write a date such as 2026-01-31, or a time such as 2026-01-31T09:00:00Z."
    if not written:
        raise PeriodError(field, "This is missing.", fix)
    found: date | datetime | None
    try:
        found = parse_date(written) or parse_datetime(written)
    except ValueError:
        found = None
    if found is None:
        raise PeriodError(field, f"“{written[:40]}” is no date that exists.", fix)
    if not _EARLIEST < found.year < _LATEST:  # away from the edges, where offsets overflow
        raise PeriodError(
            field,
            f"The year {found.year} is out of range.",
            f"Give a year between {_EARLIEST + 1} and {_LATEST - 1}.",
        )
    if not isinstance(found, datetime):
        return datetime.combine(found, time(), UTC), timedelta(days=1)
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return aware.astimezone(UTC), timedelta(microseconds=1)
