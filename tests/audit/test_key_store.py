"""The subjects' keys in their own store: made, destroyed, rotated, restored."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone

from accounts.models import User
from audit import epochs, keylog, sealing
from audit.actions import (
    KeyLivesError,
    KeysUnreachableError,
    SubjectUnknownError,
    announce_epochs,
    append,
    destroy_due_keys,
    erasure_receipt,
    forget_subject,
    record,
    replay_erasures,
    replay_if_restored,
    rotate_due_epoch,
    rotate_epoch,
    sequence,
)
from audit.events import define
from audit.ledger.verify import verify_bundle
from audit.models import Entry, KeyEpoch, Subject, SubjectKey
from audit.queries import entries, event_of, key_is_alive, stored_log_outcome, unseal
from audit.routing import KEYS
from audit.subjects import SubjectRef, lookup
from audit.tasks import keep_keys, rotate_due_keys
from tests.audit.builders import event, sql, verified

pytestmark = pytest.mark.django_db
NOTED = define("test.noted", "n")
ANN = SubjectRef("customer", "ann")
BOB = SubjectRef("customer", "bob")


def note(by: User, ref: SubjectRef = ANN, **sealed: Any) -> str:
    return record(NOTED, by=by, resource="x", subject=ref, sealed=sealed or {"street": "Elm"})


def noted() -> list[Entry]:
    sequence()
    return list(entries().filter(type=NOTED.name).order_by("seq"))


def details_of(event_type: str) -> list[dict[str, Any]]:
    sequence()
    return [event_of(e)["details"] for e in entries().filter(type=event_type).order_by("seq")]


class Backup:
    """A copy of the key store's rows, without the files of the epochs."""

    def __init__(self) -> None:
        self.keys = list(SubjectKey.objects.order_by("pk"))
        self.epochs = list(KeyEpoch.objects.order_by("number"))

    def restore(self) -> None:
        SubjectKey.objects.all().delete()
        KeyEpoch.objects.all().delete()
        SubjectKey.objects.bulk_create(self.keys)
        KeyEpoch.objects.bulk_create(self.epochs)


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# Two stores


def test_a_key_whose_event_was_rolled_back_is_announced_at_its_next_use(analyst: User) -> None:
    with rolled_back():
        note(analyst)
    (row,) = SubjectKey.objects.all()
    assert details_of("subject.keys_created") == []
    assert stored_log_outcome(full=True).ok
    note(analyst)
    note(analyst)
    assert SubjectKey.objects.count() == 1
    told = [{"pseudonym": row.pseudonym, "commitment": row.commitment}]
    assert details_of("subject.keys_created") == [{"keys": told}]
    assert [unseal(entry) for entry in noted()] == [{"street": "Elm"}] * 2


def test_a_key_left_by_a_rollback_is_announced_by_the_append_door_too(analyst: User) -> None:
    with rolled_back():
        note(analyst)
    append([event(subject=ANN, sealed={"a": 1})], by=analyst)
    assert len(details_of("subject.keys_created")) == 1
    assert stored_log_outcome(full=True).ok


def test_a_person_whose_only_key_was_left_by_a_rollback_can_be_forgotten(analyst: User) -> None:
    with rolled_back():
        note(analyst)
    forget_subject(lookup(ANN), by=analyst)
    destroy_due_keys()
    sequence()
    assert SubjectKey.objects.get().wrapped_key is None
    assert stored_log_outcome(full=True).ok


def test_from_the_recorded_erasure_on_nothing_is_sealed_or_opened_with_the_key(
    analyst: User,
) -> None:
    note(analyst)
    (before,) = noted()
    forget_subject(lookup(ANN), by=analyst)
    # The process died here: the key is still in the store.
    assert SubjectKey.objects.get().wrapped_key is not None
    assert unseal(before) is None
    assert not key_is_alive(before.subject)
    assert sealing.live_keys([ANN]) == {}
    note(analyst)
    after = noted()[-1]
    assert after.subject != before.subject
    assert destroy_due_keys() == 1
    assert unseal(after) == {"street": "Elm"}
    assert destroy_due_keys() == 0
    assert stored_log_outcome(full=True).ok


def test_an_erasure_that_is_rolled_back_leaves_the_key(analyst: User) -> None:
    note(analyst)
    with rolled_back():
        forget_subject(lookup(ANN), by=analyst)
        note(analyst)
    assert destroy_due_keys() == 0
    note(analyst)
    assert len({entry.subject for entry in noted()}) == 1
    # The key made in vain for the time after the erasure goes with the person, too.
    forget_subject(lookup(ANN), by=analyst)
    assert destroy_due_keys() == 2
    assert not SubjectKey.objects.filter(destroyed_at=None).exists()
    sequence()
    assert stored_log_outcome(full=True).ok


