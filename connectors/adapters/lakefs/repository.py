"""A lakeFS repository at one moment: refs, commits, what they list, and who uses which object.

Commits that list the same share a metarange, so that each listing is read once. A commit is a
version of the data if it lists other objects than each of its parents did.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from connectors.adapters.base import StoreError
from connectors.adapters.lakefs.blocks import Blocks
from connectors.adapters.lakefs.client import Lakefs, ObjectGoneError
from connectors.storage import FileEntry

if TYPE_CHECKING:
    from lakefs_sdk.models import commit as sdk_commit
    from lakefs_sdk.models import object_stats as sdk_object_stats
    from lakefs_sdk.models import repository as sdk_repository


@dataclass(frozen=True)
class Entry:
    """An object under the path at which a commit lists it. `key`: see `Blocks.key`."""

    path: str
    key: str
    bytes: int
    checksum: str
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)


Listing = Mapping[str, Entry]  # by path


@dataclass(frozen=True)
class Commit:
    id: str
    parents: tuple[str, ...]
    time: datetime
    said: str  # message, author and metadata, as one text
    metadata: Mapping[str, str]
    entries: Listing  # of all paths


@dataclass
class Uses:
    """Who lists one object. `paths`: what it is called there. `versions`: commits, in order."""

    paths: dict[str, None] = field(default_factory=dict)
    versions: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Repository:
    """`commits`: parents first. `version_of`: commit → the commit that brought what it lists, ""
    where that is nothing. `uses`: of objects listed in scope. `elsewhere`: objects listed outside
    of it. `open_changes`: branch → what was changed there and not committed, objects by path.
    `objects`: every object, as some ref lists it."""

    client: Lakefs
    blocks: Blocks
    default_branch: str
    read_only: bool
    branches: Mapping[str, str]
    tags: Mapping[str, str]
    commits: Mapping[str, Commit]
    version_of: Mapping[str, str]
    uses: Mapping[str, Uses]
    elsewhere: frozenset[str]
    open_changes: Mapping[str, Mapping[str, Entry | None]]
    objects: Mapping[str, tuple[str, Entry]]
    _there: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def stored(self) -> Mapping[str, FileEntry]:
        """Every file of the block store, by its key."""
        return {entry.path: entry for entry in self.blocks.entries()}

    def in_scope(self, path: str) -> bool:
        return path.startswith(self.client.place.prefix)

    def files(self, commit: Commit) -> list[Entry]:
        """What a commit lists in scope."""
        return [entry for path, entry in commit.entries.items() if self.in_scope(path)]

    def versions(self) -> list[Commit]:
        return [c for c in self.commits.values() if self.version_of[c.id] == c.id]

    def retained(self) -> list[Commit]:
        """The versions whose data is all there, oldest first."""
        return [
            commit
            for commit in self.versions()
            if all(self.is_there(entry.key) for entry in self.files(commit))
        ]

    def is_there(self, key: str) -> bool:
        """Whether an object's data can still be read."""
        if self.blocks.folder and self.blocks.is_inside(key):
            return key in self.stored
        if key not in self._there:
            ref, entry = self.objects[key]
            self._there[key] = self.client.is_there(ref, entry.path)
        return self._there[key]

    def newest(self) -> Commit | None:
        """What the default branch lists, or else the newest version of all."""
        head = self.version_of.get(self.branches.get(self.default_branch, ""), "")
        versions = self.versions()
        return self.commits[head] if head else versions[-1] if versions else None

    def refs_of(self, version: str) -> tuple[str, ...]:
        refs = [*self.branches.items(), *((f"tags/{t}", c) for t, c in self.tags.items())]
        return tuple(name for name, commit in refs if self.version_of[commit] == version)

    def parents_of(self, version: str) -> tuple[str, ...]:
        parents = (self.version_of[p] for p in self.commits[version].parents)
        return tuple(dict.fromkeys(p for p in parents if p))

    def heads(self) -> dict[str, Commit]:
        """Branch → its newest commit."""
        return {branch: self.commits[commit] for branch, commit in self.branches.items()}

    def head_keys(self) -> set[str]:
        """Objects that some branch lists, committed or not, in scope or not."""
        found = {e.key for commit in self.heads().values() for e in commit.entries.values()}
        changes = (e for c in self.open_changes.values() for e in c.values() if e)
        return found | {entry.key for entry in changes}

    def tagged_keys(self) -> dict[str, set[str]]:
        """Tag → the objects that it leads to."""
        return {
            tag: {entry.key for entry in self.commits[commit].entries.values()}
            for tag, commit in self.tags.items()
        }


