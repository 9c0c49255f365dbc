"""Commits as versions: what each points to, as files."""

from collections import defaultdict
from collections.abc import Iterator

from connectors.adapters.base import StoreVersion
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.journal import CommitMap
from connectors.adapters.dvc.names import ObjectName
from connectors.adapters.dvc.repository import Repository
from connectors.formats.profiles import DataFile
from connectors.formats.versions import FileVersions, Moment, VersionFile


class Versions:
    def __init__(self, repository: Repository, files: FileVersions) -> None:
        self.repository = repository
        self._files = files
        self._formerly: dict[str, list[str]] = defaultdict(list)
        for old, new in CommitMap(repository.root).read().items():
            self._formerly[repository.history.version_of.get(new, "")].append(old)

    def files(self, commit: Commit) -> Iterator[VersionFile]:
        """Each file of a version, by its path in the repository."""
        entries = self.repository.contents.entries
        for output in self.repository.outputs(commit):
            for file in self.repository.files(output) or ():
                name = file.name
                yield VersionFile(file.path, name.path, entries[name].bytes, f"md5:{name.md5}")

    def data(self, commit: Commit) -> Iterator[DataFile]:
        """Those that hold rows. Reading them raises StoreError."""
        return self._files.data(self.files(commit))

    def version(self, commit: Commit, *, read: bool) -> StoreVersion:
        """Without `read`, only Parquet files are asked how many rows they have."""
        history = self.repository.history
        moment = Moment(
            commit.id,
            commit.time,
            history.parents_of(commit.id),
            history.refs_of(commit.id),
            self._changed(commit),
            tuple(self._formerly.get(commit.id, ())),
        )
        files = list(self.files(commit))
        return self._files.version(moment, files, nothing="outputs removed", read=read)

    def _changed(self, commit: Commit) -> list[str]:
        """Outputs that are not as a parent has them."""
        before: dict[str, ObjectName] = {}
        for parent in commit.parents:
            found = self.repository.history.commits[parent].outputs
            before |= {path: output.name for path, output in found.items()}
        now = {o.path: o.name for o in self.repository.outputs(commit)}
        return [path for path, name in now.items() if before.get(path) != name]