def test_a_person_is_forgotten_once(analyst: User) -> None:
    note(analyst)
    forget_subject(lookup(ANN), by=analyst)
    with pytest.raises(SubjectUnknownError):
        forget_subject(lookup(ANN), by=analyst)
    assert len(details_of("subject.erased")) == 1


def test_the_key_goes_right_after_the_commit(
    analyst: User, django_capture_on_commit_callbacks: Any
) -> None:
    note(analyst)
    note(analyst, BOB)
    with django_capture_on_commit_callbacks(execute=True):
        forget_subject(lookup(ANN), by=analyst)
        forget_subject(lookup(BOB), by=analyst)
    assert not SubjectKey.objects.filter(destroyed_at=None).exists()
    assert Subject.objects.filter(destroyed_at=None).count() == 0


def test_a_crash_between_key_and_due_row_is_made_good_by_the_sweep(
    analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(analyst)
    forget_subject(lookup(ANN), by=analyst)
    with monkeypatch.context() as patched:
        patched.setattr(Subject.objects.__class__, "bulk_update", _killed)
        with pytest.raises(KilledError):
            destroy_due_keys()
    first = SubjectKey.objects.get()
    assert first.wrapped_key is None
    assert destroy_due_keys() == 1
    assert SubjectKey.objects.get().destroyed_at == first.destroyed_at
    sequence()
    assert stored_log_outcome(full=True).ok


def test_erasing_a_person_takes_as_many_statements_for_ten_thousand_entries_as_for_one(
    analyst: User,
) -> None:
    append([event(n, subject=ANN, sealed={"n": n}) for n in range(10_000)], by=analyst)
    note(analyst, BOB)
    sequence()
    counts = []
    for ref in (BOB, ANN):
        with (
            CaptureQueriesContext(connection) as log_statements,
            CaptureQueriesContext(connections[KEYS]) as key_statements,
        ):
            forget_subject(lookup(ref), by=analyst)
            destroy_due_keys()
        written = [q["sql"] for q in key_statements if q["sql"].startswith("UPDATE")]
        assert len(written) == 1
        counts.append((len(log_statements), len(key_statements)))
    assert counts[0] == counts[1]
    assert [d["sealed_entries"] for d in details_of("subject.erased")] == [1, 10_000]
    assert not SubjectKey.objects.filter(destroyed_at=None).exists()


# Commitments


def test_a_row_with_another_persons_key_opens_nothing(analyst: User) -> None:
    note(analyst)
    note(analyst, BOB)
    ann, bob = noted()
    rows = {row.pseudonym: row for row in SubjectKey.objects.all()}
    SubjectKey.objects.filter(pseudonym=ann.subject).update(
        wrapped_key=rows[bob.subject].wrapped_key
    )
    with pytest.raises(sealing.SealError):
        unseal(ann)
    assert unseal(bob) == {"street": "Elm"}


def test_a_key_that_is_not_the_committed_one_opens_nothing(analyst: User) -> None:
    note(analyst)
    (ann,) = noted()
    row = SubjectKey.objects.get()
    sealing.wrap(row, bytes(32), epoch=row.epoch)  # by somebody who has the epoch's key
    row.save()
    with pytest.raises(sealing.SealError, match="committed"):
        unseal(ann)
    findings = stored_log_outcome(full=True).findings
    assert any("not the one it committed to" in finding.sentence for finding in findings)


def test_a_replaced_epoch_file_is_refused_and_named(analyst: User) -> None:
    note(analyst)
    (ann,) = noted()
    path = epochs.epoch_file(SubjectKey.objects.get().epoch)
    true = path.read_bytes()
    try:
        path.write_bytes(bytes(32))
        with pytest.raises(epochs.EpochKeyReplacedError, match=path.name):
            unseal(ann)
        with pytest.raises(epochs.EpochKeyReplacedError):
            note(analyst, BOB)
        assert not stored_log_outcome(full=True).ok
    finally:
        path.write_bytes(true)
    assert unseal(ann) == {"street": "Elm"}


# Epochs


def test_a_rotation_moves_every_living_key_and_destroys_the_old_one(analyst: User) -> None:
    people = [SubjectRef("customer", f"p{n}") for n in range(1_100)]
    append([event(n, subject=ref, sealed={"n": n}) for n, ref in enumerate(people)], by=analyst)
    old = KeyEpoch.objects.get()
    for ref in people[:3]:
        forget_subject(lookup(ref), by=analyst)
    said: list[tuple[int, int]] = []
    done = rotate_epoch(progress=lambda now, total: said.append((now, total)))
    assert (done.rewrapped, done.destroyed) == (1_097, [old.number])
    assert said == [(500, 1_097), (1_000, 1_097), (1_097, 1_097)]
    assert not epochs.epoch_file(old.number).exists()
    assert epochs.epoch_file(done.epoch).stat().st_mode & 0o777 == 0o600
    assert set(SubjectKey.objects.filter(destroyed_at=None).values_list("epoch", flat=True)) == {
        done.epoch
    }
    sealed = entries().filter(type="UPDATE").order_by("seq")
    assert [unseal(entry) for entry in sealed] == [None] * 3 + [{"n": n} for n in range(3, 1_100)]
    assert details_of("kek.epoch.destroyed") == [
        {"epoch": old.number, "commitment": old.commitment, "rewrapped": 1_097, "erased": 3}
    ]
    assert [told["epoch"] for told in details_of("kek.epoch.created")] == [old.number, done.epoch]
    assert stored_log_outcome(full=True).ok


def test_an_old_copy_of_the_key_store_is_useless_after_a_rotation(analyst: User) -> None:
    note(analyst)
    note(analyst, BOB)
    bob = noted()[-1]
    backup = Backup()
    forget_subject(lookup(ANN), by=analyst)
    rotate_epoch()
    assert unseal(bob) == {"street": "Elm"}
    backup.restore()
    for row in SubjectKey.objects.all():
        with pytest.raises(epochs.EpochKeyGoneError, match="old copy"):
            sealing.unwrap(row)
    with pytest.raises(epochs.EpochKeyGoneError):
        note(analyst, SubjectRef("customer", "new"))
    with pytest.raises(KeysUnreachableError, match="newest"):
        rotate_epoch()
    said = " ".join(finding.sentence for finding in stored_log_outcome(full=True).findings)
    assert "the key lives" in said
    assert "old copy" in said


def test_keys_that_nobody_can_open_are_given_up_only_when_asked(analyst: User) -> None:
    note(analyst)
    noted()
    backup = Backup()
    rotate_epoch()
    backup.restore()
    lost = backup.epochs[0].number
    with pytest.raises(KeysUnreachableError, match=f"--accept-loss {lost}"):
        rotate_epoch()
    done = rotate_epoch(accept_loss=lost)
    assert done.epoch == backup.epochs[0].number + 2  # no number is used twice
    (told,) = details_of("subject.keys_lost")
    assert told["keys"] == [backup.keys[0].pseudonym]
    note(analyst)
    assert unseal(noted()[-1]) == {"street": "Elm"}
    assert stored_log_outcome(full=True).ok


class KilledError(BaseException):
    """The process died here."""


def _killed(*args: object, **kwargs: object) -> None:
    raise KilledError


@pytest.mark.parametrize(
    "step",
    [
        "audit.actions.rotating.open_epoch",
        "audit.actions.rotating.announce_epochs",
        "audit.actions.rotating._close_older",
        "audit.actions.rotating._rewrap_all",
        "audit.actions.rotating._rewrap",
        "audit.actions.rotating._end",
        "audit.epochs.destroy_file",
        "audit.actions.rotating.record",
        "audit.actions.rotating.sequence",
    ],
)
def test_a_rotation_that_was_killed_goes_on(
    analyst: User, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    note(analyst)
    note(analyst, BOB)
    forget_subject(lookup(BOB), by=analyst)
    with monkeypatch.context() as patched:
        patched.setattr(step, _killed)
        with pytest.raises(KilledError):
            rotate_epoch()
    note(analyst, SubjectRef("customer", "meanwhile"))
    done = rotate_epoch()
    told = details_of("kek.epoch.destroyed")
    assert [t["epoch"] for t in told] == sorted({t["epoch"] for t in told})
    assert epochs.numbers_on_disk()[-1] == done.epoch
    assert KeyEpoch.objects.filter(destroyed_at=None).count() == 1
    assert [unseal(entry) for entry in noted()] == [{"street": "Elm"}, None, {"street": "Elm"}]
    assert stored_log_outcome(full=True).ok


def test_the_old_key_can_be_left_until_a_backup_is_made(analyst: User) -> None:
    note(analyst)
    first = rotate_epoch(leave_old=True)
    assert first.left
    assert epochs.epoch_file(first.left[0]).exists()
    second = rotate_epoch()
    assert (second.epoch, second.destroyed) == (first.epoch, first.left)


def test_keys_that_can_be_opened_are_not_given_up(analyst: User) -> None:
    note(analyst)
    with pytest.raises(KeysUnreachableError, match="nothing of it is lost"):
        rotate_epoch(accept_loss=KeyEpoch.objects.get().number)
    assert unseal(noted()[0]) == {"street": "Elm"}


def test_no_epoch_is_opened_where_the_folder_of_the_keys_is_not_mounted(
    analyst: User, tmp_path: Path
) -> None:
    note(analyst)
    with override_settings(VESTIGE_EPOCH_KEYS_DIR=tmp_path):
        with pytest.raises(KeysUnreachableError, match="bring the file back"):
            rotate_epoch()
        assert list(tmp_path.iterdir()) == []
    assert unseal(noted()[0]) == {"street": "Elm"}


def test_an_epoch_is_announced_once(analyst: User) -> None:
    note(analyst)
    announce_epochs()
    KeyEpoch.objects.update(announced_at=None)  # the process died before it noted that
    announce_epochs()
    assert len(details_of("kek.epoch.created")) == 1


# Restores


def test_a_restored_key_is_reported_refused_and_destroyed_again(analyst: User) -> None:
    note(analyst)
    note(analyst, BOB)
    ann, bob = noted()
    backup = Backup()
    forget_subject(lookup(ANN), by=analyst)
    destroy_due_keys()
    sequence()
    backup.restore()
    assert unseal(ann) is None  # nobody uses it, even before it is destroyed again
    outcome = stored_log_outcome(full=True)
    assert [f.seq for f in outcome.findings] == [keylog.erasure_of(ann.subject)[0][0]]
    assert "replay_erasures" in outcome.findings[0].sentence
    found = replay_erasures()
    assert (found.erasures, found.replayed, found.missing) == (1, 1, 0)
    assert SubjectKey.objects.get(pseudonym=ann.subject).wrapped_key is None
    (told,) = details_of("subject.erasure_replayed")
    assert told["pseudonym"] == ann.subject
    assert told["entry"] == outcome.findings[0].seq
    assert replay_erasures().replayed == 0
    assert unseal(bob) == {"street": "Elm"}
    assert stored_log_outcome(full=True).ok


def test_the_sweep_notices_a_restore_by_the_newest_erasures(analyst: User) -> None:
    for number in range(60):
        note(analyst, SubjectRef("customer", f"c{number}"))
    backup = Backup()
    for number in range(60):
        forget_subject(lookup(SubjectRef("customer", f"c{number}")), by=analyst)
    destroy_due_keys()
    sequence()
    assert replay_if_restored() is None
    backup.restore()
    found = replay_if_restored()
    assert found is not None
    assert found.replayed == 60
    assert replay_if_restored() is None


def test_a_key_store_that_is_older_than_the_log_is_reported(analyst: User) -> None:
    note(analyst)
    backup = Backup()
    note(analyst, BOB)
    noted()
    backup.restore()
    (finding,) = stored_log_outcome(full=True).findings
    assert "lacks the keys of 1 persons" in finding.sentence
    assert replay_erasures().missing == 1


def test_an_epochs_file_that_came_back_is_reported_and_destroyed_again(analyst: User) -> None:
    note(analyst)
    number = KeyEpoch.objects.get().number
    kept = epochs.epoch_file(number).read_bytes()
    rotate_epoch()
    epochs.epoch_file(number).write_bytes(kept)
    (finding,) = stored_log_outcome(full=True).findings
    assert epochs.epoch_file(number).name in finding.sentence
    found = replay_if_restored()
    assert found is not None
    assert found.files == 1
    assert not epochs.epoch_file(number).exists()
    assert stored_log_outcome(full=True).ok


# Receipts


def test_a_receipt_says_whether_backups_are_useless_and_verifies_offline(analyst: User) -> None:
    note(analyst)
    (ann,) = noted()
    with pytest.raises(SubjectUnknownError):
        erasure_receipt(ann.subject, by=analyst)
    forget_subject(lookup(ANN), by=analyst)
    early = erasure_receipt(ann.subject, by=analyst)
    assert verify_bundle(early).valid
    statement = early["statement"]
    assert not statement["backups_are_useless"]
    assert statement["key_destroyed"]["sealed_entries"] == 1
    types = {entry.seq: entry.type for entry in entries()}
    assert [types[seq] for seq in statement["entries"]] == [
        "subject.keys_created",
        "subject.erased",
    ]
    assert erasure_receipt(ann.subject, by=analyst)["entries"][-1] == early["entries"][-1]
    assert Entry.objects.filter(type="subject.erasure_receipted").count() == 1


def test_a_receipt_after_the_epoch_ended_holds_the_proof_of_that(
    analyst: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: LazySettings
) -> None:
    settings.VESTIGE_EPOCH_KEYS_DIR = tmp_path  # so that the first epoch is number 1
    note(analyst)
    (ann,) = noted()
    rotate_epoch()
    forget_subject(lookup(ANN), by=analyst)
    assert not erasure_receipt(ann.subject, by=analyst)["statement"]["backups_are_useless"]
    rotate_epoch()
    made = erasure_receipt(ann.subject, by=analyst)
    assert verify_bundle(made).valid
    statement = made["statement"]
    assert statement["backups_are_useless"]
    assert [told["epoch"] for told in statement["epochs_destroyed"]] == [1, 2]
    assert "hold nothing that can be opened" in " ".join(statement["shows"])


def test_a_living_key_gets_no_receipt(analyst: User) -> None:
    note(analyst)
    (ann,) = noted()
    backup = Backup()
    forget_subject(lookup(ANN), by=analyst)
    destroy_due_keys()
    backup.restore()
    with pytest.raises(KeyLivesError, match="replay"):
        erasure_receipt(ann.subject, by=analyst)
    with pytest.raises(CommandError):
        call_command("erasure_receipt", ann.subject)
    replay_erasures()
    receipt = erasure_receipt(ann.subject, by=analyst)
    assert len(receipt["statement"]["destroyed_again_after_a_restore"]) == 1
    assert verify_bundle(receipt).valid


# The calendar


def test_the_calendar_opens_an_epoch_and_ends_the_old_one_after_the_grace(
    analyst: User, settings: LazySettings
) -> None:
    note(analyst)
    assert rotate_due_epoch() is None
    opened = KeyEpoch.objects.get()
    KeyEpoch.objects.update(opened_at=timezone.now() - timedelta(days=31))
    first = rotate_due_epoch()
    assert first is not None
    assert first.left == [opened.number]
    assert rotate_due_epoch() is not None  # the grace is not over
    assert epochs.epoch_file(opened.number).exists()
    KeyEpoch.objects.filter(number=first.epoch).update(
        opened_at=timezone.now() - timedelta(hours=49)
    )
    second = rotate_due_epoch()
    assert second is not None
    assert second.destroyed == [opened.number]
    assert rotate_due_epoch() is None
    settings.VESTIGE_EPOCH_DAYS = 0
    KeyEpoch.objects.update(opened_at=timezone.now() - timedelta(days=99))
    assert rotate_due_epoch() is None


def test_the_commands_say_what_they_do(analyst: User, capsys: pytest.CaptureFixture[str]) -> None:
    note(analyst)
    (ann,) = noted()
    number = KeyEpoch.objects.get().number
    call_command("rotate_keys", "--epoch", "--dry-run")
    said = capsys.readouterr().out
    assert "1 living keys would be wrapped anew" in said
    assert f"The key of epoch {number} would be destroyed" in said
    assert KeyEpoch.objects.count() == 1
    call_command("rotate_keys", "--epoch", "--leave-old")
    assert "Back up the key store" in capsys.readouterr().out
    call_command("rotate_keys", "--dry-run")
    assert "under way" in capsys.readouterr().out
    call_command("rotate_keys", "--epoch")
    assert f"epoch {number} is destroyed" in capsys.readouterr().out
    forget_subject(lookup(ANN), by=analyst)
    call_command("replay_erasures")
    assert "1 erasures in the log; 0 keys" in capsys.readouterr().out
    call_command("erasure_receipt", ann.subject)
    assert verify_bundle(capsys.readouterr().out).valid


def test_the_sweep_destroys_announces_and_replays(analyst: User) -> None:
    note(analyst)
    noted()
    forget_subject(lookup(ANN), by=analyst)
    keep_keys()
    rotate_due_keys()
    assert not SubjectKey.objects.filter(destroyed_at=None).exists()
    assert len(details_of("kek.epoch.created")) == 1


def test_the_store_refuses_a_key_that_is_half_gone(analyst: User) -> None:
    note(analyst)
    with pytest.raises(IntegrityError), transaction.atomic(using=KEYS):
        sql("UPDATE audit_subjectkey SET wrapped_key = NULL", using=KEYS)
    assert verified().ok
