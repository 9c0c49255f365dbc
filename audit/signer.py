"""Signs what the log commits to, and refuses to contradict what it has signed before.

The signer runs after a batch is durable. It compares the tree with its last signed checkpoint:
the one kept with the log, and the one remembered in a file beside the key, which a database
administrator cannot roll back. Where they do not fit, it signs nothing and the log says why.
"""

import logging
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from audit import keys, proofs, storage
from audit.ledger.checkpoint import (
    Checkpoint,
    InvalidNoteError,
    parse,
    sign,
    verify_note,
    vkey,
)
from audit.ledger.tree import Frontier, InvalidProofError

log = logging.getLogger(__name__)
_KEEP_EVERY = timedelta(minutes=1)


class SigningRefusedError(RuntimeError):
    """The log does not extend what was signed: somebody changed it, or an old copy came back."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed note and the tree that it covers."""

    note: str
    size: int
    root: bytes
    signed_at: datetime


# The newest note that this process has signed or verified: verifying it again would be idle.
_verified: dict[str, Checkpoint] = {}


def verifier_key(origin: str) -> str:
    """The log's public key as C2SP vkey text."""
    return vkey(origin, keys.log_key().public_key())


def sign_head(before: Frontier | None = None, *, keep: bool = False) -> Signed | None:
    """Sign the log as it stands. None when the signer refuses; the log row says why.

    `before` is the tree before the batch that was just appended, if the caller knows it: where it
    is what was signed last, no proof needs to be read. `keep` puts the checkpoint into history.
    """
    try:
        with transaction.atomic(durable=True):
            head = storage.lock_head()
            signed = _sign(head, before, keep=keep)
    except SigningRefusedError as exc:
        log.error("The log is not signed: %s", exc)
        with transaction.atomic(durable=True):
            head = storage.lock_head()
            if head.refusal != str(exc):
                storage.store_refusal(head, str(exc))
        return None
    _remember(signed)
    return signed


def _sign(head: storage.Head, before: Frontier | None, *, keep: bool) -> Signed:
    key = keys.log_key()
    _require_consistent(head, before, key)
    root = head.frontier.root()
    now = timezone.now()
    note, signed_at = head.note, head.note_at or now
    if head.note_size != head.size or head.refusal:
        made = Checkpoint(head.origin, head.size, root)
        note = sign(made, key)
        _verified.clear()
        _verified[note] = made
        signed_at = now
        storage.store_note(head, note, head.size, now)
    if keep or head.kept_at is None or now - head.kept_at >= _KEEP_EVERY:
        storage.keep_checkpoint(head, head.size, root, note, signed_at)
    return Signed(note, head.size, root, signed_at)


def _require_consistent(
    head: storage.Head, before: Frontier | None, key: Ed25519PrivateKey
) -> None:
    """Raises SigningRefusedError unless the head extends all that was signed before."""
    if head.frontier.size != head.size:
        raise SigningRefusedError(
            f"The log says it has {head.size} entries, its tree has {head.frontier.size}."
        )
    verifier = vkey(head.origin, key.public_key())
    stored = _checkpoint_of(head.note, verifier) if head.note else None
    if (stored.size if stored else -1) != head.note_size:
        raise SigningRefusedError(
            f"The log says that its last checkpoint covers {head.note_size} entries; the"
            f" checkpoint itself says {stored.size if stored else 'nothing'}."
        )
    for last in (stored, _checkpoint_of(remembered_note(), verifier)):
        if last is None or last.origin != head.origin:
            continue
        if last.size > head.size:
            raise SigningRefusedError(
                f"A checkpoint over {last.size} entries was signed, and the log now has"
                f" {head.size}. Entries were removed, or an old backup was restored."
            )
        _require_extension(head, last, before)


def _require_extension(head: storage.Head, last: Checkpoint, before: Frontier | None) -> None:
    for frontier in (before, head.frontier):
        if frontier is not None and frontier.size == last.size:
            if frontier.root() != last.root:
                raise SigningRefusedError(
                    f"The tree of {last.size} entries is not the one that was signed."
                )
            return
    try:
        proofs.require_extension(head.log_id, last, head.size, head.frontier.root())
    except (InvalidProofError, proofs.DamagedLogError) as exc:
        raise SigningRefusedError(
            f"The log does not extend the signed tree of {last.size} entries: {exc}"
        ) from exc


def _checkpoint_of(note: str, verifier: str) -> Checkpoint | None:
    """The checkpoint in our own note. Raises SigningRefusedError when we did not sign it."""
    if not note:
        return None
    known = _verified.get(note)
    if known is not None:
        return known
    try:
        if parse(note)[0].origin != verifier.partition("+")[0]:
            return None  # the memory of another log that used this folder
        known = verify_note(note, [verifier])
    except InvalidNoteError as exc:
        raise SigningRefusedError(
            f"The last checkpoint was not signed by this log's key ({exc}). Restore log.key, or"
            " find out who wrote the checkpoint."
        ) from exc
    _verified[note] = known
    return known


def _memory_file() -> Path:
    return Path(settings.VESTIGE_KEYS) / "log.signed"


def remembered_note() -> str:
    """The newest note that was signed on this machine; empty when there is none."""
    try:
        return _memory_file().read_text()
    except FileNotFoundError:
        return ""


def _remember(signed: Signed) -> None:
    if connection.in_atomic_block:
        return  # an outer transaction may still roll the entries back
    path = _memory_file()
    if remembered_note() == signed.note:
        return
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".log.signed.")
    with os.fdopen(handle, "w") as file:
        file.write(signed.note)
    Path(draft).replace(path)
