"""Erasing a person from the current version: rewrite what holds them, then one commit.

Resumable: until the commit nothing that a reader sees has changed, and the commit carries a mark
of the plan (Delta's `txn` action), so running the same plan again after a crash at any point
either finishes or finds itself done. Output files have fresh names in every attempt, so two
workers that run the same plan by accident cannot harm each other: one commit wins. So it may be
an engine that has the files written: what it says of them is held against the table's folder
before a commit names them.
"""

import contextlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from urllib.parse import unquote

import pyarrow as pa
from deltalake.exceptions import DeltaError

from connectors.adapters.base import (
    MODES,
    Erased,
    ErasePlan,
    Needles,
    PlanOutdatedError,
    Progress,
    ResidueError,
    StoreError,
)
from connectors.adapters.delta.amend import REPLACED, Amendment
from connectors.adapters.delta.commit import (
    add_action,
    remove_action,
    transaction_action,
    write_commit,
)
from connectors.adapters.delta.find import check_head
from connectors.adapters.delta.log import read_history
from connectors.adapters.delta.rewrite import rewrite_without
from connectors.adapters.delta.search import Finding, Search, Target
from connectors.adapters.delta.snapshot import DataFile, History, Snapshot
from connectors.adapters.delta.table import opened_table
from connectors.engines import Engine, EngineError
from connectors.folders import masked
from connectors.storage import Folder

_FACTS = "vestigeErasure"
_DEFAULT_INDEXED = 32  # of delta.dataSkippingNumIndexedCols


def mark_of(plan: ErasePlan, step: str) -> str:
    """The application id under which the log remembers that this step of the plan is done."""
    return f"vestige/{step}/{plan.id}"


def output_mark(plan: ErasePlan) -> str:
    """What the names of files written for this plan have in common."""
    return f".vestige-{plan.id[:12]}.parquet"


@dataclass(frozen=True)
class Job:
    """A file to write anew. `mask`: one boolean a row, False where a deletion vector hides it."""

    file: DataFile
    number: int
    mask: pa.Array | None = None

    @property
    def path(self) -> str:
        return self.file.path


@dataclass(frozen=True)
class Replacement:
    """What was written instead of the person's file `old`; no row left: no file (`path` None)."""

    old: str
    rows_removed: int
    stats: str
    path: str | None = None
    bytes: int = 0
    modified: int = 0  # milliseconds since 1970

    @property
    def amendment(self) -> Amendment:
        return Amendment(self.old, self.path, self.bytes, self.stats)


@dataclass(frozen=True)
class Rewriting:
    """The task of writing one file anew without the person. `mark`: the end of the new names;
    `indexed`: for how many columns statistics are kept."""

    search: Search
    mark: str
    indexed: int
    result: ClassVar[Any] = Replacement
    at_once: ClassVar[int] = 1  # for memory: each holds a row group

    @property
    def folder(self) -> Folder:
        return self.search.folder

    def beside(self, job: Job) -> str:
        """How the names of files begin that may stand for the old one: its folder."""
        parent, slash, _ = job.path.rpartition("/")
        return f"{parent}{slash}part-{job.number:05d}-"

    def __call__(self, job: Job) -> Replacement:
        """Raises ResidueError and StoreError; there is no new file then."""
        return replace_file(self, job, f"{self.beside(job)}{uuid.uuid4()}-c000{self.mark}")


def require_written(task: Rewriting, job: Job, replacement: Replacement) -> None:
    """Raises EngineError unless the new file is one that the task may have written, and is there,
    whoever said so."""
    path = replacement.path
    named = path is None or (path.startswith(task.beside(job)) and path.endswith(task.mark))
    if replacement.old == job.path and named and _size(task.folder, path) == replacement.bytes:
        return
    raise EngineError(
        f"What was written instead of {masked(job.path, task.search.subject_columns)} is not in "
        f"{task.folder.root} as the engine says. Nothing was committed: see that its workers write "
        "to the same folder, then run the same step again."
    )


def _size(folder: Folder, path: str | None) -> int:
    if path is None:
        return 0
    try:
        return folder.size(path)
    except FileNotFoundError:
        return -1


