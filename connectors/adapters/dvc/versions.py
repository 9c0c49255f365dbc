"""Commits as versions: their files, counts and columns, each object read once."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from connectors.adapters.base import PhysicalObject, StoreVersion
from connectors.adapters.dvc.history import Commit
from connectors.adapters.dvc.names import Member, ObjectName
from connectors.adapters.dvc.pieces import is_unrelated
from connectors.adapters.dvc.repository import Repository
from connectors.adapters.dvc.staging import Staging
from connectors.folders import masked
from connectors.formats.formats import format_of
from connectors.formats.profiles import DataFile, Schema, union_of
from connectors.formats.reading import Reader

_MOST_NAMES = 3  # of changed outputs that a version's line shows


class Versions:
    """`unrelated`: patterns of files whose rows are not read."""

    def __init__(
        self, repository: Repository, staged: Staging, reader: Reader, unrelated: Sequence[str]
    ) -> None:
        self.repository = repository
        self.staged = staged
        self.reader = reader
        self.unrelated = unrelated
        self._counts: dict[ObjectName, int | None] = {}
        self._columns: dict[Member, Schema] = {}

    def files(self, commit: Commit) -> Iterator[Member]:
        """Each file of a version, by its path in the repository."""
        for output in self.repository.outputs(commit):
            yield from self.repository.files(output) or ()

    def data(self, commit: Commit) -> Iterator[DataFile]:
        """Those that hold rows. Reading them raises StoreError."""
        for file in self.files(commit):
            if found := self._data_file(file):
                yield found

    def _data_file(self, file: Member) -> DataFile | None:
        path = self.staged.path(file.name, file.path)
        if not format_of(file.path, self.staged.locate(path)):
            return None
        size = self.repository.contents.sizes[file.name]
        return DataFile(file.path, size, self.reader.open(path, shown=self._shown(file.path)))

    def _shown(self, path: str) -> str:
        return masked(path, self.reader.subject_columns)

    def version(self, commit: Commit, *, read: bool) -> StoreVersion:
        """Without `read`, only Parquet files are asked how many rows they have."""
        objects, lines = [], []
        for file in self.files(commit):
            size = self.repository.contents.sizes[file.name]
            digest = f"md5:{file.name.md5}"
            rows = self._count(file, read=read)
            objects.append(PhysicalObject(self._shown(file.path), size, rows, digest))
            lines.append(f"{file.path}\n{size}\n{digest}\n")
        counts = [o.rows for o in objects if o.rows is not None]
        return StoreVersion(
            id=commit.id,
            created_at=commit.time,
            operation=self._operation(commit),
            parents=self.repository.history.parents_of(commit.id),
            refs=self.repository.history.refs_of(commit.id),
            objects=tuple(objects),
            rows=sum(counts) if counts else None,
            bytes=sum(o.bytes for o in objects),
            digest=sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest(),
            schema=tuple(self._schema(commit)) if read else (),
        )

    def _count(self, file: Member, *, read: bool) -> int | None:
        if file.name not in self._counts:
            wanted = read or file.path.lower().endswith((".parquet", ".parq", ".pq"))
            unrelated = is_unrelated((file.path, file.name.path), self.unrelated)
            data = self._data_file(file) if wanted and not unrelated else None
            self._counts[file.name] = data.file.count() if data else None
        return self._counts[file.name]

    def _schema(self, commit: Commit) -> Schema:
        for file in self.files(commit):
            if file not in self._columns:
                data = self._data_file(file)
                self._columns[file] = data.schema() if data else ()
        return union_of(self._columns[file] for file in self.files(commit))

    def _operation(self, commit: Commit) -> str:
        """Which outputs the commit changed; its message may name people."""
        before: dict[str, ObjectName] = {}
        for parent in commit.parents:
            found = self.repository.history.commits[parent].outputs
            before |= {path: output.name for path, output in found.items()}
        now = {o.path: o.name for o in self.repository.outputs(commit)}
        paths = [self._shown(path) for path, name in now.items() if before.get(path) != name]
        more = f" and {len(paths) - _MOST_NAMES} more" if len(paths) > _MOST_NAMES else ""
        return f"commit: {', '.join(paths[:_MOST_NAMES]) or 'outputs removed'}{more}"
