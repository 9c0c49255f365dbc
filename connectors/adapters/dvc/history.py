"""What git says about the data: which commit points to which objects.

A commit is a version of the data if it points to other objects than all of its parents did. Trees
and pointers are read once each, however many commits share them.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import NamedTuple

from connectors.adapters.base import StoreError
from connectors.adapters.dvc.git import Git, GitObject, ObjectReader, Ref
from connectors.adapters.dvc.headers import is_signed, value_of, values_of
from connectors.adapters.dvc.pointers import Output, PointerError, is_pointer, outputs_of
from connectors.adapters.dvc.settings import CONFIG

_BRANCHES = "refs/heads/"
_FETCHED = "refs/remotes/"
_TREE_MODE = "40000"
TRAILER = "Vestige-Plan: "  # in the messages of our own commits, before the plan's id
Outputs = Mapping[str, Output]  # by path


class TreeEntry(NamedTuple):
    mode: str
    name: str
    id: str


@dataclass(frozen=True)
class Commit:
    id: str
    parents: tuple[str, ...]
    time: datetime
    outputs: Outputs
    faults: tuple[str, ...] = ()  # pointers that cannot be read
    erased: bool = False  # an erasure of ours made it
    signed: bool = False


@dataclass(frozen=True)
class History:
    """`commits`: parents first. `refs`: every ref but HEAD. `version_of`: commit → the commit that
    brought the outputs it points to, "" where there are none."""

    commits: Mapping[str, Commit]
    refs: tuple[Ref, ...]
    checked_out: str | None
    head: str | None
    version_of: Mapping[str, str]
    configurations: tuple[bytes, ...]

    def versions(self) -> list[Commit]:
        return [c for c in self.commits.values() if self.version_of[c.id] == c.id]

    def branches(self) -> dict[str, Commit]:
        """Branch (refs/heads/…) → its newest commit."""
        return {r.name: self.commits[r.commit] for r in self.refs if r.name.startswith(_BRANCHES)}

    def fetched(self) -> dict[str, Commit]:
        """Branches of other repositories, as they were when they were fetched last."""
        return {r.name: self.commits[r.commit] for r in self.refs if r.name.startswith(_FETCHED)}

    def refs_of(self, version: str) -> tuple[str, ...]:
        """What points to a version: branches and tags, in git's short form."""
        return tuple(
            r.name.removeprefix("refs/").removeprefix("heads/")
            for r in self.refs
            if self.version_of[r.commit] == version
        )

    def parents_of(self, version: str) -> tuple[str, ...]:
        parents = (self.version_of[p] for p in self.commits[version].parents)
        return tuple(dict.fromkeys(p for p in parents if p))

    def versions_of(self, path: str) -> dict[str, str]:
        """As `version_of`, for the output at this path."""
        found: dict[str, str] = {}
        for commit in self.commits.values():
            found[commit.id] = _version(commit, self.commits, found, path)
        return found

    def ancestors(self, commit: str) -> set[str]:
        found, waiting = set(), [commit]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting += self.commits[current].parents
        return found


def read_history(git: Git, scope: str = "", *, everything: bool = False) -> History:
    """`scope`: the path of the one output that counts; empty for all. `everything`: with commits
    that only logs of refs lead to, or nothing at all. Raises StoreError."""
    refs = git.refs()
    with git.reader() as reader:
        trees = Trees(reader)
        commits: dict[str, Commit] = {}
        version_of: dict[str, str] = {}
        configurations: dict[bytes, None] = {}
        for seconds, name, parents in git.commits(logged=everything):
            body = trees.read(name)
            known = tuple(p for p in parents if p in commits)  # a shallow clone has not all
            commits[name] = commit = _commit(body, known, seconds, trees)
            version_of[name] = _version(commit, commits, version_of, scope)
            if configuration := trees.file(value_of(body, b"tree"), CONFIG):
                configurations[configuration] = None
        for body in _loose_ends(git, trees, commits) if everything else ():
            with suppress(StoreError):  # it is not whole, and nobody can have it back
                parents = values_of(body, b"parent")
                commits[body.id] = _commit(body, tuple(parents), 0, trees)
                version_of[body.id] = _version(commits[body.id], commits, version_of, scope)
    return History(
        commits,
        tuple(r for r in refs if r.commit in commits),
        git.checked_out(),
        git.head(),
        version_of,
        tuple(configurations),
    )


def _loose_ends(git: Git, trees: "Trees", known: Mapping[str, Commit]) -> Iterator[GitObject]:
    """Commits to which nothing leads, parents first: a stash that was dropped, a branch that was
    deleted. `known` grows by those that are taken; what misses a parent is left out."""
    names = [name for name, kind in git.kinds().items() if kind == "commit" and name not in known]
    bodies = {name: trees.read(name) for name in names}
    parents = {name: values_of(body, b"parent") for name, body in bodies.items()}
    for name in TopologicalSorter(parents).static_order():
        if name in bodies and all(parent in known for parent in parents[name]):
            yield bodies[name]


def read_commit(git: Git, name: str) -> Commit:
    """One commit, whatever leads to it. Raises StoreError."""
    seconds = int(git.run("rev-list", "--max-count=1", "--timestamp", name).split()[0])
    with git.reader() as reader:
        trees = Trees(reader)
        return _commit(trees.read(name), (), seconds, trees)


