"""The key store under kill -9, beside running writers, restored from files, and upgraded."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection

from tests.audit.installations import (
    Environment,
    empty_installation,
    installation,
    manage,
    own_database,
    run,
    start,
)


@pytest.fixture
def apart(tmp_path: Path, db: None) -> Iterator[Environment]:
    """A key store that is a database of its own, on both kinds of database."""
    with empty_installation(tmp_path / "home", apart=True) as environment:
        yield environment


def test_an_erasure_that_is_killed_anywhere_is_whole_or_nowhere(apart: Environment) -> None:
    run(
        apart,
        """
forgetting = actions.forgetting
for number, (owner, name, recorded) in enumerate([
    (actions.recording.storage, "insert_pending", False),
    (forgetting, "_destroy_after_commit", False),
    (forgetting, "destroy_due_keys", True),
    (Subject.objects, "bulk_update", True),
    (forgetting, "_overwrite_journal", True),
]):
    note(number)
    killed_at(owner, name, lambda: forget(number))
    assert bool(sealing.live_keys([ref(number)])) is not recorded, name
    actions.sequence()
    actions.destroy_due_keys()
    assert bool(SubjectKey.objects.filter(lookup=lookup(ref(number)))) is not recorded, name
    assert not Subject.objects.filter(erased_at__isnull=False, destroyed_at=None), name
    assert len(list(keylog.erasures())) == number + recorded, name
    if not recorded:
        forget(number)
""",
    )
    assert "The log holds." in manage(apart, "verify_log", "--full")


def test_a_rotation_that_is_killed_anywhere_goes_on(apart: Environment) -> None:
    run(
        apart,
        """
for number in range(5): note(number)
forget(0)
rotating = actions.rotating
for owner, name in [
    (rotating, "open_epoch"),
    (KeyEpoch.objects, "bulk_create"),
    (rotating, "announce_epochs"),
    (rotating, "_close_older"),
    (SubjectKey.objects, "bulk_update"),
    (rotating, "_end"),
    (epochs, "destroy_file"),
    (epochs.keys, "destroy_file"),
    (rotating, "record"),
    (rotating, "sequence"),
]:
    killed_at(owner, name, actions.rotate_epoch)
    assert opened() == [None, "1", "2", "3", "4"], name
done = actions.rotate_epoch()
assert epochs.numbers_on_disk() == [done.epoch], epochs.numbers_on_disk()
assert KeyEpoch.objects.filter(destroyed_at=None).count() == 1
assert len(keylog.epochs_destroyed()) == done.epoch - 1
""",
    )
    assert "The log holds." in manage(apart, "verify_log", "--full")


def test_a_new_key_whose_maker_is_killed_is_used_by_the_next(apart: Environment) -> None:
    run(
        apart,
        """
killed_at(actions.recording, "note_subjects", lambda: note("ann"))
killed_at(actions.recording.storage, "insert_pending", lambda: note("ann"))
assert SubjectKey.objects.count() == 1 and not Subject.objects.exists()
note("ann")
assert SubjectKey.objects.count() == 1 and opened() == ["ann"]
assert len(keylog.committed()) == 1
""",
    )
    assert "The log holds." in manage(apart, "verify_log", "--full")


def test_rotations_beside_writers_lose_no_key(apart: Environment, tmp_path: Path) -> None:
    done = tmp_path / "done"
    rotator = start(
        apart,
        f"""
count = 0
while not os.path.exists({str(done)!r}):
    actions.rotate_epoch()
    count += 1
print(count)
""",
    )
    writers = [
        start(
            apart,
            f"""
for n in range(40):
    note("{name}-%d" % n)
    if n % 4 == 0: note("shared-%d" % n)
    if n % 10 == 9: forget("{name}-%d" % n)
