"""Signed receipts for events that the log has accepted.

They are signed by the thread that answers the request, after the events are durable, so that
nobody who waits for the log waits for them.
"""

import logging
from typing import NamedTuple

from django.utils import timezone

from audit import keyring, keys
from audit.group_commit import Sequenced
from audit.intake import time_text
from audit.ledger.checkpoint import InvalidNoteError, parse_note, parse_vkey
from audit.ledger.receipt import Accepted, InvalidReceiptError, sign
from audit.logs import MAIN, LogRef, origin_of
from audit.models import Log

_logger = logging.getLogger(__name__)


class LogWord(NamedTuple):
    """The log that accepted the events, its public key, and its receipt for them.

    Key and receipt are None where the log's key cannot be used: the events are in the log anyway.
    """

    origin: str
    vkey: str | None
    receipt: str | None


def sign_receipt(done: Sequenced, *, log: LogRef = MAIN) -> LogWord:
    """The log's word for what was sequenced. Its events must be committed."""
    note = done.checkpoint.note if done.checkpoint else _last_note(log)
    origin = note.partition("\n")[0] or origin_of(log)
    try:
        ring = done.checkpoint.ring if done.checkpoint else keyring.ring(log.name)
        vkey = ring.vkeys(origin)[0]
        if done.checkpoint is None:
            _require_log_key(note, vkey)
        receipt = sign(
            origin,
            [Accepted(item.id, item.seq, item.leaf_hash) for item in done.receipts],
            ring.signing[0],
            time=time_text(timezone.now()),
        )
    except (keys.KeyFileError, OSError, InvalidNoteError, InvalidReceiptError) as exc:
        _logger.error("The log gives no receipts: %s", exc)
        return LogWord(origin, None, None)
    return LogWord(origin, vkey, receipt)


def _last_note(log: LogRef) -> str:
    return Log.objects.values_list("note", flat=True).filter(pk=log.id).first() or ""


def _require_log_key(note: str, vkey: str) -> None:
    """Raises KeyFileError when the key is not that of the log's last checkpoint.

    A key that was lost is made anew, and nobody outside would know what it signs.
    """
    key = parse_vkey(vkey)
    if note and (key.name, key.key_id) not in {
        (line.name, line.key_id) for line in parse_note(note)[1]
    }:
        raise keys.KeyFileError("log.key is not the key that has signed the log so far.")
