"""What proves that all entries of a resource are there: audit.ledger.completeness, from the log."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from audit import heads
from audit.ledger import canonical
from audit.ledger.bundle import Claim
from audit.ledger.completeness import Conclusion, IncompleteError, Read, conclusion
from audit.ledger.leaf import unpack
from audit.logs import MAIN, LogRef
from audit.models import Entry, PrunedPlace
from audit.pruned import ranges_within

MOST_ENTRIES = 5_000  # a proof is about 1.5 kB
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NotShownError(ValueError):
    """The log cannot show that all of these entries are there; a sentence says why."""


class TooManyEntriesError(ValueError):
    """The range holds more entries than one bundle should."""


@dataclass(frozen=True, slots=True)
class Span:
    """All entries of a resource with since <= seq < until; up to the newest heads without `until`.

    With `recorded_from`, `since` is the first entry that was recorded then or later; with
    `recorded_before`, `until` is the first that was not recorded earlier.
    """

    resource: str
    since: int = 0
    until: int | None = None
    recorded_from: datetime | None = None
    recorded_before: datetime | None = None
    log: LogRef = MAIN


def span_of_period(
    resource: str, start: datetime, before: datetime, *, as_of: int, log: LogRef = MAIN
) -> Span:
    """What was recorded of a resource in a period, as far as the log went then.

    `as_of` is the last entry that is looked at. While the period was not over by then, its end is
    that entry. Raises NotShownError.
    """
    since, until = first_since(start, log), first_since(before, log)
    if since is None or since > as_of:
        raise NotShownError("The period had not begun when the newest entry was recorded.")
    over = until is not None and until <= as_of
    span = Span(
        resource,
        since,
        until if over else as_of + 1,
        recorded_from=start,
        recorded_before=before if over else None,
        log=log,
    )
    _require_counted(span)
    _require_kept(span)
    return span


def require_few(span: Span) -> None:
    """Raises TooManyEntriesError when the bundle would be too large to handle."""
    found = _entries(span).filter(seq__gte=span.since)
    if span.until is not None:
        found = found.filter(seq__lt=span.until)
    number = found[: MOST_ENTRIES + 1].count()
    if number > MOST_ENTRIES:
        last = found[MOST_ENTRIES - 1].seq
        raise TooManyEntriesError(
            f"From entry {span.since} on there are more than {MOST_ENTRIES:,} entries of this"
            f" resource. Ask in parts, the first of them up to entry {last}: until={last + 1}."
        )


def stated(span: Span, entries: int) -> dict[str, Any]:
    """What a document's statement says of it, in the member `complete`: see docs/ledger.md.

    A verifier holds the document to it. The span must have an `until`.
    """
    return {
        "resource": span.resource,
        "since": span.since,
        "until": span.until,
        "from": _microseconds(span.recorded_from),
        "before": _microseconds(span.recorded_before),
        "entries": entries,
    }


def first_since(moment: datetime, log: LogRef = MAIN) -> int | None:
    """The number of the first entry that was recorded then or later."""
    later = Entry.objects.filter(log_id=log.id, recorded_at__gte=moment)
    return later.order_by("recorded_at", "seq").values_list("seq", flat=True).first()


def claims(spans: Iterable[Span]) -> tuple[list[Claim], set[int]]:
    """The claims of a bundle, and the entries that it must hold for them.

    Raises HeadsMissingError when the log must first commit to its heads.
    """
    made, seqs = [], set[int]()
    for span in spans:
        claim, behind = _closed(span)
        inside = _entries(span).filter(seq__gte=claim.since, seq__lt=claim.until)
        seqs.update(inside.values_list("seq", flat=True), behind, _borders(claim))
        made.append(claim)
    return made, seqs


def conclusions(claimed: Iterable[Claim], leaves: Iterable[bytes]) -> list[Conclusion]:
    """What a verifier will conclude from these leaves. Raises NotShownError."""
    read = {}
    for data in leaves:
        leaf = unpack(data)
        read[leaf.seq] = Read(leaf.timestamp_us, canonical.decode(leaf.event))
    try:
        return [conclusion(claim, read) for claim in claimed]
    except IncompleteError as exc:
        raise NotShownError(str(exc)) from exc


def _closed(span: Span) -> tuple[Claim, list[int]]:
    """The claim, and the entries that show where the range ends."""
    times = _microseconds(span.recorded_from), _microseconds(span.recorded_before)
    if span.since == span.until:
        return Claim(span.resource, span.since, span.until, *times), []
    following = _following(span)
    if following is None:
        size, proof = heads.shown(span.log.id, span.resource)
        until = size if span.until is None else span.until
        if until > size:
            raise heads.HeadsMissingError(f"The log commits to the heads of {size} entries only.")
        if until <= span.since:
            raise NotShownError(f"What can be shown ends before entry {until}: begin earlier.")
        following = _following(span)  # it may have come meanwhile
        if following is None:
            return Claim(span.resource, span.since, until, *times, proof), [proof.entry]
    assert span.until is not None  # noqa: S101  # else none follows
    return Claim(span.resource, span.since, span.until, *times), [following.seq]


def _following(span: Span) -> Entry | None:
    """The first entry of the resource behind the range."""
    if span.until is None:
        return None
    return _entries(span).filter(seq__gte=span.until).first()


def _borders(claim: Claim) -> list[int]:
    """The entries on both sides of a border in time."""
    borders = [claim.since] if claim.from_us is not None else []
    borders += [claim.until] if claim.before_us is not None else []
    return [seq for border in borders for seq in (border - 1, border) if seq >= 0]


def _require_counted(span: Span) -> None:
    """Entries of version 1 do not say which of their resource's entries they are.

    They can be counted from the first on; or else nothing tells whether all are there.
    """
    first = _entries(span).filter(seq__gte=span.since, seq__lt=span.until).first()
    following = _following(span)
    if (first and first.nth > 1 and not _counts(first)) or (following and not _counts(following)):
        raise NotShownError(
            "Entries of this period were recorded by an earlier version of Vestige, which did not"
            " count the entries of a resource."
        )


def _require_kept(span: Span) -> None:
    """What is pruned cannot be shown: an entry of the resource, or one next to a border in time.

    Where only others were pruned, the entries that are left still count themselves. What is missing
    for another reason is no matter of retention, and left to who draws the conclusion.
    """
    inside = _entries(span).filter(seq__gte=span.since, seq__lt=span.until)
    following = _following(span)
    named = [*inside.values_list("previous", flat=True), following.previous if following else None]
    places = PrunedPlace.objects.filter(
        log_id=span.log.id, resource=span.resource, seq__lt=span.until
    )
    wanted = [seq for seq in (*named, *places.values_list("seq", flat=True)) if seq is not None]
    wanted = [seq for seq in wanted if seq >= span.since]
    if span.recorded_from:
        wanted += [span.since - 1, span.since]
    if span.recorded_before and span.until is not None:
        wanted += [span.until - 1, span.until]
    ranges = ranges_within(span.log.id, max(0, span.since - 1), (span.until or 0) + 1)
    gone = list(ranges.values_list("start", "stop"))
    if any(start <= seq < stop for start, stop in gone for seq in wanted):
        raise NotShownError(
            "Entries of this period, or next to its borders, were past their retention and are"
            " gone. Of a period that begins later, all entries can be shown."
        )


def _counts(entry: Entry) -> bool:
    return "within" in canonical.decode(unpack(bytes(entry.leaf)).event)


def _entries(span: Span) -> QuerySet[Entry]:
    return Entry.objects.filter(log_id=span.log.id, resource=span.resource).order_by("seq")


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)
