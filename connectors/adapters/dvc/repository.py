"""A DVC repository at one moment: git, the places of its data, and who uses which object."""

import hashlib
import os
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from connectors.adapters.base import StoreError, StoreNotFoundError
from connectors.adapters.dvc.git import Git
from connectors.adapters.dvc.history import Commit, History, read_history
from connectors.adapters.dvc.names import Member, ObjectName, members_of
from connectors.adapters.dvc.places import Contents, Place, contents_of
from connectors.adapters.dvc.pointers import Output, PointerError, is_pointer, outputs_of
from connectors.adapters.dvc.settings import Address, Remote, Settings, read_settings
from connectors.folders import LocalFolder
from connectors.storage import Folder

_SITE_CACHES = ("/var/tmp/dvc", "/var/cache/dvc")  # noqa: S108 (where DVC keeps them)
Reach = Callable[[Address], Folder]
_MAJOR_VERSIONS = (2, 3)  # of DVC: part of a site cache's name


@dataclass
class Uses:
    """Who points to one object. `paths`: what it is called there. `versions`: commits, in order."""

    paths: dict[str, None] = field(default_factory=dict)
    versions: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Repository:
    """`uses`: of objects that outputs in scope point to. `elsewhere`: objects of other outputs.
    `uncommitted`: outputs of the work tree that the commit at HEAD does not have like that."""

    root: Path
    git: Git
    settings: Settings
    history: History
    contents: Contents
    scope: str
    uses: Mapping[ObjectName, Uses]
    elsewhere: frozenset[ObjectName]
    uncommitted: Mapping[str, Output]
    retired: frozenset[str]
    reach: Reach
    _members: dict[ObjectName, "list[Member] | None"] = field(default_factory=dict)

    def again(self) -> "Repository":
        """As it is now. Raises StoreError."""
        return read_repository(self.root, self.scope, self.retired, self.reach)

    def in_scope(self, path: str) -> bool:
        return not self.scope or path == self.scope

    def outputs(self, commit: Commit) -> list[Output]:
        return [o for o in commit.outputs.values() if self.in_scope(o.path)]

    def members(self, name: ObjectName) -> list[Member] | None:
        """The files of a folder object; None where the listing is not there any more."""
        return _members_at(self.contents, name, self._members)

    def files(self, output: Output) -> list[Member] | None:
        """The files of an output with their paths in the repository; None: not there any more."""
        if not output.name.is_folder:
            return [Member(output.path, output.name)]
        members = self.members(output.name)
        if members is None:
            return None
        return [Member(f"{output.path}/{m.path}", m.name) for m in members]

    def is_complete(self, output: Output) -> bool:
        files = self.files(output)
        return files is not None and all(f.name in self.contents.objects for f in files)

    def retained(self) -> list[Commit]:
        """The versions whose data is all there, oldest first."""
        complete: dict[ObjectName, bool] = {}
        found = []
        for commit in self.history.versions():
            for output in self.outputs(commit):
                if output.name not in complete:
                    complete[output.name] = self.is_complete(output)
            if all(complete[o.name] for o in self.outputs(commit)):
                found.append(commit)
        return found

    def newest(self) -> Commit | None:
        """What is checked out, or else the newest version of all."""
        if self.history.head and (version := self.history.version_of[self.history.head]):
            return self.history.commits[version]
        versions = self.history.versions()
        return versions[-1] if versions else None

    def unreachable(self) -> list[Remote]:
        return [r for r in self.settings.remotes if r.fault and r.name not in self.retired]

    def head_objects(self) -> dict[ObjectName, None]:
        """Objects that the newest commit of some branch points to."""
        found: dict[ObjectName, None] = {}
        for commit in self.history.branches().values():
            for output in self.outputs(commit):
                found[output.name] = None
                found.update((f.name, None) for f in self.files(output) or ())
        return found

    def site_caches(self) -> list[Path]:
        """What DVC keeps about this repository elsewhere on this machine: hashes, file names.

        Their folders are named after the repository, the user and DVC's version.
        """
        given = os.environ.get("DVC_SITE_CACHE_DIR") or self.settings.site_cache
        tops = [Path(given)] if given else [Path(top) for top in _SITE_CACHES]
        # As DVC finds the user's name out.
        given_names = {os.environ[n] for n in ("LOGNAME", "USER", "LNAME") if n in os.environ}
        tokens = {
            hashlib.md5(
                str((str(self.root), None, born, user, version, 0)).encode(), usedforsecurity=False
            ).hexdigest()
            for user in given_names | {entry.pw_name for entry in pwd.getpwall()}
            for version in _MAJOR_VERSIONS
            for born in (self._born(), None)
        }
        return [f for top in tops for t in sorted(tokens) if (f := top / "repo" / t).is_dir()]

    def _born(self) -> float | None:
        mark = self.root / ".dvc" / "tmp" / "btime"
        return mark.stat().st_mtime if mark.exists() else None


def on_this_machine(address: Address) -> Folder:
    if isinstance(address, Path):
        return LocalFolder(address)
    raise StoreError("nothing says how buckets are reached.")


