"""What every store adapter promises: versions, find, plan, erase, purge, verify.

Adapters are plain Python: they know neither Django nor each other. A person is given as
`Needles`: for each column that can hold an identifier, the identifier's values as text. Times are
aware UTC datetimes, sizes are bytes, paths are relative to the store's root.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import polars as pl

    from connectors.index import Source, SubjectIndex

Needles = Mapping[str, Sequence[str]]
# What becomes of older versions: they go, or they stay readable without the person.
MODES = ("purge", "keep_history")


class StoreError(Exception):
    """A store that cannot be read or written; the message says what is wrong and what to do."""


class StoreNotFoundError(StoreError):
    """There is no table, folder or bucket at the location."""


class OptionError(StoreError):
    """An option of the connection is wrong or missing; the message never holds a secret."""


class PlanOutdatedError(StoreError):
    """The store changed since the plan was made: plan again, nothing was erased."""


class MergeTooLargeError(StoreError):
    """A merge that cannot be judged while it waits; the message holds sizes only."""


class ResidueError(StoreError):
    """Rows were still found after the erasure; names the object."""


@dataclass(frozen=True)
class PhysicalObject:
    path: str
    bytes: int
    rows: int | None = None
    digest: str | None = None  # sha256 of the bytes, hex, where it was read


@dataclass(frozen=True)
class StoreVersion:
    """One retained version. `id` is the store's own name of it (a Delta version number as text)."""

    id: str
    created_at: datetime
    operation: str
    parents: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    objects: tuple[PhysicalObject, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    digest: str | None = None  # sha256 over the sorted (path, size, digest) of its objects
    schema: tuple[tuple[str, str], ...] = ()  # (column, type)
    formerly: tuple[str, ...] = ()  # ids that an erasure which kept history has taken from it


@dataclass(frozen=True)
class ObjectFinding:
    """Rows of the person in one physical object, and the versions that read that object."""

    path: str
    bytes: int
    rows: int
    versions: tuple[str, ...]
    kind: str = "data"  # data | change_data | orphan | log


@dataclass(frozen=True)
class Findings:
    objects: tuple[ObjectFinding, ...]
    rows_by_version: Mapping[str, int]
    linked: Mapping[str, tuple[str, ...]]  # column -> identifier values seen in the person's rows
    method: str  # how it was searched, for the record
    files_searched: int
    bytes_searched: int
    seconds: float


@dataclass(frozen=True)
class ErasePlan:
    """What `erase` and `purge_history` will do. It holds no personal data, so it can be logged.

    `of`: for whose sake, as the caller says before it has a plan carried out. Stores remember by a
    plan's `id` what they have done for it, and the plans of two persons with as many rows in the
    same files are otherwise equal.
    """

    mode: str
    snapshot: str  # the store's head when it was planned; erase refuses another one
    objects: tuple[str, ...]
    rows: int
    bytes: int
    versions_lost: tuple[str, ...]
    blockers: tuple[str, ...] = ()
    of: str = ""

    @property
    def id(self) -> str:
        """32 hex digits that stand for this plan and no other."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Erased:
    new_version: str | None
    rows: int
    objects_removed: tuple[str, ...]
    objects_added: tuple[str, ...]
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def remembered(cls, facts: Mapping[str, Any]) -> Self:
        """What an earlier attempt did, as it was kept with `dataclasses.asdict` and JSON."""
        return cls(
            new_version=facts["new_version"],
            rows=facts["rows"],
            objects_removed=tuple(facts["objects_removed"]),
            objects_added=tuple(facts["objects_added"]),
            detail=facts["detail"],
        )


@dataclass(frozen=True)
class BranchCommit:
    """A step of a branch; of a merge, the first parent is what the branch was."""

    id: str
    parents: tuple[str, ...]
    seconds: int  # since 1970, UTC


@dataclass(frozen=True)
class Incoming:
    """What a merge would bring to a branch. `identifiers`: of a column, as text, in the files that
    would be new or changed; personal data."""

    destination: str  # the branch's newest commit
    schema_before: tuple[tuple[str, str], ...]  # (column, type)
    schema_after: tuple[tuple[str, str], ...]
    rows_before: int
    rows_added: int
    rows_removed: int
    identifiers: Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class StoredVersion:
    """A version of this or another store of the same kind. `name`: what its dataset is called when
    nobody has connected it."""

    location: str
    name: str
    version: str


@dataclass(frozen=True)
class StageRun:
    """What a store itself tells of how its data came to be: a stage of a pipeline made `outputs`
    out of `inputs`, by `at` at the latest. `id` is the same whichever store tells of it."""

    id: str
    stage: str
    at: datetime
    inputs: tuple[StoredVersion, ...]
    outputs: tuple[StoredVersion, ...]


@dataclass(frozen=True)
class Trace:
    path: str
    where: str  # "column customer_id", "footer statistics", "raw bytes", "file name"
    count: int


@dataclass(frozen=True)
class ScanReport:
    """An independent reading of every byte that is left."""

    files: int
    bytes: int
    traces: tuple[Trace, ...]
    unreadable: tuple[str, ...]
    control_found: bool | None  # a surviving person is still found: the scanner works
    digest: str  # sha256 over the sorted (path, sha256) of everything scanned
    started_at: datetime
    finished_at: datetime
    method: str

    @property
    def clean(self) -> bool:
        return not self.traces and not self.unreadable and self.control_found is not False


Progress = Callable[[str, int, int, int], None]  # phase, objects done, objects total, bytes done


def silent(_phase: str, _done: int, _total: int, _bytes: int) -> None:
    """The Progress that nobody looks at."""


def require_purge(mode: str, *, no_history: str) -> None:
    """Raises StoreError for a mode that a store without `keep_history` does not have;
    `no_history` says why it has not."""
    if mode == "keep_history":
        raise StoreError(f'{no_history} Plan with mode "purge".')
    if mode != "purge":
        raise StoreError(f'There is no mode "{mode}". Plan with mode "purge".')


class Store(Protocol):
    kind: str

    def versions(self, *, digests: bool = True) -> Sequence[StoreVersion]:
        """Every retained version, oldest first. Without `digests` no file's bytes are read."""
        ...

    def schema(self, version: str | None = None) -> Sequence[tuple[str, str]]: ...
    def profile(self, version: str | None = None) -> Mapping[str, Any]: ...
    def find_subject(self, needles: Needles, progress: Progress | None = None) -> Findings: ...
    def plan_erase(self, findings: Findings, *, mode: str) -> ErasePlan: ...
    def erase(
        self, plan: ErasePlan, needles: Needles, progress: Progress | None = None
    ) -> Erased: ...
    def purge_history(self, plan: ErasePlan, progress: Progress | None = None) -> Erased: ...
    def verify_erased(
        self,
        needles: Iterable[str],
        control: tuple[str, str] | None,
        progress: Progress | None = None,
    ) -> ScanReport: ...
    def identifier_values(self, column: str, version: str) -> Iterable[str]:
        """The distinct values of an identifier column in one version, as text."""
        ...

    def control_subject(self, needles: Needles) -> tuple[str, str] | None: ...


@runtime_checkable
class ComparesRows(Protocol):
    """A store whose versions can be compared row by row."""

    def rows_apart(self, version: str, other: str) -> "Iterable[pl.DataFrame]":
        """At least those rows of `version` that `other` does not have: what stands in objects that
        both read may be left out. Raises StoreError."""
        ...


@runtime_checkable
class KeepsPipelines(Protocol):
    """A store that keeps record of the pipelines that make its data."""

    def stage_runs(self) -> Sequence[StageRun]:
        """Those that read or made this store's data, oldest first. Raises StoreError."""
        ...


@runtime_checkable
class TakesIndex(Protocol):
    """A store whose files can be named by a subject index. `index`: by which `find_subject` leaves
    files out; verification never looks at it."""

    index: "SubjectIndex | None"

    def index_sources(
        self, index: "SubjectIndex"
    ) -> "AbstractContextManager[Mapping[str, Source]]":
        """Every file to be indexed, as it is now, by its segment's name. Raises StoreError."""
        ...


@runtime_checkable
class GuardsMerges(Protocol):
    """A store with branches, whose merges can be judged before they happen."""

    def incoming(self, branch: str, source: str) -> AbstractContextManager[Incoming]:
        """What merging the commit `source` into the branch would bring. Raises StoreError."""
        ...

    def branch_line(self, branch: str) -> Iterable[BranchCommit]:
        """What happened to a branch, newest first; a merge is one step. Raises StoreError."""
        ...
