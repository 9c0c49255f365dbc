"""The log commits to the newest entry of every resource, and a commitment that lies is found."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.queries import system_user
from audit import heads
from audit.actions import append, record, record_heads, sequence
from audit.events import LOG_HEADS
from audit.ledger.heads import Head, bucket_of, head_in, key_of, map_root
from audit.models import Entry, HeadsMap, ResourceHead
from audit.queries import event_of, stored_log_outcome
from audit.tasks import record_heads_of_log
from tests.audit.builders import event, log_with, sql, verified
from tests.audit.ledger.heads import bucket_roots

pytestmark = pytest.mark.django_db
LOG = 1


def append_to(*resources: str) -> None:
    append([event(resource=name) for name in resources], by=system_user("setup"))


def recorded() -> dict[str, Any]:
    """Record the heads; what the newest commitment says."""
    record_heads(by=system_user("setup"))
    newest = Entry.objects.filter(type=LOG_HEADS.name).latest("seq")
    details: dict[str, Any] = event_of(newest)["details"]
    return details


def expected(size: int) -> dict[str, Any]:
    """The naive answer."""
    found: dict[str, Head] = {}
    for entry in Entry.objects.filter(seq__lt=size).order_by("seq"):
        nth = found[entry.resource].nth + 1 if entry.resource in found else 1
        found[entry.resource] = Head(key_of(entry.resource), nth, entry.seq)
    root = map_root(bucket_roots(sorted(found.values()))).hex()
    return {"size": size, "root": root, "resources": len(found)}


def complaints() -> list[str]:
    return [str(finding) for finding in stored_log_outcome(full=True).findings]


def test_an_entry_commits_to_the_newest_entry_of_every_resource() -> None:
    append_to("a", "b", "a", "c")
    assert recorded() == expected(4)
    append_to("d", "a")
    assert recorded() == expected(7), "the first commitment is an entry of the log as well"
    assert complaints() == []


def test_heads_are_gathered_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_ENTRIES_AT_ONCE", 7)
    log_with(60)
    assert recorded() == expected(60)
    append_to("a", "b")
    assert recorded() == expected(63)


def test_thousands_of_resources_are_gathered() -> None:
    append_to(*(f"dataset:shop:{number}" for number in range(3000)))
    assert recorded() == expected(3000)
    append_to("dataset:shop:7", "dataset:shop:3001")
    assert recorded() == expected(3003)


def test_nothing_is_recorded_when_nothing_was_added() -> None:
    record_heads_of_log()
    assert not Entry.objects.exists(), "an empty log has no heads"
    append_to("a")
    recorded()
    record_heads_of_log()
    assert Entry.objects.count() == 2
    append_to("a")
    record_heads_of_log()
    newest = Entry.objects.latest("seq")
    assert (newest.type, newest.actor) == ("log.heads", "vestige:heads")
    assert event_of(newest)["details"] == expected(3)


def test_what_waits_for_its_place_is_counted_too() -> None:
    append_to("a")
    with transaction.atomic():
        record(
            LOG_HEADS,
            by=system_user("setup"),
            resource="log:main",
            details={"size": 0, "root": map_root(bucket_roots([])).hex(), "resources": 0},
        )
    assert recorded()["size"] == 2
    assert complaints() == []


def test_a_crash_between_gathering_and_committing_loses_nothing() -> None:
    append_to("a", "b")
    recorded()
    append_to("a", "c")
    heads.gather(LOG)
    with pytest.raises(heads.HeadsMissingError):
        heads.shown(LOG, "a")
    assert recorded() == expected(5)
    assert heads.shown(LOG, "a")[0] == 5


def test_appending_never_touches_the_heads() -> None:
    append_to("a")
    with CaptureQueriesContext(connection) as made:
        append_to("b", "c")
    assert not [q for q in made.captured_queries if "audit_heads" in q["sql"]]
    assert not [q for q in made.captured_queries if "audit_resourcehead" in q["sql"]]
    assert not HeadsMap.objects.exists()


@pytest.mark.parametrize("resource", ["a", "nobody", "log:main", "ä"])
def test_the_bucket_of_a_resource_is_shown(resource: str) -> None:
    append_to("a", "b", "ä", "a")
    said = recorded()
    size, proof = heads.shown(LOG, resource)
    head = head_in(resource, proof.bucket, proof.path, bytes.fromhex(said["root"]))
    seqs = list(Entry.objects.filter(resource=resource, seq__lt=size).values_list("seq", flat=True))
    assert head == (Head(key_of(resource), len(seqs), max(seqs)) if seqs else None)


def test_the_first_and_the_last_bucket_are_read() -> None:
    """Their borders are those of what can be stored."""
    for bucket in (0, 4095):
        key = (bucket << 4).to_bytes(2, "big") + (b"\x00" if bucket == 0 else b"\xff") * 30
        ResourceHead.objects.create(log_id=LOG, key=key, nth=1, seq=bucket)
        assert dict(heads._buckets(LOG, [bucket]))[bucket] == [Head(key, 1, bucket)]
        assert bucket_of(key) == bucket


def lie(**wrong: Any) -> None:
    """As only a writer can that has the log's key and forges the entry."""
    truth = expected(Entry.objects.count())
    with transaction.atomic():
        by = system_user("setup")
        record(LOG_HEADS, by=by, resource="log:main", details=truth | wrong)
    sequence()


@pytest.mark.parametrize(
    "wrong",
    [{"root": "00" * 32}, {"size": 3}, {"resources": 9}, {"size": 10**6}, {"size": -1},
     {"size": "4"}],
    ids=str,
)  # fmt: skip
def test_an_entry_that_commits_to_other_heads_is_found(wrong: dict[str, Any]) -> None:
    append_to("a", "b", "a", "c")
    recorded()
    append_to("c")
    lie(**wrong)
    append_to("a")
    recorded()
    seq = Entry.objects.filter(type=LOG_HEADS.name).order_by("seq")[1].seq
    found = complaints()
    assert len(found) == 1, found
    assert found[0].startswith(f"Entry {seq}: ")
    assert ("does not say of how many" in found[0]) is (wrong.get("size", 3) != 3)
    assert verified().ok, "the entry is chained and signed as any other"


def test_a_changed_table_shows_in_the_next_commitment() -> None:
    """The tables are derived and nothing guards them; what the log says of them is checked."""
    append_to("a", "b", "a", "c")
    recorded()
    sql("UPDATE audit_resourcehead SET nth = 1, seq = 0 WHERE key = %s", key_of("a"))
    HeadsMap.objects.update(roots=bytes(32 * 4096))  # every bucket is read again
    append_to("b")
    recorded()
    (complaint,) = complaints()
    assert "are not those it names" in complaint
