"""Wake-ups. Rows are the queue: the sweep finds what is due, also what a lost broker dropped."""

from celery import shared_task

from accounts.queries import system_user
from connectors.actions import build_index
from connectors.queries import claimable_indexes

_EXPIRES = 30  # seconds; the sweep sends another, and a queue without a worker fills up with none


@shared_task
def build_due_indexes() -> None:
    """Wakes a worker beside the data for each store whose subject index is to be built."""
    for pk, queue in claimable_indexes().values_list("pk", "connector__queue"):
        build_subject_index.apply_async((pk,), queue=queue, expires=_EXPIRES)


@shared_task
def build_subject_index(pk: int) -> None:
    """Builds one index, or brings it up to date; a second delivery finds it claimed and returns."""
    build_index(pk, by=system_user("executor"))