def erase_rows(
    folder: Folder,
    subject_columns: Iterable[str],
    plan: ErasePlan,
    needles: Needles,
    progress: Progress,
    engine: Engine,
) -> Erased:
    """Raises PlanOutdatedError (nothing erased), ResidueError (nothing committed), StoreError."""
    history = read_history(folder)
    head = history.head
    if mark_of(plan, "erased") in head.transactions:
        return _remembered(history, plan)
    if mark_of(plan, "purging") in head.transactions:
        # Only history held the person, so there was no commit to erase; the purge has begun.
        return Erased(plan.snapshot, 0, (), (), {"note": "no row in the current version"})
    _refuse_other_state(folder, head, plan)
    check_head(folder, history, folder.entries())
    search = Search(folder, history, subject_columns, needles)
    affected = _affected(search, head, plan, progress, engine)
    if not affected:
        return Erased(plan.snapshot, 0, (), (), {"note": "no row in the current version"})
    masks = deletion_masks(folder, [file for file, _ in affected])
    jobs = [Job(f, number, masks.get(f.path)) for number, (f, _) in enumerate(affected)]
    task = Rewriting(search, output_mark(plan), indexed_columns(head))
    done: dict[str, Replacement] = {}
    try:
        _rewrite(engine, task, jobs, done, progress)
        changes = [(job.file, done[job.path]) for job in jobs]
        return _commit(search, head, plan, changes, sum(rows for _, rows in affected))
    except Exception:
        after = read_history(folder)
        if mark_of(plan, "erased") in after.head.transactions:
            return _remembered(after, plan)  # our commit, or a twin's, went through after all
        for path in [r.path for r in done.values() if r.path]:
            folder.remove(path)
        raise


def _rewrite(
    engine: Engine,
    task: Rewriting,
    jobs: Sequence[Job],
    done: dict[str, Replacement],
    progress: Progress,
) -> None:
    done_bytes = 0
    progress("rewrite", 0, len(jobs), done_bytes)
    rewritten = engine.map_files(task, jobs)
    with contextlib.closing(rewritten):
        for job, replacement in rewritten:
            require_written(task, job, replacement)
            done[job.path] = replacement
            done_bytes += job.file.bytes
            progress("rewrite", len(done), len(jobs), done_bytes)


def _refuse_other_state(folder: Folder, head: Snapshot, plan: ErasePlan) -> None:
    if str(head.version) != plan.snapshot:
        raise PlanOutdatedError(
            f"The table {folder.root} is at version {head.version}; the plan was made for version "
            f"{plan.snapshot}. Nothing was erased: plan again."
        )
    if plan.mode not in MODES:
        raise StoreError(f'There is no mode "{plan.mode}". Plan with one of: {", ".join(MODES)}.')
    if plan.blockers:
        raise StoreError(f"The plan cannot be carried out: {' '.join(plan.blockers)}")


def _affected(
    search: Search, head: Snapshot, plan: ErasePlan, progress: Progress, engine: Engine
) -> list[tuple[DataFile, int]]:
    """The current version's files that hold rows of the person, with the number of rows."""
    files = head.files.values()
    targets = [Target(f.path, "data", (), f.partition_values, f.bytes) for f in files]
    rows = {}
    found = engine.map_files(Finding(search), targets)
    with contextlib.closing(found):
        for number, (target, match) in enumerate(found):
            progress("find", number, len(targets), 0)
            if not (match and match.rows):
                continue
            shown = masked(target.path, search.subject_columns)
            if shown not in plan.objects:
                raise PlanOutdatedError(
                    f"Rows were found in {shown}, which the plan does not name. Nothing was "
                    "erased: search and plan again."
                )
            rows[target.path] = match.rows
    return [(file, rows[file.path]) for file in files if file.path in rows]


