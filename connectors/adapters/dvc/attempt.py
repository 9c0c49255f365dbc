"""One run of one plan over one repository: what every mode of erasing has in common.

The order is what makes it safe to be killed. New objects come first, which nothing points to yet;
then branches move, if they are where they were, to commits that point to them; then the work tree
follows. Nothing is deleted here but temporary files: old objects are the purge's.
"""

import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping

from connectors.adapters.base import Erased, ErasePlan, PlanOutdatedError, Progress, StoreError
from connectors.adapters.dvc.blockers import affected, require_reachable
from connectors.adapters.dvc.find import Search
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.pieces import Area, Piece
from connectors.adapters.dvc.repository import Repository
from connectors.adapters.dvc.worktree import WorkTree

SCRATCH = ".dvc/tmp/vestige"
# Where refs were that we have moved: by their name now, (name, commit) then.
Stood = Mapping[str, tuple[str, str]]


def snapshot(repository: Repository, stood: Stood | None = None) -> str:
    """A digest over everything that refs and HEAD point to."""
    were = stood or {}
    refs = sorted(were.get(r.name, (r.name, r.commit)) for r in repository.history.refs)
    lines = [f"{name} {commit}\n" for name, commit in refs]
    lines.append(f"HEAD {repository.history.checked_out or repository.history.head}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def planned_objects(plan: ErasePlan) -> set[ObjectName]:
    return named_in(plan.objects)


def named_in(planned: Iterable[str]) -> set[ObjectName]:
    """The objects among what a plan names ("files/md5/ab/cd… (orders.csv)")."""
    found = (ObjectName.at(path.partition(" ")[0]) for path in planned)
    return {name for name in found if name}


class Attempt(ABC):
    """Under the repository's locks."""

    def __init__(self, search: Search, plan: ErasePlan, progress: Progress) -> None:
        self.search = search
        self.repository = search.repository
        self.git = search.repository.git
        self.plan = plan
        self.progress = progress
        self.doomed = planned_objects(plan)
        self.scratch = self.repository.root / SCRATCH
        self.mark = f".vestige-{plan.id}-"

    def run(self) -> Erased:
        """Raises PlanOutdatedError, ResidueError, StoreError; unrelated data is never touched."""
        if self.plan.blockers:
            raise StoreError(f"The plan cannot be carried out: {' '.join(self.plan.blockers)}")
        require_reachable(self.repository)
        if not self._is_current():
            raise outdated(self.repository)
        if found := list(self._hindrances()):
            raise StoreError(f"The erasure cannot begin: {' '.join(found)}")
        self._drop_unfinished()
        self.scratch.mkdir(parents=True)
        try:
            done = self._carry_out()
            self._drop_temporary()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
        return done

    @abstractmethod
    def _is_current(self) -> bool:
        """Whether refs are where the plan saw them, or where an earlier run of it has put them."""

    @abstractmethod
    def _hindrances(self) -> Iterator[str]:
        """Why this run cannot begin. Nothing, where only the end of an earlier one is left."""

    @abstractmethod
    def _carry_out(self) -> Erased: ...

    def _rows(self, heads: Iterable[Commit]) -> int:
        """The person's rows in what these commits point to; each object counts once."""
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

    def _follow(self, moved: Callable[[str], Commit | None]) -> Repository:
        """The work tree after its branch. Returns the repository as it is now.

        `moved`: the commit that a branch was at, if it has moved.
        """
        before = self.repository
        later = before.again()
        branch = later.history.checked_out or ""
        if old := moved(branch):
            new = later.history.branches()[branch]
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
