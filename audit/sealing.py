"""Facts that only live as long as the key of the person they speak of.

A subject's key is random and wrapped by the key of an epoch (audit.epochs). From it come, by
HMAC-SHA256 with labels, the sealing key (AES-256-GCM), the pseudonym and the commitment.
Destroying the wrapped key makes every sealed fact of that person unreadable and leaves the chain
as it is. From the moment that the log tells of the erasure, the key is not used any more, whether
it is destroyed already or not.

The nonce is derived from the key, the event id and the text, so that an event that is sent twice
is sealed into the same bytes and its repetition can be recognised.
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit import epochs, keys
from audit.ledger import canonical
from audit.models import Subject, SubjectKey
from audit.subjects import SubjectRef, commitment, lookup, normalise, pseudonym

_NONCE_BYTES = 12
_AT_A_TIME = 500


class SealError(ValueError):
    """The sealed facts cannot be opened though the subject's key lives: they were changed."""


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A subject's key while it is used; never kept longer than one call."""

    pseudonym: str
    secret: bytes
    commitment: str = ""
    announced: bool = True  # the log knows it


def seal(facts: Mapping[str, Any], *, key: LiveKey, log: str, event_id: str) -> dict[str, str]:
    """{"nonce", "ciphertext"} in base64. Raises CanonicalError for what is no event content."""
    plaintext = canonical.encode_strict(dict(facts))
    aad = _context(log, event_id, key.pseudonym)
    nonce = hmac.new(key.secret, b"nonce" + aad + plaintext, hashlib.sha256).digest()
    nonce = nonce[:_NONCE_BYTES]
    ciphertext = AESGCM(_sealing_key(key.secret)).encrypt(nonce, plaintext, aad)
    return {"nonce": b64encode(nonce).decode(), "ciphertext": b64encode(ciphertext).decode()}


def unseal(sealed: Mapping[str, str], *, key: LiveKey, log: str, event_id: str) -> dict[str, Any]:
    """The inverse of `seal`. Raises SealError."""
    try:
        nonce = b64decode(sealed["nonce"], validate=True)
        ciphertext = b64decode(sealed["ciphertext"], validate=True)
        plaintext = AESGCM(_sealing_key(key.secret)).decrypt(
            nonce, ciphertext, _context(log, event_id, key.pseudonym)
        )
    except (InvalidTag, KeyError, TypeError, ValueError, Base64Error) as exc:
        raise SealError(f"The sealed facts of event {event_id} were changed.") from exc
    opened: dict[str, Any] = canonical.decode(plaintext)
    return opened


def live_keys(refs: Iterable[SubjectRef]) -> dict[SubjectRef, LiveKey]:
    """The keys of those of these persons who have one, by normalised reference.

    Raises SealError, EpochKeyGoneError and KeyFileError when one that lives cannot be used.
    """
    by_lookup = {lookup(ref): normalise(ref) for ref in refs}
    found: dict[SubjectRef, LiveKey] = {}
    for name, row, announced in _living(list(by_lookup)):
        found.setdefault(by_lookup[name], unwrap(row, announced=announced))
    return found


def living_rows(name: str) -> list[SubjectKey]:
    """The keys of the person with this lookup that are not to be destroyed, oldest first."""
    return [row for _, row, _ in _living([name])]


def row_of(pseudonym: str) -> SubjectKey | None:
    """The key under this pseudonym; None if it was destroyed or is to be."""
    if Subject.objects.filter(pseudonym=pseudonym, erased_at__isnull=False).exists():
        return None
    return SubjectKey.objects.filter(pseudonym=pseudonym, wrapped_key__isnull=False).first()


def new_rows(refs: Iterable[SubjectRef], *, epoch: int) -> list[SubjectKey]:
    """A fresh key for each of these persons who has none, wrapped in this epoch, not saved yet.

    Who makes one for the same person at the same moment gives it the same generation, and only
    one of the two can be saved.
    """
    names = {lookup(ref): ref for ref in refs}
    taken = _newest_generations(list(names))
    for name, _, _ in _living(list(names)):  # made since the caller looked
        names.pop(name, None)
    rows = []
    for name, ref in names.items():
        secret = secrets.token_bytes(keys.KEY_BYTES)
        row = SubjectKey(
            lookup=name,
            generation=taken.get(name, -1) + 1,
            pseudonym=pseudonym(ref, secret),
            commitment=commitment(secret),
        )
        wrap(row, secret, epoch=epoch)
        rows.append(row)
    return rows


def wrap(row: SubjectKey, secret: bytes, *, epoch: int) -> None:
    """Put the key into its row, under the key of this epoch. The row is not saved."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    row.wrapped_key = nonce + AESGCM(epochs.epoch_key(epoch)).encrypt(
        nonce, secret, row.pseudonym.encode()
    )
    row.epoch = epoch


def unwrap(row: SubjectKey, *, announced: bool = True) -> LiveKey:
    """Raises SealError when the wrapped key was changed, EpochKeyGoneError and KeyFileError."""
    try:
        kek = epochs.epoch_key(row.epoch)
    except epochs.EpochKeyGoneError:
        # A rotation may have wrapped it anew since the row was read.
        earlier, row = row, SubjectKey.objects.get(pk=row.pk)
        if row.epoch == earlier.epoch or row.wrapped_key is None:
            raise
        kek = epochs.epoch_key(row.epoch)
    wrapped = bytes(row.wrapped_key or b"")
    try:
        secret = AESGCM(kek).decrypt(
            wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], row.pseudonym.encode()
        )
    except (InvalidTag, ValueError) as exc:
        raise SealError(
            f"The key of subject {row.pseudonym} cannot be unwrapped: its row was changed."
        ) from exc
    if commitment(secret) != row.commitment:
        raise SealError(f"The key of subject {row.pseudonym} is not the one it committed to.")
    return LiveKey(row.pseudonym, secret, row.commitment, announced)


def _living(names: Sequence[str]) -> Iterator[tuple[str, SubjectKey, bool]]:
    """(lookup, key, whether the log knows it), without those that are to be destroyed."""
    for start in range(0, len(names), _AT_A_TIME):
        some = names[start : start + _AT_A_TIME]
        rows = list(SubjectKey.objects.filter(lookup__in=some).order_by("generation"))
        # Read after the keys: what the log says of a person counts, not what is still there.
        known = dict(
            Subject.objects.filter(pseudonym__in=[row.pseudonym for row in rows]).values_list(
                "pseudonym", "erased_at"
            )
        )
        for row in rows:
            if known.get(row.pseudonym) is None and row.lookup is not None:
                yield row.lookup, row, row.pseudonym in known


def _newest_generations(names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), _AT_A_TIME):
        rows = SubjectKey.objects.filter(lookup__in=names[start : start + _AT_A_TIME])
        found |= {
            name: generation
            for name, generation in rows.order_by("generation").values_list("lookup", "generation")
            if name is not None
        }
    return found


def _sealing_key(secret: bytes) -> bytes:
    return hmac.new(secret, b"seal", hashlib.sha256).digest()


def _context(log: str, event_id: str, name: str) -> bytes:
    return f"{log}|{event_id}|sealed|{name}".encode()