def _commit(body: GitObject, parents: tuple[str, ...], seconds: int, trees: "Trees") -> Commit:
    outputs, faults = trees.outputs(value_of(body, b"tree"))
    return Commit(
        body.id,
        parents,
        datetime.fromtimestamp(seconds, UTC),
        outputs,
        tuple(faults),
        erased=f"\n{TRAILER}".encode() in body.body,
        signed=is_signed(body),
    )


def _version(
    commit: Commit, commits: Mapping[str, Commit], version_of: Mapping[str, str], scope: str
) -> str:
    mine = _contents(commit.outputs, scope)
    for parent in commit.parents:
        if _contents(commits[parent].outputs, scope) == mine:
            return version_of[parent]
    return commit.id if mine else ""


def _contents(outputs: Outputs, scope: str) -> dict[str, object]:
    return {p: o.name for p, o in outputs.items() if not scope or p == scope}


@dataclass
class Trees:
    """Trees and pointers, each read once."""

    reader: ObjectReader
    _entries: dict[str, list[TreeEntry]] = field(default_factory=dict)
    _pointers: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    _parsed: dict[tuple[str, str, str], "list[Output] | str"] = field(default_factory=dict)
    _outputs: dict[str, tuple[Outputs, list[str]]] = field(default_factory=dict)

    def read(self, name: str) -> GitObject:
        """Raises StoreError where it is missing."""
        found = self.reader.read(name)
        if found is None:
            raise StoreError(
                f"The git repository lacks the object {name}. Fetch it, or look with git fsck what "
                "else is missing."
            )
        return found

    def outputs(self, tree: str) -> tuple[Outputs, list[str]]:
        """(outputs kept outside git by path, paths of pointers that cannot be read)."""
        if tree not in self._outputs:
            outputs: dict[str, Output] = {}
            faults = []
            for path, blob, stages in self._pointers_in(tree):
                found = self._outputs_of(path, blob, stages)
                if isinstance(found, str):
                    faults.append(f"{path}: {found}")
                    continue
                # What is in git itself (`cache: false`) is no object of the cache.
                outputs.update({o.path: o for o in found if not self._has(tree, o.path)})
            self._outputs[tree] = (outputs, faults)
        return self._outputs[tree]

    def _outputs_of(self, path: str, blob: str, stages: str) -> "list[Output] | str":
        key = (path, blob, stages)
        if key not in self._parsed:
            declared = self.read(stages).body if stages else None
            try:
                self._parsed[key] = outputs_of(path, self.read(blob).body, declared)
            except PointerError as exc:
                self._parsed[key] = str(exc)
        return self._parsed[key]

    def _pointers_in(self, tree: str, folder: str = "") -> Iterable[tuple[str, str, str]]:
        """(path, blob, blob of the dvc.yaml beside a dvc.lock or "")."""
        if tree not in self._pointers:
            self._pointers[tree] = list(self._pointers_below(tree))
        return [(f"{folder}{path}", blob, stages) for path, blob, stages in self._pointers[tree]]

    def _pointers_below(self, tree: str) -> Iterator[tuple[str, str, str]]:
        entries = self.entries(tree)
        stages = next((e.id for e in entries if e.name == "dvc.yaml"), "")
        for entry in entries:
            if entry.mode == _TREE_MODE:
                yield from self._pointers_in(entry.id, f"{entry.name}/")
            elif entry.mode.startswith("100") and is_pointer(entry.name):
                yield entry.name, entry.id, stages if entry.name == "dvc.lock" else ""

    def file(self, tree: str, path: str) -> bytes | None:
        entry = self._at(tree, path)
        return self.read(entry.id).body if entry else None

    def _has(self, tree: str, path: str) -> bool:
        return self._at(tree, path) is not None

    def _at(self, tree: str, path: str) -> TreeEntry | None:
        found: TreeEntry | None = None
        current = tree
        for part in path.split("/"):
            found = next((e for e in self.entries(current) if e.name == part), None)
            if found is None:
                return None
            current = found.id
        return found

    def entries(self, tree: str) -> list[TreeEntry]:
        if tree not in self._entries:
            read = self.reader.read(tree)
            self._entries[tree] = list(tree_entries(read)) if read else []
        return self._entries[tree]


def tree_entries(tree: GitObject) -> Iterator[TreeEntry]:
    """The entries of a tree; none for other objects. The id's length follows from the tree's."""
    if tree.kind != "tree":
        return
    width, position = len(tree.id) // 2, 0
    while position < len(tree.body):
        end = tree.body.index(b"\0", position)
        mode, _, name = tree.body[position:end].partition(b" ")
        position = end + 1 + width
        yield TreeEntry(
            mode.decode(),
            name.decode(errors="surrogateescape"),
            tree.body[end + 1 : position].hex(),
        )


def tree_bytes(entries: Iterable[TreeEntry]) -> bytes:
    """The reverse, to the byte."""
    return b"".join(
        f"{e.mode} {e.name}\0".encode(errors="surrogateescape") + bytes.fromhex(e.id)
        for e in entries
    )
