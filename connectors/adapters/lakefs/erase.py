"""Erasing a person: what the branches list is written anew, and each gets one more commit.

The order is what makes it safe to be killed. The new objects are committed on a branch of our own,
which nobody else writes to; then it is merged into the branch it was begun from, squashed to one
commit whose metadata names the plan. So nobody sees half of it, protected branches take it, and a
merge fails where somebody else changed the same file. The next run knows by the metadata which
branches are done, and begins its own branch anew. Nothing is deleted here: old objects are the
purge's.
"""

import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from connectors.adapters.base import Erased, ErasePlan, PlanOutdatedError, Progress, StoreError
from connectors.adapters.lakefs.blockers import hindrances
from connectors.adapters.lakefs.client import Lakefs, RefusedError
from connectors.adapters.lakefs.find import Search
from connectors.adapters.lakefs.plan import planned_objects, snapshot
from connectors.adapters.lakefs.repository import Commit, Entry, Repository, affected
from connectors.formats.formats import suffix_of

PLAN = "vestige-plan"  # in a commit's metadata
_MESSAGE = "Erase as planned"
_OURS = "vestige-erasure-"  # how our own branches begin


def drop_unfinished(client: Lakefs, plan: ErasePlan) -> None:
    """Our own branches, which an attempt of this plan left behind; nothing needs their commits."""
    for branch in client.branches():
        if branch.startswith(_prefix(plan)):
            client.drop_branch(branch)


def _prefix(plan: ErasePlan) -> str:
    return f"{_OURS}{plan.id[:16]}-"


