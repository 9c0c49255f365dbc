"""A task on one file, as a worker of the cluster does it. It needs this package, and whatever reads
the store's files: the same paths or the bucket, and the variables that hold the store's keys.

What comes back is JSON that the coordinator decodes as the type it expects. It never unpickles
anything: a worker, or whoever passes itself off as one, must not run code there.
"""

import hashlib
import pickle
import socket
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

import connectors
from connectors.adapters.base import PlanOutdatedError, ResidueError, StoreError
from connectors.engines.base import FileTask, OneFile
from connectors.engines.seal import Seal

ANSWER = "answer"  # the column of the one row that comes back
TASK, RESULT = b"task", b"result"  # what is sealed
FAULTS = {kind.__name__: kind for kind in (PlanOutdatedError, ResidueError, StoreError)}
OTHER_RELEASE, NOT_READY, UNSEEN, UNEXPECTED = "other release", "not ready", "unseen", "unexpected"


class Answer(msgspec.Struct, kw_only=True):
    """`fault`: empty, a name in `FAULTS`, or one of the four above; `message`: of the error;
    `result`: sealed JSON."""

    worker: str
    fault: str = ""
    message: str = ""
    result: bytes = b""


@cache
def release() -> str:
    """A digest of this package's code: only the same code finds and writes the same."""
    root = Path(connectors.__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def work(
    wanted: str, references: Mapping[str, Any], task: bytes, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The function that Spark's `mapInArrow` runs. `wanted`: the coordinator's release;
    `references`: to the key of the seal; `task`: sealed, the pickled pair of a task and its item;
    `batches`: the one row that makes it a task of Spark's."""
    for _ in batches:
        answer = msgspec.json.encode(_answer(wanted, references, task))
        yield pa.RecordBatch.from_pydict({ANSWER: pa.array([answer], pa.binary())})


def _answer(wanted: str, references: Mapping[str, Any], sealed: bytes) -> Answer:
    name = socket.gethostname()
    if wanted != release():
        return Answer(worker=name, fault=OTHER_RELEASE)
    try:
        seal = Seal.of(references)
        task, item = _unpickled(seal.opened(sealed, TASK))
    except StoreError as exc:  # a reference to a key that this machine does not have
        return Answer(worker=name, fault=NOT_READY, message=str(exc))
    try:
        if not task.folder.exists(item.path):
            return Answer(worker=name, fault=UNSEEN)
        found = msgspec.json.encode(task(item))
    except tuple(FAULTS.values()) as exc:
        fault = next(fault for fault, kind in FAULTS.items() if isinstance(exc, kind))
        return Answer(worker=name, fault=fault, message=str(exc))
    except Exception as exc:  # noqa: BLE001 (raised, its message would stand in the cluster's log)
        return Answer(worker=name, fault=UNEXPECTED, message=type(exc).__name__)
    return Answer(worker=name, result=seal.closed(found, RESULT))


def _unpickled(pickled: bytes) -> tuple[FileTask[Any, Any], OneFile]:
    task, item = pickle.loads(pickled)  # noqa: S301 (who sends functions to a cluster may run code)
    return task, item
