"""The graph around a node, for the API and for drawing.

A question about one version is answered in versions; a question about a dataset, model or job in
datasets, with how many runs joined them: a table that is written every hour stays one node.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, Q

from audit.intake import time_text
from lineage.models import Dataset, Edge, Job, RunDataset, Version
from lineage.queries.registry import Node, resolve, written_versions
from lineage.queries.sql import EDGE, ids, moment, rows

MAX_DEPTH = 100
MAX_NODES = 2000
DIRECTIONS = ("upstream", "downstream", "both")

Levels = dict[int, int]  # id -> distance


class GraphError(ValueError):
    """A parameter of the question is wrong; `field` says which."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def graph(
    node: str, direction: str = "both", depth: int = 10, as_of: datetime | None = None
) -> dict[str, Any]:
    """{"node", "direction", "depth", "as_of", "nodes", "edges", "truncated"} around a node.

    `as_of`: only what had come into being by then. Raises NodeError, NodeUnknownError, GraphError.
    """
    if direction not in DIRECTIONS:
        raise GraphError("direction", f"Choose one of {', '.join(DIRECTIONS)}.")
    if not 1 <= depth <= MAX_DEPTH:
        raise GraphError("depth", f"Choose a depth of 1 to {MAX_DEPTH}.")
    found = resolve(node)
    if found.version is not None:
        answer = _of_versions(found.version, direction, depth, as_of)
    else:
        answer = _of_datasets(found, direction, depth, as_of)
    asked = found.version or found.dataset or found.job
    assert asked is not None  # noqa: S101  # a node names one of them
    return {
        "node": asked.node,
        "direction": direction,
        "depth": depth,
        "as_of": time_text(as_of) if as_of else None,
        **answer,
    }


# Versions


def _of_versions(
    version: Version, direction: str, depth: int, as_of: datetime | None
) -> dict[str, Any]:
    levels = _both(direction, lambda way: _walk_versions(version.pk, way, depth, as_of))
    levels, truncated = _cut(levels)
    versions = Version.objects.select_related("dataset").in_bulk(list(levels))
    edges = Edge.objects.filter(source__in=levels, target__in=levels).select_related("run__job")
    if as_of is not None:
        edges = edges.filter(created_at__lte=as_of)
    return {
        "nodes": [
            version_node(versions[pk], levels[pk], as_of)
            for pk in sorted(levels, key=lambda pk: (levels[pk], versions[pk].node))
        ],
        "edges": sorted(
            (
                {
                    "source": versions[edge.source_id].node,
                    "target": versions[edge.target_id].node,
                    "kind": edge.kind,
                    "job": edge.run.job.node if edge.run else None,
                    "run": edge.run.run_id or None if edge.run else None,
                    "created_at": time_text(edge.created_at),
                }
                for edge in edges
            ),
            key=lambda e: (e["source"] or "", e["target"] or "", e["kind"] or ""),
        ),
        "truncated": truncated,
    }


def version_node(version: Version, level: int, as_of: datetime | None = None) -> dict[str, Any]:
    purged = version.purged_at if not as_of or (version.purged_at or as_of) < as_of else None
    return {
        "id": version.node,
        "type": version.dataset.kind,
        "namespace": version.dataset.namespace,
        "name": version.dataset.name,
        "version": version.version,
        "dataset": version.dataset.node,
        "known_by": version.known_by,
        "created_at": time_text(version.created_at),
        "rows": version.rows,
        "purged_at": time_text(purged) if purged else None,
        "in_use": version.in_use,
        "distance": level,
    }


def _walk_versions(start: int, way: str, depth: int, as_of: datetime | None) -> Levels:
    here, there = _ends(way)
    past, times = moment(as_of)
    found = rows(
        f"""
        WITH RECURSIVE walk(id, depth) AS (
            SELECT id, 0 FROM lineage_version WHERE id = %s
            UNION
            SELECT e.{there}, walk.depth + 1 FROM walk JOIN {EDGE} e ON e.{here} = walk.id
            WHERE walk.depth < %s{past}
        )
        SELECT id, MIN(depth) FROM walk GROUP BY id ORDER BY 2, 1 LIMIT {MAX_NODES + 1}
        """,  # noqa: S608  # no outside text in it
        [start, depth, *times],
    )
    return dict(found)


# Datasets


def _of_datasets(node: Node, direction: str, depth: int, as_of: datetime | None) -> dict[str, Any]:
    if node.job is not None:
        return _around_job(node.job, direction, depth, as_of)
    assert node.dataset is not None  # noqa: S101  # it is a dataset or a job
    start = [node.dataset.pk]
    levels = _both(direction, lambda way: _walk_datasets(start, way, depth, as_of))
    levels, truncated = _cut(levels)
    return _dataset_answer(levels, as_of) | {"truncated": truncated}


