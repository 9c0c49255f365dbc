"""What a unit's log has of its own: keys, a published copy, retention, a place in commands."""

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from audit import keyring, signer, tasks
from audit.actions import (
    append,
    create_log,
    publication_place,
    record_checkpoints,
    rotate_signing_key,
    sequence,
    set_policy,
    settle_signing_keys,
)
from audit.ledger.checkpoint import InvalidNoteError, parse, sign, verify_note
from audit.ledger.files import FolderFiles
from audit.ledger.folder import FolderVerdict, verify_folder
from audit.ledger.judge import judge_file
from audit.ledger.receipt import InvalidReceiptError, verify_signature
from audit.ledger.tree import verify_consistency, verify_inclusion
from audit.ledger.verify import verify_bundle
from audit.logs import MAIN, LogRef, all_logs, log_called
from audit.models import Anchor, AnchorAttempt, Checkpoint, LogHold, Pruning
from audit.queries import (
    entries,
    event_of,
    evidence,
    latest_checkpoint,
    stored_log_outcome,
    verifier_key,
    verifier_keys,
)
from tests.audit.attacks.forging import event_of as stored_event
from tests.audit.attacks.forging import forget_signatures, reseal
from tests.audit.builders import as_database_owner, event, sql
from tests.audit.past import days_ago, old_log, pruned, ranges
from tests.builders import Api

pytestmark = pytest.mark.django_db
EVENT = {"type": "READ", "actor": "service:etl", "resource": "dataset:shop:orders"}
RULE: dict[str, Any] = {"event_class": "READ", "days": 365, "ground": "Contract 12"}
MONTH = timedelta(days=30)


