"""What an erasure will do to a table, and what stands in its way."""

from collections.abc import Iterable

from connectors.adapters.base import (
    MODES,
    ErasePlan,
    Findings,
    PlanOutdatedError,
    StoreError,
)
from connectors.adapters.delta.commit import write_blockers
from connectors.adapters.delta.commits import log_is_whole
from connectors.adapters.delta.erase import deletion_masks
from connectors.adapters.delta.find import nested_tables
from connectors.adapters.delta.log import LOG, read_history
from connectors.adapters.delta.purge import is_history
from connectors.adapters.delta.snapshot import History, is_absolute
from connectors.folders import masked
from connectors.storage import Folder


def plan_for(
    folder: Folder, subject_columns: Iterable[str], findings: Findings, mode: str
) -> ErasePlan:
    """Raises PlanOutdatedError when the table has gone on since the findings were made, StoreError
    for an unknown mode."""
    if mode not in MODES:
        raise StoreError(f'There is no mode "{mode}". Plan with one of: {", ".join(MODES)}.')
    history = read_history(folder)
    head = str(history.head.version)
    if head not in findings.rows_by_version:
        raise PlanOutdatedError(
            f"The table {folder.root} is at version {head}, which was not searched yet. Search "
            "again, then plan."
        )
    paths = tuple(sorted(o.path for o in findings.objects))
    lost = [s.version for s in history.snapshots] if paths and mode == "purge" else []
    blockers = _Blockers(folder, tuple(subject_columns), history, set(paths))
    return ErasePlan(
        mode=mode,
        snapshot=head,
        objects=paths,
        rows=sum(o.rows for o in findings.objects),
        bytes=sum(o.bytes for o in findings.objects),
        versions_lost=tuple(map(str, lost)),
        blockers=tuple(blockers.of(mode)) if paths else (),
    )


class _Blockers:
    """Of one plan. `planned`: its objects, as plans show them."""

    def __init__(
        self, folder: Folder, columns: tuple[str, ...], history: History, planned: set[str]
    ) -> None:
        self.folder = folder
        self.columns = columns
        self.history = history
        self.planned = planned

    def of(self, mode: str) -> list[str]:
        blockers = write_blockers(self.history.head)
        if any(is_absolute(path) for path in self.history.head.files):
            blockers.append(
                "The table reads files outside its folder (a shallow clone). Erase in the table "
                "that owns them first, then make the clone again."
            )
        if nested := nested_tables(self.folder.entries()):
            blockers.append(
                f"Another Delta table lies inside this one's folder ({', '.join(nested)}). Move it "
                "out: a purge could not tell its files from leftovers."
            )
        blockers += self._of_kept_history() if mode == "keep_history" else self._of_vectors()
        return [*blockers, *self.folder.locks(self._doomed(mode))]

    def _is_planned(self, path: str) -> bool:
        return masked(path, self.columns) in self.planned

    def _of_vectors(self) -> list[str]:
        files = self.history.head.files
        hidden = [f for p, f in files.items() if f.deletion_vector and self._is_planned(p)]
        try:
            deletion_masks(self.folder, hidden)
        except StoreError as exc:
            return [str(exc)]
        return []

    def _of_kept_history(self) -> list[str]:
        blockers = []
        otherwise = "Older versions cannot be kept: plan with purge."
        if not log_is_whole(self.folder):
            blockers.append(
                "The table's first commits were cleaned up, so that only a checkpoint says what "
                f"its older versions are. {otherwise}"
            )
        files = [f for s in self.history.snapshots for f in s.files.values()]
        if any(is_absolute(file.path) for file in files):
            blockers.append(f"Versions of the table read files outside its folder. {otherwise}")
        if any(file.deletion_vector and self._is_planned(file.path) for file in files):
            blockers.append(
                "Versions of the table hide rows in the person's files by deletion vectors, which "
                f"count rows that a rewritten file does not have. {otherwise}"
            )
        return blockers

    def _doomed(self, mode: str) -> dict[str, str]:
        """What erasing and purging takes away for good, and how plans show it."""
        paths = {entry.path for entry in self.folder.entries()}
        paths |= {item.path for item in self.folder.hidden()}
        shown = {path: masked(path, self.columns) for path in paths if is_history(path)}
        if mode == "keep_history":
            # "older version 3f…/part-0.parquet" stands for a path too.
            planned = self.planned | {text.partition("/")[2] for text in self.planned}
            return {p: s for p, s in shown.items() if p.startswith(f"{LOG}/") or s in planned}
        live = self.history.head.files
        return {p: s for p, s in shown.items() if p not in live or s in self.planned}
