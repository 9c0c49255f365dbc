"""What stands in the way of keeping history, beyond what stands in the way of any erasure."""

from collections.abc import Collection, Iterator

from connectors.adapters.dvc.headers import is_signed, value_of
from connectors.adapters.dvc.history import Commit, read_history
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.pointers import Output
from connectors.adapters.dvc.repository import Repository
from connectors.adapters.dvc.restate import descendants

# By the kind of a finding, as `blockers.BLOCKING`.
BLOCKING_KEEPING = {
    "entangled": (
        "{path} names the person in an older version, where rows cannot be taken out: in texts, in "
        "rows of other people, or in a format that Vestige cannot rewrite (Parquet, CSV, JSON "
        'Lines). Plan with mode "purge".'
    ),
    "named before": (
        "The name of {path} in an older version names the person, but it holds rows of other "
        'people. Plan with mode "purge".'
    ),
}
_OF_GIT = {
    "shallow": (
        "The repository is a shallow clone: commits would lose what came before them. Fetch the "
        "rest first (git fetch --unshallow)."
    ),
    "info/grafts": (
        "The repository has grafts (.git/info/grafts), which name commits by ids that would "
        "change. Make them permanent or remove them."
    ),
    "objects/info/alternates": (
        "The repository borrows git objects from another one (.git/objects/info/alternates), from "
        "which the old commits would not go. Run git repack -a -d, then remove that file."
    ),
    "reftable": (
        "The repository keeps its refs in the format reftable, whose logs Vestige cannot rewrite. "
        "Migrate it (git refs migrate --ref-format=files)."
    ),
    "BISECT_LOG": "A bisect is under way in the work tree. Finish it (git bisect reset).",
}


class Changing:
    """Which commits are written anew, and for which outputs.

    `everything`: the history with what only logs of refs lead to, or nothing. An object to which no
    ref leads goes without another in its place: nobody has said what rows it holds.
    """

    def __init__(self, repository: Repository, doomed: Collection[ObjectName]) -> None:
        self.repository = repository
        uses = repository.uses
        self.replaced = {n for n in doomed if n in uses and uses[n].versions}
        self.everything = read_history(repository.git, repository.scope, everything=True)
        self._known: dict[ObjectName, bool] = {}

    def outputs(self, commit: Commit) -> list[Output]:
        """Those at a commit that consist of objects that are replaced."""
        return [o for o in self.repository.outputs(commit) if self._consists(o)]

    def commits(self) -> set[str]:
        """Of those that refs lead to."""
        history = self.repository.history
        return descendants(history, {c.id for c in history.commits.values() if self.outputs(c)})

    def _consists(self, output: Output) -> bool:
        if output.name not in self._known:
            names = {output.name, *(f.name for f in self.repository.files(output) or ())}
            self._known[output.name] = not names.isdisjoint(self.replaced)
        return self._known[output.name]


def keeping_hindrances(changing: Changing, *, drop_signatures: bool) -> Iterator[str]:
    """Why commits cannot be written anew now. Nothing hinders if none has to be."""
    changed = changing.commits()
    if not changed:
        return
    yield from _of_git(changing.repository)
    yield from _named_by_id(changing.repository, changed)
    if not drop_signatures:
        yield from _signed(changing, changed)


def _of_git(repository: Repository) -> Iterator[str]:
    git = repository.root / ".git"
    for name, sentence in _OF_GIT.items():
        if (git / name).exists():
            yield sentence
    if any((git / "objects" / "pack").glob("*.keep")):
        yield (
            "A pack of the repository is marked to be kept (.git/objects/pack/*.keep), so old "
            "commits in it would stay. Remove the mark."
        )


def _named_by_id(repository: Repository, changed: set[str]) -> Iterator[str]:
    """What names commits by ids that change, without leading to them as refs do."""
    for ref in repository.history.refs:
        if ref.name.startswith("refs/replace/"):
            yield (
                f"{ref.name} replaces a commit in git's eyes. Make it permanent, or remove it (git "
                "replace --delete)."
            )
        if ref.name.startswith("refs/notes/"):
            names = repository.git.run("ls-tree", "-r", "--name-only", "-z", ref.commit).decode()
            if not changed.isdisjoint(names.replace("/", "").split("\0")):
                yield (
                    f"{ref.name} holds notes on commits that would get other ids, and Vestige does "
                    'not move notes. Plan with mode "purge", or give the notes up (git update-ref '
                    f"-d {ref.name})."
                )


def _signed(changing: Changing, changed: set[str]) -> Iterator[str]:
    commits = changing.repository.history.commits
    signed = sum(commits[name].signed for name in changed)
    waiting = {r.value for r in changing.repository.history.refs if r.commit in changed}
    tags = 0
    with changing.repository.git.reader() as reader:
        while waiting:
            found = reader.read(waiting.pop())
            if found is not None and found.kind == "tag":
                tags += is_signed(found)
                waiting.add(value_of(found, b"object"))  # which may be another tag
    if signed or tags:
        yield (
            f"Signed commits ({signed}) and tags ({tags}) would get other ids, which no signature "
            "outlives. If they may go without, set the option drop_signatures to true; if not, "
            'plan with mode "purge".'
        )
