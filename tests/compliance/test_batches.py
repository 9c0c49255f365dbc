"""The erasures of several persons in one store: one pass, each with its own counts and answer."""

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from django.utils import timezone

from audit.subjects import SubjectRef
from compliance import execution
from compliance.actions.claims import claim_steps
from compliance.actions.decisions import hold
from compliance.actions.erasure import execute
from compliance.models import Batch, Request, Step
from compliance.queries import due_steps, next_discoveries, next_steps
from compliance.states import State
from compliance.tasks import discover_request, run_step
from connectors.adapters.base import ScanReport, Trace
from connectors.adapters.delta import DeltaStore
from connectors.adapters.files import FilesStore
from connectors.adapters.sqltables import SqlStore
from tests.builders import user
from tests.compliance import builders
from tests.compliance.builders import Team

pytestmark = pytest.mark.django_db
OTHER = SubjectRef("customer", "00021")


def approved_both(people: Team) -> tuple[Request, Request]:
    return builders.approved(people), builders.approved(people, OTHER)


def executed_both(people: Team) -> tuple[Request, Request]:
    both = approved_both(people)
    for request in both:
        execute(request, by=people.analyst)
    return both


def work_off() -> None:
    while pks := list(due_steps().values_list("pk", flat=True)):
        for pk in pks:
            run_step(pk)


def states(*requests: Request) -> list[str]:
    for request in requests:
        request.refresh_from_db()
    return [request.state for request in requests]


def left(table: Path) -> set[str]:
    return set(pl.read_delta(str(table))["customer_id"].to_list())


class Counted:
    """How often a store's method was called."""

    def __init__(self, patch: pytest.MonkeyPatch, store: type, *names: str) -> None:
        self.calls = dict.fromkeys(names, 0)
        for name in names:
            patch.setattr(store, name, self._counting(name, getattr(store, name)))

    def _counting(self, name: str, real: Any) -> Any:
        def counted(*args: Any) -> Any:
            self.calls[name] += 1
            return real(*args)

        return counted


