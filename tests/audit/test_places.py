"""Every entry says which of its resource's entries it is, and which came before."""

from importlib import import_module

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.queries import system_user
from audit import sequencer, storage
from audit.actions import append
from audit.batches import Ends
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack, unpack
from audit.models import Entry
from audit.queries import event_of, stored_log_outcome
from audit.verification import places as check
from tests.audit.builders import as_database_owner, event, sql, verified

pytestmark = pytest.mark.django_db

RESOURCES = ["a", "b", "a", "c", "a", "b"]
PLACES = [
    {"nth": 1},
    {"nth": 1},
    {"nth": 2, "previous": 0},
    {"nth": 1},
    {"nth": 3, "previous": 2},
    {"nth": 2, "previous": 1},
]


def places() -> list[dict[str, int]]:
    return [event_of(row)["within"] for row in Entry.objects.order_by("seq")]


def append_to(*resources: str) -> None:
    append([event(resource=name) for name in resources], by=system_user("setup"))


def test_entries_of_one_request_are_counted_for_each_resource() -> None:
    append_to(*RESOURCES)
    assert places() == PLACES
    assert verified().ok


def test_the_count_goes_on_in_later_requests() -> None:
    for resource in RESOURCES:
        append_to(resource)
    assert places() == PLACES


def test_the_count_goes_on_after_another_process_has_appended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append_to(*RESOURCES[:3])
    with monkeypatch.context() as elsewhere:  # whose memory is its own
        elsewhere.setattr(sequencer, "_ends", Ends())
        append_to(*RESOURCES[3:5])
    append_to(*RESOURCES[5:])
    assert places() == PLACES


def test_what_was_rolled_back_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    append_to("a")

    def fails(*arguments: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "append_rows", fails)
        with pytest.raises(RuntimeError):
            append_to("a")
    append_to("a")
    assert places() == [{"nth": 1}, {"nth": 2, "previous": 0}]


def test_a_repeated_event_keeps_its_place() -> None:
    by = system_user("setup")
    first = append([event(id="one", resource="a")], by=by)
    append_to("a")
    assert append([event(id="one", resource="a")], by=by) == first
    assert Entry.objects.count() == 2


def test_many_resources_at_once_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"dataset:shop:{number}" for number in range(700)]
    append_to(*names)
    monkeypatch.setattr(sequencer, "_ends", Ends())
    append_to(*names)
    assert places()[700:] == [{"nth": 2, "previous": number} for number in range(700)]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's plan")
def test_the_newest_entries_are_found_by_their_index() -> None:
    """However long the log is."""
    append_to(*RESOURCES)
    with CaptureQueriesContext(connection) as made:
        assert len(storage.newest_of(1, ["a", "b", "nobody"])) == 2
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {made.captured_queries[0]['sql']}")
        plan = [row[3] for row in cursor.fetchall()]
    assert [line for line in plan if "entry USING" in line and "seq=?" in line], plan


def test_an_entry_that_counts_wrong_is_found_though_everything_else_fits() -> None:
    """As only a faulty or malicious writer can make it."""
    append_to(*RESOURCES)
    assert stored_log_outcome(full=True).ok
    row = Entry.objects.get(seq=5)
    old = unpack(bytes(row.leaf))
    body = old.event.replace(b'"nth":2,"previous":1', b'"nth":1')
    leaf = pack(5, old.timestamp_us, old.previous, body)
    with as_database_owner():
        sql("UPDATE audit_entry SET leaf = %s, leaf_hash = %s, nth = 1, previous = NULL"
            " WHERE seq = 5", leaf, leaf_hash(leaf))  # fmt: skip
        findings = [str(finding) for finding in check.findings(1)]
    assert findings == ["Entry 5: it is entry 2 of its resource and follows entry 1, but says"
                        " otherwise."]  # fmt: skip


def test_the_places_of_an_older_log_are_counted_by_the_migration() -> None:
    append_to(*RESOURCES)
    migration = import_module("audit.migrations.0004_place_within_resource")
    before = list(Entry.objects.order_by("seq").values_list("nth", "previous"))
    with as_database_owner():
        sql("UPDATE audit_entry SET nth = 0, previous = NULL")
        with connection.cursor() as cursor:
            cursor.execute(migration._COUNT)
    assert list(Entry.objects.order_by("seq").values_list("nth", "previous")) == before
