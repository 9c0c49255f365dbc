"""Profiles that are due, and versions that have none yet."""

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from datasheets.models import Profile
from lineage.models import Version


def due_profiles(lease_seconds: float) -> QuerySet[Profile]:
    """Due, and nobody works on it: never claimed, or the worker's lease has run out."""
    past = timezone.now() - timedelta(seconds=lease_seconds)
    free = Q(claimed_at=None) | Q(claimed_at__lt=past)
    return Profile.objects.filter(free, state=Profile.State.DUE).order_by("created_at")


def versions_without_profile() -> QuerySet[Version]:
    """The newest version in each connected store, where nobody has asked for a profile yet."""
    newer = Version.objects.filter(
        dataset=OuterRef("dataset"), in_store=True, purged_at=None, superseded_by=None
    ).filter(
        Q(created_at__gt=OuterRef("created_at"))
        | Q(created_at=OuterRef("created_at"), pk__gt=OuterRef("pk"))
    )
    return (
        Version.objects.filter(
            in_store=True, purged_at=None, superseded_by=None, profile=None,
            dataset__connector__disabled_at=None, dataset__connector__isnull=False,
        )
        .exclude(Exists(newer))
        .select_related("dataset")
    )  # fmt: skip