def read_repository(
    client: Lakefs, blocks: Blocks, found: "sdk_repository.Repository"
) -> Repository:
    """`found`: what the server says of the repository. Raises StoreError."""
    branches, tags = client.branches(), client.tags()
    raw = _commits(client, [*branches.values(), *tags.values()])
    commits = _listed(client, blocks, raw)
    version_of: dict[str, str] = {}
    for commit in commits.values():
        version_of[commit.id] = _version(commit, commits, version_of, client.place.prefix)
    changes = {branch: _changes(client, blocks, branch) for branch in branches}
    index = _Index(client.place.prefix)
    for commit in commits.values():
        version = commit.id if version_of[commit.id] == commit.id else ""
        for entry in commit.entries.values():
            index.note(commit.id, entry, version)
    for branch, entries in changes.items():
        for changed in filter(None, entries.values()):
            index.note(branch, changed)
    return Repository(
        client, blocks, found.default_branch, bool(found.read_only), branches, tags, commits,
        version_of, index.uses, frozenset(index.elsewhere),
        {b: c for b, c in changes.items() if c}, index.objects,
    )  # fmt: skip


@dataclass
class _Index:
    """Which refs list which objects."""

    scope: str
    uses: dict[str, Uses] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    objects: dict[str, tuple[str, Entry]] = field(default_factory=dict)

    def note(self, ref: str, entry: Entry, version: str = "") -> None:
        """`version`: the commit, if it is one."""
        self.objects.setdefault(entry.key, (ref, entry))
        if not entry.path.startswith(self.scope):
            self.elsewhere.add(entry.key)
            return
        use = self.uses.setdefault(entry.key, Uses())
        use.paths[entry.path] = None
        if version:
            use.versions[version] = None


def _commits(client: Lakefs, heads: Iterable[str]) -> "dict[str, sdk_commit.Commit]":
    """Every commit that leads to one of the heads, parents first, else the older one first."""
    found: dict[str, sdk_commit.Commit] = {}
    for head in dict.fromkeys(heads):
        missing = {head} - found.keys()
        if not missing:
            continue
        for commit in client.log(head):
            if commit.id not in found:
                found[commit.id] = commit
                missing |= set(commit.parents)
            missing -= found.keys()
            if not missing:
                break  # the rest was read with another head
        if missing:
            raise StoreError(
                f"The log of {client.place.shown} lacks commits that others name as their parents. "
                "Read it again; if that does not help, repair the repository."
            )
    ordered = sorted(found.values(), key=lambda c: (c.creation_date, c.id))
    graph = {commit.id: sorted(commit.parents) for commit in ordered}
    return {name: found[name] for name in TopologicalSorter(graph).static_order()}


def _listed(
    client: Lakefs, blocks: Blocks, raw: "Mapping[str, sdk_commit.Commit]"
) -> dict[str, Commit]:
    listings: dict[str, Listing] = {}
    commits = {}
    for name, commit in raw.items():
        if commit.meta_range_id not in listings:
            entries = (entry_of(blocks, stats) for stats in client.objects(name))
            listings[commit.meta_range_id] = {e.path: e for e in entries}
        metadata = dict(commit.metadata or {})
        said = [commit.message, commit.committer, *(f"{k}={v}" for k, v in metadata.items())]
        commits[name] = Commit(
            name,
            tuple(commit.parents),
            datetime.fromtimestamp(commit.creation_date, UTC),
            "\n".join(said),
            metadata,
            listings[commit.meta_range_id],
        )
    return commits


def entry_of(blocks: Blocks, stats: "sdk_object_stats.ObjectStats") -> Entry:
    return Entry(
        stats.path,
        blocks.key(stats.physical_address),
        stats.size_bytes or 0,
        stats.checksum,
        dict(stats.metadata or {}),
    )


def _changes(client: Lakefs, blocks: Blocks, branch: str) -> dict[str, Entry | None]:
    found: dict[str, Entry | None] = {}
    for change in client.uncommitted(branch):
        found[change.path] = None
        if change.type != "removed":
            try:
                found[change.path] = entry_of(blocks, client.stat(branch, change.path))
            except ObjectGoneError:
                continue  # somebody took it back just now
    return found


def _version(
    commit: Commit, commits: Mapping[str, Commit], version_of: Mapping[str, str], scope: str
) -> str:
    mine = _contents(commit.entries, scope)
    for parent in commit.parents:
        if _contents(commits[parent].entries, scope) == mine:
            return version_of[parent]
    return commit.id if mine else ""


def _contents(entries: Listing, scope: str) -> dict[str, str]:
    return {path: entry.key for path, entry in entries.items() if path.startswith(scope)}


def changed_paths(repository: Repository, commit: Commit) -> Sequence[str]:
    """Files in scope that are not as a parent has them."""
    before: dict[str, str] = {}
    for parent in commit.parents:
        before |= {e.path: e.key for e in repository.files(repository.commits[parent])}
    return [e.path for e in repository.files(commit) if before.get(e.path) != e.key]


def affected(repository: Repository, commit: Commit, doomed: Iterable[str]) -> Iterator[Entry]:
    """The files in scope of a commit that are such objects."""
    keys = set(doomed)
    return (entry for entry in repository.files(commit) if entry.key in keys)
