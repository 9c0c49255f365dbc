"""Erasing a person, and with them the history: each branch gets one more commit.

What the branches point to is written anew; each that held the person moves to a commit on top,
which names the plan, so that the next run knows which branches have moved. Older commits keep their
pointers, and the purge takes what they point to.
"""

import posixpath
from collections.abc import Iterator

from connectors.adapters.base import Erased, ErasePlan, Progress
from connectors.adapters.dvc.attempt import Attempt, outdated, snapshot
from connectors.adapters.dvc.blockers import affected, hindrances
from connectors.adapters.dvc.find import Search
from connectors.adapters.dvc.git import TreeFile
from connectors.adapters.dvc.history import TRAILER, Commit
from connectors.adapters.dvc.pointers import Content, changed
from connectors.adapters.dvc.rewrite import Rewriter


class Erasure(Attempt):
    """A plan of the mode "purge"."""

    def __init__(self, search: Search, plan: ErasePlan, progress: Progress) -> None:
        super().__init__(search, plan, progress)
        self.moved = self._moved()  # branch → where it was
        self.waiting = self._waiting()

    def _is_current(self) -> bool:
        stood = {branch: (branch, commit) for branch, commit in self.moved.items()}
        return snapshot(self.repository, stood) == self.plan.snapshot

    def _hindrances(self) -> Iterator[str]:
        if self.waiting:
            yield from hindrances(self.repository, self.doomed)

    def _carry_out(self) -> Erased:
        commits = self.repository.history.commits
        rows = self._rows([commits[c] for c in self.moved.values()] + list(self.waiting.values()))
        rewriter = Rewriter(self.search, self.doomed, self.scratch, self.mark)
        self._branches(rewriter)
        later = self._follow(lambda branch: commits.get(self.moved.get(branch, "")))
        head = later.newest()
        return Erased(
            new_version=head.id if head else None,
            rows=rows,
            objects_removed=(),
            objects_added=tuple(sorted({name.path for name in rewriter.added})),
            detail={"branches_moved": len(self.moved), "bytes_rewritten": rewriter.bytes},
        )

    def _moved(self) -> dict[str, str]:
        """Branches at whose head an earlier run of this plan has left its commit."""
        mark = f"{TRAILER}{self.plan.id}\n".encode()
        found = {}
        with self.git.reader() as reader:
            for branch, commit in self.repository.history.branches().items():
                read = reader.read(commit.id)
                if read and read.body.endswith(mark) and len(commit.parents) == 1:
                    found[branch] = commit.parents[0]
        return found

    def _waiting(self) -> dict[str, Commit]:
        return {
            branch: commit
            for branch, commit in self.repository.history.branches().items()
            if branch not in self.moved
            and any(True for _ in affected(self.repository, commit, self.doomed))
        }

    def _branches(self, rewriter: Rewriter) -> None:
        waiting, history = self.waiting, self.repository.history
        heads = {c.id: history.branches()[b].id for b, c in self._parents().items()}
        for number, (branch, commit) in enumerate(waiting.items()):
            self.progress("rewrite", number, len(waiting), rewriter.bytes)
            if commit.id not in heads:  # several branches may be at one commit
                heads[commit.id] = self._commit(commit, rewriter)
            if not self.git.move(branch, heads[commit.id], commit.id):
                raise outdated(self.repository)
            self.moved[branch] = commit.id
        self.progress("rewrite", len(waiting), len(waiting), rewriter.bytes)

    def _parents(self) -> dict[str, Commit]:
        commits = self.repository.history.commits
        return {branch: commits[parent] for branch, parent in self.moved.items()}

    def _commit(self, commit: Commit, rewriter: Rewriter) -> str:
        """A commit on top of this one whose pointers lead to nothing of the person's."""
        contents: dict[str, dict[str, Content]] = {}
        for output in affected(self.repository, commit, self.doomed):
            contents.setdefault(output.pointer, {})[output.path] = rewriter.content(output)
        files = {path: self._pointer(commit, path, new) for path, new in contents.items()}
        tree = self.git.tree_with(commit.id, files, self.scratch / "index")
        return self.git.commit(tree, commit.id, f"Erase as planned\n\n{TRAILER}{self.plan.id}\n")

    def _pointer(self, commit: Commit, path: str, contents: dict[str, Content]) -> TreeFile:
        file = self.git.file_at(commit.id, path)
        stages = self.git.file_at(commit.id, posixpath.join(posixpath.dirname(path), "dvc.yaml"))
        with self.git.reader() as reader:
            body = reader.read(file.id) if file else None
            declared = reader.read(stages.id) if stages else None
        if file is None or body is None:
            raise outdated(self.repository)
        text = changed(path, body.body, contents, declared.body if declared else None)
        return TreeFile(file.mode, self.git.write("blob", text))
