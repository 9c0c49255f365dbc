"""The edges of a run, derived from what it read and wrote and what it said of its sources."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import product

from lineage.models import Edge, Run, RunDataset, Version

INPUT, OUTPUT, SOURCE = RunDataset.Role.INPUT, RunDataset.Role.OUTPUT, RunDataset.Role.SOURCE


def derive_edges(run: Run, parts: list[RunDataset], *, is_new: bool) -> None:
    """The run's edges as its parts say now; what is no longer said goes, what is new comes."""
    wanted = _wanted_edges(parts)
    existing: dict[tuple[int, int, str], Edge] = {}
    if not is_new:
        edges = Edge.objects.filter(run=run)
        existing = {(edge.source_id, edge.target_id, edge.kind): edge for edge in edges}
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
    if any(edge.created_at != run.first_event_at for edge in existing.values()):
        Edge.objects.filter(run=run).update(created_at=run.first_event_at)
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
