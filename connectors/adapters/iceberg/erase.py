"""Erasing a person from every branch: rewrite what holds them, then one commit for all branches.

Resumable: until the commit nothing that a reader sees has changed, and the commit leaves the plan's
mark in the table's properties, so running the same plan again after a crash at any point either
finishes or finds itself done. Output files have fresh names in every attempt, so that it may be an
engine that has them written (see `replace`).
"""

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import SetPropertiesUpdate

from connectors.adapters.base import Erased, ErasePlan, PlanOutdatedError, Progress, StoreError
from connectors.adapters.iceberg.catalog import UnknownOutcomeError, commit
from connectors.adapters.iceberg.find import Looking, Target
from connectors.adapters.iceberg.person import FileMatch, Person
from connectors.adapters.iceberg.replace import Job, Replacement, Rewriting, replacement
from connectors.adapters.iceberg.snapshots import Drafts
from connectors.adapters.iceberg.table import DataEntry, TableView
from connectors.engines import Engine

MARKS = "vestige.erasures"
OURS = "vestige-"  # with what the names of files begin that are written here
_MOST_MARKS = 64


def output_mark(plan: ErasePlan) -> str:
    """With what the names of files begin that are written for this plan."""
    return f"{OURS}{plan.id[:12]}-"


def mark_of(metadata: TableMetadata, plan: ErasePlan) -> Mapping[str, Any] | None:
    """What the table remembers of this plan: its "step" ("erased" or "purged") and facts."""
    return next((m for m in _marks(metadata) if m.get("plan") == plan.id), None)


def set_mark(metadata: TableMetadata, plan: ErasePlan, **facts: Any) -> SetPropertiesUpdate:
    """The newest marks are kept: an older plan has been outdated by them anyway."""
    others = [m for m in _marks(metadata) if m.get("plan") != plan.id]
    marks = [*others, {"plan": plan.id, **facts}][-_MOST_MARKS:]
    return SetPropertiesUpdate(updates={MARKS: json.dumps(marks, separators=(",", ":"))})


def _marks(metadata: TableMetadata) -> list[dict[str, Any]]:
    try:
        marks = json.loads(metadata.properties.get(MARKS, "[]"))
    except ValueError:
        return []
    return [m for m in marks if isinstance(m, dict)] if isinstance(marks, list) else []


def lost_versions(view: TableView, affected: Collection[str]) -> tuple[str, ...]:
    """The snapshots that end with a purge: all but those that a branch or tag points to, that read
    no affected file, and whose manifests describe no removed file. Oldest first."""
    kept = {
        snapshot.snapshot_id
        for snapshot in (*view.branches.values(), *view.tags.values())
        if not view.is_dirty(snapshot)
        and not any(entry.path in affected for entry in view.live(snapshot))
    }
    return tuple(str(s.snapshot_id) for s in view.snapshots if s.snapshot_id not in kept)


def kept_metadata(view: TableView, lost: Collection[str]) -> set[str]:
    """The manifests and their lists of all other snapshots."""
    kept = [s for s in view.snapshots if str(s.snapshot_id) not in lost]
    lists = {view.relative(snapshot.manifest_list) for snapshot in kept}
    return lists | {view.relative(m.manifest_path) for s in kept for m in view.manifests(s)}


