"""Real Delta tables with a person in several versions, and requests at each stage."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from audit.subjects import SubjectRef
from compliance.actions.erasure import execute
from compliance.actions.identity import verify
from compliance.actions.plans import approve_plan, start_discovery
from compliance.actions.requests import file_request
from compliance.models import Request
from compliance.queries import current_plan, due_steps
from compliance.tasks import discover_request, run_step
from connectors.actions import create_connector
from connectors.models import Connector
from lineage.actions import sync_connector
from tests.builders import api, user

PERSON = SubjectRef("customer", "00004")
EMAIL = "c00004@customers.example"


def purchases(month: int) -> pl.DataFrame:
    """A month of purchases of three customers, one of them the person."""
    return pl.DataFrame(
        {
            "customer_id": ["00004", "00021", "00050"],
            "email": [EMAIL, "c00021@customers.example", "c00050@customers.example"],
            "month": [month] * 3,
            "amount": [10.5 * month, 20.0, 30.0],
        }
    )


def write_table(path: Path, *, months: int = 3) -> Path:
    """One version a month: the person stands in each file and each version."""
    for month in range(1, months + 1):
        purchases(month).write_delta(str(path), mode="append" if month > 1 else "error")
    return path


def connected(
    location: "Path | str",
    *,
    name: str = "purchases",
    kind: str = "delta",
    options: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Connector:
    owner = user(Role.DATA_OWNER)
    with transaction.atomic():
        connector = create_connector(
            kind=kind,
            location=str(location),
            name=name,
            dataset={"namespace": "shop", "name": name},
            subject_columns=dict(columns or {"customer_id": "customer", "email": "email"}),
            options=options or {},
            owner=owner,
            by=owner,
        )
    sync_connector(connector, by=owner)
    return connector


def tell_training(
    model_version: str, dataset_version: str, *, at: datetime | None = None, name: str = "purchases"
) -> None:
    """A pipeline reports by OpenLineage that a model was trained on a version of the data."""
    moment = at or timezone.now()
    run_id = str(uuid.uuid4())

    def dataset(namespace: str, title: str, version: str, **facets: Any) -> dict[str, Any]:
        base = {"_producer": "https://shop.example", "_schemaURL": "https://openlineage.io/spec"}
        return {
            "namespace": namespace,
            "name": title,
            "facets": {"version": base | {"datasetVersion": version}}
            | {key: base | value for key, value in facets.items()},
        }

    client = api(user(Role.PIPELINE))
    for kind, moment_of_event in (("START", moment), ("COMPLETE", moment + timedelta(seconds=1))):
        event = {
            "eventType": kind,
            "eventTime": moment_of_event.isoformat(),
            "producer": "https://shop.example",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": run_id},
            "job": {"namespace": "shop", "name": "train"},
            "inputs": [dataset("shop", name, dataset_version)],
            "outputs": [
                dataset("models", "again", model_version, datasetType={"datasetType": "MODEL"})
            ],
        }
        answer = client.post("/api/v1/lineage", json.dumps(event), content_type="application/json")
        assert answer.status_code == 201, answer.content


@dataclass
class Team:
    analyst: User
    dpo: User
    data_owner: User


def team() -> Team:
    return Team(user(Role.ANALYST), user(Role.DPO), user(Role.DATA_OWNER))


def filed(analyst: User, person: SubjectRef = PERSON, **fields: Any) -> Request:
    return file_request(
        rights=["erasure"], subjects=[person], by=analyst, channel=Request.Channel.STAFF, **fields
    )


def in_triage(analyst: User, person: SubjectRef = PERSON, **fields: Any) -> Request:
    return verify(filed(analyst, person, **fields), method="two held attributes", by=analyst)


def planned(analyst: User, person: SubjectRef = PERSON, **fields: Any) -> Request:
    request = in_triage(analyst, person, **fields)
    search(request, by=analyst)
    return request


def search(request: Request, *, by: User) -> None:
    start_discovery(request, by=by)
    discover_request(request.pk)
    request.refresh_from_db()


def approved(people: Team, person: SubjectRef = PERSON, **fields: Any) -> Request:
    return approve(people, planned(people.analyst, person, **fields))


def approve(people: Team, request: Request) -> Request:
    plan = current_plan(request)
    assert plan, request.reason
    for approver in (people.dpo, people.data_owner):
        approve_plan(request, plan_hash=plan.hash, by=approver)
    request.refresh_from_db()
    return request


def work_off(request: Request) -> Request:
    """What the workers do, one row at a time, until nothing is due."""
    while pks := list(due_steps().filter(request=request).values_list("pk", flat=True)):
        for pk in pks:
            run_step(pk)
    request.refresh_from_db()
    return request


def erased(people: Team, person: SubjectRef = PERSON, **fields: Any) -> Request:
    request = approved(people, person, **fields)
    execute(request, by=people.analyst)
    return work_off(request)
