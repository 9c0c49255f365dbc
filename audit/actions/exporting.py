"""Taking entries out of the log is an event too."""

from collections.abc import Mapping

from django.db import transaction

from audit.actions.acting import Actor
from audit.actions.recording import record
from audit.events import LOG_EXPORTED
from audit.logs import MAIN, LogRef
from audit.pruned import entries_within


def note_export(
    *,
    filters: Mapping[str, str],
    file_format: str,
    entries: int,
    size: int,
    by: Actor,
    log: LogRef = MAIN,
) -> str:
    """Record that somebody took entries out of the log."""
    # What matched entries is in the log already; what matched none may be anything.
    said = dict(filters) if entries else dict.fromkeys(filters, "")
    gone = entries_within(log.id, 0, size)
    with transaction.atomic():
        return record(
            LOG_EXPORTED,
            by=by,
            resource=log.resource,
            details={
                "format": file_format,
                "filters": said,
                "entries": entries,
                "size": size,
            }
            | ({"pruned": gone} if gone else {}),
        )
