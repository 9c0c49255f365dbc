"""The erasure on real Delta tables: what is gone, what stays, what happens when workers die."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from django.utils import timezone

from accounts.queries import system_user
from accounts.roles import Role
from audit.actions import destroy_due_keys
from audit.models import SubjectKey
from audit.queries import entries_for, event_of, unseal
from audit.subjects import SubjectRef, lookup
from compliance import execution
from compliance.actions.claims import claim_steps
from compliance.actions.decisions import hold
from compliance.actions.erasure import execute
from compliance.actions.plans import amend_plan, approve_plan
from compliance.actions.requests import certificate_issued
from compliance.errors import WrongStateError
from compliance.models import Request, Step
from compliance.queries import current_plan, due_steps, identifiers_of, suppressed
from compliance.states import State
from compliance.tasks import run_step
from connectors.adapters.base import Erased, ScanReport, Trace
from connectors.adapters.delta import DeltaStore
from lineage.models import Usage, Version
from tests.builders import sequenced, user
from tests.compliance import builders
from tests.compliance.builders import EMAIL, PERSON, Team

pytestmark = pytest.mark.django_db


def everything(table: Path) -> bytes:
    """All that is left, Parquet decoded: independent of the product's scanner."""
    parts = []
    for path in sorted(p for p in table.rglob("*") if p.is_file()):
        parts.append(path.read_bytes())
        if path.suffix == ".parquet":
            columns = pl.read_parquet(path).to_dict(as_series=False)
            parts.append(json.dumps(columns, default=str).encode())
    return b"\n".join(parts)


def test_no_byte_of_the_person_is_left_and_others_are_untouched(people: Team, table: Path) -> None:
    before = pl.read_delta(str(table)).filter(pl.col("customer_id") != "00004")
    assert EMAIL.encode() in everything(table)
    request = builders.erased(people)
    assert request.state == State.RESPONDING
    assert request.certificate_due_at
    left = everything(table)
    assert EMAIL.encode() not in left
    assert b'"00004"' not in left
    after = pl.read_delta(str(table))
    assert after.sort(after.columns).equals(before.sort(before.columns))


def test_each_step_is_recorded_with_counts_and_digests(people: Team) -> None:
    request = builders.erased(people)
    sequenced()
    events = {e.type: event_of(e).get("details", {}) for e in entries_for(request.resource)}
    assert events["erasure.step_erased"]["rows"] == 3
    assert len(events["erasure.step_erased"]["removed_sha256"]) == 64
    assert events["erasure.step_verified"]["control_found"] is True
    assert events["erasure.verified"]["rows"] == 3


def test_older_versions_are_gone_from_lineage_and_the_new_one_is_known(people: Team) -> None:
    builders.erased(people)
    versions = Version.objects.filter(dataset__name="purchases").order_by("created_at")
    assert [v.version for v in versions if v.purged_at is None]
    assert {"0", "1", "2"} <= {v.version for v in versions if v.purged_at}


def test_the_persons_key_is_destroyed_and_the_identity_forgotten(people: Team) -> None:
    request = builders.erased(people)
    assert request.pseudonyms
    destroy_due_keys()  # follows the commit
    assert not SubjectKey.objects.filter(lookup=lookup(PERSON)).exists()
    sequenced()
    sealed = next(e for e in entries_for(request.resource) if e.type == "request.filed")
    assert unseal(sealed) is None


def test_usage_records_no_longer_lead_to_the_person(people: Team, api: Any) -> None:
    answer = api(user(Role.PIPELINE)).post(
        "/api/v1/usage",
        {"subject": {"type": "customer", "value": "00004"}, "data_id": "dataset:shop:purchases@1"},
        content_type="application/json",
    )
    assert answer.status_code == 201, answer.content
    assert Usage.objects.filter(subject_lookup=lookup(PERSON)).exists()
    builders.erased(people)
    assert not Usage.objects.filter(subject_lookup=lookup(PERSON)).exists()


def test_the_person_is_on_the_suppression_list_and_others_are_not(people: Team) -> None:
    builders.erased(people)
    assert suppressed([PERSON, SubjectRef("email", EMAIL), SubjectRef("customer", "00021")]) == [
        True, True, False,
    ]  # fmt: skip