def _around_job(job: Job, direction: str, depth: int, as_of: datetime | None) -> dict[str, Any]:
    parts = RunDataset.objects.filter(run__job=job)
    if as_of is not None:
        parts = parts.filter(run__first_event_at__lte=as_of)
    reads = set(
        parts.exclude(role=RunDataset.Role.OUTPUT).values_list("version__dataset_id", flat=True)
    )
    writes = set(
        parts.filter(role=RunDataset.Role.OUTPUT).values_list("version__dataset_id", flat=True)
    )
    starts = {"upstream": reads, "downstream": writes}
    levels = _both(
        direction,
        lambda way: {
            pk: level + 1
            for pk, level in _walk_datasets(starts[way], way, depth - 1, as_of).items()
        },
    )
    levels, truncated = _cut(levels)
    answer = _dataset_answer(levels, as_of)
    answer["nodes"].insert(0, {
        "id": job.node, "type": "job", "namespace": job.namespace, "name": job.name,
        "version": None, "distance": 0,
    })  # fmt: skip
    by_id = Dataset.objects.in_bulk(list((reads | writes) & set(levels)))
    bare = {"kind": Edge.Kind.RUN, "job": job.node}
    answer["edges"] += [
        bare | {"source": by_id[pk].node, "target": job.node} for pk in sorted(reads & set(by_id))
    ]
    answer["edges"] += [
        bare | {"source": job.node, "target": by_id[pk].node} for pk in sorted(writes & set(by_id))
    ]
    return answer | {"truncated": truncated}


def _walk_datasets(start: Iterable[int], way: str, depth: int, as_of: datetime | None) -> Levels:
    here, there = _ends(way)
    first, given = ids(start)
    past, times = moment(as_of)
    found = rows(
        f"""
        WITH RECURSIVE first(id) AS ({first}),
        walk(id, depth) AS (
            SELECT id, 0 FROM first
            UNION
            SELECT far.dataset_id, walk.depth + 1 FROM walk
            JOIN lineage_version near ON near.dataset_id = walk.id
            JOIN {EDGE} e ON e.{here} = near.id
            JOIN lineage_version far ON far.id = e.{there}
            WHERE walk.depth < %s AND far.dataset_id <> near.dataset_id{past}
        )
        SELECT id, MIN(depth) FROM walk GROUP BY id ORDER BY 2, 1 LIMIT {MAX_NODES + 1}
        """,  # noqa: S608  # no outside text in it
        [given, depth, *times],
    )
    return dict(found)


def _dataset_answer(levels: Levels, as_of: datetime | None) -> dict[str, Any]:
    until = Q(created_at__lte=as_of) if as_of else Q()
    datasets = Dataset.objects.in_bulk(list(levels))
    facts: dict[int, dict[str, Any]] = {
        row["dataset"]: dict(row)
        for row in written_versions()
        .filter(until, dataset__in=levels)
        .values("dataset")
        .annotate(
            versions=Count("pk"),
            newest=Max("created_at"),
            purged=Count("pk", filter=Q(purged_at__isnull=False)),
            used=Count("pk", filter=Q(in_use=True)),
        )
    }
    edges = (
        Edge.objects.filter(until, source__dataset__in=levels, target__dataset__in=levels)
        .exclude(source__dataset=F("target__dataset"))
        .values("source__dataset", "target__dataset", "run__job__node")
        .annotate(runs=Count("run", distinct=True), newest=Max("created_at"), kind=Max("kind"))
    )
    return {
        "nodes": [
            _dataset_node(datasets[pk], levels[pk], facts.get(pk, {}))
            for pk in sorted(levels, key=lambda pk: (levels[pk], datasets[pk].node))
        ],
        "edges": sorted(
            (
                {
                    "source": datasets[edge["source__dataset"]].node,
                    "target": datasets[edge["target__dataset"]].node,
                    "kind": edge["kind"],
                    "job": edge["run__job__node"],
                    "runs": edge["runs"],
                    "created_at": time_text(edge["newest"]),
                }
                for edge in edges
            ),
            key=lambda e: (e["source"], e["target"], e["job"] or ""),
        ),
    }


def _dataset_node(dataset: Dataset, level: int, facts: dict[str, Any]) -> dict[str, Any]:
    newest = facts.get("newest")
    return {
        "id": dataset.node,
        "type": dataset.kind,
        "namespace": dataset.namespace,
        "name": dataset.name,
        "version": None,
        "versions": facts.get("versions", 0),
        "newest_at": time_text(newest) if newest else None,
        "purged_versions": facts.get("purged", 0),
        "in_use": bool(facts.get("used")),
        "personal_data": dataset.personal_data,
        "distance": level,
    }


# Both


def _ends(way: str) -> tuple[str, str]:
    return ("target_id", "source_id") if way == "upstream" else ("source_id", "target_id")


def _both(direction: str, walk: Any) -> Levels:
    ways: Sequence[str] = DIRECTIONS[:2] if direction == "both" else [direction]
    levels: Levels = {}
    for way in ways:
        for pk, level in walk(way).items():
            levels[pk] = min(level, levels.get(pk, level))
    return levels


def _cut(levels: Levels) -> tuple[Levels, bool]:
    if len(levels) <= MAX_NODES:
        return levels, False
    return dict(sorted(levels.items(), key=lambda item: item[1])[:MAX_NODES]), True
