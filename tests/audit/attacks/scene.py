"""The log before an attack, what others hold of it, and the guards that look at it afterwards."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import User
from accounts.roles import Role
from audit.actions import append
from audit.ledger.checkpoint import Checkpoint, parse
from audit.models import MAIN_LOG, Entry, Log
from audit.queries import covering_checkpoint, stored_log_outcome, verifier_key
from tests import builders
from tests.audit.attacks.outside import Auditor, Doors, Pipeline, Witness
from tests.audit.builders import event, log_with

EARLIER = 600  # entries when the backup was made
SIZE = 1500
TARGET = 700  # the entry that attacks are after

VERIFY, WARNING = "verify_log", "verify_log, a warning"
MEMORY, APPEND = "verify_log with log.signed", "next append"
WITNESS, RECEIPT, COPY = "witness", "receipt", "auditor's copy"
OUTSIDE = (WITNESS, RECEIPT, COPY)


@dataclass(frozen=True)
class Caught:
    """Who caught an attack, in which words, after how many milliseconds of looking."""

    by: str
    said: str
    ms: float


@dataclass(frozen=True)
class Scene:
    """A log of SIZE entries with two kept checkpoints, and those who hold something of it."""

    by: User
    backup: dict[str, Any]  # the head's row as it was with EARLIER entries
    doors: Doors
    witness: Witness
    pipeline: Pipeline
    auditor: Auditor

    @property
    def memory(self) -> Path:
        """The note beside the key, outside of the database."""
        return settings.VESTIGE_KEYS / "log.signed"

    def examine(self) -> list[Caught]:
        """What each of the guards says to the log as it is now, the nearest first."""
        with set_aside(self.memory):
            found = _timed(VERIFY, _verify)
            if not found:
                found = _timed(WARNING, _warn)
        if not found or found[0].by == WARNING:
            found += _timed(MEMORY, _verify)
        found += _timed(APPEND, self._append)
        found += _timed(WITNESS, partial(self.witness.look, self.doors))
        found += _timed(RECEIPT, partial(self.pipeline.look, self.doors))
        found += _timed(COPY, partial(self.auditor.look, self.doors))
        return found

    def _append(self) -> str:
        """Why the next entry is not taken or not signed; empty when all is as ever."""
        try:
            append([event()], by=self.by)
        except Exception as exc:  # noqa: BLE001  # whatever it is, no entry is acknowledged
            return f"Nothing more is taken in: {' '.join(str(exc).split())}"
        return Log.objects.get(pk=MAIN_LOG).refusal


def set_up() -> Scene:
    """The scene in the database of the test. The note beside the key is the newest one."""
    reader = builders.api(builders.user(Role.AUDITOR))
    reader.raise_request_exception = False
    by = log_with(EARLIER)
    covering_checkpoint()
    backup: dict[str, Any] = dict(Log.objects.values().get(pk=MAIN_LOG))
    append([event(n) for n in range(Entry.objects.count(), SIZE)], by=by)
    newest = covering_checkpoint()
    held: Checkpoint = parse(newest.note)[0]
    scene = Scene(
        by=by,
        backup=backup,
        doors=Doors(reader, verifier_key()),
        witness=Witness(held),
        pipeline=Pipeline(
            {seq: bytes(Entry.objects.get(seq=seq).leaf_hash) for seq in (TARGET, SIZE - 1)}
        ),
        auditor=Auditor(held),
    )
    scene.memory.write_text(newest.note)
    return scene


@contextmanager
def undone_by_savepoint() -> Iterator[None]:
    """As `undone`, for what commits: the sequencer refuses to work inside an atomic block."""
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


@contextmanager
def set_aside(path: Path) -> Iterator[None]:
    """Without the note beside the key: what the database alone gives away."""
    note = path.read_text()
    path.unlink()
    try:
        yield
    finally:
        path.write_text(note)


def _timed(by: str, look: Callable[[], str]) -> list[Caught]:
    with undone_by_savepoint():
        start = time.perf_counter()
        said = look()
        taken = (time.perf_counter() - start) * 1000
    return [Caught(by, said, round(taken, 1))] if said else []


def _verify() -> str:
    return " ".join(map(str, stored_log_outcome().findings[:1]))


def _warn() -> str:
    return " ".join(text for text in stored_log_outcome().warnings if "not guard" in text)
