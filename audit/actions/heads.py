"""The log commits to the newest entry of every resource."""

from django.db import transaction

from audit import heads, intake
from audit.actions.acting import Actor
from audit.actions.recording import record, sequence
from audit.events import LOG_HEADS
from audit.models import MAIN_LOG


def record_heads(*, by: Actor) -> None:
    """Record what the heads of the log are, unless nothing has happened since the last time.

    Commits. Afterwards the newest entry of each resource can be proven to be the newest.
    """
    sequence()
    if not heads.are_due(MAIN_LOG):
        return
    heads.gather(MAIN_LOG)
    with transaction.atomic():
        record(
            LOG_HEADS,
            by=by,
            resource=f"log:{intake.LOG_NAME}",
            details=heads.commitment(MAIN_LOG),
        )
    sequence()