def test_a_residue_fails_the_request_and_names_the_file(
    people: Team, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the person that appears between purge and scan, as a forgotten backup would."""
    request = builders.approved(people)
    execute(request, by=people.analyst)
    run_step(request.steps.get().pk)
    request.refresh_from_db()
    assert request.state == State.VERIFYING_ERASURE
    builders.purchases(9).write_parquet(table / "copy-of-last-month.parquet")
    builders.work_off(request)
    assert request.state == State.BLOCKED
    assert "copy-of-last-month.parquet" in request.reason
    assert request.certificate_due_at is None
    step = request.steps.get()
    assert step.phase == Step.Phase.FAILED
    assert step.report["traces"]
    assert "erasure.verified" not in [e.type for e in sequenced()]


def test_a_file_that_cannot_be_read_fails_the_request(people: Team, table: Path) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    run_step(request.steps.get().pk)
    (table / "broken.parquet").write_bytes(b"PAR1 this is no Parquet file PAR1")
    builders.work_off(request)
    assert request.state == State.BLOCKED
    assert "broken.parquet" in request.reason


def test_a_scanner_that_finds_nobody_proves_nothing() -> None:
    report = ScanReport(
        files=1, bytes=1, traces=(), unreadable=(), control_found=False, digest="", method="",
        started_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    assert not report.clean
    assert "proves nothing" in execution._residue(report)
    named = ScanReport(
        files=1, bytes=1, traces=(Trace("a.parquet", "column email", 2),), unreadable=(),
        control_found=True, digest="", method="",
        started_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    assert "a.parquet" in execution._residue(named)


def test_more_rows_of_the_person_than_were_approved_stop_the_erasure(
    people: Team, table: Path
) -> None:
    request = builders.approved(people)
    builders.purchases(7).write_delta(str(table), mode="append")
    execute(request, by=people.analyst)
    builders.work_off(request)
    assert request.state == State.BLOCKED
    assert "discovery again" in request.reason
    assert EMAIL.encode() in everything(table), "nothing was half-erased"
    builders.search(request, by=people.analyst)
    assert request.state == State.REVIEW
    plan = current_plan(request)
    assert plan
    assert plan.body["steps"][0]["rows"] == 4


def test_a_person_without_rows_is_scanned_for_and_completed(people: Team) -> None:
    request = builders.erased(people, SubjectRef("customer", "77777"))
    assert request.state == State.RESPONDING
    assert request.steps.get().outcome == "not_found"


def test_a_person_who_stands_in_older_versions_alone_is_purged(people: Team, table: Path) -> None:
    """What others report as complete: the rows are gone from the table, but not from its past."""
    DeltaTable(str(table)).delete("customer_id = '00004'")
    assert EMAIL.encode() in everything(table)
    request = builders.erased(people)
    assert request.state == State.RESPONDING, request.reason
    left = everything(table)
    assert EMAIL.encode() not in left
    assert b"'00004'" not in left, "nor in the operation that the log told"
    assert request.steps.get().outcome == "erased"


def test_rows_that_were_seen_and_not_erased_are_a_failure(
    people: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    nothing = Erased(new_version=None, rows=0, objects_removed=(), objects_added=())
    monkeypatch.setattr(DeltaStore, "erase", lambda *args: nothing)
    builders.work_off(request)
    assert request.state == State.BLOCKED
    assert "nothing was erased" in request.reason


def test_a_legal_hold_stops_the_execution(people: Team) -> None:
    request = builders.approved(people)
    hold(request, reason="court order", by=people.dpo)
    with pytest.raises(WrongStateError, match="hold"):
        execute(request, by=people.analyst)


def test_a_hold_set_while_steps_wait_keeps_them_waiting(people: Team) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    hold(request, reason="court order", by=people.dpo)
    assert not due_steps().exists()


def test_execution_waits_for_the_cooling_off(people: Team, settings: Any) -> None:
    settings.VESTIGE_COOLING_OFF_HOURS = 24
    request = builders.approved(people)
    with pytest.raises(WrongStateError, match="cooling-off"):
        execute(request, by=people.analyst)


def test_a_kept_location_is_left_alone_and_said_so(people: Team, table: Path) -> None:
    request = builders.planned(people.analyst)
    kept = {"dataset": "dataset:shop:purchases", "exemption": "17(3)(b)", "reason": "Tax law"}
    amend_plan(request, retain=[kept], by=people.analyst)
    plan = current_plan(request)
    assert plan
    for approver in (people.dpo, people.data_owner):
        approve_plan(request, plan_hash=plan.hash, by=approver)
    request.refresh_from_db()
    execute(request, by=people.analyst)
    builders.work_off(request)
    assert request.state == State.RESPONDING
    assert request.steps.get().outcome == "retained"
    assert EMAIL.encode() in everything(table)


class Killed(BaseException):
    """Like kill -9: no handler of the product may see it."""


@pytest.mark.parametrize("moment", ["before erase", "after erase", "after purge", "before scan"])
def test_a_worker_killed_at_any_moment_is_followed_by_another(
    people: Team, table: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    step = request.steps.get()

    def die(*args: Any, **kwargs: Any) -> None:
        raise Killed

    where = {
        "before erase": (execution, "enter"),
        "after erase": (execution, "step_erased"),
        "after purge": (execution, "step_purged"),
        "before scan": (execution, "step_verified"),
    }[moment]
    with monkeypatch.context() as patched:
        patched.setattr(*where, die)
        with pytest.raises(Killed):
            [run_step(step.pk) for _ in ("erase and purge", "scan")]
    assert not due_steps().exists(), "the dead worker's claim still stands"
    Step.objects.update(claimed_at=timezone.now() - timedelta(minutes=1))  # its lease runs out
    builders.work_off(request)
    assert request.state == State.RESPONDING, request.reason
    assert EMAIL.encode() not in everything(table)
    assert request.steps.get().rows_erased == 3
    assert [e.type for e in sequenced()].count("erasure.verified") == 1


def test_two_workers_do_not_take_one_step(people: Team) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    step = request.steps.get()
    assert claim_steps(step.pk)
    assert not claim_steps(step.pk)


def test_a_worker_that_was_thought_dead_records_nothing_after_another_took_over(
    people: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    real = DeltaStore.purge_history

    def slow(*args: Any) -> Any:
        done = real(*args)
        Step.objects.update(claim="somebody else's")
        return done

    with monkeypatch.context() as patched:
        patched.setattr(DeltaStore, "purge_history", slow)
        run_step(request.steps.get().pk)
    assert request.steps.get().phase == Step.Phase.PURGING
    assert "erasure.step_purged" not in [e.type for e in sequenced()]
    Step.objects.update(claimed_at=None)
    assert builders.work_off(request).state == State.RESPONDING


def test_two_stores_that_fail_block_the_request_once(tmp_path: Path, db: None) -> None:
    for name in ("first", "second"):
        builders.connected(builders.write_table(tmp_path / name), name=name)
    request = builders.approved(people := builders.team())
    for name in ("first", "second"):
        builders.purchases(7).write_delta(str(tmp_path / name), mode="append")
    execute(request, by=people.analyst)
    for steps in [claim_steps(step.pk) for step in request.steps.all()]:  # two workers at once
        execution._work_on(steps)
    request.refresh_from_db()
    assert request.state == State.BLOCKED
    assert {s.phase for s in request.steps.all()} == {Step.Phase.FAILED}
    assert [e.type for e in sequenced()].count("request.blocked") == 1


def test_a_task_that_is_delivered_twice_erases_once(people: Team) -> None:
    request = builders.erased(people)
    pk = request.steps.get().pk
    run_step(pk)
    assert [e.type for e in sequenced()].count("erasure.step_erased") == 1


def test_what_the_case_kept_of_the_person_ends_with_the_answer(people: Team, table: Path) -> None:
    request = builders.erased(people, contact="anna@homes.example")
    certificate_issued(request, "C-1", "0" * 64, by=system_user("scheduler"))
    request.refresh_from_db()
    assert request.state == State.COMPLETED
    assert identifiers_of(request) == []
    assert request.sealed_contact is None
    assert request.mails.filter(purpose="completed").exists()
    assert b"anna@" not in repr(list(Request.objects.values())).encode()


def test_deltalog_is_readable_afterwards(people: Team, table: Path) -> None:
    builders.erased(people)
    builders.purchases(8).filter(pl.col("customer_id") != "00004").write_delta(
        str(table), mode="append"
    )
    assert DeltaTable(str(table)).to_pyarrow_table().num_rows == 8
