"""What stands in the way of an erasure, each with what to do, said before anybody approves."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from connectors.adapters.base import ErasePlan, ObjectFinding, StoreError
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.pointers import Output
from connectors.adapters.dvc.repository import Repository
from connectors.scan.hidden import planned_paths

BLOCKING = {
    "mention": (
        "Texts in {path} name the person in rows of other people, and a branch points to it. Take "
        "the text out of those rows and commit, or leave the column out of text_columns."
    ),
    "alike": (
        'Rows of {path} hold the person\'s number in another spelling, as "4" for "00004". If '
        "such numbers mean the same person, name their column in the option number_columns; if "
        "not, write them differently first."
    ),
    "named": (
        "The name of {path} names the person, but it holds rows of other people, and a branch "
        "points to it. Rename it and commit."
    ),
    "other": (
        "{path} names the person, a branch points to it, and it is in no format that Vestige can "
        "rewrite (Parquet, CSV, JSON Lines). Make it anew without the person and commit."
    ),
    "opaque": (
        "{path} is in a format that cannot be decoded, so no scan could say that it names nobody. "
        "If it holds no rows of people (a model, an image), name it in the option unrelated_files."
    ),
    "link": (
        "{path} is a symbolic link out of the repository: what is behind it is neither searched "
        "nor erased. Remove it, or put the file itself in its place."
    ),
    "git": (
        "{path} names the person and lies in git itself. Take it out of the history with git "
        "filter-repo, in every clone and at the host, then search again."
    ),
    "work tree": (
        "{path} in the work tree names the person, and DVC does not keep it. Remove it, or take "
        "the person out by hand."
    ),
    "uncommitted": (
        "{path} in the work tree holds the person and is not what its pointer says. Commit it "
        "(dvc commit, git commit) or take it back (dvc checkout), then search again."
    ),
    "shared": (
        "{path} holds the person, and no commit of this repository points to it: it may be another "
        "repository's, or of a branch that was not fetched. If the place is this repository's "
        "alone, name it in the option exclusive."
    ),
    "elsewhere": (
        "{path} is the content of an output outside of this connector too. Connect the repository "
        "as a whole."
    ),
}
_MOST_SHOWN = 5  # of each kind: a history may hold the same file a thousand times
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


def blockers_of(
    objects: Sequence[ObjectFinding], blocking: Mapping[str, str] = BLOCKING
) -> Iterator[str]:
    """Of what was found. Each sentence names the place without any identifier."""
    for kind, sentence in blocking.items():
        paths = [found.path for found in objects if found.kind == kind]
        yield from (sentence.format(path=path) for path in paths[:_MOST_SHOWN])
        if len(paths) > _MOST_SHOWN:
            more = len(paths) - _MOST_SHOWN
            yield f"The same is true of {more} more, the last of them {paths[-1]}."


def unreachable(repository: Repository) -> Iterator[str]:
    """Remotes that are neither searched nor erased in."""
    for remote in repository.unreachable():
        yield (
            f"The remote {remote.name} ({remote.url}) cannot be reached by this installation: "
            f"{remote.fault}. What was pushed to it would stay. If it does not exist any more, "
            "name it in the option retired_remotes."
        )


def require_reachable(repository: Repository) -> None:
    """Raises StoreError: a remote that was lost since the plan would keep what is in it."""
    if sentences := list(unreachable(repository)):
        raise StoreError(" ".join(sentences))


def kept(repository: Repository, doomed: Collection[ObjectName], plan: ErasePlan) -> Iterator[str]:
    """Why what the plan names cannot be removed for good from the places where it is."""
    for place in repository.contents.places:
        shown = {name.path: f"{name.path} in the {place.label}" for name in doomed}
        for path, planned in planned_paths(place.hidden(), plan.objects).items():
            shown.setdefault(path, f"{planned} in the {place.label}")
        if shown:
            with place.named():
                yield from place.folder.locks(shown)


def hindrances(repository: Repository, doomed: Collection[ObjectName]) -> Iterator[str]:
    """Why these objects cannot be erased now. Nothing hinders if there is nothing to erase."""
    if not doomed:
        return
    yield from _unwritable(repository)
    yield from _work_tree(repository, doomed)
    for branch, commit in repository.history.branches().items():
        short = branch.removeprefix("refs/heads/")
        for fault in commit.faults:
            yield f"A pointer on the branch {short} cannot be read ({fault}). Correct it there."
        for output in affected(repository, commit, doomed):
            if output.imported:
                yield (
                    f"{output.pointer} on the branch {short} imports data from elsewhere, and the "
                    "next dvc update would bring the person back. Erase them at the source and "
                    "update first."
                )
    yield from _fetched(repository, doomed)


def affected(
    repository: Repository, commit: Commit, doomed: Collection[ObjectName]
) -> Iterator[Output]:
    """The outputs at a commit that consist of such objects."""
    for output in repository.outputs(commit):
        names = {output.name, *(f.name for f in repository.files(output) or ())}
        if not names.isdisjoint(doomed):
            yield output


def _unwritable(repository: Repository) -> Iterator[str]:
    folders = [repository.root, repository.root / ".git"]
    folders += [p.path for p in repository.contents.places if p.path and p.path.is_dir()]
    for folder in folders:
        if not os.access(folder, os.W_OK):
            yield f"The folder {folder} is read-only for this process. Its owner must let it write."
    if repository.settings.hard_link_lock:
        yield (
            "The repository uses core.hardlink_lock, so nothing keeps a dvc command from running "
            "at the same time. Switch it off for the erasure."
        )


def _work_tree(repository: Repository, doomed: Collection[ObjectName]) -> Iterator[str]:
    git = repository.root / ".git"
    if repository.history.checked_out is None:
        yield (
            "The work tree is at no branch (a detached HEAD). Check a branch out, so that the "
            "erased data can be checked out in its place."
        )
    if (git / "worktrees").is_dir() and any((git / "worktrees").iterdir()):
        yield (
            "The repository has linked work trees, whose copies would not be brought up to date. "
            "Remove them (git worktree remove, git worktree prune)."
        )
    for name, what in _UNFINISHED.items():
        if (git / name).exists():
            yield f"A {what} is under way in the work tree. Finish or abort it."
    branch = repository.history.checked_out
    commit = repository.history.branches().get(branch or "")
    if commit is None:
        return
    for pointer in sorted({o.pointer for o in affected(repository, commit, doomed)}):
        committed = repository.git.file_at(commit.id, pointer)
        if committed and not _is_as_committed(repository, pointer, committed.id):
            yield (
                f"The pointer {pointer} has changes that are not committed. Commit them, or take "
                "them back (git restore --staged --worktree)."
            )


def _is_as_committed(repository: Repository, pointer: str, blob: str) -> bool:
    location = repository.root / pointer
    if repository.git.staged(pointer) != blob or not location.is_file():
        return False
    with repository.git.reader() as reader:
        found = reader.read(blob)
    return found is not None and found.body == location.read_bytes()


def _fetched(repository: Repository, doomed: Collection[ObjectName]) -> Iterator[str]:
    """Branches that are here only as they were fetched: we commit to local branches alone."""
    ours: set[str] = set()
    for commit in repository.history.branches().values():
        ours |= repository.history.ancestors(commit.id)
    for ref, commit in repository.history.fetched().items():
        if commit.id not in ours and any(True for _ in affected(repository, commit, doomed)):
            yield (
                f"The newest data of {ref.removeprefix('refs/remotes/')} holds the person, and no "
                "local branch has that commit. Check it out as a branch, or remove the "
                "remote-tracking branch if it is given up."
            )