def deletion_masks(folder: Folder, files: list[DataFile]) -> dict[str, pa.Array]:
    """Path -> one boolean a row, False where a deletion vector hides it; only files with one."""
    wanted = {f.path for f in files if f.deletion_vector}
    if not wanted:
        return {}
    try:
        masks = {}
        with opened_table(folder, files) as table:
            for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
                for path, mask in zip(batch.column(0), batch.column(1), strict=True):
                    uri = unquote(str(path.as_py()))
                    match = next((w for w in wanted if uri.endswith(f"/{w}")), None)
                    if match:
                        masks[match] = mask.values
    except (DeltaError, OSError, pa.ArrowException) as exc:
        raise StoreError(
            f"The deletion vectors of the table {folder.root} cannot be read. Rewrite its files "
            "with the engine that made it (REORG TABLE … APPLY (PURGE)), then plan again."
        ) from exc
    if missing := wanted - set(masks):
        raise StoreError(
            f"The deletion vectors of {len(missing)} files of the table {folder.root} cannot be "
            "read. Rewrite these files with the engine that made them, then plan again."
        )
    return masks


def replace_file(task: Rewriting, job: Job, path: str) -> Replacement:
    """Write the file anew at `path` without the person's rows, and look whether they are gone.

    Raises ResidueError and StoreError; there is no file at `path` then.
    """
    folder, search, file = task.folder, task.search, job.file
    draft = folder.draft(path)
    try:
        with folder.opened(file.path) as source:
            rewritten = rewrite_without(
                source,
                draft,
                rows_of=lambda schema: search.rows(schema, file.partition_values),
                identifier_columns=search.top_level_columns,
                keep_mask=job.mask,
                indexed=task.indexed,
            )
        if not rewritten.rows_kept:
            return Replacement(file.path, rewritten.rows_removed, rewritten.stats)
        written = folder.publish(draft, path)
    except (OSError, pa.ArrowException) as exc:
        draft.unlink(missing_ok=True)
        raise StoreError(
            f"The file {masked(file.path, search.subject_columns)} of the table {folder.root} "
            f"could not be rewritten: {type(exc).__name__}. Check free space and the file."
        ) from exc
    left = search.file(Target(path, "data", (), file.partition_values, written.bytes)).rows
    if left:
        folder.remove(path)
        raise ResidueError(
            f"{left} rows were still found after rewriting "
            f"{masked(file.path, search.subject_columns)}. Nothing was committed."
        )
    return Replacement(
        file.path,
        rewritten.rows_removed,
        rewritten.stats,
        path,
        written.bytes,
        int(written.modified.timestamp() * 1000),
    )


def indexed_columns(head: Snapshot) -> int:
    return int(head.configuration.get("delta.dataSkippingNumIndexedCols", _DEFAULT_INDEXED))


def _commit(
    search: Search,
    head: Snapshot,
    plan: ErasePlan,
    changes: Sequence[tuple[DataFile, Replacement]],
    rows: int,
) -> Erased:
    columns = search.subject_columns
    erased = Erased(
        new_version=str(head.version + 1),
        rows=rows,
        objects_removed=tuple(masked(file.path, columns) for file, _ in changes),
        objects_added=tuple(masked(r.path, columns) for _, r in changes if r.path),
        detail={"bytes_rewritten": sum(file.bytes for file, _ in changes)},
    )
    facts: dict[str, Any] = {_FACTS: asdict(erased)}
    if plan.mode == "keep_history":
        facts[REPLACED] = [asdict(r.amendment) for _, r in changes]
    actions = [remove_action(file) for file, _ in changes]
    actions += [
        add_action(
            r.path,
            size=r.bytes,
            partition_values=file.partition_values,
            stats=r.stats,
            modified=r.modified,
        )
        for file, r in changes
        if r.path
    ]
    actions.append(transaction_action(mark_of(plan, "erased"), head.version + 1))
    write_commit(
        search.folder,
        head,
        operation="DELETE",
        actions=actions,
        metrics={
            "numDeletedRows": str(sum(r.rows_removed for _, r in changes)),
            "numRemovedFiles": str(len(changes)),
            "numAddedFiles": str(sum(r.path is not None for _, r in changes)),
        },
        facts=facts,
    )
    return erased


def _remembered(history: History, plan: ErasePlan) -> Erased:
    """What an earlier attempt of this plan did, as its commit tells."""
    version = history.head.transactions[mark_of(plan, "erased")]
    facts = history.commit_details.get(version, {}).get(_FACTS)
    if not facts:  # the purge has removed that commit from the log already
        return Erased(str(version), 0, (), (), {"note": "erased by an earlier attempt"})
    return Erased.remembered(facts)
