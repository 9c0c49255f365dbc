"""Facts that only live as long as the key of the person they speak of.

A subject's key is random and wrapped by `subjects.key`. From it come, by HMAC-SHA256 with labels,
the sealing key (AES-256-GCM), the pseudonym and the commitment. Destroying the wrapped key makes
every sealed fact of that person unreadable and leaves the chain as it is.

The nonce is derived from the key, the event id and the text, so that an event that is sent twice
is sealed into the same bytes and its repetition can be recognised.
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit import keys
from audit.ledger import canonical
from audit.models import SubjectKey
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
    """The keys of those of these persons who have one, by normalised reference."""
    by_lookup = {lookup(ref): normalise(ref) for ref in refs}
    names = list(by_lookup)
    found: dict[SubjectRef, LiveKey] = {}
    for start in range(0, len(names), _AT_A_TIME):
        for row in SubjectKey.objects.filter(lookup__in=names[start : start + _AT_A_TIME]):
            found[by_lookup[str(row.lookup)]] = unwrap(row)
    return found


def new_rows(refs: Iterable[SubjectRef]) -> list[SubjectKey]:
    """A fresh key for each of these persons, not saved yet."""
    rows = []
    for ref in refs:
        secret = secrets.token_bytes(keys.KEY_BYTES)
        name = pseudonym(ref, secret)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        wrapped = nonce + AESGCM(keys.subjects_key()).encrypt(nonce, secret, name.encode())
        rows.append(
            SubjectKey(
                lookup=lookup(ref),
                pseudonym=name,
                wrapped_key=wrapped,
                commitment=commitment(secret),
            )
        )
    return rows


def unwrap(row: SubjectKey) -> LiveKey:
    """Raises SealError when the wrapped key was changed or `subjects.key` is another one."""
    wrapped = bytes(row.wrapped_key or b"")
    try:
        secret = AESGCM(keys.subjects_key()).decrypt(
            wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], row.pseudonym.encode()
        )
    except (InvalidTag, ValueError) as exc:
        raise SealError(
            f"The key of subject {row.pseudonym} cannot be unwrapped. Is subjects.key the one"
            " that belongs to this database?"
        ) from exc
    if commitment(secret) != row.commitment:
        raise SealError(f"The key of subject {row.pseudonym} is not the one it committed to.")
    return LiveKey(row.pseudonym, secret)


def _sealing_key(secret: bytes) -> bytes:
    return hmac.new(secret, b"seal", hashlib.sha256).digest()


def _context(log: str, event_id: str, name: str) -> bytes:
    return f"{log}|{event_id}|sealed|{name}".encode()
