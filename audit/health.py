"""Whether this installation can do its work: what `/readyz` says."""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError

from audit.epochs import EpochKeyGoneError, epoch_key
from audit.guards import failing_guards
from audit.keys import KeyFileError
from audit.models import MAIN_LOG, KeyEpoch, Log, Pending

# The sweep runs every two seconds: what waits this long has nobody who sequences it.
_MAX_LAG = timedelta(seconds=30)
_BROKER_PATIENCE_SECONDS = 2


class Condition(NamedTuple):
    """One part, whether it works, and a sentence about it."""

    ok: bool
    detail: str


def readiness() -> dict[str, Condition]:
    """Every part's condition, by name. Never raises."""
    parts: dict[str, Callable[[], Condition]] = {
        "database": _database,
        "keys": _keys,
        "broker": _broker,
        "sequencer": _sequencer,
        "checkpoint": _checkpoint,
    }
    found = {}
    for name, ask in parts.items():
        try:
            found[name] = ask()
        except DatabaseError as exc:
            found[name] = Condition(ok=False, detail=f"The database fails: {type(exc).__name__}.")
    return found


def _database() -> Condition:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    failing = failing_guards(connection)
    if failing:
        return Condition(
            ok=False,
            detail=f"The append-only triggers {', '.join(failing)} are missing or changed.",
        )
    return Condition(ok=True, detail=f"{connection.vendor} answers; the log is append-only.")


def _keys() -> Condition:
    """Without it nothing sealed can be taken in or opened."""
    epoch = KeyEpoch.objects.filter(ended_at=None).order_by("-number").first()
    if epoch is None:
        return Condition(ok=True, detail="The key store answers; it holds no keys yet.")
    try:
        epoch_key(epoch.number)
    except (EpochKeyGoneError, KeyFileError, OSError) as exc:
        # No path in what anybody may read.
        return Condition(
            ok=False,
            detail=f"The key file of epoch {epoch.number} cannot be used ({type(exc).__name__}).",
        )
    return Condition(ok=True, detail=f"The key store answers; its epoch is {epoch.number}.")


def _broker() -> Condition:
    try:
        with Connection(
            settings.CELERY_BROKER_URL, transport_options=settings.CELERY_BROKER_TRANSPORT_OPTIONS
        ) as broker:
            broker.ensure_connection(max_retries=1, timeout=_BROKER_PATIENCE_SECONDS)
    except (BrokerError, OSError) as exc:
        return Condition(
            ok=False,
            detail=f"The broker cannot be reached ({type(exc).__name__}). Nothing is"
            " lost; work waits until it is back.",
        )
    return Condition(ok=True, detail="The broker answers.")


def _sequencer() -> Condition:
    waiting = Pending.objects.order_by("id").values_list("created_at", flat=True).first()
    if waiting is None:
        return Condition(ok=True, detail="No event waits for its place.")
    lag = timezone.now() - waiting
    return Condition(
        ok=lag < _MAX_LAG,
        detail=f"{Pending.objects.count()} events wait, the oldest for"
        f" {max(0.0, lag.total_seconds()):.1f} s.",
    )


def _checkpoint() -> Condition:
    log = Log.objects.filter(pk=MAIN_LOG).first()
    if log is None:
        return Condition(ok=True, detail="The log is empty.")
    if log.refusal:
        return Condition(ok=False, detail=f"The signer refuses: {log.refusal}")
    refused = Log.objects.exclude(refusal="").values_list("name", flat=True).first()
    if refused is not None:
        return Condition(ok=False, detail=f"The signer refuses the log {refused}.")
    unsigned = log.size - max(0, log.note_size)
    if unsigned and log.note_at and timezone.now() - log.note_at > _MAX_LAG:
        return Condition(ok=False, detail=f"The newest {unsigned} entries are not signed.")
    signed_at = log.note_at.isoformat(timespec="seconds") if log.note_at else "never"
    return Condition(ok=True, detail=f"{log.note_size} entries signed at {signed_at}.")
