"""From a report to datasets, versions, runs and edges; the same outcome in any order.

What each event says of its run is kept (`RunDataset`); edges are derived from that anew with each
event, so an end that comes before its start, or a version that is named late, changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import product

from accounts.models import User
from audit.actions import record
from audit.intake import time_text
from lineage.actions.merging import READ, REPORTED, merge, merge_date, merge_rows
from lineage.actions.registry import (
    ensure_dataset,
    ensure_job,
    known_by,
    observation_name,
    record_version,
)
from lineage.actions.timeline import relink
from lineage.events import DATASET_REGISTERED
from lineage.intake.reports import DatasetFacts, JobFacts, Report, RunFacts
from lineage.models import Dataset, Edge, Job, Run, RunDataset, Version
from lineage.nodes import candidate_nodes

Identity = tuple[str, str]
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
        self.moved: dict[int, set[datetime]] = defaultdict(set)

    def run_through(self) -> None:
        report = self.report
        self._find_datasets([*report.outputs, *report.inputs, *report.described])
        for facts in report.described:
            self._describe(facts)
        if report.job is not None:
            job = self._job(report.job)
            run = self._run(job, report.run)
            self._take_part(run)
            _derive_edges(run)
        touched = {dataset.pk: dataset for dataset in self.datasets.values()}
        for pk in sorted(self.moved):
            relink(touched[pk], self.moved[pk])

    # Datasets

    def _find_datasets(self, all_facts: Sequence[DatasetFacts]) -> None:
        """Rows for every identity the report speaks of; a stated kind wins over a guess."""
        kinds: dict[Identity, bool | None] = {}
        for facts in all_facts:
            if facts.is_model is not None or facts.identity not in kinds:
                kinds[facts.identity] = facts.is_model
            for source in facts.sources:
                kinds.setdefault(source, None)
        rows = Dataset.objects.filter(
            namespace__in={ns for ns, _ in kinds}, name__in={name for _, name in kinds}
        )
        known: dict[Identity, dict[str, Dataset]] = defaultdict(dict)
        for row in rows:
            known[(row.namespace, row.name)][row.kind] = row
        for identity in sorted(kinds):
            self.datasets[identity] = self._dataset(
                identity, known[identity], is_model=kinds[identity]
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
        self.moved[dataset.pk] |= set(dataset.versions.values_list("created_at", flat=True))
        return dataset

    def _merge_dataset(self, dataset: Dataset, facts: DatasetFacts) -> None:
        said = {"description": facts.description, "facts": facts.facts}
        if not (facts.description or facts.facts or facts.personal_data):
            return
        locked = Dataset.objects.select_for_update().get(pk=dataset.pk)
        changed = merge(locked, said, rank=REPORTED, at=self.report.at)
        if facts.personal_data and not locked.personal_data:
            locked.personal_data = changed = True
        if changed:
            locked.save()

    def _describe(self, facts: DatasetFacts) -> None:
        """A dataset event: of a version if it names one, of the dataset otherwise."""
        if facts.version:
            dataset = self.datasets[facts.identity]
            self._declared(dataset, facts, None, role=OUTPUT, rank=REPORTED)

    # Jobs and runs

    def _job(self, facts: JobFacts) -> Job:
        job = ensure_job(facts.namespace, facts.name)
        if facts.facts or facts.description:
            locked = Job.objects.select_for_update().get(pk=job.pk)
            said = {"description": facts.description, "facts": facts.facts}
            if merge(locked, said, rank=REPORTED, at=self.report.at):
                locked.save()
        return job

    def _run(self, job: Job, facts: RunFacts | None) -> Run:
        at = self.report.at
        times = {"first_event_at": at, "last_event_at": at}
        if facts is None:
            run, created = Run.objects.select_for_update().get_or_create(
                job=job, run_id="", defaults={"state": Run.State.DESIGN, **times}
            )
        else:
            run, created = Run.objects.select_for_update().get_or_create(
                job=job, run_id=facts.run_id, defaults=times
            )
            _merge_state(run, facts, at)
            if facts.parent_job is not None:
                self._name_parent(run, facts)
            merge(run, {"facts": facts.facts}, rank=REPORTED, at=at)
        if not created:
            run.first_event_at = min(run.first_event_at, at)
            run.last_event_at = max(run.last_event_at, at)
        run.save()
        run.job = job
        return run

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

    def _take_part(self, run: Run) -> None:
        parts: dict[tuple[str, int], list[RunDataset]] = defaultdict(list)
        for part in RunDataset.objects.filter(run=run).select_related("version__dataset"):
            parts[(part.role, part.version.dataset_id)].append(part)
        for facts in self.report.inputs:
            self._part(run, facts, INPUT, parts)
        for facts in self.report.outputs:
            part = self._part(run, facts, OUTPUT, parts)
            self._note_sources(part, facts)
        for facts in self.report.outputs:
            for source in facts.sources:
                dataset = self.datasets[source]
                made_here = source != facts.identity and parts[(OUTPUT, dataset.pk)]
                if not (made_here or parts[(INPUT, dataset.pk)]):
                    self._part(run, DatasetFacts(*source), SOURCE, parts)

    def _part(
        self,
        run: Run,
        facts: DatasetFacts,
        role: RunDataset.Role,
        parts: dict[tuple[str, int], list[RunDataset]],
    ) -> RunDataset:
        dataset = self.datasets[facts.identity]
        here = parts[(role, dataset.pk)]
        rank = REPORTED if role == OUTPUT else READ
        if facts.version:
            version = self._declared(dataset, facts, run, role=role, rank=rank)
            for part in [p for p in here if p.version.known_by == Version.KnownBy.OBSERVED]:
                self._supersede(part, version)
                here.remove(part)
        elif not here:
            version = self._observed(dataset, facts, run, role=role, rank=rank)
        else:
            # Which of several the event means is unknown, so it tells nothing about either.
            if len(here) == 1:
                self._merge_version(here[0].version, facts, run, role=role, rank=rank)
            return here[0]
        for part in here:
            if part.version_id == version.pk:
                return part
        made, _ = RunDataset.objects.get_or_create(run=run, version=version, role=role)
        made.version = version
        here.append(made)
        return made

    def _declared(
        self,
        dataset: Dataset,
        facts: DatasetFacts,
        run: Run | None,
        *,
        role: RunDataset.Role,
        rank: int,
    ) -> Version:
        version, created = Version.objects.select_for_update().get_or_create(
            dataset=dataset,
            version=facts.version,
            defaults={
                "known_by": known_by(facts.version),
                "created_at": self.report.at,
                "dated_by": Version.DatedBy.RUN if role == OUTPUT else Version.DatedBy.READ,
            },
        )
        version.dataset = dataset
        self._merge_version(version, facts, run, role=role, rank=rank, created=created)
        return version

    def _observed(
        self,
        dataset: Dataset,
        facts: DatasetFacts,
        run: Run,
        *,
        role: RunDataset.Role,
        rank: int,
    ) -> Version:
        wrote = role == OUTPUT
        version, created = Version.objects.select_for_update().get_or_create(
            dataset=dataset,
            version=observation_name(run, read=not wrote),
            defaults={
                "known_by": Version.KnownBy.OBSERVED,
                "created_at": self.report.at,
                "dated_by": Version.DatedBy.RUN if wrote else Version.DatedBy.READ,
                "read_by": None if wrote else run,
            },
        )
        version.dataset = dataset
        self._merge_version(version, facts, run, role=role, rank=rank, created=created)
        return version

    def _merge_version(
        self,
        version: Version,
        facts: DatasetFacts,
        run: Run | None,
        *,
        role: RunDataset.Role,
        rank: int,
        created: bool = False,
    ) -> None:
        at = self.report.at
        wrote = role == OUTPUT
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
        changed = merge(version, said, rank=rank, at=at)
        if wrote and not facts.keeps_older:
            version.keeps_older = False
        shifted = before != (version.produced_by_id, version.keeps_older)
        if created or changed or moved or shifted:
            version.save()
        if created or moved or shifted:
            self.moved[version.dataset_id] |= {version.created_at, moved or version.created_at}
        if version.keeps_older is False and before[1] and not created:
            Edge.objects.filter(kind=Edge.Kind.ASSUMED, target=version).delete()
        if created and version.read_by_id is None:
            record_version(version, by=self.by, source=self.source, parent_id=self.parent_id)

    def _supersede(self, part: RunDataset, declared: Version) -> None:
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
        self.moved[declared.dataset_id] |= {
            observed.created_at, declared.created_at, moved or declared.created_at,
        }  # fmt: skip
        made, created = RunDataset.objects.get_or_create(
            run=part.run, version=declared, role=part.role,
            defaults={"sources": part.sources, "sources_by": part.sources_by},
        )  # fmt: skip
        if not created:
            _stronger_sources(made, part.sources_by, part.sources)
            made.save()
        part.delete()

    def _note_sources(self, part: RunDataset, facts: DatasetFacts) -> None:
        if not facts.sources_by:
            return
        sources = [self.datasets[source].pk for source in facts.sources]
        _stronger_sources(part, facts.sources_by, sources)
        part.save()


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


def _derive_edges(run: Run) -> None:
    """The run's edges as its parts say now; what is no longer said goes, what is new comes."""
    parts = list(RunDataset.objects.filter(run=run).select_related("version"))
    wanted = _wanted_edges(parts)
    existing = {
        (edge.source_id, edge.target_id, edge.kind): edge for edge in Edge.objects.filter(run=run)
    }
    gone = [edge.pk for key, edge in existing.items() if key not in wanted]
    if gone:
        Edge.objects.filter(pk__in=gone).delete()
    Edge.objects.bulk_create(
        [
            Edge(source_id=s, target_id=t, kind=kind, run=run, created_at=run.first_event_at)
            for s, t, kind in sorted(wanted - existing.keys())
        ],
        ignore_conflicts=True,
    )
    Edge.objects.filter(run=run).exclude(created_at=run.first_event_at).update(
        created_at=run.first_event_at
    )
    _retire_replaced_sources(parts)


