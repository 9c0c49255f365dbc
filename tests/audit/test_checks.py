"""Checks of the whole log: in parts, outliving their workers, telling people when they fail."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit import segments, views
from audit.actions import (
    VERIFIER,
    append,
    request_verification,
    run_verification,
    sequence,
    verify_new_entries,
    verify_stored_log,
)
from audit.ledger.chain import ChainVerifier
from audit.models import MAIN_LOG, Entry, Log, Verification
from audit.queries import (
    event_of,
    failed_verification,
    latest_verification,
    stored_log_outcome,
)
from audit.segments import Progressed, next_segment
from audit.tasks import _gently, run_due_verifications, scrub_log
from compliance.actions.alerts import announce_failed_verification
from compliance.models import Mail
from compliance.tasks import announce_failed_verifications, send_due_mail
from tests.audit.builders import as_database_owner, event, log_with, sql
from tests.builders import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT", 300)
    monkeypatch.setattr(segments, "_MOST_SEGMENTS", 1000)


def in_parts(*, full: bool = False) -> tuple[Progressed, int]:
    log = Log.objects.get(pk=MAIN_LOG)
    found, parts = Progressed(size=log.size), 0
    while not found.done:
        found = next_segment(found, full=full)
        parts += 1
    return found, parts


def actor_of(seq: int, value: str = "x") -> None:
    with as_database_owner():
        sql("UPDATE audit_entry SET actor = %s WHERE seq = %s", value, seq)


# In parts


def test_a_check_in_parts_finds_what_one_pass_finds(small_parts: None) -> None:
    log_with(1000)
    whole = stored_log_outcome()
    found, parts = in_parts()
    assert parts == 4
    assert found.ok
    assert (found.entries, found.root, found.state) == (whole.entries, whole.root, whole.state)
    assert len(found.state) < 1000


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE audit_entry SET actor = 'x' WHERE seq IN (10, 450, 900)",
        "UPDATE audit_entry SET leaf_hash = leaf WHERE seq = 299",
        "UPDATE audit_entry SET leaf_hash = leaf WHERE seq = 300",
        "DELETE FROM audit_entry WHERE seq = 600",
        "DELETE FROM audit_entry WHERE seq = 999",
        'UPDATE audit_tile SET hashes = root WHERE "index" = 1',
        'UPDATE audit_tile SET root = hashes WHERE "index" = 0',
        "UPDATE audit_tile SET root = (SELECT leaf_hash FROM audit_entry WHERE seq = 5)"
        ' WHERE "index" = 1',
        "DELETE FROM audit_tile",
        "UPDATE audit_log SET last_timestamp_us = 5",
        "UPDATE audit_log SET frontier = last_hash",
        "UPDATE audit_checkpoint SET note = ''",
    ],
)
def test_a_check_in_parts_names_what_one_pass_names(small_parts: None, attack: str) -> None:
    log_with(1000)
    with as_database_owner():
        sql(attack)
    whole = stored_log_outcome()
    found, _ = in_parts()
    assert not whole.ok
    assert found.first_bad == whole.first_bad
    assert set(found.faults) == {str(finding) for finding in whole.findings}


def test_a_log_that_shrinks_during_the_check_is_a_fault(small_parts: None) -> None:
    log_with(1000)
    found = next_segment(Progressed(size=1000), full=False)
    with as_database_owner():
        sql("DELETE FROM audit_entry WHERE seq >= 500")
        sql("UPDATE audit_log SET size = 500, note = '', note_size = -1")
        sql("DELETE FROM audit_checkpoint")
    while not found.done:
        found = next_segment(found, full=False)
    assert "The log had 1000 entries when this check began, and has 500." in found.faults


class Killed(BaseException):
    """Nothing in the product catches this."""


def dies_at(entries: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= entries:
            raise Killed

    return progress


def test_a_check_that_was_killed_goes_on_after_its_last_part(
    small_parts: None, auditor: User
) -> None:
    log_with(1000)
    row = request_verification(by=auditor)
    starts = []
    for deadline in (1, 400, 700, 1000):
        with pytest.raises(Killed):
            run_verification(row.pk, progress=dies_at(deadline))
        row.refresh_from_db()
        starts.append(row.saved_entries)
        assert row.finished_at is None
        assert run_verification(row.pk) is None  # its claim still stands
        Verification.objects.update(claimed_until=timezone.now())
    assert starts == [0, 300, 600, 900]
    seen: list[int] = []
    done = run_verification(row.pk, progress=lambda at, total: seen.append(at))
    assert done is not None
    assert done.ok
    assert min(seen) > 900
    # Recorded once, and the record is checked with the rest.
    sequence()
    assert Entry.objects.filter(type="log.verified").count() == 1
    assert done.entries == done.size == 1001


def test_faults_that_were_found_before_the_kill_are_kept(small_parts: None, auditor: User) -> None:
    log_with(1000)
    actor_of(20)
    row = request_verification(by=auditor)
    with pytest.raises(Killed):
        run_verification(row.pk, progress=dies_at(700))
    Verification.objects.update(claimed_until=timezone.now())
    done = run_verification(row.pk)
    assert done is not None
    assert not done.ok
    assert done.first_bad == 20
    assert done.entries == 999


def test_a_worker_that_lost_its_claim_finishes_nothing(small_parts: None, auditor: User) -> None:
    log_with(1000)
    row = request_verification(by=auditor)

    def stolen(done: int, total: int) -> None:
        Verification.objects.update(claimed_until=timezone.now() + timedelta(hours=1))

    assert run_verification(row.pk, progress=stolen) is None
    row.refresh_from_db()
    assert row.finished_at is None
    assert not Entry.objects.filter(type="log.verified").exists()


def test_a_saved_state_that_is_none_starts_anew(small_parts: None, auditor: User) -> None:
    log_with(1000)
    row = request_verification(by=auditor)
    Verification.objects.update(state=b"rubbish", saved_entries=600)
    done = run_verification(row.pk)
    assert done is not None
    assert done.ok
    assert done.entries == 1001


def test_asking_twice_is_one_check(auditor: User, dpo: User) -> None:
    log_with(10)
    assert request_verification(by=auditor).pk == request_verification(by=dpo).pk
    assert request_verification(by=auditor, full=True).pk != request_verification(by=dpo).pk


# Scrubs


def test_the_whole_log_is_checked_every_day(settings: Any) -> None:
    log_with(10)
    scrub_log()
    assert not Verification.objects.exists()  # the log is not a day old
    settings.VESTIGE_SCRUB_HOURS = 0
    with as_database_owner():
        sql("UPDATE audit_entry SET recorded_at = %s WHERE seq = 0", "2026-01-01 00:00:00+00:00")
    scrub_log()
    assert not Verification.objects.exists()
    settings.VESTIGE_SCRUB_HOURS = 24
    scrub_log()
    scrub_log()
    row = Verification.objects.get()
    assert (row.full, row.by, row.finished_at) == (True, VERIFIER.actor, None)
    run_due_verifications()
    row.refresh_from_db()
    assert row.finished_at is not None
    scrub_log()
    assert Verification.objects.count() == 1
    Verification.objects.update(started_at=timezone.now() - timedelta(hours=25))
    scrub_log()
    assert Verification.objects.count() == 2


def test_a_scrub_finds_an_old_entry_that_checks_of_new_ones_pass_over(auditor: User) -> None:
    by = log_with(600)
    verify_stored_log(by=auditor)
    actor_of(100)
    append([event()], by=by)
    found = verify_new_entries()
    assert found is not None
    assert found.ok
    request_verification(by=VERIFIER, full=True)
    run_due_verifications()
    failed = failed_verification()
    assert failed is not None
    assert failed.first_bad == 100


def test_a_scrub_rests_as_long_as_it_works() -> None:
    rest = _gently()
    time.sleep(0.1)
    began = time.monotonic()
    rest(1, 2)
    assert time.monotonic() - began >= 0.1


# Failures


@pytest.fixture
def broken(auditor: User) -> Verification:
    log_with(300)
    actor_of(200)
    return verify_stored_log(by=auditor)


def test_a_failure_is_an_entry_with_the_first_bad_one(broken: Verification) -> None:
    sequence()
    said = event_of(Entry.objects.get(type="log.verification_failed"))
    assert said["details"] == {"first_bad": 200, "faults": 1}
    assert event_of(Entry.objects.get(type="log.verified"))["details"]["outcome"] == "does not hold"


def test_new_entries_that_do_not_hold_are_one_failure(auditor: User) -> None:
    by = log_with(300)
    verify_stored_log(by=auditor)
    append([event()], by=by)
    actor_of(301)
    for _ in range(2):
        verify_new_entries()
    sequence()
    assert Entry.objects.filter(type="log.verification_failed").count() == 1
    assert Verification.objects.filter(ok=False).count() == 1
    failed = failed_verification()
    assert failed is not None
    assert failed.first_bad == 301


def test_auditors_and_dpos_get_one_mail_each(
    broken: Verification, auditor: User, dpo: User, analyst: User, admin: User, mailoutbox: Any
) -> None:
    for _ in range(2):
        announce_failed_verifications()
        send_due_mail()
    assert {address for mail in mailoutbox for address in mail.to} == {auditor.email, dpo.email}
    assert len(mailoutbox) == 2
    for mail in mailoutbox:
        assert mail.subject == "Vestige: a verification of the log failed"
        assert "The first bad entry is number 200." in mail.body
        assert "/log/verification/" in mail.body
    assert Mail.objects.filter(sealed_to=None).count() == 2
    # Of two workers that found it due, the second has nothing to tell.
    announce_failed_verification(broken.pk, [auditor], log_id=MAIN_LOG, first_bad=200, faults=1)
    assert Mail.objects.count() == 2
    # The next check that fails is news again.
    verify_stored_log(by=auditor)
    announce_failed_verifications()
    assert Mail.objects.count() == 4


def test_a_good_check_sends_nothing(auditor: User) -> None:
    log_with(10)
    verify_stored_log(by=auditor)
    request_verification(by=auditor)
    announce_failed_verifications()
    assert not Mail.objects.exists()


def page(user: User, address: str) -> str:
    client = Client()
    client.force_login(user)
    return str(client.get(address).content.decode())


BANNER = "The audit log does not hold."


def test_every_page_says_it_until_a_later_check_is_good(
    auditor: User, dpo: User, admin: User, analyst: User, broken: Verification
) -> None:
    for user in (auditor, dpo, admin):
        for address in ("/", "/datasets/", "/log/"):
            shown = page(user, address)
            assert BANNER in shown
            assert 'href="/log/200/"' in shown
    assert BANNER not in page(analyst, "/")
    assert BANNER not in Client().get("/sign-in/").content.decode()
    with as_database_owner():
        sql("UPDATE audit_entry SET actor = 'service:etl-2' WHERE seq = 200")
    assert BANNER in page(auditor, "/")
    verify_stored_log(by=auditor)
    assert BANNER not in page(auditor, "/")
    assert 'class="card integrity ok"' in page(auditor, "/log/")


def test_a_check_that_looks_at_less_does_not_take_the_alarm_away(auditor: User) -> None:
    log_with(300)
    with as_database_owner():
        # Sealed facts are looked at by full checks only.
        sql("UPDATE audit_subjectkey SET commitment = 'x'", using="keys")
    assert not verify_stored_log(by=auditor, full=True).ok
    assert verify_stored_log(by=auditor).ok
    assert BANNER in page(auditor, "/")
    assert 'class="card integrity bad"' in page(auditor, "/log/")
    assert "Check that failed" in page(auditor, "/log/verification/")
    # The button repeats what failed.
    client = Client()
    client.force_login(auditor)
    client.post("/log/verify/")
    newest = latest_verification()
    assert newest is not None
    assert newest.full


def test_a_good_check_that_is_carried_on_does_not_hide_a_failure(auditor: User) -> None:
    by = log_with(300)
    good = verify_stored_log(by=auditor)
    actor_of(100)
    verify_stored_log(by=auditor)
    append([event()], by=by)
    # A sweep that began before the failure ends after it.
    Verification.objects.filter(pk=good.pk).update(extended_at=timezone.now())
    assert failed_verification() is not None
    newest = latest_verification()
    assert newest is not None
    assert not newest.ok


def test_the_first_entry_may_be_the_bad_one(auditor: User) -> None:
    log_with(10)
    actor_of(0)
    client = Client()
    client.force_login(auditor)
    shown = client.post("/log/verify/", follow=True).content.decode()
    assert "The first bad entry is number 0." in shown
    assert 'href="/log/0/"' in shown


# On the page and by REST


def test_a_large_log_is_checked_by_a_worker_while_the_page_shows_how_far(
    auditor: User, analyst: User, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    log_with(1000)
    monkeypatch.setattr(views, "_AT_ONCE", 100)
    client = Client()
    client.force_login(auditor)
    waiting = client.post("/log/verify/", follow=True).content.decode()
    assert "It waits for a worker." in waiting
    assert 'hx-trigger="every 2s"' in waiting
    row = Verification.objects.get()
    with pytest.raises(Killed):
        run_verification(row.pk, progress=dies_at(700))
    shown = page(analyst, "/log/verification/")
    assert "600 of 1,000 entries" in shown.replace("\n", " ")
    assert "60 %" in shown
    assert auditor.name in shown
    Verification.objects.update(claimed_until=timezone.now())
    run_due_verifications()
    done = page(auditor, "/log/verification/")
    assert "every 2s" not in done
    assert "1,001 of 1,001" in done


def test_a_check_can_be_asked_for_and_followed_by_rest(
    api: Api, auditor: User, analyst: User, pipeline: User
) -> None:
    log_with(300)
    client = api(auditor)
    asked = client.post("/api/v1/log/verifications", {"full": True}, "application/json")
    assert asked.status_code == 202
    body = asked.json()
    assert (body["state"], body["full"], body["size"]) == ("due", True, 300)
    assert asked["Location"].endswith(f"/api/v1/log/verifications/{body['id']}")
    other = client.post("/api/v1/log/verifications", "", "application/json").json()
    assert other["id"] != body["id"]
    assert not other["full"]
    run_due_verifications()
    found = client.get(asked["Location"]).json()
    assert (found["state"], found["faults"]) == ("holds", [])
    assert found["entries"] == found["size"] >= 301
    assert api(analyst).get(asked["Location"]).status_code == 200
    assert api(analyst).post("/api/v1/log/verifications").status_code == 403
    assert api(pipeline).get(asked["Location"]).status_code == 403
    assert client.get("/api/v1/log/verifications/99999").status_code == 404
    assert client.get("/api/v1/log/verifications").status_code == 405
    for body_text, status in (
        ('{"full": 1}', 422),
        ('{"ful": true}', 422),
        ("[]", 422),
        ("{", 400),
    ):
        answer = client.post("/api/v1/log/verifications", body_text, "application/json")
        assert answer.status_code == status


# By command


def run(capsys: Any, *arguments: str) -> tuple[int, str]:
    status = 0
    try:
        call_command("verify_log", *arguments)
    except SystemExit as exc:
        status = int(str(exc.code))
    said = capsys.readouterr()
    return status, said.out + said.err


def test_the_command_goes_on_from_where_a_check_was_stopped(
    small_parts: None, auditor: User, capsys: Any
) -> None:
    log_with(1000)
    row = request_verification(by=auditor)
    with pytest.raises(Killed):
        run_verification(row.pk, progress=dies_at(700))
    Verification.objects.update(claimed_until=timezone.now())
    status, said = run(capsys, "--resume")
    assert status == 0
    assert "A check goes on from entry 600." in said
    assert "1,001 of 1,001 entries verified" in said
    assert Verification.objects.count() == 1
    actor_of(7)
    status, said = run(capsys, "--resume", "--full")
    assert status == 1
    assert "the first bad entry is number 7." in said
    newest = latest_verification()
    assert newest is not None
    assert (newest.full, newest.by) == (True, "vestige:operator")


def test_the_command_reads_only_what_is_new(auditor: User, capsys: Any) -> None:
    by = log_with(300)
    status, said = run(capsys, "--new")
    assert (status, "all of it is checked" in said) == (0, True)
    verify_stored_log(by=auditor)
    append([event(n) for n in range(50)], by=by)
    actor_of(3)  # old, and so not seen
    status, said = run(capsys, "--new")
    assert (status, "351 of 351 entries verified" in said) == (0, True)
    append([event()], by=by)
    actor_of(351)
    status, said = run(capsys, "--new")
    assert (status, "the first bad entry is number 351." in said) == (1, True)
    status, said = run(capsys)
    assert (status, "the first bad entry is number 3." in said) == (1, True)


def test_the_state_of_a_check_is_small(small_parts: None, auditor: User) -> None:
    log_with(1000)
    row = verify_stored_log(by=auditor)
    assert ChainVerifier.from_bytes(bytes(row.state)).size == row.size
    assert len(json.dumps(bytes(row.state).hex())) < 1000
