"""Requests of so many events that they are prepared while the database takes in those before."""

from typing import Any

import pytest

from accounts.models import User
from audit import sequencer
from audit.actions import append, recording
from audit.group_commit import Submission
from audit.intake import EventRefusedError, NewEvent, RepeatedEventError, Unprepared
from audit.models import MAIN_LOG, MAIN_NAME, Entry
from audit.subjects import SubjectRef
from tests.audit.builders import event, log_with, verified

pytestmark = pytest.mark.django_db
MANY = recording._MANY + 100
ANN = SubjectRef("customer", "c-7")


def numbered(count: int, **members: Any) -> list[NewEvent]:
    return [event(number, id=f"event-{number}", **members) for number in range(count)]


def test_they_keep_their_order_and_the_log_holds(analyst: User) -> None:
    log_with(10)
    receipts = append([event(number) for number in range(MANY)], by=analyst)
    first = receipts[0].seq
    assert [receipt.seq for receipt in receipts] == list(range(first, first + MANY))
    stored = Entry.objects.filter(seq__gte=first).order_by("seq")
    assert [entry.event_id for entry in stored] == [receipt.id for receipt in receipts]
    assert verified().ok


@pytest.mark.parametrize("at", [0, MANY - 1])
@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"actor": ""}, "actor"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"details": {"share": 0.5}}, "details.share"),
    ],
)
def test_what_is_wrong_with_one_is_named_and_nothing_is_written(
    analyst: User, at: int, members: dict[str, Any], field: str
) -> None:
    log_with(10)
    before = Entry.objects.count()
    sent = [event(number) for number in range(MANY)]
    sent[at] = event(at, **members)
    with pytest.raises(EventRefusedError) as refused:
        append(sent, by=analyst)
    assert [(fault.index, fault.field) for fault in refused.value.faults] == [(at, field)]
    assert Entry.objects.count() == before
    assert append([event()], by=analyst)[0].seq == before
    assert verified().ok


def test_sent_again_they_get_their_earlier_receipts(analyst: User) -> None:
    sent = numbered(MANY - 1)
    sent.append(event(5, id="sealed", subject=ANN, sealed={"name": "Ann"}))
    receipts = append(sent, by=analyst)
    size = Entry.objects.count()
    assert append(sent, by=analyst) == receipts
    assert append([*sent, sent[7]], by=analyst) == [*receipts, receipts[7]]
    assert Entry.objects.count() == size


def test_the_same_id_with_other_content_is_a_conflict(analyst: User) -> None:
    append(numbered(MANY), by=analyst)
    changed = numbered(MANY)
    changed[700].details = {"rows": -1}
    with pytest.raises(RepeatedEventError) as refused:
        append(changed, by=analyst)
    assert [fault.index for fault in refused.value.faults] == [700]
    twice = [event(number) for number in range(MANY)]
    twice[3].id = twice[MANY - 1].id = "twice"
    twice[3].details = {"rows": -1}
    with pytest.raises(RepeatedEventError) as refused:
        append(twice, by=analyst)
    assert [fault.index for fault in refused.value.faults] == [MANY - 1]
    assert Entry.objects.count() == MANY


def test_one_that_is_refused_takes_no_other_along(analyst: User) -> None:
    def submission(events: list[NewEvent]) -> Submission:
        return Submission(
            MAIN_LOG,
            events=[
                Unprepared(item, analyst.actor, index, {}, MAIN_NAME)
                for index, item in enumerate(events)
            ],
        )

    first, last = (submission([event(number)]) for number in (1, 2))
    bad = submission([event(3), event(4, actor="")])
    sequencer._process([first, bad, last])
    assert isinstance(bad.error, EventRefusedError)
    assert (first.error, last.error) == (None, None)
    assert [receipt.seq for receipt in (*first.receipts, *last.receipts)] == [0, 1]
    assert last.checkpoint is not None
    assert last.checkpoint.size == 2