@pytest.fixture(autouse=True)
def own_keys(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """Keys of its own for each test: they outlive the rollback of the database."""
    settings.VESTIGE_KEYS = tmp_path / "keys"
    settings.VESTIGE_KEYS.mkdir()
    yield
    signer._verified.clear()
    signer._memory_written.clear()


@pytest.fixture
def eu(admin: User) -> LogRef:
    sequence()
    log = create_log("eu", title="Europe", by=admin)
    sequence()
    return log


def faults(log: LogRef) -> str:
    return " ".join(finding.sentence for finding in stored_log_outcome(log=log, full=True).findings)


def grow(log: LogRef, count: int, by: User) -> None:
    append([event(number) for number in range(count)], by=by, log=log)


def sent(api: Api, by: User) -> Any:
    """What the door answers to an event for the unit's log, and that it holds now."""
    answer = api(by).post("/api/v1/events?log=eu", json.dumps(EVENT), "application/json")
    assert answer.status_code == 201, answer.content
    return answer


def holds(answer: Any, vkeys: str | tuple[str, ...]) -> bool:
    return judge_file(answer.content, trusted_vkey=vkeys).valid


def signs_receipt(vkey: str, answer: Any) -> bool:
    try:
        verify_signature(answer.json()["receipt"], [vkey])
    except InvalidReceiptError:
        return False
    return True


def signs(vkey: str, note: str) -> bool:
    try:
        verify_note(note, [vkey])
    except InvalidNoteError:
        return False
    return True


# Keys


def test_a_units_key_is_rotated_alone_and_what_it_signed_stays_good(
    eu: LogRef, api: Api, pipeline: User, client: Client
) -> None:
    main_keys = verifier_keys(MAIN)
    before = sent(api, pipeline)
    done = rotate_signing_key(overlap=MONTH, log=eu)
    during = sent(api, pipeline)
    assert settle_signing_keys(retire_now=True, log=eu) == [done.old_vkey]
    after = sent(api, pipeline)

    answers = (before, during, after)
    assert [answer.json()["vkey"] for answer in answers] == [
        done.old_vkey,
        done.new_vkey,
        done.new_vkey,
    ]
    assert [signs_receipt(done.old_vkey, answer) for answer in answers] == [True, False, False]
    assert [signs_receipt(done.new_vkey, answer) for answer in answers] == [False, True, True]
    notes = [answer.json()["checkpoint"] for answer in answers]
    assert [signs(done.old_vkey, note) for note in notes] == [True, True, False]
    assert [signs(done.new_vkey, note) for note in notes] == [False, True, True]
    assert all(holds(answer, verifier_keys(eu)) for answer in answers)
    assert holds(before, done.old_vkey)
    assert not holds(after, done.old_vkey)
    for note in notes:
        keyring.ring(eu.name).checkpoint(note, parse(note)[0].origin)
    published = client.get("/log/eu/vkey").content.decode().splitlines()
    assert published == [done.new_vkey, done.old_vkey]

    assert verifier_keys(MAIN) == main_keys
    assert not keyring.ring_file().exists()
    for name in ("log.key.rotated", "log.key.retired"):
        assert entries(eu).filter(type=name).count() == 1
        assert not entries().filter(type=name).exists()
    assert record_checkpoints() == 1
    assert [faults(log) for log in all_logs()] == ["", ""]


def test_a_checkpoint_of_a_unit_that_a_key_of_the_past_signed_anew_is_found(
    eu: LogRef, pipeline: User
) -> None:
    grow(eu, 3, pipeline)
    stolen = keyring.ring(eu.name).signing[0]
    rotate_signing_key(overlap=timedelta(0), log=eu)
    settle_signing_keys(log=eu)
    grow(eu, 3, pipeline)
    signed = latest_checkpoint(eu)
    assert signed is not None
    forged = sign(parse(signed.note)[0], stolen)
    with as_database_owner():
        sql("UPDATE audit_log SET note = %s WHERE id = %s", forged, eu.id)
    assert "not in use at that size" in faults(eu)
    assert faults(MAIN) == ""


def test_the_command_rotates_the_key_of_the_log_that_is_named(
    eu: LogRef, pipeline: User, capsys: pytest.CaptureFixture[str]
) -> None:
    grow(eu, 1, pipeline)
    main, unit = verifier_key(MAIN), verifier_key(eu)
    call_command("rotate_keys", "--signing-key", "--now", log="eu")
    assert verifier_key(MAIN) == main
    assert unit != verifier_key(eu)
    assert verifier_key(eu) in capsys.readouterr().out


# A published copy


def copy(folder: Path, log: LogRef) -> FolderVerdict:
    return verify_folder(FolderFiles(folder), trusted_vkey=verifier_key(log))


def test_each_log_has_a_copy_of_its_own_that_verifies_with_its_key(
    eu: LogRef, pipeline: User, tmp_path: Path, settings: LazySettings
) -> None:
    settings.VESTIGE_PUBLISH = str(tmp_path / "public")
    settings.VESTIGE_PUBLISH_ENTRIES = True
    grow(eu, 300, pipeline)
    tasks.publish_checkpoints()
    folder = Path(publication_place(eu))
    assert folder == tmp_path / "public" / "eu"
    verdict = copy(folder, eu)
    assert (verdict.valid, verdict.checked) == (True, 300)
    assert not copy(folder, MAIN).valid
    main = copy(tmp_path / "public", MAIN)
    assert (main.valid, main.checked) == (True, entries().count())
    kept = (folder / "checkpoint").read_text()
    grow(eu, 300, pipeline)
    call_command("publish_log", log="eu", stdout=StringIO())
    verdict = verify_folder(FolderFiles(folder), trusted_vkey=verifier_key(eu), earlier=[kept])
    assert (verdict.valid, verdict.checked) == (True, 600)
    kept_for = Anchor.objects.filter(kind="publication").order_by("size")
    assert list(kept_for.filter(log_id=eu.id).values_list("size", flat=True)) == [300, 600]
    assert kept_for.filter(log_id=MAIN.id).count() == 1


def test_a_copy_that_a_units_log_contradicts_stops_that_log_and_no_other(
    eu: LogRef, pipeline: User, tmp_path: Path, settings: LazySettings
) -> None:
    settings.VESTIGE_PUBLISH = str(tmp_path / "public")
    grow(eu, 10, pipeline)
    call_command("publish_log", stdout=StringIO())
    with as_database_owner():
        moment, text = stored_event(7, eu.id)
        reseal({7: (moment, text.replace(b"etl-1", b"etl-9"))}, eu.id)
        forget_signatures(eu.id)
    signer._memory_file(eu.name).unlink(missing_ok=True)
    signer._verified.clear()
    grow(eu, 10, pipeline)
    grow(MAIN, 10, pipeline)
    out = StringIO()
    with pytest.raises(CommandError, match=r"^Log eu: .* another tree of 10 entries"):
        call_command("publish_log", stdout=out)
    assert f"public covers {entries().count()} entries" in out.getvalue()
    told = AnchorAttempt.objects.filter(kind="publication").values_list("log_id", "fault")
    assert {log_id: bool(fault) for log_id, fault in told} == {MAIN.id: False, eu.id: True}


# Exports


def origin(log: LogRef) -> str:
    signed = latest_checkpoint(log)
    assert signed is not None
    return parse(signed.note)[0].origin


def test_the_command_exports_the_log_that_is_named(
    eu: LogRef, pipeline: User, tmp_path: Path
) -> None:
    grow(eu, 300, pipeline)
    grow(MAIN, 3, pipeline)
    for named, folder in (("eu", tmp_path / "one"), (origin(eu), tmp_path / "two")):
        call_command("export_log", str(folder), log=named, stdout=StringIO(), stderr=StringIO())
        verdict = copy(folder, eu)
        assert (verdict.valid, verdict.checked) == (True, 300), verdict.faults
    sequence()
    told = event_of(entries().filter(type="log.exported").order_by("seq")[0])
    assert (told["resource"], told["details"]["entries"]) == ("log:eu", 300)


@pytest.mark.parametrize("command", ["export_log", "publish_log", "prune_log", "verify_log"])
def test_a_log_that_is_not_there_is_named_with_those_that_are(
    command: str, eu: LogRef, tmp_path: Path, settings: LazySettings
) -> None:
    settings.VESTIGE_PUBLISH = str(tmp_path / "public")
    folder = [str(tmp_path / "export")] if command == "export_log" else []
    with pytest.raises(CommandError, match=f"--log: .*'us'.* main, {eu.name}"):
        call_command(command, *folder, log="us")
    assert {path.name for path in tmp_path.iterdir()} == {"keys"}


def test_an_operator_names_a_log_by_name_or_origin(eu: LogRef, pipeline: User) -> None:
    grow(eu, 1, pipeline)
    assert log_called("eu") == log_called(origin(eu)) == eu
    assert log_called("main") == log_called(origin(MAIN)) == MAIN


# Retention


@pytest.fixture
def old(eu: LogRef, pipeline: User, admin: User) -> LogRef:
    """600 old entries of the unit, of which the main log holds 300; as old ones in the main log."""
    old_log((300, "READ"), by=pipeline, log=eu)
    assert record_checkpoints() == 1
    old_log((300, "READ"), by=pipeline, log=eu)
    old_log((300, "READ"), by=pipeline)
    set_policy("READ", 365, ground="Contract 12", by=admin, log_id=eu.id)
    return eu


def test_a_units_entries_go_by_whole_tiles_and_every_proof_stays_good(
    old: LogRef, dpo: User, auditor: User, api: Api
) -> None:
    before = latest_checkpoint(old)
    assert before is not None
    kept = evidence([300, 599], purpose="test", log=old)
    run = pruned(dpo, old)
    assert (run.state, run.pruned) == (Pruning.State.DONE, 512)
    assert ranges(old) == [(0, 512)]
    assert ranges() == []
    assert entries(old).order_by("seq")[0].seq == 512
    assert entries().filter(type="READ").count() == 300
    assert entries(old).filter(type="log.pruned").count() == 1
    assert not entries().filter(type="log.pruned").exists()

    assert verify_bundle(kept, trusted_vkey=verifier_key(old)).valid
    assert verify_bundle(
        evidence([599], purpose="test", log=old), trusted_vkey=verifier_key(old)
    ).valid
    reader, after = api(auditor), latest_checkpoint(old)
    assert after is not None
    assert after.size > before.size
    proof = reader.get("/api/v1/events/300/proof?log=eu").json()
    hashes = [bytes.fromhex(one) for one in proof["proof"]]
    verify_inclusion(300, after.size, bytes.fromhex(proof["leaf_hash"]), hashes, after.root)
    said = reader.get(f"/log/eu/consistency?first={before.size}&second={after.size}").json()
    path = [bytes.fromhex(one) for one in said["proof"]]
    verify_consistency(before.size, after.size, before.root, after.root, path)
    assert reader.get("/api/v1/events/300?log=eu").status_code == 410
    assert record_checkpoints() == 1
    assert [faults(log) for log in all_logs()] == ["", ""]


def test_a_unit_counts_on_behind_entries_of_a_resource_that_are_all_gone(
    eu: LogRef, dpo: User, admin: User, pipeline: User
) -> None:
    once = event(0, type="READ", resource="dataset:shop:once")
    with days_ago(400):
        append([once], by=pipeline, log=eu)
    old_log((255, "READ"), by=pipeline, log=eu)
    set_policy("READ", 365, ground="Contract 12", by=admin, log_id=eu.id)
    assert pruned(dpo, eu).pruned == 256
    append([once], by=pipeline, log=eu)
    append([once], by=pipeline)
    places = [entries(log).get(resource="dataset:shop:once") for log in (eu, MAIN)]
    assert [(row.nth, row.previous) for row in places] == [(2, 0), (1, None)]
    assert [faults(log) for log in all_logs()] == ["", ""]


def test_the_check_of_a_pruned_unit_still_compares_what_the_parent_holds(
    old: LogRef, dpo: User
) -> None:
    pruned(dpo, old)
    with as_database_owner():
        sql(
            'UPDATE audit_tile SET hashes = %s WHERE log_id = %s AND level = 0 AND "index" = 1',
            bytes(256 * 32),
            old.id,
        )
    assert "of the log eu" in faults(MAIN)
    assert faults(old)


def test_the_command_prunes_the_log_that_is_named(old: LogRef) -> None:
    out = StringIO()
    call_command("prune_log", dry_run=True, stdout=out)
    assert "Nothing may go" in out.getvalue()
    call_command("prune_log", log="eu", stdout=out)
    plan = Pruning.objects.get(log_id=old.id).plan_hash
    assert f"prune_log --log eu --plan {plan}" in out.getvalue()
    with pytest.raises(CommandError, match="not the newest plan"):
        call_command("prune_log", plan=plan)
    call_command("prune_log", plan=plan, log="eu", stdout=out, stderr=StringIO())
    assert "512 entries are pruned" in out.getvalue()
    assert (ranges(old), ranges()) == ([(0, 512)], [])


def test_the_retention_page_is_of_the_log_that_is_asked_for(
    eu: LogRef, pipeline: User, admin: User, dpo: User
) -> None:
    old_log((512, "READ"), by=pipeline, log=eu)
    manager, officer = Client(), Client()
    manager.force_login(admin)
    officer.force_login(dpo)
    where = "/log/retention/?log=eu"
    assert where in manager.get("/log/?log=eu").content.decode()
    for data in (RULE | {"days": 7}, RULE):
        answer = manager.post(where, data)
    assert (answer.status_code, answer["Location"]) == (302, where)
    hold = {"first": 0, "last": 0, "reason": "court case"}
    assert officer.post("/log/retention/hold/?log=eu", hold)["Location"] == where
    assert manager.post("/log/retention/plan/?log=eu")["Location"] == where
    shown = manager.get(where).content.decode()
    assert "256 in 1 tile" in shown
    for path in ("", "hold/", "plan/", "end/", f"hold/{LogHold.objects.get().pk}/release/"):
        assert f'action="/log/retention/{path}?log=eu"' in shown, path
    main = manager.get("/log/retention/").content.decode()
    for words in ("No policy yet", "Nothing is held", "Not looked at yet"):
        assert words in main
    # A hold of one log cannot be released as one of another.
    release = f"/log/retention/hold/{LogHold.objects.get().pk}/release/"
    officer.post(release)
    assert LogHold.objects.get().released_at is None
    officer.post(f"{release}?log=eu")
    officer.post("/log/retention/plan/?log=eu")
    confirm = f"/log/retention/prune/{Pruning.objects.get().plan_hash}/"
    assert officer.get(confirm).status_code == 404
    asked = officer.get(f"{confirm}?log=eu").content.decode()
    assert "Prune 512 entries of the log eu" in asked
    assert f'href="{where}">Cancel' in asked
    assert officer.post(f"{confirm}?log=eu")["Location"] == where
    assert f'hx-get="{where}"' in officer.get(where).content.decode()
    tasks.continue_pruning()
    assert (ranges(eu), ranges()) == ([(0, 512)], [])
    assert "type=log.pruned&amp;log=eu" in officer.get(where).content.decode()
    manager.post("/log/retention/end/?log=eu", {"event_class": "READ"})
    assert "No policy yet" in manager.get(where).content.decode()
    assert manager.get("/log/retention/?log=nowhere").status_code == 404
    assert Checkpoint.objects.filter(log_id=eu.id).exists()
