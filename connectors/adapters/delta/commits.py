"""The commits of a log as they are replaced: each at once, or not at all."""

import hashlib
import json
from collections.abc import Callable, Iterable

from connectors.adapters.base import ErasePlan, Progress, StoreError
from connectors.adapters.delta.amend import Action
from connectors.adapters.delta.erase import output_mark
from connectors.adapters.delta.log import COMMIT, LOG
from connectors.storage import ChangedMeanwhileError, Folder

Change = Callable[[list[Action]], list[Action]]


def log_is_whole(folder: Folder) -> bool:
    """Whether every commit from the first on is still there."""
    versions = sorted(int(m[1]) for name in folder.names(LOG) if (m := COMMIT.match(name)))
    return versions == list(range(len(versions))) and bool(versions)


def _read(body: bytes) -> list[Action]:
    return [json.loads(line) for line in body.splitlines() if line.strip()]


def written(actions: Iterable[Action]) -> bytes:
    """The body of a commit."""
    return "".join(json.dumps(a, separators=(",", ":")) + "\n" for a in actions).encode()


def commit_path(version: int) -> str:
    return f"{LOG}/{version:020d}.json"


class Commits:
    """The log's commits, each replaced at once or not at all."""

    def __init__(self, folder: Folder, plan: ErasePlan, progress: Progress) -> None:
        self.folder = folder
        self.mark = output_mark(plan).removesuffix(".parquet")
        self.progress = progress

    def actions(self, version: int) -> list[Action]:
        return _read(self.folder.read(commit_path(version)))

    def versions(self) -> list[int]:
        return [int(m[1]) for name in self.folder.names(LOG) if (m := COMMIT.match(name))]

    def replace_all(self, change: Change) -> int:
        """Replace those that the change makes others, the newest first, and those too that came
        meanwhile. Returns how many."""
        seen: set[int] = set()
        replaced = 0
        while new := sorted(set(self.versions()) - seen, reverse=True):
            for number, version in enumerate(new):
                self.progress("rewrite log", number, len(new), 0)
                replaced += self._replace(version, change)
            self.progress("rewrite log", len(new), len(new), 0)
            seen.update(new)
        return replaced

    def _replace(self, version: int, change: Change) -> bool:
        path = commit_path(version)
        body = self.folder.read(path)
        before = _read(body)
        after = change(before)
        if after == before:
            return False
        # Hadoop refuses a file that is not what the checksum beside it says.
        self.folder.remove(f"{LOG}/.{version:020d}.json.crc")
        draft = self.folder.draft(f"{LOG}/.{version:020d}.json{self.mark}.tmp")
        draft.write_bytes(written(after))
        try:
            self.folder.swap(draft, path, hashlib.sha256(body).hexdigest(), keeps_time=True)
        except ChangedMeanwhileError as exc:
            draft.unlink(missing_ok=True)
            raise StoreError(
                f"The log file {path} of {self.folder.root} was replaced by somebody else while "
                "the history was rewritten. Nothing is lost: run the erasure again."
            ) from exc
        return True
