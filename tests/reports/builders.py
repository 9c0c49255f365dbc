"""Documents from real rows: an erasure in a real Delta table, and the sweep that renders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from accounts.models import User
from audit.actions import append, sequence
from audit.intake import NewEvent
from audit.logs import MAIN, LogRef
from reports import files
from reports.actions import request_report
from reports.models import Certificate, Report
from reports.tasks import render_due_documents
from tests.builders import user
from tests.compliance.builders import Team, connected, erased, team, tell_training, write_table

ROOT = Path(__file__).resolve().parent.parent.parent
RESOURCE = "dataset:shop:orders"


def certified(folder: Path, *, model: str = "") -> tuple[Certificate, Team]:
    """The certificate of an erasure; with `model`, one version of it learned from the person."""
    connected(write_table(folder / "purchases"))
    if model:
        tell_training(model, "1")
    people = team()
    request = erased(people)
    assert request.certificate_due_at, request.reason
    render_due_documents()
    return Certificate.objects.get(request=request), people


def appended(number: int, *, by: User, resource: str = RESOURCE, log: LogRef = MAIN) -> None:
    """What pipelines reported about a resource."""
    kinds = ("CREATE", "READ", "TRANSFORM")
    append(
        [
            NewEvent(
                type=kinds[at % 3],
                actor=f"service:etl-{at % 2}",
                resource=resource,
                resource_version=f"v{at // 10}",
                details={"rows": at, "purpose": "=nightly"},
            )
            for at in range(number)
        ],
        by=by,
        log=log,
    )


def rendered(by: User, *, resource: str = RESOURCE, **dates: str) -> Report:
    """A report that the sweep has worked on."""
    span = {"start": "2020-01-01", "end": "2199-12-31"} | dates
    report = request_report(kind="compliance", resource=resource, **span, by=by)
    sequence()
    render_due_documents()
    report.refresh_from_db()
    return report


def pipeline() -> User:
    return user("pipeline")


def path_of(name: str, folder: Path) -> Path:
    """A copy of a rendered file, as an auditor would take it home."""
    copy = folder / name.replace("/", "-")
    copy.write_bytes(files.read(name))
    return copy


def verified_offline(file: Path) -> tuple[int, str]:
    """`python -m audit.ledger verify` in a process that knows no Django settings."""
    environment = {k: v for k, v in os.environ.items() if "DJANGO" not in k and "VESTIGE" not in k}
    done = subprocess.run(
        [sys.executable, "-m", "audit.ledger", "verify", str(file)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def attachments(file: Path) -> dict[str, bytes]:
    with pikepdf.open(file) as pdf:
        return {name: spec.get_file().read_bytes() for name, spec in pdf.attachments.items()}


def with_attachment(file: Path, name: str, data: bytes) -> Path:
    """The same PDF with another attachment's bytes in it."""
    changed = file.with_name(f"changed-{file.name}")
    with pikepdf.open(file) as pdf:
        spec = pdf.attachments[name]
        spec.obj.EF.F.write(data)
        pdf.save(changed)
    return changed


def text_of(file: Path) -> str:
    """The text on the pages, as Poppler reads it, its lines joined."""
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("poppler-utils is not installed")
    done = subprocess.run(
        [reader, "-layout", str(file), "-"], capture_output=True, text=True, check=True
    )
    return " ".join(done.stdout.split())


def streamed(answer: Any) -> bytes:
    """The body of an answer that is streamed, as a client receives it."""
    return b"".join(answer.streaming_content)
