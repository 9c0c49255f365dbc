"""From a report to datasets, versions, runs and edges; the same outcome in any order.

What each event says of its run is kept (`RunDataset`); edges are derived from that anew with each
event, so an end that comes before its start, or a version that is named late, changes nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from accounts.models import User
from audit.actions import record
from audit.intake import time_text
from lineage.actions.edges import derive_edges
from lineage.actions.merging import READ, REPORTED, merge, merge_date, merge_rows
from lineage.actions.registry import (
    ensure_dataset,
    ensure_job,
    known_by,
    lock_identities,
    observation_name,
    record_version,
)
from lineage.actions.timeline import relink
from lineage.events import DATASET_REGISTERED
from lineage.intake.reports import DatasetFacts, JobFacts, Report, RunFacts
from lineage.models import Dataset, Edge, Job, Run, RunDataset, Version
from lineage.nodes import candidate_nodes

Identity = tuple[str, str]
Parts = dict[tuple[str, int], list[RunDataset]]  # by role and id of the dataset
INPUT, OUTPUT, SOURCE = RunDataset.Role.INPUT, RunDataset.Role.OUTPUT, RunDataset.Role.SOURCE
_STRENGTH = {"": 0, "column": 1, "lineage": 2}
_END_ORDER = {Run.State.COMPLETE: 0, Run.State.ABORT: 1, Run.State.FAIL: 2}


def project(report: Report, *, by: User, parent_id: str, source: str) -> None:
    """Merge one report. Runs inside the caller's transaction."""
    _Projection(report, by=by, parent_id=parent_id, source=source).run_through()