def test_two_persons_are_erased_from_a_table_in_one_pass(
    people: Team, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Counted(monkeypatch, DeltaStore, "erase", "purge_history", "verify_erased")
    both = executed_both(people)
    work_off()
    assert states(*both) == [State.RESPONDING] * 2
    assert passes.calls == {"erase": 1, "purge_history": 1, "verify_erased": 1}
    assert left(table) == {"00050"}
    for request in both:
        step = request.steps.get()
        assert (step.rows_erased, step.outcome, step.result["together"]) == (3, "erased", 2)


@pytest.mark.parametrize(("kind", "store"), [("files", FilesStore), ("sql", SqlStore)])
def test_so_are_those_of_files_and_of_sql_tables(
    tmp_path: Path, db: None, monkeypatch: pytest.MonkeyPatch, kind: str, store: type
) -> None:
    people = builders.team()
    rows = pl.concat([builders.purchases(month) for month in (1, 2)])
    if kind == "files":
        rows.write_parquet(tmp_path / "rows.parquet")
        builders.connected(tmp_path, kind=kind)
    else:
        path = tmp_path / "rows.db"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE purchases (customer_id TEXT, email TEXT, month INT)")
            values = rows.select("customer_id", "email", "month").rows()
            database.executemany("INSERT INTO purchases VALUES (?, ?, ?)", values)
        database.close()
        builders.connected(f"sqlite:///{path}#purchases", kind=kind)
    passes = Counted(monkeypatch, store, "erase", "purge_history", "verify_erased")
    both = executed_both(people)
    work_off()
    assert states(*both) == [State.RESPONDING] * 2, [r.reason for r in both]
    assert set(passes.calls.values()) == {1}
    assert [r.steps.get().rows_erased for r in both] == [2, 2]


def test_who_was_approved_before_another_was_erased_needs_no_new_approval(
    people: Team, table: Path
) -> None:
    first, second = approved_both(people)
    execute(first, by=people.analyst)
    work_off()
    execute(second, by=people.analyst)
    work_off()
    assert states(first, second) == [State.RESPONDING] * 2, second.reason
    assert left(table) == {"00050"}
    assert second.steps.get().rows_erased == 3


def test_a_step_of_a_replaced_plan_is_not_carried_out_with_that_of_the_new_one(
    people: Team, table: Path
) -> None:
    request = builders.approved(people)
    execute(request, by=people.analyst)
    left_over = request.steps.get()
    Request.objects.filter(pk=request.pk).update(state=State.BLOCKED)
    request.refresh_from_db()
    builders.search(request, by=people.analyst)
    builders.approve(people, request)
    execute(request, by=people.analyst)
    work_off()
    assert states(request) == [State.RESPONDING], request.reason
    left_over.refresh_from_db()
    assert (left_over.phase, left_over.rows_erased) == (Step.Phase.DUE, None)
    step = request.steps.exclude(pk=left_over.pk).get()
    assert (step.rows_erased, step.result["together"]) == (3, 1)


@pytest.mark.parametrize("kind", ["delta", "files"])
def test_persons_whose_plans_count_the_same_are_not_taken_for_each_other(
    tmp_path: Path, db: None, kind: str
) -> None:
    """Neither stands at an edge, so that no statistics of the table's log name one alone."""
    people = builders.team()
    folder = tmp_path / "visits"
    numbers = ["00001", "00004", "00021", "00099"]
    rows = pl.DataFrame(
        {
            "customer_id": numbers,
            "email": [f"c{number}@customers.example" for number in numbers],
            "month": [1] * 4,
        }
    )
    if kind == "delta":
        rows.write_delta(str(folder))
    else:
        folder.mkdir()
        rows.write_parquet(folder / "rows.parquet")
    builders.connected(folder, kind=kind, name="visits")
    first, second = approved_both(people)
    for request in (first, second):
        execute(request, by=people.analyst)
        work_off()
    assert states(first, second) == [State.RESPONDING] * 2, second.reason
    assert [request.steps.get().rows_erased for request in (first, second)] == [1, 1]


def test_what_others_wrote_after_the_approval_stays(people: Team, table: Path) -> None:
    request = builders.approved(people)
    late = builders.purchases(7).filter(pl.col("customer_id") == "00050")
    late.write_delta(str(table), mode="append")
    execute(request, by=people.analyst)
    work_off()
    assert states(request) == [State.RESPONDING], request.reason
    rows = pl.read_delta(str(table))
    assert len(rows.filter(pl.col("month") == 7)) == 1
    assert left(table) == {"00021", "00050"}


def test_of_a_batch_only_who_has_more_rows_than_approved_is_stopped(
    people: Team, table: Path
) -> None:
    first, second = approved_both(people)
    late = builders.purchases(7).filter(pl.col("customer_id") == "00021")
    late.write_delta(str(table), mode="append")
    for request in (first, second):
        execute(request, by=people.analyst)
    work_off()
    assert states(first, second) == [State.RESPONDING, State.BLOCKED], first.reason
    assert "4 rows of the person now, more than were approved" in second.reason
    assert left(table) == {"00021", "00050"}


class Killed(BaseException):
    """Like kill -9: no handler of the product may see it."""


@pytest.mark.parametrize(
    "moment", ["begin_batch", "enter", "step_erased", "step_purged", "step_verified"]
)
def test_a_worker_killed_amid_a_batch_is_followed_by_another(
    people: Team, table: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    both = executed_both(people)
    real, calls = getattr(execution, moment), []

    def die_at_second(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2 or not moment.startswith("step"):
            raise Killed
        return real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(execution, moment, die_at_second)
        with pytest.raises(Killed):
            work_off()
    assert not due_steps().exists(), "the dead worker's claims still stand"
    Step.objects.update(claimed_at=timezone.now() - timedelta(minutes=1))  # its lease runs out
    work_off()
    assert states(*both) == [State.RESPONDING] * 2, [r.reason for r in both]
    assert left(table) == {"00050"}
    assert [r.steps.get().rows_erased for r in both] == [3, 3]


def test_a_residue_stops_only_the_person_whose_it_is(
    people: Team, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = executed_both(people)
    real = DeltaStore.verify_erased

    def verify(store: DeltaStore, needles: Any, *more: Any) -> ScanReport:
        found = real(store, needles, *more)
        if OTHER.value not in list(needles):
            return found
        return ScanReport(**(vars(found) | {"traces": (Trace("a.parquet", "column x", 1),)}))

    monkeypatch.setattr(DeltaStore, "verify_erased", verify)
    work_off()
    assert states(*both) == [State.RESPONDING, State.BLOCKED]
    assert "a.parquet" in both[1].reason


def test_a_store_has_one_worker_at_a_time(people: Team) -> None:
    first, second = approved_both(people)
    execute(first, by=people.analyst)
    working = claim_steps(first.steps.get().pk)
    assert working
    execute(second, by=people.analyst)
    waiting = second.steps.get()
    assert not claim_steps(waiting.pk), "an erasure is under way in the table"
    Step.objects.filter(pk=working[0].pk).update(phase=Step.Phase.DONE, claimed_at=None)
    assert claim_steps(waiting.pk)


def test_of_a_hundred_requests_one_task_wakes_the_store_and_none_while_it_is_at_work(
    people: Team,
) -> None:
    both = executed_both(people)
    (first,) = next_steps()
    assert first == both[0].steps.get()
    assert claim_steps(first.pk)
    assert not next_steps().exists()
    third = builders.approved(people, SubjectRef("customer", "00050"))
    execute(third, by=people.analyst)
    assert not next_steps().exists(), "its store is at work"
    Step.objects.filter(request__in=both).update(phase=Step.Phase.DONE, claimed_at=None)
    assert [step.request for step in next_steps()] == [third]


def test_a_search_waits_until_an_erasure_in_its_store_has_ended(people: Team) -> None:
    first = builders.approved(people)
    execute(first, by=people.analyst)
    working = claim_steps(first.steps.get().pk)
    Step.objects.update(phase=Step.Phase.ERASING)
    second = builders.in_triage(people.analyst, OTHER)
    builders.search(second, by=people.analyst)
    assert states(second) == [State.DISCOVERY]
    assert second.pk not in next_discoveries()
    Step.objects.filter(pk=working[0].pk).update(phase=Step.Phase.TO_VERIFY, claimed_at=None)
    assert next_discoveries() == [second.pk]
    discover_request(second.pk)
    assert states(second) == [State.REVIEW]


def test_a_hold_takes_one_out_of_a_batch_and_the_others_go_on(people: Team, table: Path) -> None:
    first, second = executed_both(people)
    hold(second, reason="court order", by=people.dpo)
    work_off()
    assert states(first, second) == [State.RESPONDING, State.EXECUTING]
    assert left(table) == {"00021", "00050"}
    assert not Batch.objects.exists()


def test_the_page_says_that_it_was_one_pass(people: Team, client: Any) -> None:
    first, _ = executed_both(people)
    work_off()
    client.force_login(people.analyst)
    page = client.get(f"/requests/{first.reference}/").content.decode()
    assert "with the rows of 1 other request" in page


def test_rows_of_two_persons_at_once_are_told_of_both(tmp_path: Path, db: None) -> None:
    path = tmp_path / "transfers"
    pl.DataFrame(
        {
            "customer_id": ["00004", "00021", "00050"],
            "email": ["c21@x.example", "c21@x.example", "c50@x.example"],
        }
    ).write_delta(str(path))
    builders.connected(path, name="transfers")
    people = Team(user("analyst"), user("dpo"), user("data_owner"))
    both = (
        builders.approved(people),
        builders.approved(people, SubjectRef("email", "c21@x.example")),
    )
    for request in both:
        execute(request, by=people.analyst)
    work_off()
    assert states(*both) == [State.RESPONDING] * 2, [r.reason for r in both]
    assert DeltaTable(str(path)).to_pyarrow_table().num_rows == 1
