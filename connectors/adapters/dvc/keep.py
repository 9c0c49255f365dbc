"""Erasing a person and keeping the history: every commit that leads to them is written anew.

A commit names its tree and its parents, so each that comes after an affected one gets another id.
All else in it stays byte for byte. Refs move in one transaction, which requires that every ref is
where the plan saw it. A journal tells the next run, and the purge, what has moved.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from connectors.adapters.base import Erased, ErasePlan, Progress
from connectors.adapters.dvc.attempt import Attempt, Stood, outdated, snapshot
from connectors.adapters.dvc.blockers import hindrances
from connectors.adapters.dvc.find import Search
from connectors.adapters.dvc.git import Move
from connectors.adapters.dvc.headers import value_of
from connectors.adapters.dvc.history import Commit, Trees, read_commit
from connectors.adapters.dvc.journal import CommitMap, Former, Journal, Journals
from connectors.adapters.dvc.keepable import Changing, keeping_hindrances
from connectors.adapters.dvc.pointers import Content, changed
from connectors.adapters.dvc.restate import Restatement
from connectors.adapters.dvc.rewrite import Rewriter

# DVC keeps experiments below the commit that they began with: refs/exps/ab/cdef…/name.
_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38,62})/(.+)")


class Keeping(Attempt):
    """A plan of the mode "keep_history"."""

    def __init__(
        self, search: Search, plan: ErasePlan, progress: Progress, *, drop_signatures: bool
    ) -> None:
        super().__init__(search, plan, progress)
        self.drop_signatures = drop_signatures
        self.journals = Journals(self.repository.root)
        self.map = CommitMap(self.repository.root)
        self.journal = self.journals.of(plan.id)
        self.stood = self._stood(self.journal)
        self.changing = Changing(self.repository, self.doomed)
        self._blobs: dict[tuple[object, ...], str] = {}

    def _stood(self, journal: Journal | None) -> Stood:
        """Of refs that an earlier run of this plan has moved."""
        stood = journal.stood if journal else {}
        return {
            ref.name: (was.name, was.commit)
            for ref in self.repository.history.refs
            if (was := stood.get(ref.name)) and was.value == ref.value
        }

    def _is_current(self) -> bool:
        if self.journal and self.journal.followed:
            return True  # what others did since, they did to commits without the person
        return snapshot(self.repository, self.stood) == self.plan.snapshot

    def _hindrances(self) -> Iterator[str]:
        if not self._has_begun() and self.changing.commits():
            yield from hindrances(self.repository, self.doomed)
            yield from keeping_hindrances(self.changing, drop_signatures=self.drop_signatures)

    def _has_begun(self) -> bool:
        return bool(self.stood) or (self.journal is not None and self.journal.followed)

    def _carry_out(self) -> Erased:
        self._settle()
        journal = self.journal if self.journal and self._has_begun() else self._written()
        later = self.repository
        if not journal.followed:
            moves = [move for move in journal.moves if move.new_name not in self.stood]
            if not self.git.move_all(moves):
                raise outdated(self.repository)
            self.map.add(journal.ids)
            later = self._follow(lambda branch: self._before(journal, branch))
            self.journals.keep(replace(journal, followed=True))
        head = later.newest()
        return Erased(
            new_version=head.id if head else None,
            rows=journal.rows,
            objects_removed=(),
            objects_added=journal.added,
            detail={
                "commits_rewritten": len(journal.ids),
                "refs_moved": len(journal.stood),
                "signatures_dropped": journal.signatures,
                "bytes_rewritten": journal.bytes,
            },
        )

    def _settle(self) -> None:
        """Of a plan that has moved refs and was not carried out to its end, the map is to know."""
        history = self.repository.history
        there = {*history.commits, *(ref.value for ref in history.refs)}
        self.journals.drop_unfinished()
        self.map.read()  # whether it can be read is to be known before anything moves
        for journal in list(self.journals.others(self.plan.id)):
            self.map.add({old: new for old, new in journal.ids.items() if new in there})
            self.journals.drop(journal.plan)

    def _written(self) -> Journal:
        """New objects in DVC and in git, to which nothing leads yet, and the journal of them."""
        history = self.repository.history
        rows = self._rows(history.branches().values())
        rewriter = Rewriter(self.search, self.changing.replaced, self.scratch, self.mark)
        commits = self.changing.everything.commits
        moves, stood = [], {}
        with self.git.reader() as reader:
            new = Restatement(self.git, Trees(reader))
            for number, commit in enumerate(commits.values()):
                self.progress("rewrite", number, len(commits), rewriter.bytes)
                new.commit(commit, self._pointers(commit, new.trees, rewriter))
            self.progress("rewrite", len(commits), len(commits), rewriter.bytes)
            for tag in self._tags():
                new.ref(tag)
            for ref in history.refs:
                move = Move(ref.name, ref.value, _renamed(ref.name, new.ids), new.ref(ref.value))
                if not ref.symbolic:
                    moves.append(move)
                if move[:2] != move[2:]:
                    stood[move.new_name] = Former(move.new, ref.name, ref.commit)
        journal = Journal(
            self.plan.id, tuple(moves), stood, new.ids, rows,
            tuple(sorted({name.path for name in rewriter.added})), new.signatures, rewriter.bytes,
        )  # fmt: skip
        self.journals.keep(journal)
        return journal

    def _tags(self) -> list[str]:
        """Annotated tags, also those that were moved or deleted."""
        return [name for name, kind in self.git.kinds().items() if kind == "tag"]

    def _pointers(self, commit: Commit, trees: Trees, rewriter: Rewriter) -> dict[str, str]:
        """Path → blob of the pointers that shall lead elsewhere."""
        contents: dict[str, dict[str, Content]] = {}
        for output in self.changing.outputs(commit):
            contents.setdefault(output.pointer, {})[output.path] = rewriter.content(output)
        if not contents:
            return {}
        tree = value_of(trees.read(commit.id), b"tree")
        return {path: self._pointer(trees, tree, path, new) for path, new in contents.items()}

    def _pointer(self, trees: Trees, tree: str, path: str, contents: Mapping[str, Content]) -> str:
        body = trees.file(tree, path)
        assert body is not None  # noqa: S101 (the output was read from it)
        stages = trees.file(tree, posixpath.join(posixpath.dirname(path), "dvc.yaml"))
        key = path, body, stages, frozenset(contents.items())
        if key not in self._blobs:
            self._blobs[key] = self.git.write("blob", changed(path, body, contents, stages))
        return self._blobs[key]

    def _before(self, journal: Journal, branch: str) -> Commit | None:
        was = journal.stood.get(branch)
        return read_commit(self.git, was.commit) if was else None


def _renamed(ref: str, ids: Mapping[str, str]) -> str:
    match = _EXPERIMENT.fullmatch(ref)
    if match and (new := ids.get(match[1] + match[2])):
        return f"refs/exps/{new[:2]}/{new[2:]}/{match[3]}"
    return ref
