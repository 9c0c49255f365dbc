"""Attacks by somebody who owns the database: each must be found, and the entry named."""

import random
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError, connection

from accounts.queries import system_user
from audit import append_only, proofs, storage
from audit.actions import append, sequence
from audit.keys import log_key
from audit.ledger.checkpoint import Checkpoint, sign
from audit.ledger.hashing import leaf_hash
from audit.ledger.leaf import pack, unpack
from audit.ledger.tree import Frontier, root_of
from audit.models import MAIN_LOG, Entry, Log, SubjectKey, Tile
from audit.queries import covering_checkpoint, entry, stored_log_outcome, verifier_key
from audit.verification import stored
from audit.verification.run import verify_log
from tests.audit.builders import as_database_owner, event, log_with, sql, undone, verified

SIZE = 300

pytestmark = pytest.mark.django_db


@pytest.fixture
def log() -> None:
    log_with(SIZE)


def set_leaf(seq: int, leaf: bytes) -> None:
    sql("UPDATE audit_entry SET leaf = %s WHERE seq = %s", leaf, seq)


def set_hash(seq: int, digest: bytes) -> None:
    sql("UPDATE audit_entry SET leaf_hash = %s WHERE seq = %s", digest, seq)


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_an_untouched_log_holds(log: None) -> None:
    outcome = verified()
    assert outcome.findings == []
    assert (outcome.entries, outcome.size) == (SIZE, SIZE)
    assert outcome.warnings == []
    assert outcome.signed is not None
    assert outcome.signed.size == SIZE


def test_an_empty_log_holds() -> None:
    outcome = verified()
    assert outcome.ok
    assert outcome.size == 0


def test_a_flipped_byte_in_any_leaf_is_found_and_the_entry_named(log: None) -> None:
    chance = random.Random(7)  # noqa: S311  # a test's choice of bytes
    leaves = {row.seq: bytes(row.leaf) for row in Entry.objects.all()}
    places = [(0, at) for at in (0, 4, 12, 20, 60)]
    places += [(SIZE - 1, at) for at in (0, 11, 19, 51, 100)]
    for _ in range(60):
        seq = chance.randrange(SIZE)
        places.append((seq, chance.randrange(len(leaves[seq]))))
    for seq, at in places:
        with undone(), as_database_owner():
            set_leaf(seq, flipped(leaves[seq], at, chance.randrange(8)))
            assert verified().first_bad == seq, f"byte {at} of entry {seq}"


def test_a_flipped_byte_is_found_when_its_hash_column_is_made_to_fit(log: None) -> None:
    for seq in (0, 5, 255, 256, 298, SIZE - 1):
        with undone(), as_database_owner():
            changed = flipped(bytes(entry(seq).leaf), 120)
            set_leaf(seq, changed)
            set_hash(seq, leaf_hash(changed))
            assert verified().first_bad == seq


def test_dropping_the_newest_entry_is_found(log: None) -> None:
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE seq = %s", SIZE - 1)
    assert verified().first_bad == SIZE - 1


def test_dropping_the_newest_entry_and_turning_back_the_head_is_found(log: None) -> None:
    leaves = [bytes(leaf) for leaf in Entry.objects.order_by("seq").values_list("leaf", flat=True)]
    frontier = Frontier()
    frontier.extend(leaf_hash(leaf) for leaf in leaves[:-1])
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE seq = %s", SIZE - 1)
        sql(
            "UPDATE audit_log SET note_size = -1, note = '', size = %s, last_hash = %s,"
            " frontier = %s",
            SIZE - 1,
            leaf_hash(leaves[-2]),
            frontier.to_bytes(),
        )
        sql("DELETE FROM audit_checkpoint WHERE size = %s", SIZE)
    # Nothing in the database speaks of the entry any more; the machine that signed it remembers.
    assert verified().ok
    signed = sign_tree(leaves)
    outcome = verify_log(MAIN_LOG, vkeys=[verifier_key()], remembered=signed)
    assert outcome.first_bad == SIZE - 1


def sign_tree(leaves: list[bytes]) -> str:
    root = root_of(leaf_hash(leaf) for leaf in leaves)
    return sign(Checkpoint(settings.VESTIGE_ORIGIN, len(leaves), root), log_key())


def test_a_missing_entry_in_the_middle_is_found(log: None) -> None:
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE seq = 77")
    outcome = verified()
    assert outcome.first_bad == 77
    assert outcome.entries == 77


