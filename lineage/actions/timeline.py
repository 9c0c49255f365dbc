"""Versions that nobody named follow the newest version before them: edges of kind "assumed".

A run that read a dataset without saying which version read the newest one there was. A run that
wrote without naming the version added to the newest one, unless it said that it replaced all.
Wrong guesses here may only lead to one affected model too many, never to one too few.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Q, QuerySet

from lineage.models import Dataset, Edge, Version

# A version's own run does not count as its predecessor, so the next one or two written after a
# moment may still leave room for it; no run writes more unnamed versions of one dataset.
_WRITTEN_LOOKED_PAST = 3


def relink(moved: Mapping[Dataset, Iterable[datetime]]) -> None:
    """Renew the assumed edges that may have changed when versions appeared or moved in time.

    `moved`: by dataset, each moment at which a version now stands or stood before.
    """
    moments = {dataset.pk: sorted(set(times)) for dataset, times in moved.items()}
    later = Q(pk=None)
    for pk, times in moments.items():
        later |= Q(dataset=pk, created_at__gte=times[0])
    waiting: dict[int, list[Version]] = {}
    for version in _unnamed().filter(later):
        waiting.setdefault(version.dataset_id, []).append(version)
    for dataset in sorted(moved, key=lambda d: d.pk):
        if dataset.pk in waiting:
            _relink(dataset, _affected(dataset, waiting[dataset.pk], moments[dataset.pk]))


def _affected(
    dataset: Dataset, waiting: Iterable[Version], moments: Iterable[datetime]
) -> list[Version]:
    """Those that stand between one of the moments and the next versions written after it."""
    spans = []
    for moment in moments:
        following = list(
            _written(dataset)
            .filter(created_at__gt=moment)
            .order_by("created_at")
            .values_list("created_at", flat=True)[:_WRITTEN_LOOKED_PAST]
        )
        end = following[-1] if len(following) == _WRITTEN_LOOKED_PAST else None
        spans.append((moment, end))
    return [
        version
        for version in waiting
        if any(start <= version.created_at and (end is None or version.created_at <= end)
               for start, end in spans)
    ]  # fmt: skip


def relink_all(dataset: Dataset) -> None:
    """Renew all assumed edges of a dataset."""
    _relink(dataset, list(_unnamed().filter(dataset=dataset)))


def _written(dataset: Dataset) -> QuerySet[Version]:
    return Version.objects.filter(dataset=dataset, superseded_by=None, read_by=None)


def _unnamed() -> QuerySet[Version]:
    # Training again makes a new model; it adds nothing to the old one.
    adds = Q(keeps_older=True, dataset__kind=Dataset.Kind.DATASET)
    return Version.objects.filter(
        Q(read_by__isnull=False) | adds,
        superseded_by=None,
        known_by=Version.KnownBy.OBSERVED,
    )


def _relink(dataset: Dataset, versions: list[Version]) -> None:
    existing: dict[int, list[Edge]] = {}
    for edge in Edge.objects.filter(target__in=versions, kind=Edge.Kind.ASSUMED):
        existing.setdefault(edge.target_id, []).append(edge)
    wrong: list[int] = []
    missing: list[Edge] = []
    for version in versions:
        before = _before(dataset, version)
        edges = existing.get(version.pk, [])
        kept = [e for e in edges if before is not None and e.source_id == before.pk]
        wrong += [e.pk for e in edges if e not in kept or e.created_at != version.created_at]
        if before is not None and not [e for e in kept if e.created_at == version.created_at]:
            missing.append(
                Edge(
                    source=before,
                    target=version,
                    kind=Edge.Kind.ASSUMED,
                    created_at=version.created_at,
                )
            )
    if wrong:
        Edge.objects.filter(pk__in=wrong).delete()
    Edge.objects.bulk_create(missing, ignore_conflicts=True)


def _before(dataset: Dataset, version: Version) -> Version | None:
    earlier = Q(created_at__lt=version.created_at)
    if version.read_by_id is None:
        earlier |= Q(created_at=version.created_at, version__lt=version.version)
    else:
        earlier |= Q(created_at=version.created_at)
    return (
        _written(dataset)
        .filter(earlier)
        .exclude(produced_by_id=version.read_by_id or version.produced_by_id)
        .order_by("-created_at", "-version")
        .first()
    )
