"""Erasing a person: what the branches point to is written anew, and each gets one more commit.

The order is what makes it safe to be killed. New objects come first, which nothing points to yet;
then a branch moves, if it is where it was, to a commit that points to them; then the work tree
follows. The commit names the plan, so that the next run knows which branches have moved. Nothing is
deleted here but temporary files: old objects are the purge's.
"""

import hashlib
import posixpath
import shutil
from collections.abc import Iterator

from connectors.adapters.base import Erased, ErasePlan, PlanOutdatedError, Progress, StoreError
from connectors.adapters.dvc.blockers import affected, hindrances, require_reachable
from connectors.adapters.dvc.find import Search
from connectors.adapters.dvc.git import TreeFile
from connectors.adapters.dvc.history import TRAILER, Commit
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.pieces import Area, Piece
from connectors.adapters.dvc.pointers import Content, changed
from connectors.adapters.dvc.repository import Repository
from connectors.adapters.dvc.rewrite import Rewriter
from connectors.adapters.dvc.worktree import WorkTree

SCRATCH = ".dvc/tmp/vestige"


def snapshot(repository: Repository, moved: dict[str, str] | None = None) -> str:
    """A digest over everything that refs and HEAD point to. `moved`: branches that we moved, and
    where they were."""
    were = moved or {}
    lines = [f"{r.name} {were.get(r.name, r.commit)}\n" for r in repository.history.refs]
    lines.append(f"HEAD {repository.history.checked_out or repository.history.head}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def planned_objects(plan: ErasePlan) -> set[ObjectName]:
    """The objects that a plan names ("files/md5/ab/cd… (orders.csv)")."""
    found = (ObjectName.at(path.partition(" ")[0]) for path in plan.objects)
    return {name for name in found if name}


class Erasure:
    """One run of one plan, under the repository's locks."""

    def __init__(self, search: Search, plan: ErasePlan, progress: Progress) -> None:
        self.search = search
        self.repository = search.repository
        self.git = search.repository.git
        self.plan = plan
        self.progress = progress
        self.doomed = planned_objects(plan)
        self.scratch = self.repository.root / SCRATCH
        self.mark = f".vestige-{plan.id}-"
        self.moved = self._moved()  # branch → where it was

    def run(self) -> Erased:
        """Raises PlanOutdatedError, ResidueError, StoreError; unrelated data is never touched."""
        if self.plan.mode != "purge":
            raise StoreError(f'There is no mode "{self.plan.mode}". Plan with mode "purge".')
        if self.plan.blockers:
            raise StoreError(f"The plan cannot be carried out: {' '.join(self.plan.blockers)}")
        require_reachable(self.repository)
        if snapshot(self.repository, self.moved) != self.plan.snapshot:
            raise outdated(self.repository)
        waiting = self._waiting()
        if waiting and (found := list(hindrances(self.repository, self.doomed))):
            raise StoreError(f"The erasure cannot begin: {' '.join(found)}")
        self._drop_unfinished()
        self.scratch.mkdir(parents=True)
        try:
            rows = self._rows()
            rewriter = Rewriter(self.search, self.doomed, self.scratch, self.mark)
            self._branches(waiting, rewriter)
            later = self._follow()
            self._drop_temporary()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
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

    def _rows(self) -> int:
        """The person's rows in what the branches pointed to; each object counts once."""
        commits = self.repository.history.commits
        heads = [commits[c] for c in self.moved.values()] + list(self._waiting().values())
        seen: dict[ObjectName, int] = {}
        for head in heads:
            for output in affected(self.repository, head, self.doomed):
                for file in self.repository.files(output) or ():
                    if file.name in self.doomed and file.name not in seen:
                        seen[file.name] = self._rows_in(file.name, file.path)
        return sum(seen.values())

    def _rows_in(self, name: ObjectName, path: str) -> int:
        if name not in self.repository.contents.objects:
            return 0  # the purge has begun already
        match = self.search.objects.match(name.path, path)
        return match.person if match else 0

    def _branches(self, waiting: dict[str, Commit], rewriter: Rewriter) -> None:
        history = self.repository.history
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
        return TreeFile(file.mode, self.git.write_blob(text))

    def _follow(self) -> Repository:
        """The work tree after its branch. Returns the repository as it is now."""
        before = self.repository
        later = before.again()
        branch = later.history.checked_out or ""
        if branch in self.moved:
            commits = later.history.commits
            new, old = later.history.branches()[branch], commits[self.moved[branch]]
            try:
                WorkTree(later, old, new, self.mark).follow()
            except OSError as exc:
                raise StoreError(
                    f"The work tree of {before.root} could not be brought up to date: "
                    f"{exc.strerror}. Check free space and access, then run the erasure again."
                ) from exc
        return later

    def _drop_unfinished(self) -> None:
        """What an attempt of this plan that was killed had begun to write."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        pieces = self.search.pieces
        for piece in (*pieces.of_places(), *pieces.of_work_tree()):
            if piece.stored.rpartition("/")[2].startswith(self.mark):
                piece.remove()

    def _drop_temporary(self) -> None:
        """Files that DVC keeps for itself, and half-written objects, if they name the person."""
        for piece in self._temporary():
            seen, fine = self.search.seen_in(piece)
            if self.search.kind(piece, seen=seen, fine=fine) == "log":
                piece.remove()

    def _temporary(self) -> Iterator[Piece]:
        for piece in self.search.pieces.of_places():
            if piece.area is Area.STORE:
                yield piece
        for piece in self.search.pieces.of_work_tree():
            if piece.area is Area.TEMPORARY:
                yield piece


def outdated(repository: Repository) -> PlanOutdatedError:
    return PlanOutdatedError(
        f"Branches or tags of the repository {repository.root} changed since the plan was made. "
        "Nothing of that change was touched: plan again."
    )
