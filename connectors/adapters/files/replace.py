"""The task of writing one file anew without a person, beside itself.

It is done wherever an engine has its hands, and nobody reads what it writes: the exchange, with its
journal, is the coordinator's, and so is a look at whether the new file is there as told.
"""

import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from connectors.adapters.base import PlanOutdatedError, StoreError
from connectors.adapters.files.layout import OURS
from connectors.engines import EngineError
from connectors.formats.formats import suffix_of
from connectors.formats.person import Person
from connectors.formats.reading import Names, Reader
from connectors.storage import FileEntry, Folder


@dataclass(frozen=True)
class Written:
    """What is to stand for the file `old`: the draft of the name `aside`, which lacks so many rows
    of the person."""

    old: str
    aside: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Rewriting:
    """The task. `mark`: by which the plan's drafts are known."""

    folder: Folder
    reader: Reader
    person: Person
    mark: str
    result: ClassVar[Any] = Written
    at_once: ClassVar[int] = 1  # for memory: each may hold a row group

    def beside(self, path: str) -> str:
        """How the names of drafts for a file begin: in its folder, and with nothing of its own."""
        parent, slash, _ = path.rpartition("/")
        return f"{parent}{slash}{OURS}{self.mark}-"

    def aside(self, path: str) -> str:
        """A name that no other attempt has."""
        return f"{self.beside(path)}{uuid.uuid4().hex[:8]}{suffix_of(path)}"

    def __call__(self, entry: FileEntry) -> Written:
        """Raises PlanOutdatedError, ResidueError and StoreError; there is no draft then."""
        aside, shown = self.aside(entry.path), Names(self.person).shown(entry.path)
        draft = self.folder.draft(aside)
        try:
            draft.touch(mode=0o600, exist_ok=False)
            match = self.reader.open(entry.path, shown=shown).rewrite(draft, self.person)
            self.folder.sync(aside)  # others see it whole from now on
            return Written(entry.path, aside, match.person, draft.stat().st_size)
        except (OSError, pa.ArrowException) as exc:
            draft.unlink(missing_ok=True)
            raise fault(self.folder, entry.path, shown, exc) from exc
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def require_written(task: Rewriting, entry: FileEntry, written: Written) -> None:
    """Raises EngineError unless the draft is one that the task may have written, and is there as
    told, whoever told so."""
    name = written.aside.removeprefix(task.beside(entry.path))
    named = name != written.aside and "/" not in name
    if written.old == entry.path and named:
        draft = task.folder.draft(written.aside)
        if draft.is_file() and draft.stat().st_size == written.bytes:
            return
    raise EngineError(
        f"What was written instead of {Names(task.person).shown(entry.path)} is not in the folder "
        f"{task.folder.root} as the engine says. The file was left as it is: see that its workers "
        "write to the same folder, then run the same step again."
    )


def outdated(folder: Folder) -> PlanOutdatedError:
    return PlanOutdatedError(
        f"Files in the folder {folder.root} changed since the plan was made. Nothing of that "
        "change was touched: plan again."
    )


def fault(folder: Folder, path: str, shown: str, exc: Exception) -> StoreError:
    """What it means that a file cannot be written anew or removed."""
    if isinstance(exc, FileNotFoundError) and not folder.exists(path):
        return outdated(folder)
    name = type(exc).__name__
    reason = exc.strerror or name if isinstance(exc, OSError) else name
    return StoreError(
        f"The file {shown} could not be rewritten: {reason}. It was left as it is. Check the file, "
        "free space and access, then run the erasure again."
    )