class _Projection:
    def __init__(self, report: Report, *, by: User, parent_id: str, source: str) -> None:
        self.report, self.by, self.parent_id, self.source = report, by, parent_id, source
        self.datasets: dict[Identity, Dataset] = {}
        self.versions: dict[tuple[int, str], Version] = {}
        self.parts: Parts = defaultdict(list)
        self.moved: dict[Dataset, set[datetime]] = defaultdict(set)

    def run_through(self) -> None:
        report = self.report
        self._find_datasets([*report.outputs, *report.inputs, *report.described])
        if report.job is None:
            self._find_versions(None)
            for facts in report.described:
                self._describe(facts)
        else:
            run, is_new = self._run(report.job, report.run)
            self._find_versions(run)
            self._take_part(run, is_new=is_new)
            derive_edges(run, [p for some in self.parts.values() for p in some], is_new=is_new)
        if self.moved:
            relink(self.moved)

    # Datasets

    def _find_datasets(self, all_facts: Sequence[DatasetFacts]) -> None:
        """Rows for every identity the report speaks of; a stated kind wins over a guess."""
        kinds: dict[Identity, bool | None] = {}
        for facts in all_facts:
            if facts.is_model is not None or facts.identity not in kinds:
                kinds[facts.identity] = facts.is_model
            for source in facts.sources:
                kinds.setdefault(source, None)
        known = _locked_datasets(kinds)
        if missing := [identity for identity in kinds if identity not in known]:
            # Only one transaction at a time makes up its mind what kind of thing is new.
            lock_identities(missing)
            known |= _locked_datasets(missing)
        for identity in sorted(kinds):
            self.datasets[identity] = self._dataset(
                identity, known.get(identity, {}), is_model=kinds[identity]
            )
        for facts in all_facts:
            self._merge_dataset(self.datasets[facts.identity], facts)

    def _dataset(
        self, identity: Identity, known: dict[str, Dataset], *, is_model: bool | None
    ) -> Dataset:
        model, data = known.get(Dataset.Kind.MODEL), known.get(Dataset.Kind.DATASET)
        if is_model is None and (model or data):
            return model or data  # type: ignore[return-value]  # one of them is there
        if is_model:
            if model is None and data is not None and not data.kind_stated:
                return self._turn_into_model(data)
            kind: str = Dataset.Kind.MODEL
        else:
            kind = Dataset.Kind.DATASET
        found = known.get(kind) or ensure_dataset(
            kind, *identity, stated=is_model is not None, by=self.by, parent_id=self.parent_id
        )
        if is_model is not None and not found.kind_stated:
            found.kind_stated = True
            Dataset.objects.filter(pk=found.pk).update(kind_stated=True)
        return found

    def _turn_into_model(self, dataset: Dataset) -> Dataset:
        """What was only mentioned so far turns out to be a model."""
        names = candidate_nodes(Dataset.Kind.MODEL, dataset.namespace, dataset.name)
        held = set(Dataset.objects.filter(node__in=names).values_list("node", flat=True))
        was, dataset.node = dataset.node, next(n for n in names if n not in held)
        dataset.kind, dataset.kind_stated = Dataset.Kind.MODEL, True
        dataset.save(update_fields=["kind", "kind_stated", "node"])
        record(
            DATASET_REGISTERED, by=self.by, resource=dataset.node, parent_id=self.parent_id,
            details={"kind": dataset.kind, "was": was},
        )  # fmt: skip
        Edge.objects.filter(kind=Edge.Kind.ASSUMED, target__dataset=dataset).delete()
        self.moved[dataset] |= set(dataset.versions.values_list("created_at", flat=True))
        return dataset

    def _merge_dataset(self, dataset: Dataset, facts: DatasetFacts) -> None:
        said = {"description": facts.description, "facts": facts.facts}
        if not (facts.description or facts.facts or facts.personal_data):
            return
        changed = merge(dataset, said, rank=REPORTED, at=self.report.at)
        if facts.personal_data and not dataset.personal_data:
            dataset.personal_data = changed = True
        if changed:
            dataset.save()

    def _describe(self, facts: DatasetFacts) -> None:
        """A dataset event: of a version if it names one, of the dataset otherwise."""
        if facts.version:
            self._version(self.datasets[facts.identity], facts, None, role=OUTPUT)

    # Jobs and runs

    def _run(self, job_facts: JobFacts, facts: RunFacts | None) -> tuple[Run, bool]:
        """The run, locked, and whether it is new."""
        at = self.report.at
        run_id = facts.run_id if facts else ""
        run = _locked_run(job_facts, run_id)
        if run is None:
            job = ensure_job(job_facts.namespace, job_facts.name)
            state = Run.State.UNKNOWN if facts else Run.State.DESIGN
            run = Run(job=job, run_id=run_id, state=state, first_event_at=at, last_event_at=at)
        self._merge_job(run.job, job_facts)
        if facts is not None:
            _merge_state(run, facts, at)
            if facts.parent_job is not None:
                self._name_parent(run, facts)
            merge(run, {"facts": facts.facts}, rank=REPORTED, at=at)
        run.first_event_at = min(run.first_event_at, at)
        run.last_event_at = max(run.last_event_at, at)
        if run.pk is not None:
            run.save()
            return run, False
        try:
            with transaction.atomic():
                run.save(force_insert=True)
        except IntegrityError:  # another event of this run was faster
            return self._run(job_facts, facts)
        return run, True

    def _merge_job(self, job: Job, facts: JobFacts) -> None:
        if facts.facts or facts.description:
            said = {"description": facts.description, "facts": facts.facts}
            if merge(job, said, rank=REPORTED, at=self.report.at):
                locked = Job.objects.select_for_update().get(pk=job.pk)
                merge(locked, said, rank=REPORTED, at=self.report.at)
                locked.save()

    def _name_parent(self, run: Run, facts: RunFacts) -> None:
        """The run that started this one; of events that differ, the earliest counts."""
        assert facts.parent_job is not None  # noqa: S101  # the caller has looked
        at = self.report.at
        job = ensure_job(facts.parent_job.namespace, facts.parent_job.name)
        parent, created = Run.objects.get_or_create(
            job=job,
            run_id=facts.parent_run_id,
            defaults={"first_event_at": at, "last_event_at": at},
        )
        if not created:
            Run.objects.filter(pk=parent.pk, first_event_at__gt=at).update(first_event_at=at)
            Run.objects.filter(pk=parent.pk, last_event_at__lt=at).update(last_event_at=at)
        word = f"{time_text(at)} {facts.parent_run_id}"
        if parent.pk != run.pk and word <= run.told_at.get("parent", word):
            run.parent = parent
            run.told_at["parent"] = word

    # Versions

    def _find_versions(self, run: Run | None) -> None:
        """Those versions that the report names and that are known, locked in one order."""
        named = {(self.datasets[f.identity].pk, f.version) for f in self._all_facts() if f.version}
        if run is not None:
            unnamed = (observation_name(run, read=read) for read in (True, False))
            named |= {(d.pk, name) for name in unnamed for d in self.datasets.values()}
        found = (
            Version.objects.select_for_update()
            .filter(dataset__in={pk for pk, _ in named}, version__in={name for _, name in named})
            .order_by("pk")
        )
        by_pk = {dataset.pk: dataset for dataset in self.datasets.values()}
        for version in found if named else ():
            version.dataset = by_pk[version.dataset_id]
            self.versions[version.dataset_id, version.version] = version

    def _all_facts(self) -> list[DatasetFacts]:
        return [*self.report.inputs, *self.report.outputs, *self.report.described]

    def _take_part(self, run: Run, *, is_new: bool) -> None:
        if not is_new:
            for part in RunDataset.objects.filter(run=run).select_related("version__dataset"):
                key = (part.version.dataset_id, part.version.version)
                part.version = self.versions.setdefault(key, part.version)
                self.parts[part.role, part.version.dataset_id].append(part)
        for facts in self.report.inputs:
            self._part(run, facts, INPUT)
        for facts in self.report.outputs:
            part = self._part(run, facts, OUTPUT)
            self._note_sources(part, facts)
        for facts in self.report.outputs:
            for source in facts.sources:
                dataset = self.datasets[source]
                made_here = source != facts.identity and self.parts[OUTPUT, dataset.pk]
                if not (made_here or self.parts[INPUT, dataset.pk]):
                    self._part(run, DatasetFacts(*source), SOURCE)

    def _part(self, run: Run, facts: DatasetFacts, role: RunDataset.Role) -> RunDataset:
        dataset = self.datasets[facts.identity]
        here = self.parts[role, dataset.pk]
        if not facts.version and here:
            # Which of several the event means is unknown, so it tells nothing about either.
            if len(here) == 1:
                self._merge_version(here[0].version, facts, run, role=role)
            return here[0]
        version = self._version(dataset, facts, run, role=role)
        if facts.version:
            for part in [p for p in here if p.version.known_by == Version.KnownBy.OBSERVED]:
                self._supersede(part, version, here)
        for part in here:
            if part.version_id == version.pk:
                return part
        made = RunDataset.objects.create(run=run, version=version, role=role)
        here.append(made)
        return made

    def _version(
        self, dataset: Dataset, facts: DatasetFacts, run: Run | None, *, role: RunDataset.Role
    ) -> Version:
        """The declared version, or the one that stands for what the run left unnamed."""
        wrote = role == OUTPUT
        observed = run is not None and not facts.version
        name = facts.version or (observation_name(run, read=not wrote) if run else "")
        version = self.versions.get((dataset.pk, name))
        if version is None:
            version = Version(
                dataset=dataset,
                version=name,
                known_by=Version.KnownBy.OBSERVED if observed else known_by(name),
                created_at=self.report.at,
                dated_by=Version.DatedBy.RUN if wrote else Version.DatedBy.READ,
                read_by=run if observed and not wrote else None,
            )
        self._merge_version(version, facts, run, role=role)
        return self.versions.setdefault((dataset.pk, name), version)

    def _merge_version(
        self, version: Version, facts: DatasetFacts, run: Run | None, *, role: RunDataset.Role
    ) -> None:
        """Take over what the report says, and save; a new version is inserted and recorded."""
        wrote, at = role == OUTPUT, self.report.at
        before = (version.produced_by_id, version.keeps_older)
        moved = merge_date(
            version,
            at,
            dated_by=Version.DatedBy.RUN if wrote else Version.DatedBy.READ,
            run=run if wrote else None,
        )
        said = {
            "rows": facts.rows, "bytes": facts.bytes, "digest": facts.digest,
            "schema": [dict(column) for column in facts.schema],
            "metrics": dict(facts.metrics), "facts": dict(facts.version_facts),
        }  # fmt: skip
        changed = merge(version, said, rank=REPORTED if wrote else READ, at=at)
        if wrote and not facts.keeps_older:
            version.keeps_older = False
        shifted = before != (version.produced_by_id, version.keeps_older)
        if version.pk is None:
            if not self._insert(version):
                found = Version.objects.select_for_update().get(
                    dataset=version.dataset, version=version.version
                )
                found.dataset = version.dataset
                self.versions[version.dataset_id, version.version] = found
                self._merge_version(found, facts, run, role=role)
                return
            self.moved[version.dataset].add(version.created_at)
            if version.read_by_id is None:
                record_version(version, by=self.by, source=self.source, parent_id=self.parent_id)
            return
        if changed or moved or shifted:
            version.save()
        if moved or shifted:
            self.moved[version.dataset] |= {version.created_at, moved or version.created_at}
        if before[1] and not version.keeps_older:
            Edge.objects.filter(kind=Edge.Kind.ASSUMED, target=version).delete()

    @staticmethod
    def _insert(version: Version) -> bool:
        """False when another transaction has made this version in the meantime."""
        try:
            with transaction.atomic():
                version.save(force_insert=True)
        except IntegrityError:
            version.pk = None
            return False
        return True

    def _supersede(self, part: RunDataset, declared: Version, here: list[RunDataset]) -> None:
        """The run has named the version that stood there as an observation."""
        observed = part.version
        Edge.objects.filter(source=observed).delete()
        Edge.objects.filter(target=observed).delete()
        merge_rows(declared, observed)
        moved = merge_date(
            declared, observed.created_at, dated_by=observed.dated_by,
            run=part.run if part.role == OUTPUT else None,
        )  # fmt: skip
        declared.keeps_older &= observed.keeps_older
        declared.save()
        Version.objects.filter(pk=observed.pk).update(superseded_by=declared)
        self.moved[declared.dataset] |= {
            observed.created_at, declared.created_at, moved or declared.created_at,
        }  # fmt: skip
        there = next((p for p in here if p.version_id == declared.pk), None)
        if there is None:
            part.version = declared
            part.save()
            return
        _stronger_sources(there, part.sources_by, part.sources)
        there.save()
        here.remove(part)
        part.delete()

    def _note_sources(self, part: RunDataset, facts: DatasetFacts) -> None:
        if not facts.sources_by:
            return
        sources = [self.datasets[source].pk for source in facts.sources]
        _stronger_sources(part, facts.sources_by, sources)
        part.save()