""",
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        writer.communicate()
    done.touch()
    said, _ = rotator.communicate()
    assert [process.returncode for process in (rotator, *writers)] == [0, 0, 0]
    assert int(said) >= 2
    # Two made the keys of the shared ones at the same moment, and one of each counts.
    assert run(
        apart,
        "names = opened(); print(names.count(None), len(names))\n"
        "print(SubjectKey.objects.filter(destroyed_at=None).count())",
    ).split() == ["8", "100", "82"]
    assert "The log holds." in manage(apart, "verify_log", "--full")


def test_a_restored_file_of_the_key_store_brings_nobody_back(
    apart: Environment, tmp_path: Path
) -> None:
    if "DATABASE_URL" in apart:
        pytest.skip("the rows of a restored store are tested on both databases elsewhere")
    store = Path(apart["VESTIGE_HOME"]) / "keys" / "subjects.sqlite3"
    run(apart, "note('ann'); note('bob')")
    wrapped = bytes.fromhex(
        run(apart, "print(bytes(SubjectKey.objects.first().wrapped_key).hex())").strip()
    )
    with (
        closing(sqlite3.connect(store)) as source,
        closing(sqlite3.connect(tmp_path / "backup")) as copy,
    ):
        source.backup(copy)
    run(apart, "forget('ann')")
    for path in store.parent.glob("subjects.sqlite3*"):
        assert wrapped not in path.read_bytes(), path  # not even in a free page or the journal
    _restore(tmp_path / "backup", store)
    assert run(apart, "print(opened())") == "[None, 'bob']\n"
    assert "brought it back" in manage(apart, "verify_log", "--full", status=1)
    assert "1 keys were alive" in manage(apart, "replay_erasures")
    assert "The log holds." in manage(apart, "verify_log", "--full")
    run(apart, "note('carl')")
    manage(apart, "rotate_keys", "--epoch")
    assert run(apart, "print(opened())") == "[None, 'bob', 'carl']\n"
    shutil.copy(store, tmp_path / "newest")
    _restore(tmp_path / "backup", store)
    said = manage(apart, "verify_log", "--full", status=1)
    assert "old copy" in said
    assert "lacks the keys of 1 persons" in said
    assert "newest" in manage(apart, "rotate_keys", "--epoch", status=1)
    assert "lacks the keys" in manage(apart, "replay_erasures", status=1)
    _restore(tmp_path / "newest", store)
    assert run(apart, "print(opened())") == "[None, 'bob', 'carl']\n"
    assert "The log holds." in manage(apart, "verify_log", "--full")


def _restore(copy: Path, store: Path) -> None:
    for path in store.parent.glob("subjects.sqlite3-*"):
        path.unlink()
    shutil.copy(copy, store)


# Upgrades

# What the version before wrote: keys beside the log, wrapped by subjects.key, no epochs.
_EARLIER = """
import hmac, secrets
from hashlib import sha256
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import connection
from audit import intake, sequencer
from audit.subjects import commitment, pseudonym
path = settings.VESTIGE_KEYS / "subjects.key"
path.write_bytes(secrets.token_bytes(32))
def earlier(name):
    secret, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
    known = pseudonym(ref(name), secret)
    wrapped = nonce + AESGCM(path.read_bytes()).encrypt(nonce, secret, known.encode())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_subjectkey (lookup, pseudonym, wrapped_key, commitment, created_at)"
            " VALUES (%s, %s, %s, %s, CURRENT_TIMESTAMP)",
            [lookup(ref(name)), known, wrapped, commitment(secret)])
        actions.record(actions.recording.KEYS_CREATED, by=by, resource="log:main",
            details={"keys": [{"pseudonym": known, "commitment": commitment(secret)}]})
        key = sealing.LiveKey(known, secret)
        new = intake.NewEvent(type="test.noted", actor="a", resource="x", subject=ref(name),
                              sealed={"who": name})
        made = intake.prepare(new, by="b", index=0, keys={ref(name): key})
        actions.recording.storage.insert_pending(MAIN_LOG, made.event_id, made.event)
# It waits for its place until after the upgrade: today's sequencer needs today's tables.
actions.recording._sequence_after_commit = lambda: None
with transaction.atomic(), connection.cursor() as cursor:
    for name in ("ann", "bob", "eve"): earlier(name)
    row = "(SELECT pseudonym FROM audit_subjectkey WHERE lookup = %s)"
    cursor.execute("SELECT pseudonym, commitment FROM audit_subjectkey WHERE lookup = %s",
                   [lookup(ref("eve"))])
    known, committed = cursor.fetchone()
    cursor.execute("UPDATE audit_subjectkey SET lookup = NULL, wrapped_key = NULL,"
                   " destroyed_at = CURRENT_TIMESTAMP WHERE pseudonym = %s", [known])
    actions.record(actions.forgetting.SUBJECT_ERASED, by=by, resource="subject:" + known,
        details={"pseudonym": known, "commitment": committed, "sealed_entries": 1})
"""
# As it was before: one database, at the migration before the key store.
_BEFORE = """
from django.core.management import call_command
from django.conf import settings
settings.VESTIGE_KEYS_APART = False
call_command("migrate", "audit", "0005", verbosity=0)
call_command("migrate", "accounts", verbosity=0)
"""


@pytest.mark.parametrize("store", ["same", "apart"])
def test_an_upgrade_loses_no_key(tmp_path: Path, db: None, store: str) -> None:
    if store == "same" and connection.vendor == "sqlite":
        pytest.skip("the key store is always a file of its own there")
    with installation(tmp_path / "home") as environment:
        run(environment, _BEFORE + _EARLIER)
        if store == "apart" and connection.vendor == "postgresql":
            with own_database() as url:
                _check_upgrade(environment | {"VESTIGE_KEYS_DATABASE_URL": url})
        else:
            _check_upgrade(environment)


def test_a_key_store_can_be_set_apart_later(tmp_path: Path, db: None) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("the key store is always a file of its own there")
    with empty_installation(tmp_path / "home") as environment, own_database() as url:
        run(environment, "note('ann'); note('bob'); forget('ann'); actions.rotate_epoch()")
        moved = environment | {"VESTIGE_KEYS_DATABASE_URL": url}
        assert "Moved 2 subjects' keys" in manage(moved, "migrate")
        assert "Moved" not in manage(moved, "migrate")
        assert run(moved, "print(opened())") == "[None, 'bob']\n"
        run(moved, "note('ann'); actions.rotate_epoch()")
        assert run(moved, "print(opened())") == "[None, 'bob', 'ann']\n"
        assert "The log holds." in manage(moved, "verify_log", "--full")


def _check_upgrade(environment: Environment) -> None:
    manage(environment, "migrate", "-v0")
    keys = Path(environment["VESTIGE_HOME"]) / "keys"
    assert not (keys / "subjects.key").exists()
    assert [path.name for path in (keys / "epochs").iterdir()] == ["0001.key"]
    assert run(environment, "print(opened())") == "['ann', 'bob', None]\n"
    assert "The log holds." in manage(environment, "verify_log", "--full")
    run(environment, "note('bob'); forget('ann')")
    assert run(environment, "print(opened())") == "[None, 'bob', None, 'bob']\n"
    manage(environment, "rotate_keys", "--epoch")
    assert run(environment, "print(opened())") == "[None, 'bob', None, 'bob']\n"
    assert [path.name for path in (keys / "epochs").iterdir()] == ["0002.key"]
    assert "The log holds." in manage(environment, "verify_log", "--full")
