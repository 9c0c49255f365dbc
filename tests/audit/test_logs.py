"""Logs of organisation units, and the main log as their parent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from audit import keyring, signer
from audit.actions import append, create_log, record_checkpoints, sequence
from audit.intake import NewEvent
from audit.ledger import receipt
from audit.ledger.checkpoint import parse
from audit.ledger.judge import judge_file
from audit.ledger.receipt import Accepted
from audit.ledger.verify import verify_bundle
from audit.logs import MAIN, LogRef, all_logs, log_named
from audit.models import Checkpoint, Entry, Log
from audit.queries import entries, event_of, evidence, stored_log_outcome, verifier_key
from tests.builders import Api

pytestmark = pytest.mark.django_db
EVENT = {"type": "READ", "actor": "service:etl", "resource": "dataset:shop:orders"}


@pytest.fixture(autouse=True)
def own_keys(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """Keys of its own for each test: they outlive the rollback of the database."""
    settings.VESTIGE_KEYS = tmp_path
    yield
    signer._verified.clear()


def made(api: Api, admin: User, name: str = "eu") -> dict[str, Any]:
    answer = api(admin).post(
        "/api/v1/logs", json.dumps({"name": name, "title": "Europe"}), "application/json"
    )
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def test_x(api: Api, admin: User, pipeline: User) -> None:
    log = made(api, admin)
    sequence()
    append([NewEvent(**EVENT) for _ in range(5)], by=pipeline, log=log_named("eu"))
    assert entries(log_named("eu")).count() == 5
    assert record_checkpoints() == 1
    assert record_checkpoints() == 0
    for one in all_logs():
        out = stored_log_outcome(log=one, full=True)
        assert out.findings == [], out.findings
    b = evidence([0, 3], purpose="x", log=log_named("eu"))
    assert verify_bundle(json.loads(json.dumps(b)), trusted_vkey=log["vkey"]).valid