def _locked_datasets(identities: Collection[Identity]) -> dict[Identity, dict[str, Dataset]]:
    """The rows of these identities, by kind.

    Locked in one order, so that two events about one dataset do not guess from half of what the
    other says, nor wait for each other in a circle.
    """
    rows = (
        Dataset.objects.select_for_update(no_key=True)
        .filter(namespace__in={ns for ns, _ in identities}, name__in={n for _, n in identities})
        .order_by("pk")
    )
    known: dict[Identity, dict[str, Dataset]] = {}
    for row in rows:
        if (row.namespace, row.name) in identities:
            known.setdefault((row.namespace, row.name), {})[row.kind] = row
    return known


def _stronger_sources(part: RunDataset, by: str, sources: Iterable[int]) -> None:
    if _STRENGTH[by] > _STRENGTH[part.sources_by]:
        part.sources_by, part.sources = by, sorted(set(sources))
    elif by == part.sources_by:
        part.sources = sorted({*part.sources, *sources})


def _merge_state(run: Run, facts: RunFacts, at: datetime) -> None:
    """An end outweighs a beginning whenever it comes; of two ends the later one counts."""
    if facts.started and (run.started_at is None or at < run.started_at):
        run.started_at = at
    if facts.state in _END_ORDER:
        known = (run.ended_at, _END_ORDER.get(Run.State(run.state), -1))
        if run.ended_at is None or (at, _END_ORDER[Run.State(facts.state)]) > known:
            run.state, run.ended_at = facts.state, at
    elif facts.state and run.state == Run.State.UNKNOWN:
        run.state = facts.state


def _locked_run(job: JobFacts, run_id: str) -> Run | None:
    return (
        Run.objects.select_for_update(of=("self",))
        .select_related("job")
        .filter(job__namespace=job.namespace, job__name=job.name, run_id=run_id)
        .first()
    )
