"""Recording a change in the transaction that makes it."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction

from accounts.models import User
from audit import signer, storage
from audit.actions import (
    NotInTransactionError,
    SubjectUnknownError,
    append,
    destroy_due_keys,
    forget_subject,
    record,
    sequence,
)
from audit.events import (
    EventType,
    EventTypeError,
    UndeclaredFactError,
    UnknownEventTypeError,
    define,
)
from audit.intake import EventRefusedError, RepeatedEventError
from audit.ledger.tree import Frontier
from audit.ledger.verify import verify_bundle
from audit.models import Checkpoint, Entry, Log, Pending, SubjectKey
from audit.queries import (
    covering_checkpoint,
    entries_for,
    entry,
    event_of,
    evidence,
    latest_checkpoint,
    unseal,
)
from audit.rows import Head
from audit.sequencer import InsideTransactionError
from audit.subjects import SubjectError, SubjectRef, lookup, normalise
from audit.verification.run import verify_log
from tests.audit.builders import as_database_owner, event, log_with, sql, verified
from tests.builders import sequenced

pytestmark = pytest.mark.django_db
MOVED = define("test.moved", "rows", "note")
ANN = SubjectRef("customer", "c-7")


def test_a_recorded_event_is_in_the_log_with_all_that_was_said(analyst: User) -> None:
    happened = datetime(2026, 1, 31, 12, tzinfo=UTC)
    event_id = record(
        MOVED,
        by=analyst,
        resource="dataset:a:b",
        resource_version="3",
        details={"rows": 4},
        parent_id="run-9",
        occurred_at=happened,
    )
    row = sequenced()[-1]
    assert event_of(row) == {
        "v": 2,
        "id": event_id,
        "type": "test.moved",
        "actor": analyst.actor,
        "by": analyst.actor,
        "resource": "dataset:a:b",
        "resource_version": "3",
        "details": {"rows": 4},
        "parent_id": "run-9",
        "occurred_at": "2026-01-31T12:00:00.000000Z",
        "within": {"nth": 1},
    }
    assert row.occurred_at == happened
    assert not Pending.objects.exists()


def test_empty_members_are_left_out(analyst: User) -> None:
    record(MOVED, by=analyst, resource="dataset:a:b")
    assert event_of(sequenced()[-1]).keys() == {
        "v",
        "id",
        "type",
        "actor",
        "by",
        "resource",
        "within",
    }


def test_a_change_that_is_rolled_back_leaves_no_event(analyst: User) -> None:
    before = len(sequenced())
    with transaction.atomic():
        record(MOVED, by=analyst, resource="dataset:a:b")
        transaction.set_rollback(True)
    assert len(sequenced()) == before


def test_recording_outside_of_a_transaction_is_refused(analyst: User) -> None:
    # Another thread has a connection of its own, which the test has not wrapped in a transaction.
    with ThreadPoolExecutor(1) as threads:
        refused = threads.submit(record, MOVED, by=analyst, resource="dataset:a:b").exception()
    assert isinstance(refused, NotInTransactionError)


def test_appending_inside_a_transaction_is_refused(analyst: User) -> None:
    with transaction.atomic():
        with pytest.raises(InsideTransactionError):
            append([event()], by=analyst)
        with pytest.raises(InsideTransactionError):
            sequence()


def test_unknown_types_and_undeclared_facts_are_refused(analyst: User) -> None:
    with pytest.raises(UnknownEventTypeError):
        record(EventType("test.unheard", frozenset()), by=analyst, resource="x")
    with pytest.raises(UnknownEventTypeError):
        record("test.moved", by=analyst, resource="x")  # type: ignore[arg-type]
    with pytest.raises(UndeclaredFactError, match="email"):
        record(MOVED, by=analyst, resource="x", details={"email": "a@b.c"})
    with pytest.raises(EventRefusedError, match="rows"):
        record(MOVED, by=analyst, resource="x", details={"rows": 1.5})
    with pytest.raises(EventTypeError):
        define("test.moved", "other")
    with pytest.raises(EventTypeError):
        define("Moved")
    assert not Pending.objects.filter(event_id__contains="test").exists()


def test_the_same_event_id_is_recorded_once(analyst: User) -> None:
    for _ in range(2):
        record(MOVED, by=analyst, resource="x", details={"rows": 1}, event_id="job-1")
    before = len(sequenced())
    record(MOVED, by=analyst, resource="x", details={"rows": 1}, event_id="job-1")
    assert len(sequenced()) == before
    with pytest.raises(RepeatedEventError):
        record(MOVED, by=analyst, resource="x", details={"rows": 2}, event_id="job-1")


def test_a_committed_event_whose_id_was_taken_meanwhile_is_noted(analyst: User) -> None:
    record(MOVED, by=analyst, resource="x", event_id="taken", details={"rows": 1})
    pending = Pending.objects.get(event_id="taken")
    append([event(id="taken")], by=analyst)
    assert sequence() >= 1
    assert not Pending.objects.exists()
    refused = Entry.objects.filter(type="log.refused").get()
    assert event_of(refused)["details"]["event_id"] == pending.event_id


def test_places_are_dense_and_time_never_runs_back(
    analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    append([event(n) for n in range(5)], by=analyst)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    append([event(n) for n in range(5)], by=analyst)
    record(MOVED, by=analyst, resource="x")
    rows = sequenced()
    assert [row.seq for row in rows] == list(range(len(rows)))
    assert [row.recorded_at for row in rows] == sorted(row.recorded_at for row in rows)
    assert verified().ok


def test_a_batch_that_no_socket_takes_at_once_is_appended(
    analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):  # from then on behind the known end, on PostgreSQL in one statement
        append([event(number)], by=analyst)
    locked: list[int] = []
    lock_head = storage.lock_head

    def counted(log_id: int) -> Head:
        locked.append(log_id)
        return lock_head(log_id)

    monkeypatch.setattr(storage, "lock_head", counted)
    receipts = append([event(n, details={"text": "x" * 50_000}) for n in range(100)], by=analyst)
    assert [receipt.seq for receipt in receipts] == list(range(3, 103))
    assert not locked or connection.vendor == "sqlite"
    assert verified().ok


# Sealed facts


def test_sealed_facts_open_until_the_person_is_forgotten(analyst: User) -> None:
    record(MOVED, by=analyst, resource="x", subject=ANN, sealed={"street": "Elm"})
    record(
        MOVED,
        by=analyst,
        resource="x",
        subject=SubjectRef("customer", "c-8"),
        sealed={"street": "Oak"},
    )
    sequence()
    ann, other = Entry.objects.exclude(subject="").order_by("seq")
    assert (unseal(ann), unseal(other)) == ({"street": "Elm"}, {"street": "Oak"})
    forget_subject(lookup(ANN), by=analyst)
    assert unseal(ann) is None
    destroy_due_keys()
    assert unseal(ann) is None
    assert unseal(other) == {"street": "Oak"}
    erased = sequenced()[-1]
    key = SubjectKey.objects.get(pseudonym=ann.subject)
    assert event_of(erased)["details"] == {
        "pseudonym": ann.subject,
        "commitment": key.commitment,
        "sealed_entries": 1,
        "epoch": key.epoch,
    }
    assert (key.lookup, key.wrapped_key) == (None, None)
    assert key.destroyed_at is not None
    assert verified().ok


def test_a_person_who_was_forgotten_comes_back_as_somebody_else(analyst: User) -> None:
    record(MOVED, by=analyst, resource="x", subject=ANN)
    forget_subject(lookup(ANN), by=analyst)
    record(MOVED, by=analyst, resource="x", subject=ANN)
    sequence()
    first, second = Entry.objects.filter(type="test.moved").order_by("seq")
    assert first.subject != second.subject
    with pytest.raises(SubjectUnknownError):
        forget_subject(lookup(SubjectRef("customer", "nobody")), by=analyst)


def test_the_key_commitment_is_in_the_log_before_what_it_seals(analyst: User) -> None:
    append([event(subject=ANN, sealed={"a": 1})], by=analyst)
    sequence()
    key = SubjectKey.objects.get()
    made = event_of(Entry.objects.get(type="subject.keys_created"))
    assert made["details"]["keys"] == [{"pseudonym": key.pseudonym, "commitment": key.commitment}]


def test_identifiers_are_found_however_they_are_spelled() -> None:
    assert normalise(SubjectRef("Email", "  ANN@Example.ORG ")) == SubjectRef(
        "email", "ann@example.org"
    )
    assert lookup(SubjectRef("email", "\uff41nn@example.org")) == lookup(
        SubjectRef("email", "ANN@example.org")
    )
    assert lookup(SubjectRef("customer", " 0007 ")) == lookup(SubjectRef("customer", "0007"))
    assert lookup(SubjectRef("customer", "7")) != lookup(SubjectRef("customer", "0007"))
    assert lookup(SubjectRef("customer", "7")) != lookup(SubjectRef("card", "7"))
    for wrong in (
        SubjectRef("", "x"),
        SubjectRef("customer", " "),
        SubjectRef("customer", "x" * 999),
    ):
        with pytest.raises(SubjectError):
            normalise(wrong)


# Checkpoints


def test_every_receipt_is_covered_by_a_checkpoint(analyst: User) -> None:
    receipts = append([event(n) for n in range(3)], by=analyst)
    signed = latest_checkpoint()
    assert signed is not None
    assert signed.size == receipts[-1].seq + 1


def test_the_history_keeps_at_most_one_checkpoint_a_minute_and_those_asked_for(
    analyst: User,
) -> None:
    for n in range(5):
        append([event(n)], by=analyst)
    assert Checkpoint.objects.count() == 1
    assert covering_checkpoint().size == Checkpoint.objects.order_by("-size")[0].size
    assert Checkpoint.objects.count() == 2


def refusal() -> str:
    """Why the signer refused the newest entries; empty if it signed them."""
    log = Log.objects.get()
    assert (log.note_size == log.size) is not bool(log.refusal)
    return log.refusal


def test_the_signer_refuses_a_tree_that_does_not_grow_from_what_it_signed(analyst: User) -> None:
    append([event(n) for n in range(5)], by=analyst)
    tree = bytes(Log.objects.get().frontier)
    with as_database_owner():
        sql("UPDATE audit_log SET frontier = %s", tree[:-1] + bytes([tree[-1] ^ 1]))
    assert append([event(9)], by=analyst)  # accepted and durable,
    assert "not the one that was signed" in refusal()  # but not signed
    with as_database_owner():
        sql("UPDATE audit_log SET size = 5, frontier = %s", tree)
        sql("DELETE FROM audit_entry WHERE seq = 5")
    append([event(10)], by=analyst)
    assert refusal() == ""


def test_the_signer_refuses_a_checkpoint_that_it_did_not_sign(analyst: User) -> None:
    append([event(n) for n in range(5)], by=analyst)
    with as_database_owner():
        sql("UPDATE audit_log SET note = replace(note, '5', '4'), note_size = 4")
    append([event(9)], by=analyst)
    assert "not signed by this log" in refusal()


def test_the_signer_refuses_a_checkpoint_that_covers_less_than_the_head_says(
    analyst: User,
) -> None:
    append([event(n) for n in range(3)], by=analyst)
    older = Log.objects.get().note
    append([event(n) for n in range(3)], by=analyst)
    with as_database_owner():
        sql("UPDATE audit_log SET note = %s", older)
    append([event(9)], by=analyst)
    assert "checkpoint itself says" in refusal()


def test_entries_rewritten_between_two_signatures_are_not_signed(analyst: User) -> None:
    append([event(n) for n in range(3)], by=analyst)
    older = Log.objects.get().note
    append([event(n) for n in range(3)], by=analyst)
    hashes = [bytes(32), *(bytes(e.leaf_hash) for e in Entry.objects.order_by("seq")[1:])]
    tree = Frontier()
    tree.extend(hashes)
    with as_database_owner():
        sql("UPDATE audit_entry SET leaf_hash = %s WHERE seq = 0", bytes(32))
        sql("UPDATE audit_log SET frontier = %s, note = %s, note_size = 3", tree.to_bytes(), older)
    append([event(9)], by=analyst)
    assert "does not extend the signed tree of 3" in refusal()


def test_without_a_usable_key_events_are_kept_and_signed_once_it_is_back(
    analyst: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append([event(1)], by=analyst)
    broken = tmp_path / "log.key"
    broken.write_text("no key")
    with monkeypatch.context() as patched:
        patched.setenv("VESTIGE_LOG_KEY_FILE", str(broken))
        receipts = append([event(2)], by=analyst)
        assert entry(receipts[0].seq).type == "UPDATE"
        assert "is not a private key" in refusal()
    sequence()
    assert refusal() == ""
    assert latest_checkpoint().size == Log.objects.get().size  # type: ignore[union-attr]


def test_another_key_does_not_go_on_with_the_log(
    analyst: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append([event(1)], by=analyst)
    monkeypatch.setenv("VESTIGE_LOG_KEY_FILE", str(tmp_path / "new.key"))
    append([event(2)], by=analyst)
    assert "not signed by this log's key" in refusal()


def test_a_database_that_fails_before_the_commit_leaves_nothing_behind(
    analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    append([event(1)], by=analyst)
    before = Entry.objects.count()

    def cut(*args: object) -> None:
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "insert_tiles", cut)
        with pytest.raises(OperationalError):
            append([event(n, id=f"cut-{n}") for n in range(300)], by=analyst)
    assert Entry.objects.count() == before
    assert len(append([event(n, id=f"cut-{n}") for n in range(300)], by=analyst)) == 300
    assert verified().ok


def test_a_database_restored_from_an_old_backup_is_not_signed(analyst: User) -> None:
    append([event(n) for n in range(5)], by=analyst)
    newest = Log.objects.get().note
    path = settings.VESTIGE_KEYS / "log.signed"
    with as_database_owner():
        sql("DELETE FROM audit_entry")
        sql("DELETE FROM audit_checkpoint")
        sql("DELETE FROM audit_log")
    path.write_text(newest)
    try:
        append([event(1)], by=analyst)
        assert "old backup" in Log.objects.get().refusal
        assert latest_checkpoint() is None
        outcome = verify_log(
            1, vkeys=[signer.verifier_key(Log.objects.get().origin)], remembered=newest
        )
        assert outcome.first_bad == 1
    finally:
        path.unlink()


def test_evidence_of_entries_verifies_offline(analyst: User) -> None:
    log_with(300)
    made = evidence([0, 255, 256, 299, 5], purpose="test")
    verdict = verify_bundle(made)
    assert verdict.valid
    assert verdict.entries == [0, 5, 255, 256, 299]


def test_entries_of_a_resource_are_found_as_of_an_entry(analyst: User) -> None:
    log_with(40)
    found = list(entries_for("dataset:shop:table-1"))
    assert len(found) == 7
    assert list(entries_for("dataset:shop:table-1", as_of=found[3].seq)) == found[:4]
    assert list(entries_for("dataset:shop:table-1", since=found[0].recorded_at)) == found
    assert list(entries_for("dataset:shop:table-1", until=found[0].recorded_at)) == []
    assert entry(found[0].seq) == found[0]
