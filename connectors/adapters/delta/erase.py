"""Erasing a person from the current version: rewrite what holds them, then one commit.

Resumable: until the commit nothing that a reader sees has changed, and the commit carries a mark
of the plan (Delta's `txn` action), so running the same plan again after a crash at any point
either finishes or finds itself done. Output files have fresh names in every attempt, so two
workers that run the same plan by accident cannot harm each other: one commit wins.
"""

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any
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
from connectors.adapters.delta.find import Search, Target, check_head
from connectors.adapters.delta.log import read_history
from connectors.adapters.delta.rewrite import rewrite_without
from connectors.adapters.delta.snapshot import DataFile, History, Snapshot
from connectors.adapters.delta.table import opened_table
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
class Replacement:
    """A file of the person's and the one without their rows; no row left: no file (`path` None)."""

    file: DataFile
    rows_removed: int
    stats: str
    path: str | None = None
    bytes: int = 0
    modified: int = 0  # milliseconds since 1970

    @property
    def amendment(self) -> Amendment:
        return Amendment(self.file.path, self.path, self.bytes, self.stats)


def fresh_name(plan: ErasePlan, old: str, number: int) -> str:
    """A path that nobody uses, in the folder of the file that it replaces."""
    parent, slash, _ = old.rpartition("/")
    return f"{parent}{slash}part-{number:05d}-{uuid.uuid4()}-c000{output_mark(plan)}"


def erase_rows(
    folder: Folder,
    subject_columns: Iterable[str],
    plan: ErasePlan,
    needles: Needles,
    progress: Progress,
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
    affected = _affected(search, head, plan, progress)
    if not affected:
        return Erased(plan.snapshot, 0, (), (), {"note": "no row in the current version"})
    masks = deletion_masks(folder, [file for file, _ in affected])
    done: list[Replacement] = []
    try:
        for number, (file, _) in enumerate(affected):
            progress("rewrite", number, len(affected), sum(r.file.bytes for r in done))
            path = fresh_name(plan, file.path, number)
            done.append(replace_file(search, head, file, path, masks.get(file.path)))
        progress("rewrite", len(affected), len(affected), sum(r.file.bytes for r in done))
        return _commit(search, head, plan, done, sum(rows for _, rows in affected))
    except Exception:
        after = read_history(folder)
        if mark_of(plan, "erased") in after.head.transactions:
            return _remembered(after, plan)  # our commit, or a twin's, went through after all
        for path in [r.path for r in done if r.path]:
            folder.remove(path)
        raise


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
    search: Search, head: Snapshot, plan: ErasePlan, progress: Progress
) -> list[tuple[DataFile, int]]:
    """The current version's files that hold rows of the person, with the number of rows."""
    affected = []
    for number, file in enumerate(head.files.values()):
        progress("find", number, len(head.files), 0)
        target = Target(file.path, "data", (), file.partition_values, file.bytes)
        rows = search.file(target).rows
        if not rows:
            continue
        if masked(file.path, search.subject_columns) not in plan.objects:
            raise PlanOutdatedError(
                f"Rows were found in {masked(file.path, search.subject_columns)}, which the plan "
                "does not name. Nothing was erased: search and plan again."
            )
        affected.append((file, rows))
    return affected


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


def replace_file(
    search: Search, head: Snapshot, file: DataFile, path: str, mask: "pa.Array | None" = None
) -> Replacement:
    """Write the file anew at `path` without the person's rows, and look whether they are gone.

    Raises ResidueError and StoreError; there is no file at `path` then.
    """
    folder = search.folder
    draft = folder.draft(path)
    try:
        with folder.opened(file.path) as source:
            rewritten = rewrite_without(
                source,
                draft,
                rows_of=lambda schema: search.rows(schema, file.partition_values),
                identifier_columns=search.top_level_columns,
                keep_mask=mask,
                indexed=_indexed(head),
            )
        if not rewritten.rows_kept:
            return Replacement(file, rewritten.rows_removed, rewritten.stats)
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
        file,
        rewritten.rows_removed,
        rewritten.stats,
        path,
        written.bytes,
        int(written.modified.timestamp() * 1000),
    )


def _indexed(head: Snapshot) -> int:
    return int(head.configuration.get("delta.dataSkippingNumIndexedCols", _DEFAULT_INDEXED))


def _commit(
    search: Search, head: Snapshot, plan: ErasePlan, done: list[Replacement], rows: int
) -> Erased:
    columns = search.subject_columns
    erased = Erased(
        new_version=str(head.version + 1),
        rows=rows,
        objects_removed=tuple(masked(r.file.path, columns) for r in done),
        objects_added=tuple(masked(r.path, columns) for r in done if r.path),
        detail={"bytes_rewritten": sum(r.file.bytes for r in done)},
    )
    facts: dict[str, Any] = {_FACTS: asdict(erased)}
    if plan.mode == "keep_history":
        facts[REPLACED] = [asdict(r.amendment) for r in done]
    actions = [remove_action(r.file) for r in done]
    actions += [
        add_action(
            r.path,
            size=r.bytes,
            partition_values=r.file.partition_values,
            stats=r.stats,
            modified=r.modified,
        )
        for r in done
        if r.path
    ]
    actions.append(transaction_action(mark_of(plan, "erased"), head.version + 1))
    write_commit(
        search.folder,
        head,
        operation="DELETE",
        actions=actions,
        metrics={
            "numDeletedRows": str(sum(r.rows_removed for r in done)),
            "numRemovedFiles": str(len(done)),
            "numAddedFiles": str(sum(r.path is not None for r in done)),
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