COLUMNS: list[tuple[str, Any]] = [
    ("event_id", "another"),
    ("type", "DELETE"),
    ("actor", "service:nobody"),
    ("by", "user:99"),
    ("resource", "dataset:shop:other"),
    ("resource_version", ""),
    ("parent_id", "run-2"),
    ("subject", "f" * 32),
    ("occurred_at", "2025-01-01 00:00:00"),
    ("occurred_at", None),
    ("recorded_at", "2025-01-01 00:00:00"),
    ("nth", 999),
    ("previous", 122),
    ("previous", None),
]


@pytest.mark.parametrize(("column", "value"), COLUMNS)
def test_an_edited_column_is_found_and_named(log: None, column: str, value: Any) -> None:
    with as_database_owner():
        sql(f'UPDATE audit_entry SET "{column}" = %s WHERE seq = 123', value)  # noqa: S608
    outcome = verified()
    assert outcome.first_bad == 123
    assert column in str(outcome.findings[0])
    assert outcome.entries == SIZE - 1


def test_an_edited_hash_column_is_found(log: None) -> None:
    with as_database_owner():
        set_hash(200, bytes(32))
    assert verified().first_bad == 200


def test_two_entries_that_change_places_are_found(log: None) -> None:
    with as_database_owner():
        sql("UPDATE audit_entry SET seq = 100000 WHERE seq = 40")
        sql("UPDATE audit_entry SET seq = 40 WHERE seq = 41")
        sql("UPDATE audit_entry SET seq = 41 WHERE seq = 100000")
    assert verified().first_bad == 40


def test_an_entry_behind_the_head_is_found(log: None) -> None:
    with as_database_owner():
        sql("UPDATE audit_entry SET seq = %s WHERE seq = %s", SIZE + 5, SIZE - 1)
    assert {SIZE - 1, SIZE + 5} <= {finding.seq for finding in verified().findings}


def test_an_entry_of_an_unknown_log_is_found(log: None) -> None:
    with as_database_owner():
        sql("UPDATE audit_entry SET log_id = 9 WHERE seq = %s", SIZE - 1)
    outcome = verified()
    assert outcome.first_bad == SIZE - 1
    assert any("belong to no log" in str(finding) for finding in outcome.findings)


def reseal(start: int) -> None:
    """Rewrite entry `start` and everything after it, as one who may write all tables can."""
    rows = list(Entry.objects.filter(seq__gte=start - 1).order_by("seq"))
    previous = bytes(rows[0].leaf_hash)
    for row in rows[1:]:
        old = unpack(bytes(row.leaf))
        body = old.event.replace(b'"rows":', b'"rowz":') if row.seq == start else old.event
        leaf = pack(row.seq, old.timestamp_us, previous, body)
        previous = leaf_hash(leaf)
        set_leaf(row.seq, leaf)
        set_hash(row.seq, previous)
    hashes = [bytes(h) for h in Entry.objects.order_by("seq").values_list("leaf_hash", flat=True)]
    frontier = Frontier()
    frontier.extend(hashes)
    sql("DELETE FROM audit_tile")
    storage.insert_tiles(MAIN_LOG, proofs.grow(0, hashes, {}).filled)
    sql("UPDATE audit_log SET last_hash = %s, frontier = %s", previous, frontier.to_bytes())


def test_a_log_that_was_sealed_again_is_found_by_what_was_signed(log: None) -> None:
    with as_database_owner():
        reseal(150)
    outcome = verified()
    assert not outcome.ok
    assert any("covers another tree" in str(finding) for finding in outcome.findings)


def test_a_forged_checkpoint_is_found(log: None) -> None:
    note = Log.objects.get().note
    with as_database_owner():
        sql("UPDATE audit_log SET note = %s", note.replace(f"\n{SIZE}\n", f"\n{SIZE - 1}\n"))
    outcome = verified()
    assert any("not signed by this log" in str(finding) for finding in outcome.findings)


def test_a_tree_in_the_head_that_is_not_that_of_the_entries_is_found(log: None) -> None:
    frontier = bytes(Log.objects.get().frontier)
    with as_database_owner():
        sql("UPDATE audit_log SET frontier = %s", flipped(frontier, 20))
    assert any("tree in the head" in str(finding) for finding in verified().findings)


