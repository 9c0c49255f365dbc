"""Evidence from the log that all entries of a resource are there."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from accounts.queries import system_user
from audit import heads
from audit.actions import append, record_heads
from audit.completeness import NotShownError, Span, claims, conclusions, span_of_period
from audit.heads import HeadsMissingError
from audit.ledger.bundle import Claim, dumps
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack, unpack
from audit.ledger.verify import verify_bundle
from audit.models import Entry
from audit.queries import evidence, verifier_key
from tests.audit.builders import as_database_owner, event, sql

pytestmark = pytest.mark.django_db
RESOURCES = ["a", "b", "a", "c", "a", "b"]


def append_to(*resources: str) -> None:
    append([event(resource=name) for name in resources], by=system_user("setup"))


def one_by_one(*resources: str) -> list[datetime]:
    """When each of them was recorded; no two at once."""
    for resource in resources:
        append_to(resource)
    times = list(Entry.objects.order_by("seq").values_list("recorded_at", flat=True))
    assert len(set(times)) == len(times)
    return times


def record_now() -> None:
    record_heads(by=system_user("setup"))


def said(*spans: Span) -> str:
    """What the offline verifier says of the completeness of valid evidence."""
    made = evidence([], purpose="completeness", complete=spans)
    verdict = verify_bundle(dumps(made), trusted_vkey=verifier_key())
    assert verdict.valid, verdict.as_dict()
    return next(check.sentence for check in verdict.checks if check.name == "complete")


def test_all_entries_up_to_the_newest_heads_are_proven() -> None:
    append_to(*RESOURCES)
    record_now()
    assert said(Span("a")) == "All 3 entries of a from entry 0 to entry 5 are here."
    assert said(Span("a", since=1)) == "All 2 entries of a from entry 1 to entry 5 are here."
    assert said(Span("nobody")) == "nobody has no entry from entry 0 to entry 5."


def test_several_resources_are_proven_at_once() -> None:
    append_to(*RESOURCES)
    record_now()
    assert said(Span("b"), Span("c")) == (
        "All 2 entries of b from entry 0 to entry 5 are here."
        " The only entry of c from entry 0 to entry 5 is here."
    )


def test_without_heads_the_log_is_asked_to_record_them() -> None:
    append_to(*RESOURCES)
    with pytest.raises(HeadsMissingError):
        said(Span("a"))
    record_now()
    append_to("b")
    assert said(Span("a")), "the heads of before still show what was before"
    with pytest.raises(HeadsMissingError):
        said(Span("b", until=8))
    record_now()
    assert said(Span("b", until=8)) == "All 3 entries of b from entry 0 to entry 7 are here."


def test_a_range_that_an_entry_follows_needs_no_heads() -> None:
    append_to(*RESOURCES)
    made = evidence([], purpose="completeness", complete=[Span("a", since=1, until=4)])
    assert made["complete"][0]["heads"] is None
    assert [item["seq"] for item in made["entries"]] == [2, 4]
    assert said(Span("a", since=1, until=4)).startswith("The only entry of a")


def test_an_entry_that_comes_while_the_heads_are_read_closes_the_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append_to(*RESOURCES)
    record_now()
    shown = heads.shown

    def meanwhile(log_id: int, resource: str) -> Any:
        append_to("a")
        record_now()
        return shown(log_id, resource)

    monkeypatch.setattr(heads, "shown", meanwhile)
    assert said(Span("a", until=6)) == "All 3 entries of a from entry 0 to entry 5 are here."


def test_a_period_is_proven_with_the_entries_at_its_borders() -> None:
    times = one_by_one("a", "b", "a", "a", "b", "a")
    span = span_of_period("a", times[1], times[4], as_of=5)
    assert (span.since, span.until) == (1, 4)
    assert said(span).startswith("All 2 entries of a from entry 1 to entry 3 (recorded from 2")
    made = evidence([], purpose="completeness", complete=[span])
    assert [item["seq"] for item in made["entries"]] == [0, 1, 2, 3, 4, 5]


def test_a_period_that_is_not_over_ends_with_the_newest_entry_looked_at() -> None:
    times = one_by_one("a", "b", "a", "a")
    span = span_of_period("a", times[0], times[-1] + timedelta(days=1), as_of=2)
    assert (span.since, span.until, span.recorded_before) == (0, 3, None)
    assert said(span).startswith("All 2 entries of a from entry 0 to entry 2 (recorded from")
    span = span_of_period("a", times[0], times[-1] + timedelta(days=1), as_of=3)
    with pytest.raises(HeadsMissingError):
        said(span)
    record_now()
    assert said(span).startswith("All 3 entries of a from entry 0 to entry 3 (recorded from")
    # Over by now, but not yet when the log was looked at.
    span = span_of_period("a", times[0], times[3], as_of=1)
    assert (span.until, span.recorded_before) == (2, None)


def test_a_period_in_which_nothing_was_recorded_is_proven() -> None:
    times = one_by_one("a", "b", "a")
    between = times[1] + timedelta(microseconds=1)
    assert between < times[2]
    assert "none at all there" in said(span_of_period("a", between, times[2], as_of=2))
    assert "none at all there" in said(
        span_of_period("a", datetime(2001, 1, 1, tzinfo=UTC), times[0], as_of=2)
    )


def test_a_period_in_the_future_shows_nothing() -> None:
    (time,) = one_by_one("a")
    later = time + timedelta(days=1), time + timedelta(days=2)
    with pytest.raises(NotShownError, match="had not begun"):
        span_of_period("a", *later, as_of=0)


def as_version_1(*seqs: int) -> None:
    """Entries as an earlier version of Vestige wrote them; the log is chained anew."""
    rows = list(Entry.objects.order_by("seq").values_list("seq", "leaf"))
    with as_database_owner(), connection.cursor() as cursor:
        previous = bytes(32)
        for seq, data in rows:
            leaf = unpack(bytes(data))
            body = leaf.event
            if seq in seqs:
                body = body[: body.index(b',"within":')].replace(b'"v":2', b'"v":1') + b"}"
            packed = pack(seq, leaf.timestamp_us, previous, body)
            previous = leaf_hash(packed)
            cursor.execute(
                "UPDATE audit_entry SET leaf = %s, leaf_hash = %s WHERE seq = %s",
                [packed, previous, seq],
            )


@pytest.mark.parametrize("old", [3, 6])
def test_entries_that_do_not_count_themselves_are_proven_by_their_number(old: int) -> None:
    """`nth` and `previous` of older entries stand in columns, and so in the heads."""
    append_to(*RESOURCES)
    record_now()
    made, seqs = claims([Span("a")])
    as_version_1(*range(old))
    assert concluded(made, seqs) == ["All 3 entries of a from entry 0 to entry 5 are here."]
    assert span_of_period("a", *ever(), as_of=5).since == 0


def test_a_period_that_begins_among_entries_that_do_not_count_themselves_is_not_proven() -> None:
    times = one_by_one("a", "a", "b", "a", "a")
    as_version_1(0, 1, 2)
    with pytest.raises(NotShownError, match="earlier version"):
        span_of_period("a", times[1], times[4], as_of=4)
    with pytest.raises(NotShownError, match="earlier version"):
        span_of_period("a", times[0], times[1], as_of=4)
    assert span_of_period("a", times[0], times[2], as_of=4).until == 2
    assert span_of_period("a", times[2], times[4], as_of=4).since == 2


def ever() -> tuple[datetime, datetime]:
    return datetime(2001, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)


def concluded(made: list[Claim], seqs: set[int]) -> list[str]:
    leaves = Entry.objects.filter(seq__in=seqs).values_list("leaf", flat=True)
    return [found.sentence for found in conclusions(made, map(bytes, leaves))]


def test_tables_that_were_changed_show_nothing() -> None:
    append_to(*RESOURCES)
    record_now()
    sql("DELETE FROM audit_resourcehead")
    with pytest.raises(NotShownError, match="not those that entry 6 commits to"):
        said(Span("a"))


def test_a_column_that_was_changed_shows_nothing() -> None:
    append_to(*RESOURCES)
    record_now()
    with as_database_owner():
        sql("UPDATE audit_entry SET resource = 'b' WHERE seq = 2")
    with pytest.raises(NotShownError, match="Entry 2 of a is missing"):
        said(Span("a"))


@pytest.mark.parametrize("seed", range(12))
def test_what_is_proven_is_the_naive_list(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # a test's choice of entries
    names = ["a", "b", "c", "d"]
    for _ in range(dice.randint(1, 3)):
        append_to(*dice.choices(names, k=dice.randint(1, 5)))
    record_now()
    asked, size = dice.choice(names), Entry.objects.count() - 1
    since = dice.randrange(size)
    until = dice.choice([None, dice.randint(since + 1, size)])
    made = evidence([], purpose="completeness", complete=[Span(asked, since=since, until=until)])
    verdict = verify_bundle(made)
    assert verdict.valid, verdict.as_dict()
    claim = made["complete"][0]
    naive = Entry.objects.filter(resource=asked, seq__gte=since, seq__lt=claim["until"])
    assert {*naive.values_list("seq", flat=True)} <= {item["seq"] for item in made["entries"]}
    assert claim["until"] == (size if until is None else until)
