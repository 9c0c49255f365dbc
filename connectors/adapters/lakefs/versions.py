"""Commits as versions: what each lists, as files."""

from collections.abc import Iterator

from connectors.adapters.base import StoreVersion
from connectors.adapters.lakefs.repository import Commit, Repository, changed_paths
from connectors.formats.profiles import DataFile
from connectors.formats.versions import FileVersions, Moment, VersionFile


class Versions:
    def __init__(self, repository: Repository, files: FileVersions) -> None:
        self.repository = repository
        self._files = files

    def files(self, commit: Commit) -> list[VersionFile]:
        return [
            VersionFile(e.path, e.key, e.bytes, f"etag:{e.checksum}")
            for e in self.repository.files(commit)
        ]

    def data(self, commit: Commit) -> Iterator[DataFile]:
        """Those that hold rows. Reading them raises StoreError."""
        return self._files.data(self.files(commit))

    def version(self, commit: Commit, *, read: bool) -> StoreVersion:
        """Without `read`, only Parquet files are asked how many rows they have."""
        moment = Moment(
            commit.id,
            commit.time,
            self.repository.parents_of(commit.id),
            self.repository.refs_of(commit.id),
            changed_paths(self.repository, commit),
        )
        return self._files.version(moment, self.files(commit), nothing="files removed", read=read)
