"""The task of writing one file anew without a person, and what its table says of the new file.

The task is done wherever an engine has its hands. What it tells is held against the table's folder
before a commit names it: its name, its size, and how many rows its footer counts.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    pyarrow_to_schema,
)
from pyiceberg.manifest import DataFile

from connectors.adapters.base import StoreError
from connectors.adapters.iceberg.person import DAMAGE, Constants, Person
from connectors.adapters.iceberg.rewrite import rewrite_without
from connectors.adapters.iceberg.table import DataEntry, TableView
from connectors.engines import EngineError
from connectors.storage import Folder

_END = ".parquet"


@dataclass(frozen=True)
class Job:
    """A file to write anew. `rows`: the person's in it; `kept`: all others, as manifests count."""

    path: str
    constants: Constants
    rows: int
    kept: int


@dataclass(frozen=True)
class Written:
    """What was written instead of the file `old`; no row left: no file (`path` None). `footer`: the
    new file's, as `footer_of` has it."""

    old: str
    path: str | None = None
    size: int = 0
    footer: bytes = b""


@dataclass(frozen=True)
class Replacement:
    """What stands for a file that held the person: `file` at `path`, or nothing."""

    entry: DataEntry
    rows: int
    kept: int
    path: str | None
    file: DataFile | None


@dataclass(frozen=True)
class Rewriting:
    """The task. `mark`: with what the new names begin."""

    person: Person
    mark: str
    result: ClassVar[Any] = Written
    at_once: ClassVar[int] = 1  # for memory: each holds a row group

    @property
    def folder(self) -> Folder:
        return self.person.folder

    def beside(self, path: str) -> str:
        """How the names of files begin that may stand for the old one: in its folder."""
        parent, slash, _ = path.rpartition("/")
        return f"{parent}{slash}{self.mark}"

    def __call__(self, job: Job) -> Written:
        """Raises ResidueError and StoreError; there is no new file then."""
        path = f"{self.beside(job.path)}{uuid.uuid4()}{_END}"
        with self._draft(job, path) as draft, self.folder.opened(job.path) as source:
            found = rewrite_without(source, draft, job.path, self.person, job.constants)
            if (found.rows_removed, found.rows_kept) != (job.rows, job.kept):
                raise self._miscounted(job)
            if not job.kept:
                return Written(job.path)
            footer = footer_of(draft)
            return Written(job.path, path, self.folder.publish(draft, path).bytes, footer)

    @contextmanager
    def _draft(self, job: Job, path: str) -> Iterator[Path]:
        draft = self.folder.draft(path)
        try:
            yield draft
        except OSError as exc:
            draft.unlink(missing_ok=True)
            raise StoreError(
                f"The file {self.person.shown(job.path)} of the table {self.person.table} could "
                f"not be rewritten: {type(exc).__name__}. Check free space and the file."
            ) from None
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def _miscounted(self, job: Job) -> StoreError:
        return StoreError(
            f"The file {self.person.shown(job.path)} holds another number of rows than its "
            f"manifest says ({job.rows + job.kept}). Nothing was changed; repair the table."
        )


def footer_of(target: Path) -> bytes:
    """A Parquet file's footer, as a file that is nothing else."""
    sink = pa.BufferOutputStream()
    pq.read_metadata(target).write_metadata_file(sink)
    return bytes(sink.getvalue())


def replacement(
    task: Rewriting, job: Job, written: Written, entry: DataEntry, view: TableView
) -> Replacement:
    """Raises EngineError unless the new file is one that the task may have written, and is there as
    told, whoever told so; StoreError where no manifest can describe it."""
    path = written.path
    if written.old != job.path or (path is None) != (not job.kept):
        raise _not_as_told(task, job)
    if path is None:
        return Replacement(entry, job.rows, 0, None, None)
    name = path.removeprefix(task.beside(job.path))
    named = name != path and name.endswith(_END) and "/" not in name
    if not named or _size(task.folder, path) != written.size:
        raise _not_as_told(task, job)
    footer = _read_footer(written.footer)
    if footer is None or footer.num_rows != job.kept:
        raise _not_as_told(task, job)
    location = f"{entry.file.file_path.rpartition('/')[0]}/{path.rpartition('/')[2]}"
    try:
        file = _described(footer, written.size, location, entry.file, view)
    except StoreError:
        task.folder.remove(path)
        raise
    return Replacement(entry, job.rows, job.kept, path, file)


def _not_as_told(task: Rewriting, job: Job) -> EngineError:
    return EngineError(
        f"What was written instead of {task.person.shown(job.path)} is not in "
        f"{task.folder.root} as the engine says. Nothing was committed: see that its workers write "
        "to the same folder, then run the same step again."
    )


def _size(folder: Folder, path: str) -> int:
    try:
        return folder.size(path)
    except FileNotFoundError:
        return -1


def _read_footer(body: bytes) -> pq.FileMetaData | None:
    try:
        return pq.read_metadata(pa.BufferReader(body))
    except (OSError, pa.ArrowException):
        return None


def _described(
    footer: pq.FileMetaData, size: int, location: str, old: DataFile, view: TableView
) -> DataFile:
    """What a manifest says of a rewritten file, in place of the old one. `size`: the file's bytes.
    Raises StoreError."""
    metadata = view.metadata
    try:
        schema = pyarrow_to_schema(
            footer.schema.to_arrow_schema(),
            metadata.name_mapping(),
            format_version=metadata.format_version,
        )
        statistics = data_file_statistics_from_parquet_metadata(
            footer,
            compute_statistics_plan(schema, metadata.properties),
            parquet_path_to_id_mapping(schema),
        )
    except (*DAMAGE, KeyError, ValueError, TypeError) as exc:
        raise StoreError(
            f"The columns of the table {view.name} cannot be described "
            f"({type(exc).__name__}): a file names them in a way that is not known here. Nothing "
            "was changed; erase with the engine that wrote it."
        ) from None
    file = DataFile.from_args(
        content=old.content,
        file_path=location,
        file_format=old.file_format,
        partition=old.partition,
        file_size_in_bytes=size,
        sort_order_id=old.sort_order_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
    file.spec_id = old.spec_id
    return file
