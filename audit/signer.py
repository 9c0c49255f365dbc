"""Signs what the log commits to, and refuses to contradict what it has signed before.

The signer runs after a batch is durable. It compares the tree with its last signed checkpoint:
the one kept with the log, and the one remembered in a file beside the key, which a database
administrator cannot roll back. Where they do not fit, it signs nothing and the log says why.
"""

import logging
import os
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection, transaction
from django.utils import timezone

from audit import keyring, keys, proofs, storage
from audit.ledger.checkpoint import (
    Checkpoint,
    InvalidNoteError,
    parse,
    sign,
)
from audit.ledger.tree import Frontier, InvalidProofError
from audit.logs import MAIN, LogRef
from audit.models import MAIN_NAME
from audit.rows import Head

log = logging.getLogger(__name__)
_KEEP_EVERY = timedelta(minutes=1)
_REMEMBER_EVERY_SECONDS = 1.0


class SigningRefusedError(RuntimeError):
    """The log does not extend what was signed: somebody changed it, or an old copy came back."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed note and the tree that it covers."""

    note: str
    size: int
    root: bytes
    signed_at: datetime
    ring: keyring.Ring
    stored: bool = True  # or with the batch that waits behind it


# The newest note that this process has signed or verified: verifying it again would be idle.
# (keys, note) → what it says.
_verified: dict[tuple[keyring.Ring, str], Checkpoint] = {}
# When this process last wrote the file beside the key of a log, monotonic clock.
_memory_written: dict[str, float] = {}


def verifier_key(origin: str, log: str = MAIN_NAME) -> str:
    """The public key of the log's active signing key as C2SP vkey text."""
    return verifier_keys(origin, log)[0]


def verifier_keys(origin: str, log: str = MAIN_NAME) -> tuple[str, ...]:
    """The active key, those that sign beside it while keys are rotated, those of the past."""
    return keyring.ring(log).vkeys(origin)


def verifier_key_of(note: str, origin: str, log: str = MAIN_NAME) -> str:
    """The newest key in whose name this note of ours is signed."""
    return (keyring.ring(log).counted(note, origin) or verifier_keys(origin, log))[0]


def sign_batch(head: Head, after: Frontier, *, store: bool = True) -> Signed | None:
    """Sign the tree after a batch. None when the signer refuses; the log row says why.

    `head` is the log as it was locked for the batch. The note may cover less than the log has by
    now, if others appended meanwhile, but always this batch. Without `store` it may be left to the
    next batch to store the note (`Signed.stored`): what it covers is durable already.
    """
    signed = _sign_at_once(head, after, store=store) or _sign_under_lock(
        head.log_id, head.frontier, after
    )
    if signed is not None:
        _remember(signed, head.name)
    return signed


def keeps_next(head: Head) -> bool:
    """Whether the next checkpoint goes into the history."""
    return head.kept_at is None or timezone.now() - head.kept_at >= _KEEP_EVERY


def sign_head(*, keep: bool = False, log: LogRef = MAIN) -> Signed | None:
    """Sign the log as it stands; `keep` puts the checkpoint into the history."""
    signed = _sign_under_lock(log.id, keep=keep)
    if signed is not None:
        _remember(signed, log.name, at_once=keep)
    return signed


def _sign_at_once(head: Head, after: Frontier, *, store: bool) -> Signed | None:
    """The usual case: the tree before the batch is the one that this process signed last.

    None where something else is the case, to be looked into under the lock.
    """
    try:
        ring = keyring.ring(head.name)
    except keys.KeyFileError:
        return None
    now = timezone.now()
    last = _verified.get((ring, head.note))
    if last is None or last.origin != head.origin or head.refusal or keeps_next(head):
        return None
    if not last.size == head.note_size == head.size or last.root != head.frontier.root():
        return None
    if after.size == last.size:  # nothing was added
        return Signed(head.note, last.size, last.root, head.note_at or now, ring)
    made = Checkpoint(head.origin, after.size, after.root())
    note = sign(made, *ring.signing)
    if store and not storage.store_note(head, note, made.size, now):
        return None  # never released: another process has signed meanwhile
    _know(ring, note, made)
    return Signed(note, made.size, made.root, now, ring, store)


def _sign_under_lock(
    log_id: int,
    before: Frontier | None = None,
    after: Frontier | None = None,
    *,
    keep: bool = False,
) -> Signed | None:
    try:
        with transaction.atomic(durable=True):
            return _sign(storage.lock_head(log_id), before, after, keep=keep)
    except (SigningRefusedError, keys.KeyFileError) as exc:
        log.error("The log is not signed: %s", exc)
        with transaction.atomic(durable=True):
            head = storage.lock_head(log_id)
            if head.refusal != str(exc):
                storage.store_refusal(head, str(exc))
        return None


