"""The one door through which entries may be deleted, and who tries it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from audit.actions import (
    PruningRefusedError,
    append,
    place_hold,
    plan_pruning,
    prune,
    pruning,
    sequence,
    set_policy,
    start_pruning,
)
from audit.intake import EventRefusedError
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack, unpack
from audit.ledger.tree import root_of
from audit.models import Entry, PrunedRange, Pruning, Tile
from audit.queries import stored_log_outcome
from tests.audit.builders import as_database_owner, event, sql, undone, verified
from tests.audit.past import old_log, pruned, ranges

pytestmark = pytest.mark.django_db
RANGE = (
    "INSERT INTO audit_prunedrange (log_id, start, stop, entry, newest_us, pruned_at)"
    " VALUES (1, {}, {}, {}, 0, '2026-01-01 00:00:00')"
)


@pytest.fixture
def log(dpo: User, pipeline: User, admin: User) -> int:
    """Entries 0 to 511 are pruned, 512 to 1023 of a class that is kept; gives the log.pruned."""
    old_log((512, "READ"), (600, "UPDATE"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    pruned(dpo)
    assert ranges() == [(0, 512)]
    assert verified().findings == []
    return Entry.objects.get(type="log.pruned").seq


def attack(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


REFUSED = [
    "DELETE FROM audit_entry WHERE seq = 512",
    "DELETE FROM audit_entry",
    "UPDATE audit_prunedrange SET stop = 1024",
    "UPDATE audit_prunedrange SET entry = entry + 1",
    "DELETE FROM audit_prunedrange",
    RANGE.format(512, 512, "{entry}"),  # nothing
    RANGE.format(512, 600, "{entry}"),  # no tile boundary
    RANGE.format(-256, 0, "{entry}"),
    RANGE.format(256, 768, "{entry}"),  # overlaps what is pruned
    RANGE.format(1024, 1280, "{entry} + 1000"),  # not full, and no such entry
    RANGE.format(512, 768, 1100),  # an entry of another type
    RANGE.format(512, 768, 5),  # an entry that is pruned itself
    RANGE.format(512, 1048576, "{entry}"),
    "DELETE FROM audit_prunedplace",
    "UPDATE audit_prunedplace SET nth = nth - 1",
    "UPDATE audit_prunedplace SET nth = 1, seq = 1",
    "UPDATE audit_tile SET hashes = root",
    "DELETE FROM audit_tile WHERE level = 0",
]
SQLITE = [
    "INSERT OR REPLACE INTO audit_prunedrange SELECT * FROM audit_prunedrange",
    "INSERT OR REPLACE INTO audit_prunedrange (log_id, start, stop, entry, newest_us, pruned_at)"
    " SELECT 1, 0, 256, entry, 0, pruned_at FROM audit_prunedrange",
    "INSERT OR REPLACE INTO audit_prunedrange"
    " (rowid, log_id, start, stop, entry, newest_us, pruned_at)"
    " SELECT rowid, 1, 512, 768, entry, 0, pruned_at FROM audit_prunedrange",
    RANGE.format("'a'", "'b'", "{entry}"),
    RANGE.format("NULL", 768, "{entry}"),
    "INSERT OR REPLACE INTO audit_prunedplace SELECT log_id, resource, 0, 0 FROM audit_prunedplace",
]
POSTGRESQL = [
    "TRUNCATE audit_prunedrange",
    "TRUNCATE audit_prunedplace",
    "SET LOCAL session_replication_role = replica; DELETE FROM audit_entry WHERE seq = 600",
    "SET LOCAL session_replication_role = replica; " + RANGE.format(512, 600, "{entry}"),
    # A table of the session that would stand before the log's own.
    "CREATE TEMP TABLE audit_prunedrange AS SELECT 1 AS log_id, 0 AS start, 99999 AS stop;"
    " DELETE FROM audit_entry WHERE seq = 600",
    "CREATE SCHEMA mine; CREATE TABLE mine.audit_prunedrange AS SELECT 1 AS log_id, 0 AS start,"
    " 99999 AS stop; SET LOCAL search_path = mine, public; DELETE FROM audit_entry WHERE seq = 600",
]


def refused(log: int, statement: str) -> None:
    before = list(Entry.objects.order_by("seq").values())
    with pytest.raises(DatabaseError, match=r"append-only|only grows"):
        attack(statement.format(entry=log) if "{entry}" in statement else statement)
    assert list(Entry.objects.order_by("seq").values()) == before
    assert ranges() == [(0, 512)]
    assert verified().ok


@pytest.mark.parametrize("statement", REFUSED)
def test_the_door_opens_for_nothing_else(log: int, statement: str) -> None:
    if "audit_prunedplace" in statement:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO audit_prunedplace (log_id, resource, seq, nth) VALUES (1, 'r', 9, 9)"
            )
    refused(log, statement)


@pytest.mark.parametrize("statement", SQLITE)
def test_sqlite_replaces_no_range(log: int, statement: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQL of SQLite")
    if "prunedplace" in statement:
        sql("INSERT INTO audit_prunedplace (log_id, resource, seq, nth) VALUES (1, 'r', 9, 9)")
    refused(log, statement)


@pytest.mark.parametrize("statement", POSTGRESQL)
def test_postgresql_lets_no_table_of_the_session_stand_in(log: int, statement: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQL of PostgreSQL")
    refused(log, statement)


@pytest.mark.parametrize(
    "name",
    [
        "log.pruned",
        "log.key.rotated",
        "log.hold_placed",
        "certificate.issued",
        "kek.epoch.created",
        "subject.erased",
    ],
)
def test_a_range_with_what_the_log_needs_is_refused(
    dpo: User, pipeline: User, admin: User, name: str
) -> None:
    old_log((512, "READ"), (256, "UPDATE"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    pruned(dpo)
    entry = Entry.objects.get(type="log.pruned").seq
    with as_database_owner():
        sql("UPDATE audit_entry SET type = %s WHERE seq = 600", name)
    with pytest.raises(DatabaseError, match="append-only"):
        attack(RANGE.format(512, 768, entry))
    with as_database_owner():
        sql("UPDATE audit_entry SET type = 'UPDATE' WHERE seq = 600")
    attack(RANGE.format(512, 768, entry))  # refused for that only


def test_who_opens_a_range_that_no_entry_tells_of_is_found(log: int) -> None:
    """As an application attacker can: the database lets the row in, the log does not say so."""
    attack(RANGE.format(512, 768, log))
    attack("DELETE FROM audit_entry WHERE seq >= 512 AND seq < 768")
    outcome = verified()
    assert outcome.first_bad == 512
    assert f"entry {log} does not say so" in str(outcome.findings[0])


@pytest.fixture
def owner(log: int) -> Iterator[int]:
    with undone(), as_database_owner():
        yield log


OWNERS = [
    ("DELETE FROM audit_entry WHERE seq = 700", 700),
    ("DELETE FROM audit_entry WHERE seq >= 512 AND seq < 768", 512),
    ("DELETE FROM audit_entry WHERE seq < 768", 512),
    ("DELETE FROM audit_prunedrange", 0),
    ("UPDATE audit_prunedrange SET stop = 768", 0),
    ("UPDATE audit_prunedrange SET start = 256", 0),
    ("UPDATE audit_prunedrange SET stop = 500", 0),
    ("UPDATE audit_prunedrange SET newest_us = newest_us + 1", 511),
    ("UPDATE audit_prunedrange SET newest_us = 0", 511),
    ("UPDATE audit_prunedrange SET entry = entry - 1", 0),
    ("UPDATE audit_prunedrange SET entry = 600", 0),
    ("UPDATE audit_prunedrange SET entry = 99999", 0),
    ("UPDATE audit_prunedrange SET log_id = 2", 0),
    ('DELETE FROM audit_tile WHERE "index" = 1', 256),
    ("DELETE FROM audit_tile", 0),
]


@pytest.mark.parametrize(("statement", "first_bad"), OWNERS)
def test_what_a_database_owner_does_to_ranges_is_found(
    owner: int, statement: str, first_bad: int
) -> None:
    attack(statement)
    outcome = verified()
    assert not outcome.ok
    assert outcome.first_bad == first_bad


@pytest.mark.parametrize("place", [0, 100, 255])
@pytest.mark.parametrize("root_too", [False, True])
def test_a_hash_of_a_pruned_entry_that_is_changed_is_found(
    owner: int, place: int, *, root_too: bool
) -> None:
    tile = Tile.objects.get(level=0, index=1)
    held = bytearray(tile.hashes)
    held[32 * place] ^= 1
    sql('UPDATE audit_tile SET hashes = %s WHERE level = 0 AND "index" = 1', bytes(held))
    if root_too:
        root = root_of([bytes(held[at : at + 32]) for at in range(0, 8192, 32)])
        sql('UPDATE audit_tile SET root = %s WHERE level = 0 AND "index" = 1', root)
    outcome = verified()
    assert outcome.first_bad == 256
    assert "not that of what was pruned" in str(outcome.findings[0])


def test_an_entry_forged_into_a_pruned_place_is_found(owner: int) -> None:
    row = Entry.objects.get(seq=601)
    old = unpack(bytes(row.leaf))
    leaf = pack(5, old.timestamp_us, old.previous, old.event)
    sql("UPDATE audit_entry SET seq = 5, leaf = %s, leaf_hash = %s WHERE seq = 601", leaf,
        leaf_hash(leaf))  # fmt: skip
    assert verified().first_bad == 5


def test_the_entry_that_tells_of_the_pruning_cannot_be_changed(owner: int) -> None:
    row = Entry.objects.get(seq=owner)
    leaf = bytes(row.leaf).replace(b'"READ":512', b'"READ":511')
    sql("UPDATE audit_entry SET leaf = %s, leaf_hash = %s WHERE seq = %s", leaf, leaf_hash(leaf),
        owner)  # fmt: skip
    assert verified().first_bad == owner


def test_an_outsider_cannot_tell_the_log_of_a_pruning(pipeline: User) -> None:
    with pytest.raises(EventRefusedError):
        append([event(type="log.pruned")], by=pipeline)


def run_stopped_in(phase: str, dpo: User, admin: User, pipeline: User, monkeypatch: Any) -> Pruning:
    old_log((512, "READ"), (100, "UPDATE"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    run = start_pruning(plan.plan_hash, by=dpo)

    class Died(BaseException):
        pass

    def dies(run: Pruning) -> None:
        raise Died

    steps = dict(pruning._STEPS) | {Pruning.Phase(phase): dies}
    with monkeypatch.context() as dying:
        dying.setattr(pruning, "_STEPS", steps)
        with pytest.raises(Died):
            prune(run.pk)
    return run


@pytest.mark.parametrize("phase", ["next", "recorded", "opened"])
def test_a_run_that_stopped_goes_on_where_it_was(
    dpo: User, admin: User, pipeline: User, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_stopped_in(phase, dpo, admin, pipeline, monkeypatch)
    sequence()
    outcome = verified()
    assert outcome.findings == []
    if phase == "opened":
        assert outcome.warnings == [
            "512 entries of pruned ranges are not deleted yet: a pruning runs or has stopped."
        ]
    done = prune(run.pk)
    assert (done.state, done.pruned) == ("done", 512)
    assert Entry.objects.filter(type="log.pruned").count() == 1
    assert PrunedRange.objects.count() == 1
    assert not Entry.objects.filter(seq__lt=512).exists()
    assert stored_log_outcome(full=True).findings == []


def test_what_is_left_in_an_opened_range_must_be_what_was_there(
    dpo: User, admin: User, pipeline: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stopped_in("opened", dpo, admin, pipeline, monkeypatch)
    with as_database_owner():
        sql("UPDATE audit_entry SET actor = 'nobody' WHERE seq = 7")
    assert verified().first_bad == 7


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_retentionpolicy SET days = 300",
        "UPDATE audit_retentionpolicy SET event_class = 'UPDATE'",
        "INSERT INTO audit_retentionpolicy (log_id, event_class, days, ground, shorter_because,"
        " set_at, set_by, ended_by) VALUES (1, '*', 1, '', '', '2026-01-01', 'user:1', '')",
        "UPDATE audit_loghold SET released_at = '2026-01-01'",
        "UPDATE audit_loghold SET start = 1024, stop = 1025",
        "DELETE FROM audit_loghold",
    ],
)
def test_policies_and_holds_that_the_log_does_not_tell_of_let_nothing_go(
    dpo: User, pipeline: User, admin: User, statement: str
) -> None:
    old_log((768, "READ"), (300, "UPDATE"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin)
    place_hold(start=300, stop=301, reason="court case", by=admin)
    attack(statement)
    plan = plan_pruning(by=dpo)
    assert plan is not None
    assert plan.plan["tiles"]
    with pytest.raises(PruningRefusedError, match="Look into who did that"):
        start_pruning(plan.plan_hash, by=dpo)