class Erasure:
    """One run of one plan."""

    mode = "purge"

    def __init__(
        self,
        view: TableView,
        person: Person,
        plan: ErasePlan,
        progress: Progress,
        engine: Engine,
    ) -> None:
        self.view = view
        self.engine = engine
        self.person = person
        self.plan = plan
        self.progress = progress

    def run(self) -> Erased:
        """Raises PlanOutdatedError (nothing erased), ResidueError, StoreError."""
        if mark := mark_of(self.view.metadata, self.plan):
            return _remembered(mark, self.plan)
        self._refuse_other_state()
        affected = self._affected()
        if not affected:
            return self._nothing()
        done: dict[str, Replacement] = {}
        try:
            self._rewrite(affected, done)
            return self._commit([done[path] for path in affected])
        except UnknownOutcomeError:
            raise
        except BaseException:
            for path in [r.path for r in done.values() if r.path]:
                self.view.folder.remove(path)
            raise

    def _nothing(self) -> Erased:
        """Only the past holds the person, or nothing does. The mark lets the purge begin."""
        erased = Erased(self.plan.snapshot, 0, (), (), {"note": "no row in a current version"})
        if self.plan.objects:
            commit(self.view.table, [self._marked(erased)])
        return erased

    def _refuse_other_state(self) -> None:
        if self.plan.mode != self.mode:
            raise StoreError(f'The mode "{self.plan.mode}" is not available. Plan anew.')
        if self.plan.blockers:
            raise StoreError(f"The plan cannot be carried out: {' '.join(self.plan.blockers)}")
        if self.view.head != self.plan.snapshot:
            raise self._outdated()

    def _outdated(self) -> PlanOutdatedError:
        return PlanOutdatedError(
            f"Other writers committed to the table {self.view.name} since the plan was made. "
            "Nothing was erased: search and plan again."
        )

    def _affected(self) -> dict[str, tuple[DataEntry, int]]:
        """Files of branches with rows of the person, by path, with the number of rows."""
        branches = {e.path: e for s in self.view.branches.values() for e in self.view.live(s)}
        tags = {e.path: e for s in self.view.tags.values() for e in self.view.live(s)}
        every = {**tags, **branches}
        affected = {}
        for path, rows in self._rows(every).items():
            if path in tags:
                raise self._unplanned(path, "which a tag keeps")
            affected[path] = (every[path], rows)
        lost = lost_versions(self.view, set(affected))
        if self.plan.objects and set(lost) != set(self.plan.versions_lost):
            raise self._outdated()
        return affected

    def _unplanned(self, path: str, where: str) -> PlanOutdatedError:
        return PlanOutdatedError(
            f"Rows were found in {self.person.shown(path)}, {where}. Nothing was erased: search "
            "and plan again."
        )

    def _rows(self, entries: Mapping[str, DataEntry]) -> dict[str, int]:
        """In the order of the entries, for those that name the person: none where no row does any
        more. Raises PlanOutdatedError for one that the plan does not name."""
        targets = [self._target(entry) for entry in entries.values()]
        found: dict[str, FileMatch] = {}
        looked = self.engine.map_files(Looking(self.person), targets)
        with contextlib.closing(looked):
            for number, (target, match) in enumerate(looked):
                self.progress("find", number, len(targets), 0)
                if match and match.holds_person:
                    found[target.path] = match
        rows = {path: found[path].rows for path in entries if path in found}
        for path in rows:
            if self.person.shown(path) not in self.plan.objects:
                raise self._unplanned(path, "which the plan does not name")
        return rows

    def _target(self, entry: DataEntry) -> Target:
        constants = self.view.identity_constants(entry.file)
        return Target(entry.path, "data", [], constants, entry.file.file_size_in_bytes)

    def _rewrite(
        self, affected: Mapping[str, tuple[DataEntry, int]], done: dict[str, Replacement]
    ) -> None:
        """`done`: takes what was written, by the paths of the old files, as it comes."""
        task = Rewriting(self.person, output_mark(self.plan))
        jobs = [self._job(entry, rows) for entry, rows in affected.values()]
        size = 0
        self.progress("rewrite", 0, len(jobs), size)
        rewritten = self.engine.map_files(task, jobs)
        with contextlib.closing(rewritten):
            for job, written in rewritten:
                entry, _ = affected[job.path]
                done[job.path] = replacement(task, job, written, entry, self.view)
                size += entry.file.file_size_in_bytes
                self.progress("rewrite", len(done), len(jobs), size)

    def _job(self, entry: DataEntry, rows: int) -> Job:
        constants = self.view.identity_constants(entry.file)
        return Job(entry.path, constants, rows, entry.file.record_count - rows)

    def _commit(self, done: list[Replacement]) -> Erased:
        drafts = Drafts(self.view, output_mark(self.plan))
        with drafts.writing():
            return self._committed(drafts, done)

    def _committed(self, drafts: Drafts, done: list[Replacement]) -> Erased:
        changes = {r.entry.path: r.file for r in done}
        heads: dict[int, Snapshot] = {}
        refs: dict[str, Snapshot] = {}
        for name, snapshot in self.view.branches.items():
            if not any(e.path in changes for e in self.view.live(snapshot)):
                continue
            if snapshot.snapshot_id not in heads:  # two branches may have the same head
                heads[snapshot.snapshot_id] = drafts.replace_files(snapshot, changes)
            refs[name] = heads[snapshot.snapshot_id]
        erased = self._result(done, heads.get(int(self.plan.snapshot)), branches=sorted(refs))
        commit(self.view.table, [*drafts.updates(refs), self._marked(erased)])
        return erased

    def _result(self, done: Sequence[Replacement], main: Snapshot | None, **more: Any) -> Erased:
        """`main`: the main branch's new snapshot, if it has one; `more`: other facts."""
        shown = self.person.shown
        return Erased(
            new_version=str(main.snapshot_id) if main else self.plan.snapshot,
            rows=sum(r.rows for r in done),
            objects_removed=tuple(shown(r.entry.path) for r in done),
            objects_added=tuple(shown(r.path) for r in done if r.path),
            detail={
                **more,
                "rows_kept": sum(r.kept for r in done),
                "bytes_rewritten": sum(r.entry.file.file_size_in_bytes for r in done),
            },
        )

    def _marked(self, erased: Erased) -> SetPropertiesUpdate:
        return set_mark(self.view.metadata, self.plan, step="erased", erased=asdict(erased))


def _remembered(mark: Mapping[str, Any], plan: ErasePlan) -> Erased:
    """What an earlier attempt of this plan did, as the table's properties tell."""
    facts = mark.get("erased")
    if not facts:
        return Erased(plan.snapshot, 0, (), (), {"note": "erased by an earlier attempt"})
    return Erased.remembered(facts)
