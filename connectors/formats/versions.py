"""Versions that consist of files under names of their own: counts and columns, each object read
once however many versions share it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from connectors.adapters.base import PhysicalObject, StoreError, StoreVersion
from connectors.folders import masked
from connectors.formats.formats import format_of
from connectors.formats.objects import is_unrelated
from connectors.formats.profiles import DataFile, Schema, schema_of, union_of
from connectors.formats.reading import Reader, require_columns
from connectors.formats.staging import Staging

_MOST_NAMES = 3  # of changed files that a version's line shows
_SAY_HOW_MANY = (".parquet", ".parq", ".pq")  # rows they have, without being read


@dataclass(frozen=True)
class VersionFile:
    """`path`: in the version. `stored`: its object. `digest`: as its store knows it."""

    path: str
    stored: str
    bytes: int
    digest: str


@dataclass(frozen=True)
class Moment:
    """What a commit says of itself. `changed`: paths of what it made or changed; `formerly`: ids
    that it had before it was written anew."""

    id: str
    time: datetime
    parents: tuple[str, ...]
    refs: tuple[str, ...]
    changed: Sequence[str]
    formerly: tuple[str, ...] = ()


class FileVersions:
    """`unrelated`: patterns of files whose rows are not read."""

    def __init__(self, staged: Staging, reader: Reader, unrelated: Sequence[str]) -> None:
        self.staged = staged
        self.reader = reader
        self.unrelated = unrelated
        self._counts: dict[str, int | None] = {}
        self._columns: dict[tuple[str, str], Schema] = {}

    def data(self, files: Iterable[VersionFile]) -> Iterator[DataFile]:
        """Those that hold rows. Reading them raises StoreError."""
        for file in files:
            if found := self._data_file(file):
                yield found

    def _data_file(self, file: VersionFile) -> DataFile | None:
        path = self.staged.path(file.stored, file.path)
        with self.staged.opened(path) as location:
            if not format_of(file.path, location):
                return None
        return DataFile(file.path, file.bytes, self.reader.open(path, shown=self._shown(file.path)))

    def _shown(self, path: str) -> str:
        return masked(path, self.reader.subject_columns)

    def version(
        self, moment: Moment, files: Sequence[VersionFile], *, nothing: str, read: bool
    ) -> StoreVersion:
        """`nothing`: what to say of a commit that changed no file. Without `read`, only Parquet
        files are asked how many rows they have."""
        objects, lines = [], []
        for file in files:
            rows = self._count(file, read=read)
            objects.append(PhysicalObject(self._shown(file.path), file.bytes, rows, file.digest))
            lines.append(f"{file.path}\n{file.bytes}\n{file.digest}\n")
        counts = [o.rows for o in objects if o.rows is not None]
        return StoreVersion(
            id=moment.id,
            created_at=moment.time,
            operation=self._operation(moment.changed, nothing),
            parents=moment.parents,
            refs=moment.refs,
            objects=tuple(objects),
            rows=sum(counts) if counts else None,
            bytes=sum(o.bytes for o in objects),
            digest=sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest(),
            schema=tuple(self._schema(files)) if read else (),
            formerly=moment.formerly,
        )

    def _count(self, file: VersionFile, *, read: bool) -> int | None:
        if file.stored not in self._counts:
            wanted = read or file.path.lower().endswith(_SAY_HOW_MANY)
            unrelated = is_unrelated((file.path, file.stored), self.unrelated)
            data = self._data_file(file) if wanted and not unrelated else None
            self._counts[file.stored] = data.file.count() if data else None
        return self._counts[file.stored]

    def _schema(self, files: Sequence[VersionFile]) -> Schema:
        for file in files:
            if (file.path, file.stored) not in self._columns:
                data = self._data_file(file)
                self._columns[file.path, file.stored] = data.schema() if data else ()
        return union_of(self._columns[file.path, file.stored] for file in files)

    def _operation(self, changed: Sequence[str], nothing: str) -> str:
        """Which files a commit changed; its message may name people."""
        paths = [self._shown(path) for path in changed]
        more = f" and {len(paths) - _MOST_NAMES} more" if len(paths) > _MOST_NAMES else ""
        return f"commit: {', '.join(paths[:_MOST_NAMES]) or nothing}{more}"


def searchable_schema(
    files: Sequence[DataFile], subject_columns: Sequence[str], unrelated: Sequence[str]
) -> Schema:
    """The union of the files' columns and partition keys; a column that has several types lists
    them. Raises StoreError for a file that has no column to find people by, where others have."""
    schema = schema_of(files)
    known = {name for name, _ in schema}
    if any(c in known or c.split(".")[0] in known for c in subject_columns):
        for data in files:
            # JSON Lines may have a key in later rows only.
            if ".json" in data.path or ".ndjson" in data.path or not data.file.columns():
                continue
            if not is_unrelated((data.path,), unrelated):
                shown = masked(data.path, subject_columns)
                require_columns(data.file, data.path, shown, subject_columns)
    return schema


def identifiers_in(files: Sequence[DataFile], column: str, version: str) -> Iterator[str]:
    """The distinct identifiers in a column. Raises StoreError when no file has it."""
    if not any(data.has(column) for data in files):
        raise StoreError(f"No file of the version {version} has a column {column}.")
    yield from dict.fromkeys(text for data in files for text in data.texts(column))
