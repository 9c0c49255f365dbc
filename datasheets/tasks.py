"""Measuring what is due, in the background."""

from celery import shared_task

from accounts.queries import system_user
from datasheets.actions import LEASE, ask_for_profile, measure_profile
from datasheets.queries.profiles import due_profiles, versions_without_profile


@shared_task
def measure_due_profiles() -> int:
    """The sweep: asks for a profile of each store's newest version, then measures what is due."""
    by = system_user("scheduler")
    for version in versions_without_profile():
        ask_for_profile(version, by=by)
    due = list(due_profiles(LEASE.total_seconds()).values_list("pk", flat=True))
    return sum(measure_profile(pk, by=by) for pk in due)
