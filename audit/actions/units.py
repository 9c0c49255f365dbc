"""The logs of organisation units: made, and held by the main log, their parent."""

from hashlib import sha256

from django.db import transaction
from django.db.models import Max

from audit import signer, storage
from audit.actions.acting import PARENT, Actor
from audit.actions.recording import record, sequence
from audit.events import LOG_CHECKPOINT, LOG_CREATED
from audit.ledger.checkpoint import InvalidNoteError
from audit.logs import LogRef, name_fault, units
from audit.models import Checkpoint, Log
from audit.parent import newest_told

_MOST_TITLE = 200


class LogRefusedError(ValueError):
    """There cannot be such a log; `field` says what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def create_log(name: str, *, title: str, by: Actor) -> LogRef:
    """A log for an organisation unit, with an origin and a signing key of its own.

    It is never renamed nor taken away. Raises LogRefusedError and KeyFileError.
    """
    title = " ".join(title.split())
    if fault := name_fault(name):
        raise LogRefusedError("name", fault)
    if not 0 < len(title) <= _MOST_TITLE or not title.isprintable():
        raise LogRefusedError("title", f"Say in up to {_MOST_TITLE} characters whose log it is.")
    with transaction.atomic():
        origin = f"{storage.lock_head().origin}/{name}"  # one at a time
        if Log.objects.filter(name=name).exists():
            raise LogRefusedError("name", f"There is a log {name} already.")
        try:
            vkey = signer.verifier_key(origin, name)
        except (InvalidNoteError, UnicodeError) as exc:
            raise LogRefusedError("name", f"{origin} cannot name a key: {exc}.") from exc
        newest = Log.objects.aggregate(newest=Max("pk"))["newest"]
        made = LogRef(newest + 1, name)
        storage.insert_log(made.id, name, origin, title)
        record(
            LOG_CREATED,
            by=by,
            resource=made.resource,
            details={"log": name, "origin": origin, "vkey": vkey},
        )
    return made


def record_checkpoints() -> int:
    """Record in the main log what every unit's log has signed since the last time; how many.

    Commits. May run twice at once: for one size of a log there is one entry.
    """
    sequence()
    recorded = sum(_record_checkpoint(log) for log in units())
    if recorded:
        sequence()
    return recorded


def _record_checkpoint(log: LogRef) -> bool:
    """Whether there was anything to record."""
    sequence(log)
    told = newest_told(log)
    size = Log.objects.values_list("size", flat=True).get(pk=log.id)
    if size <= (told.size if told else 0):
        return False  # less is for the verifier to say
    signed = signer.sign_head(keep=True, log=log)
    if signed is None:
        return False  # the signer refuses; the log's page says why
    # The one that was kept first for this size: all who come here record the same.
    kept = Checkpoint.objects.get(log_id=log.id, size=signed.size)
    with transaction.atomic():
        record(
            LOG_CHECKPOINT,
            by=PARENT,
            resource=log.resource,
            details={
                "log": log.name,
                "origin": kept.note.partition("\n")[0],
                "size": kept.size,
                "root": bytes(kept.root).hex(),
                "note_sha256": sha256(kept.note.encode()).hexdigest(),
            },
            event_id=f"log.checkpoint:{log.name}:{kept.size}",
        )
    return True
