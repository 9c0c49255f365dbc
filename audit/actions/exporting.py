"""Taking entries out of the log is an event too."""

from collections.abc import Mapping

from django.db import transaction

from audit import intake
from audit.actions.acting import Actor
from audit.actions.recording import record
from audit.events import LOG_EXPORTED
from audit.models import MAIN_LOG
from audit.pruned import entries_within


def note_export(
    *, filters: Mapping[str, str], file_format: str, entries: int, size: int, by: Actor
) -> str:
    """Record that somebody took entries out of the log."""
    # What matched entries is in the log already; what matched none may be anything.
    said = dict(filters) if entries else dict.fromkeys(filters, "")
    gone = entries_within(MAIN_LOG, 0, size)
    with transaction.atomic():
        return record(
            LOG_EXPORTED,
            by=by,
            resource=f"log:{intake.LOG_NAME}",
            details={
                "format": file_format,
                "filters": said,
                "entries": entries,
                "size": size,
            }
            | ({"pruned": gone} if gone else {}),
        )
