"""What Vestige knows of one dataset or model, gathered once for all the questions about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db import connection
from django.db.models import Count, Max, Min, Q
from django.utils import timezone

from audit.intake import time_text
from audit.queries import entries_for, latest_checkpoint
from datasheets.models import Profile
from lineage.models import Dataset, Edge, Run, Version
from lineage.queries import written_versions

MAX_VERSIONS = 3000


@dataclass(frozen=True)
class LogFacts:
    """The entries of a resource: how many, from which to which, and how many of each type."""

    count: int
    first: int | None
    last: int | None
    by_type: dict[str, int]


@dataclass(frozen=True)
class Closure:
    """Everything that a version was made of, by versions and the edges between them."""

    versions: dict[int, Version]
    edges: tuple[Edge, ...]
    complete: bool  # False: cut off at MAX_VERSIONS
    # Versions that go on from the one before in their store, although the store has forgotten
    # it: what an erasure leaves behind.
    goes_on: tuple[tuple[Version, Version], ...] = ()

    def roots(self) -> list[Version]:
        """The versions that nothing goes into, as far as was reported."""
        targets = {edge.target_id for edge in self.edges} | {new.pk for new, _ in self.goes_on}
        return _named(v for pk, v in self.versions.items() if pk not in targets)

    def into(self, version: Version) -> list[Edge]:
        return [edge for edge in self.edges if edge.target_id == version.pk]

    def runs(self) -> list[Run]:
        """The runs on the way, oldest first."""
        found = {edge.run_id: edge.run for edge in self.edges if edge.run is not None}
        for version in self.versions.values():
            if version.produced_by is not None:
                found[version.produced_by_id] = version.produced_by
        return sorted(found.values(), key=lambda run: (run.first_event_at, run.pk))


def _named(versions: Iterable[Version]) -> list[Version]:
    return sorted(versions, key=lambda v: (v.dataset.node, v.created_at, v.pk))


def versions_of(dataset: Dataset) -> list[Version]:
    """Newest first; what was written, not what was only read under no name."""
    return list(
        written_versions()
        .filter(dataset=dataset)
        .select_related("dataset", "produced_by__job")
        .order_by("-created_at", "-pk")
    )


def current_of(versions: list[Version]) -> Version | None:
    """The version that the document describes.

    The newest that is still there; before those that were only reported, those seen in the store.
    Of a model, those in use come first.
    """
    there = [v for v in versions if v.purged_at is None and v.retired_at is None]
    for wanted in ("in_use", "in_store"):
        if chosen := [v for v in there if getattr(v, wanted)]:
            return chosen[0]
    return there[0] if there else (versions[0] if versions else None)


# Unlike `lineage.queries.ancestors` this follows the store's own order too: what an append or an
# erasure left in the table came from the version before.
_UPSTREAM = f"""
    WITH RECURSIVE reach(id) AS (
        SELECT id FROM {Version._meta.db_table} WHERE id IN (%s, %s)
        UNION
        SELECT e.source_id FROM reach
        JOIN {Edge._meta.db_table} e ON e.target_id = reach.id
        JOIN {Version._meta.db_table} t ON t.id = e.target_id
        WHERE e.kind <> '{Edge.Kind.VERSION}' OR t.keeps_older
    )
    SELECT id FROM reach LIMIT {MAX_VERSIONS + 1}
"""  # noqa: S608  # no outside text in it


def closure_of(version: Version, goes_on: tuple[Version, Version] | None) -> Closure:
    """What went into the version: at most MAX_VERSIONS versions, and the edges between them.

    `goes_on`: a version of the same dataset and the one that it goes on from, where no edge says
    so.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UPSTREAM, [version.pk, goes_on[1].pk if goes_on else version.pk])
        found = [pk for (pk,) in cursor.fetchall()]
    kept = found[:MAX_VERSIONS]
    versions = Version.objects.filter(pk__in=kept).select_related("dataset", "produced_by__job")
    edges = (
        Edge.objects.filter(target__in=kept, source__in=kept)
        .select_related("source__dataset", "run__job")
        .order_by("pk")
    )
    return Closure(
        {v.pk: v for v in versions},
        tuple(edges),
        complete=len(found) == len(kept),
        goes_on=(goes_on,) if goes_on else (),
    )


