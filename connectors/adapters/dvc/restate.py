"""Commits and annotated tags written anew where what they lead to is another one.

Git's objects are named by their bytes. So with the same changes the same objects come out, however
often it is done, and whoever was killed over it has lost nothing but time.
"""

from collections.abc import Collection, Mapping

from connectors.adapters.dvc.git import Git, GitObject
from connectors.adapters.dvc.headers import is_signed, value_of, with_other_ids
from connectors.adapters.dvc.history import Commit, History, TreeEntry, Trees, tree_bytes


def descendants(history: History, changed: Collection[str]) -> set[str]:
    """These commits and all that have one of them among their ancestors."""
    found: set[str] = set()
    for commit in history.commits.values():  # parents first
        if commit.id in changed or not found.isdisjoint(commit.parents):
            found.add(commit.id)
    return found


class Restatement:
    """`ids`: old → new, of commits and annotated tags. `signatures`: how many were dropped."""

    def __init__(self, git: Git, trees: Trees) -> None:
        self.git = git
        self.trees = trees
        self.ids: dict[str, str] = {}
        self.signatures = 0
        self._done: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}

    def commit(self, commit: Commit, files: Mapping[str, str]) -> None:
        """`files`: what shall stand in its tree instead, path → blob. Its parents come first.
        Nothing is written for a commit that stays as it is. Raises StoreError."""
        if files or not self.ids.keys().isdisjoint(commit.parents):
            old = self.trees.read(commit.id)
            tree = self._tree(value_of(old, b"tree"), files)
            self._write(old, with_other_ids(old, self.ids, tree))

    def ref(self, value: str) -> str:
        """What a ref names instead of this commit or annotated tag; what is missing stays."""
        old = None if value in self.ids else self.trees.reader.read(value)
        if old is not None and old.kind == "tag":
            target = value_of(old, b"object")
            if self.ref(target) != target:
                self._write(old, with_other_ids(old, self.ids))
        return self.ids.get(value, value)

    def _write(self, old: GitObject, body: bytes) -> None:
        self.signatures += is_signed(old)
        self.ids[old.id] = self.git.write(old.kind, body)

    def _tree(self, tree: str, files: Mapping[str, str]) -> str:
        if not files:
            return tree
        key = tree, frozenset(files.items())
        if key not in self._done:
            inside: dict[str, dict[str, str]] = {}
            for path, blob in files.items():
                name, _, rest = path.partition("/")
                inside.setdefault(name, {})[rest] = blob
            entries = [
                self._entry(entry, inside.get(entry.name, {})) for entry in self.trees.entries(tree)
            ]
            self._done[key] = self.git.write("tree", tree_bytes(entries))
        return self._done[key]

    def _entry(self, entry: TreeEntry, inside: Mapping[str, str]) -> TreeEntry:
        return entry._replace(id=inside[""] if "" in inside else self._tree(entry.id, inside))
