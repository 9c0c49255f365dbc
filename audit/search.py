"""Finding entries: filters as they stand in an address, and pages by entry number.

Pages are found by the number next to them (keyset), so that the last is as fast as the first and
none shifts when entries are added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from audit.completeness import Span, first_since
from audit.intake import parse_time, time_text
from audit.logs import MAIN, LogRef
from audit.models import Entry, Log, PrunedRange
from audit.pruned import ranges_within
from audit.queries import settle

KINDS = ("person", "service", "system")
MAX_PAGE = 1000
_MAX_RESOURCE = 512


class FilterError(ValueError):
    """A filter cannot be read; `field` says which."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class Filters:
    """What entries must match; empty members match all. `kind` is that of who was authenticated."""

    resource: str = ""
    resource_version: str = ""
    actor: str = ""
    type: str = ""
    id: str = ""
    subject: str = ""
    kind: str = ""
    since: datetime | None = None
    until: datetime | None = None
    log: LogRef = MAIN

    def as_query(self) -> dict[str, str]:
        """The filters as address parameters, only those that are set."""
        found = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, LogRef):
                value = "" if value.is_main else value.name
            if value:
                found[item.name] = time_text(value) if isinstance(value, datetime) else value
        return found


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, newest first, and the cursors beside them; None where nothing more is."""

    entries: list[Entry]
    older: str | None
    newer: str | None


def filters_from(query: Mapping[str, str], log: LogRef = MAIN) -> Filters:
    """Reads address parameters. Raises FilterError for a time or kind that is none."""
    values: dict[str, object] = {
        name: (query.get(name) or "").strip()
        for name in ("resource", "resource_version", "actor", "type", "id", "subject", "kind")
    }
    for name, value in values.items():
        if "\x00" in str(value):
            raise FilterError(name, "A filter cannot hold the character NUL.")
    if values["kind"] and values["kind"] not in KINDS:
        raise FilterError("kind", f"Use one of: {', '.join(KINDS)}.")
    for name in ("since", "until"):
        values[name] = _moment(name, (query.get(name) or "").strip())
    return Filters(**values, log=log)  # type: ignore[arg-type]  # names and types as just made


def matching(filters: Filters) -> QuerySet[Entry]:
    found = Entry.objects.filter(log_id=filters.log.id)
    for column, value in (
        ("resource", filters.resource),
        ("resource_version", filters.resource_version),
        ("type", filters.type),
        ("event_id", filters.id),
        ("subject", filters.subject),
    ):
        if value:
            found = found.filter(**{column: value})
    if filters.actor:
        found = found.filter(actor__in=_actors(filters.actor))
    # The log's time never runs back: a time is a number, by which all the indexes are sorted.
    if filters.since:
        first = first_since(filters.since, filters.log)
        found = found.none() if first is None else found.filter(seq__gte=first)
    if filters.until and (first := first_since(filters.until, filters.log)) is not None:
        found = found.filter(seq__lt=first)
    if filters.kind:
        users = get_user_model()._default_manager.filter(kind=filters.kind)
        found = found.filter(by__in=[f"user:{pk}" for pk in users.values_list("pk", flat=True)])
    return found


def page(filters: Filters, *, cursor: str = "", limit: int = 100) -> Page:
    """One page, newest first. `cursor` is "before-<seq>" or "after-<seq>". Raises FilterError."""
    settle(filters.log)
    found = matching(filters)
    direction, seq = _read_cursor(cursor)
    if direction == "after":
        rows = list(found.filter(seq__gt=seq).order_by("seq")[: limit + 1])
        more, rows = len(rows) > limit, rows[:limit][::-1]
        newer, older = more, True
    else:
        if direction == "before":
            found = found.filter(seq__lt=seq)
        rows = list(found.order_by("-seq")[: limit + 1])
        older, newer = len(rows) > limit, direction == "before"
        rows = rows[:limit]
    if not rows:
        return Page([], None, f"after-{seq - 1}" if direction == "before" else None)
    return Page(
        rows,
        f"before-{rows[-1].seq}" if older else None,
        f"after-{rows[0].seq}" if newer else None,
    )


def pruned_on(found: Page, log: LogRef = MAIN) -> list[PrunedRange]:
    """The pruned ranges between the entries of a page, or where it ends; the newest first."""
    if not found.entries:
        return []
    newest, oldest = found.entries[0].seq, found.entries[-1].seq
    start = 0 if found.older is None else oldest
    within = ranges_within(log.id, start, newest + 1).reverse()
    return list(within[:MAX_PAGE])


def span_from(query: Mapping[str, str], log: LogRef = MAIN) -> Span:
    """Reads address parameters: resource, since, until. Raises FilterError, which names one."""
    resource = query.get("resource", "").strip()
    if not resource or len(resource) > _MAX_RESOURCE or not resource.isprintable():
        raise FilterError("resource", "Name a resource as the log does: dataset:shop:purchases.")
    size = Log.objects.filter(pk=log.id).values_list("size", flat=True).first() or 0
    since = _number_from(query, "since", size - 1) or 0
    until = _number_from(query, "until", size)
    if until is not None and until <= since:
        raise FilterError("until", "The range must end behind its beginning.")
    return Span(resource, since, until, log=log)


def address(path: str, filters: Filters, **more: str) -> str:
    return f"{path}?{urlencode(filters.as_query() | more)}"


def _number_from(query: Mapping[str, str], name: str, most: int) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text) <= most):
        raise FilterError(name, f"A whole number from 0 to {most} is needed here.")
    return int(text)


def _actors(text: str) -> list[str]:
    """The actor written so, and the users who are called so."""
    if text.startswith("user:"):
        return [text]
    users = get_user_model()._default_manager.filter(name__iexact=text)
    return [text, *(f"user:{pk}" for pk in users.values_list("pk", flat=True)[:50])]


def _read_cursor(cursor: str) -> tuple[str, int]:
    if not cursor:
        return "", 0
    direction, _, number = cursor.partition("-")
    if direction not in ("before", "after") or not number.isdecimal() or len(number) > 18:
        raise FilterError("cursor", "This is no cursor. Take the address in `next`.")
    return direction, int(number)


def _moment(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        # A browser's datetime-local field sends no zone; all times here are UTC.
        return parse_time(text if _has_zone(text) else f"{text}Z")
    except ValueError as exc:
        raise FilterError(
            name, "This is not a date or a time. Write it as 2026-01-31 or 2026-01-31T12:00:00Z."
        ) from exc


def _has_zone(text: str) -> bool:
    return text[-1:] in "zZ" or "+" in text[10:] or "-" in text[10:]