def _wanted_edges(parts: Sequence[RunDataset]) -> set[tuple[int, int, str]]:
    by_role: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        by_role[part.role][part.version.dataset_id].append(part.version_id)
    wanted: set[tuple[int, int, str]] = set()
    for output in (p for p in parts if p.role == OUTPUT):
        if not output.sources_by:
            inputs = [v for versions in by_role[INPUT].values() for v in versions]
            kind: str = Edge.Kind.RUN
        else:
            inputs = [
                version
                for dataset in output.sources
                for version in _source_versions(dataset, output, by_role)
            ]
            kind = output.sources_by
        wanted |= {(s, t, kind) for s, t in product(inputs, [output.version_id]) if s != t}
    return wanted


def _source_versions(
    dataset: int, output: RunDataset, by_role: dict[str, dict[int, list[int]]]
) -> list[int]:
    """Which versions a run's source is: what it read, else what it made itself, else unnamed."""
    own = dataset == output.version.dataset_id
    made_here = [] if own else by_role[OUTPUT][dataset]
    return by_role[INPUT][dataset] or made_here or by_role[SOURCE][dataset]


def _retire_replaced_sources(parts: Sequence[RunDataset]) -> None:
    """A source that was only named, and is now listed as read or written, needs no observation."""
    named = [p for p in parts if p.role == SOURCE]
    for part in named:
        listed = [
            p
            for p in parts
            if p.role != SOURCE
            and p.version.dataset_id == part.version.dataset_id
            and p.version_id != part.version_id
        ]
        still_used = Edge.objects.filter(source=part.version, run=part.run).exists()
        if listed and not still_used:
            Edge.objects.filter(target=part.version, kind=Edge.Kind.ASSUMED).delete()
            Version.objects.filter(pk=part.version_id).update(superseded_by=listed[0].version)
            part.delete()
