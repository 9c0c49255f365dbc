"""The git command line on one repository, with nothing that the repository could make it run.

Only plumbing commands and `repack` are called. The system's and the user's configuration are left
out; hooks, the file system monitor, replaced objects and every transport are switched off, so that
a repository's own configuration starts no program.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from connectors.adapters.base import StoreError

_TIMEOUT = 600  # seconds, for a command that answers at once unless its disk hangs
_SAFE = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.fsync=committed",  # loose objects too: old ones are deleted once new ones are there
)
_NOBODY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Vestige"), ("EMAIL", "vestige@localhost"))
}


class GitError(StoreError):
    """Git refused or failed. The message names the command only: what git says may quote names."""


@dataclass(frozen=True)
class GitObject:
    id: str
    kind: str  # blob | tree | commit | tag
    body: bytes


class TreeFile(NamedTuple):
    mode: str  # 100644, or 100755 for a program
    id: str


@dataclass(frozen=True)
class Ref:
    """`value`: what it names itself, a commit or an annotated tag. `symbolic`: it follows another
    ref, as refs/remotes/origin/HEAD does."""

    name: str  # as in refs/heads/main
    commit: str
    value: str
    symbolic: bool = False


class Move(NamedTuple):
    """Of a ref, which may get another name with it. Of one that stays, both ends are the same."""

    name: str
    old: str
    new_name: str
    new: str


class Git:
    """`root`: the work tree's top folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = shutil.which("git")
        if found is None:
            raise GitError("git is not installed where this store is read. Install git there.")
        settings = [*_SAFE, f"safe.directory={root}"]
        self._command = [found, "-C", str(root), *(a for s in settings for a in ("-c", s))]

    def run(
        self, *arguments: str, given: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> bytes:
        """What the command prints. Raises GitError."""
        try:
            ran = subprocess.run(
                [*self._command, *arguments],
                input=given,
                capture_output=True,
                env=self._environment(environment),
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise self._failed(arguments, "took too long") from exc
        if ran.returncode:
            raise self._failed(arguments, f"ended with status {ran.returncode}")
        return ran.stdout

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            **_NOBODY,
            **(more or {}),
        }

    def _failed(self, arguments: Sequence[str], how: str) -> GitError:
        return GitError(
            f"The command git {arguments[0]} {how} in the repository {self.root}. Check the "
            'repository with "git fsck", its access rights, and free space.'
        )

    def refs(self) -> list[Ref]:
        """Every ref that leads to a commit, tags too, sorted by name."""
        wanted = "%(refname)%00%(objecttype)%00%(objectname)%00%(symref)"
        found = []
        with self.reader() as reader:
            for line in self.run("for-each-ref", f"--format={wanted}").decode().splitlines():
                name, kind, value, follows = line.split("\0")
                commit = value if kind == "commit" else ""
                if kind == "tag" and (peeled := reader.read(f"{value}^{{commit}}")):
                    commit = peeled.id
                if commit:
                    found.append(Ref(name, commit, value, bool(follows)))
        return found

    def checked_out(self) -> str | None:
        """The ref that HEAD follows, as in refs/heads/main; None where it is at a bare commit."""
        try:
            return self.run("symbolic-ref", "--quiet", "HEAD").decode().strip()
        except GitError:
            return None

    def head(self) -> str | None:
        """The commit at HEAD; None before the first one."""
        try:
            return self.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip()
        except GitError:
            return None

    def commits(self, *, logged: bool = False) -> Iterator[tuple[int, str, list[str]]]:
        """(seconds, commit, parents) of everything that refs or HEAD reach, parents first; with
        `logged`, of what only the logs of refs lead to, too."""
        tips = [*self._tips(), *(["--reflog"] if logged else [])]
        listed = self.run(
            "rev-list", "--topo-order", "--reverse", "--parents", "--timestamp", *tips
        )
        for line in listed.decode().splitlines():
            seconds, commit, *parents = line.split()
            yield int(seconds), commit, parents

    def _tips(self) -> list[str]:
        return ["--all", *(["HEAD"] if self.head() else [])]

    def names_of_objects(self) -> dict[str, str]:
        """Object → a path under which some commit, or the index, has it."""
        listed = self.run("rev-list", "--objects", "--indexed-objects", *self._tips())
        pairs = (line.partition(b" ") for line in listed.splitlines())
        return {key.decode(): os.fsdecode(path) for key, _, path in pairs if path}

    def kinds(self) -> dict[str, str]:
        """Object → kind of everything that is there, reachable or not."""
        wanted = "--batch-check=%(objectname) %(objecttype)"
        told = self.run("cat-file", "--batch-all-objects", wanted)
        return dict(line.split() for line in told.decode().splitlines())

    def existing(self, objects: Iterable[str]) -> set[str]:
        """Those of these objects that are there, loose or packed."""
        asked = "".join(f"{id_}\n" for id_ in objects).encode()
        told = self.run("cat-file", "--batch-check", given=asked).decode().splitlines()
        return {line.split()[0] for line in told if not line.endswith(" missing")}

    def objects_of(self, commits: Iterable[str]) -> set[str]:
        """These commits and tags, without what came before, and what there is of their trees."""
        asked = "".join(f"{id_}\n" for id_ in commits).encode()
        how = ("--objects", "--no-walk", "--missing=allow-any", "--stdin")
        return _first_words(self.run("rev-list", *how, given=asked))

    def reachable(self) -> set[str]:
        """Everything that refs, their logs or the index lead to."""
        return _first_words(
            self.run("rev-list", "--objects", "--indexed-objects", "--reflog", *self._tips())
        )

    def names_in_index(self) -> list[str]:
        return [os.fsdecode(n) for n in self.run("ls-files", "-z").split(b"\0") if n]

    @contextmanager
    def _process(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        process = subprocess.Popen(
            [*self._command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def reader(self) -> Iterator["ObjectReader"]:
        """One process that reads objects by name."""
        with self._process("cat-file", "--batch") as process:
            yield ObjectReader(process)

    def every_object(self) -> Iterator[GitObject]:
        """All objects there are, loose and packed, reachable or not, each decompressed.

        Raises GitError where one cannot be read.
        """
        with self._process("cat-file", "--batch-all-objects", "--batch", "--unordered") as process:
            pipe = process.stdout
            assert pipe is not None  # noqa: S101 (it is a pipe)
            while found := _answer(pipe):
                if not found.kind:
                    raise self._failed(["cat-file"], "met a damaged object")
                yield found
            if process.wait(_TIMEOUT):
                raise self._failed(["cat-file"], "met a damaged object")

    def file_at(self, commit: str, path: str) -> TreeFile | None:
        listed = self.run("ls-tree", "-z", "--full-tree", commit, "--", path)
        for line in listed.split(b"\0"):
            about, _, name = line.partition(b"\t")
            if os.fsdecode(name) == path:
                mode, _, blob = about.decode().split()
                return TreeFile(mode, blob)
        return None

    def staged(self, path: str) -> str | None:
        """The blob that the index has at a path."""
        listed = self.run("ls-files", "-z", "--stage", "--", f":(literal){path}")
        return listed.split()[1].decode() if listed else None

    def write(self, kind: str, body: bytes) -> str:
        """An object of exactly these bytes, also where git would not make it like that any more."""
        written = self.run("hash-object", "-w", "-t", kind, "--literally", "--stdin", given=body)
        return written.decode().strip()

    def tree_with(self, commit: str, files: Mapping[str, TreeFile], scratch: Path) -> str:
        """The commit's tree with other files at some paths.

        `scratch`: where the index of this one tree may lie; it is removed.
        """
        index = {"GIT_INDEX_FILE": str(scratch)}
        try:
            self.run("read-tree", commit, environment=index)
            self.stage(files, environment=index)
            return self.run("write-tree", environment=index).decode().strip()
        finally:
            scratch.unlink(missing_ok=True)

    def commit(self, tree: str, parent: str, message: str) -> str:
        made = self.run("commit-tree", tree, "-p", parent, given=message.encode())
        return made.decode().strip()

    def move(self, ref: str, new: str, old: str) -> bool:
        """Move a branch if it is still where it was; False when somebody else moved it."""
        try:
            self.run("update-ref", "-m", "erase as planned", ref, new, old)
        except GitError:
            if self.commit_at(ref) != old:
                return False
            raise
        return True

    def move_all(self, moves: Sequence[Move]) -> bool:
        """Move refs in one transaction, if every one is where it was, those that stay too; False
        when somebody else moved one."""
        lines = []
        for move in moves:
            if move.name != move.new_name:
                lines += [f"create {move.new_name}", move.new, f"delete {move.name}", move.old]
            elif move.old != move.new:
                lines += [f"update {move.name}", move.new, move.old]
            else:
                lines += [f"verify {move.name}", move.old]
        given = "".join(f"{line}\0" for line in lines).encode()
        try:
            self.run("update-ref", "-m", "erase as planned", "-z", "--stdin", given=given)
        except GitError:
            values = {ref.name: ref.value for ref in self.refs()}
            if any(values.get(move.name) != move.old for move in moves):
                return False
            raise
        return True

    def commit_at(self, ref: str) -> str | None:
        return next((r.commit for r in self.refs() if r.name == ref), None)

    def stage(
        self, files: Mapping[str, TreeFile], environment: Mapping[str, str] | None = None
    ) -> None:
        """Put files into the index: the work tree's, unless the environment names another."""
        lines = b"".join(
            f"{file.mode} {file.id}\t".encode() + os.fsencode(path) + b"\0"
            for path, file in files.items()
        )
        self.run("update-index", "-z", "--index-info", given=lines, environment=environment)


class ObjectReader:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def read(self, name: str) -> GitObject | None:
        """An object by id or as `commit:path`; None when there is no such object."""
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None  # noqa: S101, PT018 (pipes)
        try:
            questions.write(os.fsencode(name) + b"\n")
            questions.flush()
        except BrokenPipeError as exc:
            raise _damaged() from exc
        found = _answer(answers)
        if found is None:
            raise _damaged()
        return found if found.kind else None


def _first_words(listed: bytes) -> set[str]:
    return {line.split(b" ", 1)[0].decode() for line in listed.splitlines()}


def _damaged() -> GitError:
    return GitError('An object of the git repository is damaged. Look for it with "git fsck".')


def _answer(pipe: IO[bytes]) -> GitObject | None:
    """The next object that `cat-file --batch` prints; without a kind when it is missing."""
    header = pipe.readline().split()
    if not header:
        return None
    if len(header) != 3:
        return GitObject(os.fsdecode(header[0]), "", b"")
    body = pipe.read(int(header[2]) + 1)
    if len(body) != int(header[2]) + 1:
        return None
    return GitObject(header[0].decode(), header[1].decode(), body[:-1])
