"""Which models descend from a version of data, through which path; and what a model came from.

Edges of kind "version" (the store's next version) are not followed: what a version holds is found
by searching the version itself, and a person who was erased must not reach a model that was
trained on the version after. All others are, observed or not, failed run or not: an affected model
too many is a nuisance, one too few breaks the promise.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from lineage.models import Dataset, Edge, Version
from lineage.queries.sql import EDGE, ids, moment, rows

# How far shortest paths are searched. What is reached is found however far away it is.
PATH_DEPTH = 64
_FOLLOWED = f"e.kind <> '{Edge.Kind.VERSION}'"


@dataclass(frozen=True)
class AffectedModel:
    """A model version, the shortest path to it (node names, from data to model), and its use."""

    version: Version
    path: list[str]
    in_use: bool


def downstream_models(
    version_ids: Iterable[int], *, as_of: datetime | None = None
) -> list[AffectedModel]:
    """Every model version that descends from one of the versions, those in use first.

    A path longer than PATH_DEPTH is given by its end, and its beginning if there is but one.
    """
    sources = set(version_ids)
    start, given = ids(sources)
    past, times = moment(as_of)
    reached = rows(
        f"""
        WITH RECURSIVE reach(id) AS (
            {start}
            UNION
            SELECT e.target_id FROM reach JOIN {EDGE} e ON e.source_id = reach.id
            WHERE {_FOLLOWED}{past}
        )
        SELECT v.id FROM reach
        JOIN lineage_version v ON v.id = reach.id
        JOIN lineage_dataset d ON d.id = v.dataset_id
        WHERE d.kind = 'model' AND v.superseded_by_id IS NULL AND v.read_by_id IS NULL
        """,  # noqa: S608  # no outside text in it
        [given, *times],
    )
    models = [pk for (pk,) in reached]
    if not models:
        return []
    paths = _shortest_paths(sources, models, as_of)
    steps = {pk for path in paths.values() for pk in path} | (
        sources if len(sources) == 1 else set()
    )
    named = Version.objects.select_related("dataset__owner").in_bulk([*steps, *models])
    far = [*(named[pk].node for pk in sources if len(sources) == 1), "…"]
    affected = [
        AffectedModel(
            version=named[pk],
            path=[named[step].node for step in paths[pk]]
            if pk in paths
            else [*far, named[pk].node],
            in_use=named[pk].in_use,
        )
        for pk in models
    ]
    return sorted(affected, key=lambda a: (not a.in_use, a.version.node))


def _shortest_paths(
    sources: set[int], models: list[int], as_of: datetime | None
) -> dict[int, list[int]]:
    """For each model one shortest path of version ids, from a source to the model."""
    start, given = ids(sources)
    ends, wanted = ids(models)
    past, times = moment(as_of)
    found = rows(
        f"""
        WITH RECURSIVE first(id) AS ({start}),
        walk(id, depth) AS (
            SELECT id, 0 FROM first
            UNION
            SELECT e.target_id, walk.depth + 1 FROM walk JOIN {EDGE} e ON e.source_id = walk.id
            WHERE walk.depth < %s AND {_FOLLOWED}{past}
        ),
        level(id, depth) AS (SELECT id, MIN(depth) FROM walk GROUP BY id),
        nearer(source_id, target_id, depth) AS MATERIALIZED (
            SELECT e.source_id, e.target_id, level.depth - 1 FROM level
            JOIN {EDGE} e ON e.target_id = level.id WHERE {_FOLLOWED}{past}
        ),
        step(id, before) AS (
            SELECT nearer.target_id, MIN(nearer.source_id) FROM nearer
            JOIN level ON level.id = nearer.source_id AND level.depth = nearer.depth
            GROUP BY nearer.target_id
        ),
        last(id) AS ({ends}),
        back(model, id, depth) AS (
            SELECT level.id, level.id, level.depth FROM level JOIN last ON last.id = level.id
            UNION ALL
            SELECT back.model, step.before, back.depth - 1
            FROM back JOIN step ON step.id = back.id
        )
        SELECT model, id FROM back ORDER BY model, depth
        """,  # noqa: S608  # no outside text in it
        [given, PATH_DEPTH, *times, *times, wanted],
    )
    paths: dict[int, list[int]] = {}
    for model, step in found:
        paths.setdefault(model, []).append(step)
    return paths


def upstream(version: Version, *, as_of: datetime | None = None) -> QuerySet[Version]:
    """Every version that went into this one, newest first."""
    return _reached([version.pk], "target_id", "source_id", as_of)


def downstream(version_ids: Iterable[int], *, as_of: datetime | None = None) -> QuerySet[Version]:
    """Every version that one of these went into, newest first."""
    return _reached(version_ids, "source_id", "target_id", as_of)


def _reached(
    version_ids: Iterable[int], here: str, there: str, as_of: datetime | None
) -> QuerySet[Version]:
    given_ids = set(version_ids)
    start, given = ids(given_ids)
    past, times = moment(as_of)
    found = rows(
        f"""
        WITH RECURSIVE reach(id) AS (
            {start}
            UNION
            SELECT e.{there} FROM reach JOIN {EDGE} e ON e.{here} = reach.id
            WHERE {_FOLLOWED}{past}
        )
        SELECT id FROM reach
        """,  # noqa: S608  # no outside text in it
        [given, *times],
    )
    return (
        Version.objects.filter(pk__in=[pk for (pk,) in found if pk not in given_ids])
        .select_related("dataset", "produced_by__job")
        .order_by("-created_at", "dataset__node")
    )


def training_versions(version: Version) -> list[Version]:
    """The versions of data that a model version was made from directly; see `training_of`."""
    return training_of([version])[version.pk]


def training_of(versions: Iterable[Version]) -> dict[int, list[Version]]:
    """For each version (by id), the versions that it was made from directly.

    An unnamed read stands for the version that it is assumed to have been, where there is one.
    """
    made: dict[int, set[Version]] = {version.pk: set() for version in versions}
    edges = Edge.objects.filter(target__in=made).exclude(kind=Edge.Kind.VERSION)
    direct = list(edges.select_related("source__dataset"))
    unnamed = {e.source_id for e in direct if e.source.read_by_id is not None}
    behind = Edge.objects.filter(target__in=unnamed, kind=Edge.Kind.ASSUMED)
    named = {e.target_id: e.source for e in behind.select_related("source__dataset")}
    for edge in direct:
        made[edge.target_id].add(named.get(edge.source_id, edge.source))
    return {pk: sorted(found, key=lambda v: v.node) for pk, found in made.items()}


def models_trained_on_purged() -> set[int]:
    """Ids of model versions that descend from a version whose data has been purged since."""
    found = rows(
        f"""
        WITH RECURSIVE reach(id) AS (
            SELECT id FROM lineage_version WHERE purged_at IS NOT NULL
            UNION
            SELECT e.target_id FROM reach JOIN {EDGE} e ON e.source_id = reach.id
            WHERE {_FOLLOWED}
        )
        SELECT v.id FROM reach
        JOIN lineage_version v ON v.id = reach.id
        JOIN lineage_dataset d ON d.id = v.dataset_id
        WHERE d.kind = '{Dataset.Kind.MODEL}' AND v.read_by_id IS NULL
          AND v.superseded_by_id IS NULL
        """,  # noqa: S608  # no outside text in it
        [],
    )
    return {pk for (pk,) in found}