def _sign(head: Head, before: Frontier | None, after: Frontier | None, *, keep: bool) -> Signed:
    ring = keyring.ring(head.name)
    last = _last_signed(head, ring)
    target = _target(head, last, before, after)
    now = timezone.now()
    if last is None or last.size < target.size or head.note_size < last.size or head.refusal:
        made = Checkpoint(head.origin, target.size, target.root())
        note, signed_at = sign(made, *ring.signing), now
        storage.store_note(head, note, made.size, now)
        _know(ring, note, made)
    else:
        made, note, signed_at = last, head.note, head.note_at or now
    if keep or keeps_next(head):
        storage.keep_checkpoint(head, made.size, made.root, note, signed_at)
    return Signed(note, made.size, made.root, signed_at, ring)


def _last_signed(head: Head, ring: keyring.Ring) -> Checkpoint | None:
    """The newest checkpoint that we signed, here or as the file beside the key remembers.

    Raises SigningRefusedError when they contradict each other, or the log holds less.
    """
    stored = _checkpoint_of(head.note, ring, head.origin)
    if (stored.size if stored else -1) != head.note_size:
        raise SigningRefusedError(
            f"The log says that its last checkpoint covers {head.note_size} entries; the"
            f" checkpoint itself says {stored.size if stored else 'nothing'}."
        )
    remembered = _checkpoint_of(remembered_note(head.name), ring, head.origin)
    known = [checkpoint for checkpoint in (stored, remembered) if checkpoint is not None]
    last = max(known, key=lambda checkpoint: checkpoint.size, default=None)
    if len({(checkpoint.size, checkpoint.root) for checkpoint in known}) > len(
        {checkpoint.size for checkpoint in known}
    ):
        raise SigningRefusedError(f"Two trees of {head.note_size} entries were signed.")
    if last is not None and last.size > head.size:
        raise SigningRefusedError(
            f"A checkpoint over {last.size} entries was signed, and the log now has"
            f" {head.size}. Entries were removed, or an old backup was restored."
        )
    return last


def _target(
    head: Head, last: Checkpoint | None, before: Frontier | None, after: Frontier | None
) -> Frontier:
    """The tree to sign, shown to extend the one signed last. Raises SigningRefusedError."""
    if head.frontier.size != head.size:
        raise SigningRefusedError(
            f"The log says it has {head.size} entries, its tree has {head.frontier.size}."
        )
    for known, extended in ((before, after), (head.frontier, head.frontier)):
        if last is None or known is None or extended is None or known.size != last.size:
            continue
        if known.root() != last.root:
            raise SigningRefusedError(
                f"The tree of {last.size} entries is not the one that was signed."
            )
        return extended
    if last is not None:
        try:
            proofs.require_extension(head.log_id, last, head.size, head.frontier.root())
        except (InvalidProofError, proofs.DamagedLogError) as exc:
            raise SigningRefusedError(
                f"The log does not extend the signed tree of {last.size} entries: {exc}"
            ) from exc
    return head.frontier


def _know(ring: keyring.Ring, note: str, checkpoint: Checkpoint) -> None:
    for known in list(_verified):
        if known[0].log == ring.log:
            _verified.pop(known, None)
    _verified[ring, note] = checkpoint


def _checkpoint_of(note: str, ring: keyring.Ring, origin: str) -> Checkpoint | None:
    """The checkpoint in our own note. Raises SigningRefusedError when we did not sign it."""
    if not note:
        return None
    known = _verified.get((ring, note))
    if known is not None and known.origin == origin:
        return known
    try:
        if parse(note)[0].origin != origin:
            return None  # the memory of another log that used this folder
        known = ring.checkpoint(note, origin)
    except InvalidNoteError as exc:
        raise SigningRefusedError(
            f"The last checkpoint was not signed by this log's key ({exc}). Restore log.key, or"
            " find out who wrote the checkpoint."
        ) from exc
    _verified[ring, note] = known
    return known


def _memory_file(log: str = MAIN_NAME) -> Path:
    return keys.log_folder(log) / "log.signed"


def remembered_note(log: str = MAIN_NAME) -> str:
    """The newest note of a log that was signed on this machine; empty when there is none."""
    try:
        return _memory_file(log).read_text()
    except FileNotFoundError:
        return ""


def _remember(signed: Signed, log: str, *, at_once: bool = False) -> None:
    """Write the note beside the key, at most once a second: it bounds from below."""
    if connection.in_atomic_block:
        return  # an outer transaction may still roll the entries back
    now = time.monotonic()
    if not at_once and now - _memory_written.get(log, 0.0) < _REMEMBER_EVERY_SECONDS:
        return
    _memory_written[log] = now
    if remembered_note(log) == signed.note:
        return
    path = _memory_file(log)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".log.signed.")
    with os.fdopen(handle, "w") as file:
        file.write(signed.note)
    Path(draft).replace(path)