def read_repository(
    root: Path,
    scope: str = "",
    retired: Iterable[str] = (),
    reach: Reach = on_this_machine,
) -> Repository:
    """`retired`: names of remotes that do not exist any more. `reach` gives the folder at an
    address, and raises StoreError where it may not be opened: the repository's configuration names
    its cache and remotes, and whoever may commit to it writes that. Raises StoreError."""
    git = opened(root)
    history = read_history(git, scope)
    settings = read_settings(root, history.configurations)
    gone = frozenset(retired)
    settings, places = _reached(settings, gone, reach)
    contents = contents_of(places)
    members: dict[ObjectName, list[Member] | None] = {}
    work = _work_outputs(root)
    head = history.commits[history.head].outputs if history.head else {}
    uncommitted = {
        path: output
        for path, output in work.items()
        if (not scope or path == scope)
        and (path not in head or head[path].name != output.name)
        and not git_holds(git, path)
    }
    uses: dict[ObjectName, Uses] = {}
    elsewhere: set[ObjectName] = set()
    for commit in history.commits.values():
        version = history.version_of[commit.id]
        for output in commit.outputs.values():
            if scope and output.path != scope:
                elsewhere |= _names(contents, output.name, members)
            elif version == commit.id:
                _note(uses, output, version, contents, members)
    for output in uncommitted.values():
        _note(uses, output, "", contents, members)
    return Repository(
        root, git, settings, history, contents, scope, uses, frozenset(elsewhere), uncommitted,
        gone, reach, members,
    )  # fmt: skip


def opened(root: Path) -> Git:
    """Raises StoreNotFoundError, StoreError."""
    if not (root / ".dvc").is_dir():
        raise StoreNotFoundError(
            f"There is no DVC repository at {root} (no folder .dvc). Give the top folder of the "
            "git repository in which dvc init was run."
        )
    if not (root / ".git").is_dir():
        raise StoreError(
            f"The folder {root} is not the top of a git repository of its own. Connect the "
            "repository itself, not a linked work tree, a submodule or a folder inside it."
        )
    return Git(root)


def git_holds(git: Git, path: str) -> bool:
    return bool(git.run("ls-files", "-z", "--", f":(literal){path}"))


def _reached(
    settings: Settings, retired: frozenset[str], reach: Reach
) -> tuple[Settings, tuple[Place, ...]]:
    """The settings with what ails remotes, and the places that can be reached, the cache first.

    Raises StoreError for a folder that may not be read, and a store that does not answer.
    """
    known: dict[Address, Place] = {settings.cache: Place("cache", reach(settings.cache))}
    remotes = []
    for remote in settings.remotes:
        address, fault = remote.address, remote.fault
        # A folder that is there after all is read, but a bucket that is gone is not asked for.
        gone = remote.name in retired and not isinstance(address, Path)
        if address and not fault and not gone and address not in known:
            place, fault = _opened(remote.name, address, reach)
            if place:
                known[address] = place
        remotes.append(replace(remote, fault=fault))
    return replace(settings, remotes=tuple(remotes)), tuple(known.values())


def _opened(name: str, address: Address, reach: Reach) -> tuple[Place | None, str]:
    """A remote's place, or why there is none: a bucket is what the connector's options say too."""
    try:
        place = Place(f"remote {name}", reach(address))
    except StoreError as exc:
        if isinstance(address, Path):
            raise
        return None, str(exc).removesuffix(".")
    return (place, "") if place.is_there() else (None, "there is no such bucket")


def _work_outputs(root: Path) -> dict[str, Output]:
    found: dict[str, Output] = {}
    for top, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in (".git", ".dvc")]
        for name in names:
            location = Path(top) / name
            if not is_pointer(name) or not location.is_file():
                continue
            path = location.relative_to(root).as_posix()
            stages = location.with_name("dvc.yaml")
            declared = stages.read_bytes() if name == "dvc.lock" and stages.is_file() else None
            try:
                outputs = outputs_of(path, location.read_bytes(), declared)
            except PointerError as exc:
                raise StoreError(
                    f"The pointer {path} in the work tree cannot be read: {exc}. Correct it."
                ) from exc
            found.update({o.path: o for o in outputs})
    return found


def _members_at(
    contents: Contents, name: ObjectName, known: dict[ObjectName, "list[Member] | None"]
) -> list[Member] | None:
    if name not in known:
        found = name in contents.objects
        known[name] = members_of(name, contents.read(name)) if found else None
    return known[name]


def _names(
    contents: Contents, name: ObjectName, known: dict[ObjectName, "list[Member] | None"]
) -> set[ObjectName]:
    members = _members_at(contents, name, known) if name.is_folder else None
    return {name, *(m.name for m in members or ())}


def _note(
    uses: dict[ObjectName, Uses],
    output: Output,
    version: str,
    contents: Contents,
    known: dict[ObjectName, "list[Member] | None"],
) -> None:
    pairs: Sequence[tuple[str, ObjectName]] = [(output.path, output.name)]
    if output.name.is_folder:
        members = _members_at(contents, output.name, known) or []
        pairs = [*pairs, *((f"{output.path}/{m.path}", m.name) for m in members)]
    for path, name in pairs:
        use = uses.setdefault(name, Uses())
        use.paths[path] = None
        if version:
            use.versions[version] = None