class Erasure:
    """One run of one plan, after `drop_unfinished`. Two runs of one plan at a time undo each
    other's branches, and lose nothing."""

    def __init__(self, search: Search, plan: ErasePlan, progress: Progress) -> None:
        self.search = search
        self.repository = search.repository
        self.client = search.repository.client
        self.plan = plan
        self.progress = progress
        self.doomed = planned_objects(plan).keys()
        self.moved = self._moved()  # branch → where it was
        self.added: list[str] = []
        self.bytes = 0

    def run(self) -> Erased:
        """Raises PlanOutdatedError, ResidueError, StoreError; unrelated data is never touched."""
        if self.plan.mode != "purge":
            raise StoreError(f'There is no mode "{self.plan.mode}". Plan with mode "purge".')
        if self.plan.blockers:
            raise StoreError(f"The plan cannot be carried out: {' '.join(self.plan.blockers)}")
        branches, tags = self.repository.branches, self.repository.tags
        if snapshot(branches, tags, self.moved) != self.plan.snapshot:
            raise outdated(self.repository)
        waiting = self._waiting()
        if waiting and (found := list(hindrances(self.repository, self.plan))):
            raise StoreError(f"The erasure cannot begin: {' '.join(found)}")
        rows = self._rows(waiting)
        try:
            self._branches(waiting)
        finally:
            drop_unfinished(self.client, self.plan)
        return Erased(
            new_version=self._newest(),
            rows=rows,
            objects_removed=(),
            objects_added=tuple(sorted(self.added)),
            detail={"branches_moved": len(self.moved), "bytes_rewritten": self.bytes},
        )

    def _moved(self) -> dict[str, str]:
        """Branches at whose head an earlier run of this plan has left its commit."""
        return {
            branch: commit.parents[0]
            for branch, commit in self.repository.heads().items()
            if commit.metadata.get(PLAN) == self.plan.id and commit.parents
        }

    def _waiting(self) -> dict[str, Commit]:
        return {
            branch: commit
            for branch, commit in self.repository.heads().items()
            if branch not in self.moved and any(affected(self.repository, commit, self.doomed))
        }

    def _rows(self, waiting: Mapping[str, Commit]) -> int:
        """The person's rows in what the branches listed; each object counts once."""
        commits = self.repository.commits
        heads = [*(commits[c] for c in self.moved.values()), *waiting.values()]
        paths = {e.key: e.path for h in heads for e in affected(self.repository, h, self.doomed)}
        return sum(self._rows_in(key, path) for key, path in paths.items())

    def _rows_in(self, key: str, path: str) -> int:
        if not self.repository.is_there(key):
            return 0  # the purge has begun already
        match = self.search.objects.match(key, path)
        return match.person if match else 0

    def _branches(self, waiting: Mapping[str, Commit]) -> None:
        ready: dict[str, str] = {}  # head → our branch; several branches may be at one commit
        for number, (branch, head) in enumerate(waiting.items()):
            self.progress("rewrite", number, len(waiting), self.bytes)
            if head.id not in ready:
                ready[head.id] = self._prepared(branch, head)
            self._merge(ready[head.id], branch, head)
        self.progress("rewrite", len(waiting), len(waiting), self.bytes)

    def _prepared(self, source: str, head: Commit) -> str:
        """A branch of ours on top of this commit, without the person."""
        name = f"{_prefix(self.plan)}{head.id[:16]}"
        try:
            self.client.begin_branch(name, head.id)
            with tempfile.TemporaryDirectory(prefix="vestige-") as scratch:
                for entry in affected(self.repository, head, self.doomed):
                    self._file(name, entry, Path(scratch))
            self.client.record(name, _MESSAGE, {PLAN: self.plan.id})
        except RefusedError as exc:
            raise StoreError(
                f"lakeFS refused to take the erased data (status {exc.status}). The branch "
                f"{source} is as it was. Check what the writer's access key may do and the "
                "repository's hooks, then run the erasure again."
            ) from None
        return name

    def _file(self, branch: str, entry: Entry, scratch: Path) -> None:
        if self.search.objects.is_all_theirs(entry.key, entry.path):
            self.client.delete(branch, entry.path)
            return
        shown = self.search.names.shown(entry.path)
        target = scratch / f"{uuid.uuid4().hex}{suffix_of(entry.path)}"
        staged = self.search.staged.path(entry.key, entry.path)
        try:
            self.search.objects.reader.open(staged, shown=shown).rewrite(target, self.search.person)
            self.bytes += target.stat().st_size
            address = self.client.upload(branch, entry.path, target, entry.metadata)
        except (OSError, pa.ArrowException) as exc:
            why = exc.strerror if isinstance(exc, OSError) else ""
            raise StoreError(
                f"The file {shown} could not be written anew: {why or type(exc).__name__}. Its "
                "branch is as it was. Check free space and access, then run the erasure again."
            ) from exc
        finally:
            target.unlink(missing_ok=True)
        self.added.append(self.repository.blocks.key(address))

    def _merge(self, ours: str, branch: str, head: Commit) -> None:
        if self.client.head(branch) != head.id:
            raise outdated(self.repository)
        try:
            made = self.client.merge(ours, branch, _MESSAGE, {PLAN: self.plan.id})
        except RefusedError as exc:
            if exc.status == 409 or self.client.head(branch) != head.id:
                raise outdated(self.repository) from None
            raise StoreError(
                f"lakeFS refused to merge the erased data into the branch {branch} (status "
                f"{exc.status}): it has changes that are not committed, or a hook says no. Every "
                "branch that was not reached is as it was. Look at the repository's actions, then "
                "run the erasure again."
            ) from None
        if self.client.commit(made).parents[0] != head.id:
            raise outdated(self.repository)  # somebody was faster by a hair; theirs is kept
        self.moved[branch] = head.id

    def _newest(self) -> str | None:
        branch = self.repository.default_branch
        if branch in self.moved:
            return self.client.head(branch)
        newest = self.repository.newest()
        return newest.id if newest else None


def outdated(repository: Repository) -> PlanOutdatedError:
    return PlanOutdatedError(
        f"Branches or tags of {repository.client.place.shown} changed since the plan was made. "
        "Nothing of that change was touched: plan again."
    )