def test_an_edited_tile_is_found_and_the_entry_named(log: None) -> None:
    tile = Tile.objects.get(level=0, index=0)
    with undone(), as_database_owner():
        sql("UPDATE audit_tile SET hashes = %s", flipped(bytes(tile.hashes), 32 * 9 + 3))
        assert verified().first_bad == 9
    with undone(), as_database_owner():
        sql("UPDATE audit_tile SET root = %s", flipped(bytes(tile.root), 3))
        assert verified().first_bad == 0
    with undone(), as_database_owner():
        sql("DELETE FROM audit_tile")
        assert verified().first_bad == 0


@pytest.mark.parametrize("value", ["text instead of bytes", "", "\x00"])
def test_nonsense_in_a_column_is_a_finding_and_no_crash(log: None, value: str) -> None:
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL keeps the type of a column")
    for column in ("leaf", "leaf_hash", "recorded_at", "type", "seq"):
        with undone(), as_database_owner():
            sql(f"UPDATE audit_entry SET {column} = %s WHERE seq = 3", value)  # noqa: S608
            assert not verified().ok, column


def test_a_row_that_the_database_cannot_deliver_is_named(log: None) -> None:
    with as_database_owner():
        if connection.vendor == "postgresql":
            sql("UPDATE audit_entry SET recorded_at = 'infinity' WHERE seq = 31")
        else:
            sql("UPDATE audit_entry SET actor = CAST(x'ff00' AS TEXT) WHERE seq = 31")
    assert verified().first_bad == 31


def test_missing_triggers_are_said(log: None) -> None:
    with undone():
        append_only.uninstall(connection)
        assert any("does not guard" in warning for warning in verified().warnings)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit_subjectkey SET commitment = 'x' WHERE pseudonym = %s", "another key"),
        (
            "UPDATE audit_subjectkey SET wrapped_key ="
            " (SELECT wrapped_key FROM audit_subjectkey WHERE pseudonym <> %s)",
            "cannot be unwrapped",
        ),
        (
            "UPDATE audit_subjectkey SET wrapped_key = NULL, lookup = NULL,"
            " destroyed_at = created_at WHERE pseudonym = %s",
            "no entry tells",
        ),
    ],
)
def test_a_full_check_finds_subject_keys_that_the_log_contradicts(
    log: None, statement: str, said: str
) -> None:
    sequence()
    assert stored_log_outcome(full=True).ok
    sql(statement, SubjectKey.objects.order_by("pk")[0].pseudonym, using="keys")
    findings = stored_log_outcome(full=True).findings
    assert any(said in finding.sentence for finding in findings)


def test_a_row_that_takes_the_next_place_stops_appending_and_is_named(log: None) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's guard lets in nothing that fits, and this would not be seen there")
    sql(
        'INSERT INTO audit_entry SELECT log_id, %s, leaf, leaf_hash, %s, type, actor, "by",'
        " resource, resource_version, occurred_at, recorded_at, parent_id, subject, nth, previous"
        " FROM audit_entry WHERE seq = 7",
        SIZE,
        "forged",
    )
    with pytest.raises(IntegrityError):
        append([event()], by=system_user("setup"))
    assert verified().first_bad == SIZE


def run_command(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        call_command("verify_log", "--full")
    except SystemExit as exc:
        captured = capsys.readouterr()
        return int(str(exc.code)), captured.out + captured.err
    captured = capsys.readouterr()
    return 0, captured.out + captured.err


def test_the_command_says_that_the_log_holds(log: None, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = run_command(capsys)
    assert status == 0
    assert f"{SIZE} of {SIZE} entries verified" in said


def test_the_command_exits_with_1_and_names_the_entry(
    log: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with as_database_owner():
        set_leaf(42, flipped(bytes(entry(42).leaf), 99))
    status, said = run_command(capsys)
    assert status == 1
    assert "the first bad entry is number 42" in said


def test_entries_that_are_added_during_the_check_are_no_fault(
    log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = stored.checkpoints

    def appended_meanwhile(log_id: int) -> list[tuple[Any, Any, Any]]:
        append([event(n) for n in range(600)], by=system_user("setup"))
        covering_checkpoint()
        return read(log_id)

    monkeypatch.setattr(stored, "checkpoints", appended_meanwhile)
    outcome = verified()
    assert outcome.findings == []
    assert (outcome.entries, outcome.size) == (SIZE, SIZE)
