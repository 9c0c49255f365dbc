"""Many persons' requests about one table, approved one by one: how long the workers take for all,
beside one request about the same table.

The work is what `execute` makes due: erase, purge, scan, with everything that is recorded. Plans
and approvals come before the clock starts. Each turn has a table of its own.
"""

import random
import shutil
import string
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from bench.append import actor
from bench.report import Line, table

ROWS, VERSIONS, ROWS_OF_A_PERSON, MANY, TURNS = 200_000, 5, 10, 50, 3
_ONE, _MANY = "1 request", f"{MANY} requests, due together"


def run(database: str) -> None:
    """Prints the table. Django must be set up on a scratch installation."""
    team = _team()
    seconds: dict[str, float] = {}
    for _ in range(TURNS):
        for name, count in ((_ONE, 1), (_MANY, MANY)):
            taken = _carried_out(team, count)
            seconds[name] = min(seconds.get(name, taken), taken)
    one, many = seconds[_ONE], seconds[_MANY]
    table(
        f"Erase, purge and scan a table of {ROWS:,} rows in {VERSIONS} versions, {database}: s",
        [
            Line(_ONE, one, unit=" s"),
            Line(_MANY, many, _ONE, many / one, 2.0, at_most=True, unit=" s"),
        ],
    )


def _team() -> dict[str, Any]:
    from accounts.actions import create_user
    from accounts.roles import Role

    by = actor()
    return {
        role: create_user(
            username=f"bench-{role}", name=role, email="", roles=[role], password=None, by=by
        )
        for role in (Role.ANALYST, Role.DPO, Role.DATA_OWNER)
    }


def _carried_out(team: dict[str, Any], count: int) -> float:
    """Seconds until so many requests are erased and scanned clean."""
    from compliance.actions.erasure import execute
    from compliance.queries import due_steps
    from compliance.states import State
    from compliance.tasks import run_step
    from connectors.actions import disable_connector

    folder = Path(tempfile.mkdtemp(prefix="vestige-bench-requests-"))
    try:
        connector, people = _connected(folder, team)
        cases = [_approved(person, team) for person in people[:count]]
        for case in cases:
            execute(case, by=team["analyst"])
        began = time.perf_counter()
        while due := list(due_steps().values_list("pk", flat=True)):
            for pk in due:
                run_step(pk)
        taken = time.perf_counter() - began
        for case in cases:
            case.refresh_from_db()
            if case.state != State.RESPONDING:
                raise RuntimeError(f"{case} is {case.state}: {case.reason}")
        disable_connector(connector, by=team["data_owner"])
    finally:
        shutil.rmtree(folder)
    return taken


def _connected(folder: Path, team: dict[str, Any]) -> tuple[Any, list[str]]:
    from deltalake import write_deltalake

    from connectors.actions import create_connector
    from lineage.actions import sync_connector

    chance = random.Random(folder.name)  # noqa: S311 (nothing secret); nobody asks twice
    count, part = ROWS // ROWS_OF_A_PERSON, ROWS // VERSIONS
    people = ["".join(chance.choices(string.ascii_letters, k=20)) for _ in range(count)]
    for version in range(VERSIONS):
        frame = pl.DataFrame(
            {
                "person": chance.choices(people, k=part),
                "event": range(version * part, (version + 1) * part),
                "note": [f"seen {chance.getrandbits(64):x}" for _ in range(part)],
            }
        )
        write_deltalake(str(folder), frame.to_arrow(), mode="append")
    owner = team["data_owner"]
    connector = create_connector(
        kind="delta",
        location=str(folder),
        name=folder.name,
        dataset={"namespace": "bench", "name": folder.name},
        subject_columns={"person": "customer"},
        options={},
        owner=owner,
        by=owner,
    )
    sync_connector(connector, by=owner)
    return connector, people


def _approved(person: str, team: dict[str, Any]) -> Any:
    from audit.subjects import SubjectRef
    from compliance.actions.identity import verify
    from compliance.actions.plans import approve_plan, start_discovery
    from compliance.actions.requests import file_request
    from compliance.queries import current_plan
    from compliance.tasks import discover_request

    analyst = team["analyst"]
    case = file_request(
        rights=["erasure"],
        subjects=[SubjectRef("customer", person)],
        by=analyst,
        channel="staff",
    )
    verify(case, method="two held attributes", by=analyst)
    start_discovery(case, by=analyst)
    discover_request(case.pk)
    case.refresh_from_db()
    plan = current_plan(case)
    if plan is None:
        raise RuntimeError(case.reason)
    for approver in ("dpo", "data_owner"):
        approve_plan(case, plan_hash=plan.hash, by=team[approver])
    case.refresh_from_db()
    return case