def log_facts(resource: str, version: str = "") -> LogFacts:
    """The log's entries of a resource, or of one of its versions."""
    entries = entries_for(resource).order_by()
    if version:
        entries = entries.filter(resource_version=version)
    counted = entries.values_list("type").annotate(n=Count("seq"), a=Min("seq"), z=Max("seq"))
    rows = list(counted)
    return LogFacts(
        count=sum(n for _, n, _, _ in rows),
        first=min((a for _, _, a, _ in rows), default=None),
        last=max((z for _, _, _, z in rows), default=None),
        by_type={kind: n for kind, n, _, _ in sorted(rows)},
    )


class Facts:
    """Read lazily: a question that nobody asks costs no query."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.at: datetime = timezone.now()

    @cached_property
    def versions(self) -> list[Version]:
        return versions_of(self.dataset)

    @cached_property
    def current(self) -> Version | None:
        return current_of(self.versions)

    @cached_property
    def closure(self) -> Closure:
        if self.current is None:
            return Closure({}, (), complete=True)
        return closure_of(self.current, self._torn_off())

    def _torn_off(self) -> tuple[Version, Version] | None:
        """The oldest version that the store retains, and the one before it, of which only Vestige
        still knows: the store was purged of it."""
        kept = [v for v in self.versions if v.in_store and v.purged_at is None]
        if self.current not in kept or not kept[-1].keeps_older or kept[-1].edges_in.exists():
            return None
        older = [v for v in self.versions if v.created_at < kept[-1].created_at]
        return (kept[-1], older[0]) if older else None

    @cached_property
    def sources(self) -> list[Version]:
        """The versions of other datasets that the current version was made of, at first hand."""
        own = {pk for pk, v in self.closure.versions.items() if v.dataset_id == self.dataset.pk}
        found = {e.source_id: e.source for e in self.closure.edges if e.target_id in own}
        return _named(v for pk, v in found.items() if pk not in own)

    @cached_property
    def consumers(self) -> list[tuple[Dataset, int, bool]]:
        """(dataset or model, versions of it made of this one at first hand, any in use)."""
        rows = (
            Dataset.objects.filter(versions__edges_in__source__dataset=self.dataset)
            .exclude(pk=self.dataset.pk)
            .annotate(
                made=Count("versions", distinct=True),
                used=Count("versions", filter=Q(versions__in_use=True), distinct=True),
            )
            .order_by("kind", "node")
        )
        return [(row, row.made, bool(row.used)) for row in rows]

    @cached_property
    def profile(self) -> Profile | None:
        """The measured profile of the current version."""
        if self.current is None:
            return None
        found = Profile.objects.filter(version=self.current).first()
        return found if found and found.state == Profile.State.DONE else None

    @cached_property
    def log(self) -> LogFacts:
        return log_facts(self.dataset.node)

    @cached_property
    def log_of_current(self) -> LogFacts:
        return log_facts(self.dataset.node, self.current.version if self.current else "-")

    @cached_property
    def checkpoint(self) -> dict[str, str | int] | None:
        """The newest signed checkpoint: {"size", "root", "signed_at", "origin"}."""
        found = latest_checkpoint()
        if found is None:
            return None
        return {
            "size": found.size,
            "root": found.root.hex(),
            "signed_at": time_text(found.signed_at),
            "origin": found.note.split("\n", 1)[0],
        }

    @property
    def subject_columns(self) -> dict[str, str]:
        """Columns that name persons, as the store's connector states them: column -> type."""
        connector = self.dataset.connector
        return dict(connector.subject_columns) if connector is not None else {}

    def tagged(self, *keys: str) -> dict[str, str]:
        """Columns (or "" for the whole dataset) with one of these tags -> the tag's value."""
        return {
            tag.get("field") or "": tag.get("value") or ""
            for tag in self.dataset.facts.get("tags", ())
            if tag.get("key", "").lower() in keys
        }
