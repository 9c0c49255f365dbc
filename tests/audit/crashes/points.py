"""Where a process is killed between the steps of sequencing, signing and keeping a checkpoint.

Each point wraps one function of the application, in the process that is about to die.
"""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import postgresql, prepared, sequencer, signer, storage
from audit.actions import recording
from audit.batches import Ends

BATCH = 300  # events of the batch that is cut off: enough to fill a tile


@dataclass(frozen=True)
class Point:
    """`kill` before or after a call of `owner.name`; then the batch is in the log, or not yet."""

    name: str
    owner: Any
    function: str
    after: bool = False
    durable: bool = False
    # Or "record": as an event of the application's own; "hold": as one whose id is new.
    path: str = "append"
    # Under the lock, also where one statement would do (True); by that one statement (False).
    locked: bool | None = None
    waits: bool = False  # what was recorded is still in the queue
    when: Callable[..., bool] = lambda *args, **kwargs: True

    def arm(self) -> None:
        """From now on this process dies there."""
        if self.locked:
            sequencer._ends = Ends()
        real = getattr(self.owner, self.function)

        @functools.wraps(real)
        def deadly(*args: Any, **kwargs: Any) -> Any:
            if not self.when(*args, **kwargs):
                return real(*args, **kwargs)
            if self.after:
                real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("killed")

        setattr(self.owner, self.function, deadly)


def _is_memory(draft: Path, target: object) -> bool:
    return draft.name.startswith(".log.signed.")


POINTS = [
    Point("before the head is locked", storage, "lock_head"),
    Point("with the head locked", storage, "lock_head", after=True),
    Point("with the entries inserted", storage, "append_rows", after=True),
    Point("with the tiles inserted", storage, "insert_tiles", after=True),
    Point("committed, before it is signed", signer, "sign_batch", durable=True),
    Point("signed, before the note is stored", storage, "store_note", durable=True),
    Point("the note stored", storage, "store_note", after=True, durable=True),
    Point("before the note is kept beside the key", signer, "_remember", durable=True),
    Point(
        "between the draft of log.signed and its place", Path, "replace",
        durable=True, when=_is_memory,
    ),
    Point("log.signed replaced", Path, "replace", after=True, durable=True, when=_is_memory),
    Point("before a checkpoint is kept", storage, "keep_checkpoint", durable=True, path="keep"),
    Point(
        "a checkpoint kept, not committed", storage, "keep_checkpoint",
        after=True, durable=True, path="keep",
    ),
    Point("recorded, before the commit", recording, "_sequence_after_commit", path="record"),
    Point(
        "recorded and committed, before it is sequenced", sequencer, "drain",
        durable=True, path="record", waits=True,
    ),
    Point(
        "taken from the queue under the lock, not committed", storage, "delete_pending",
        after=True, durable=True, path="record", locked=True, waits=True,
    ),
    Point(
        "before what was recorded is taken and appended at once", postgresql, "append_behind",
        durable=True, path="record", locked=False, waits=True,
    ),
    Point(
        "taken and appended at once, before it is signed", postgresql, "append_behind",
        after=True, durable=True, path="record", locked=False,
    ),
    Point("before it is sent with the commit", prepared, "commit_with", path="hold", locked=False),
    Point(
        "sent with the commit", prepared, "commit_with",
        after=True, durable=True, path="hold", locked=False, waits=True,
    ),
]  # fmt: skip
