"""Persons whom the log speaks of without naming them.

An identifier becomes a lookup (HMAC under the installation's key, for equality search in tables)
and a pseudonym (HMAC under the subject's own random key). The log holds only the pseudonym; once
the subject's key is destroyed, nobody can tell whose it was, not even by trying all identifiers.
"""

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass

from audit import keys
from audit.ledger import canonical

MAX_VALUE_CHARACTERS = 512
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


class SubjectError(ValueError):
    """The reference names nobody; `field` says which part is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class SubjectRef:
    """A person as a system knows them: type "customer" or "email", and the identifier there."""

    type: str
    value: str


def normalise(ref: SubjectRef) -> SubjectRef:
    """One spelling for what means the same person. Raises SubjectError (never with the value)."""
    kind = ref.type.strip().lower() if isinstance(ref.type, str) else ""
    if not _TYPE.fullmatch(kind):
        raise SubjectError("type", "A subject type is a lower-case word, such as customer.")
    if not isinstance(ref.value, str):
        raise SubjectError("value", "The identifier must be text. Put it in quotes.")
    value = ref.value.strip()
    if kind == "email":
        value = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).lower()).strip()
    if not value or len(value) > MAX_VALUE_CHARACTERS:
        raise SubjectError(
            "value", f"The identifier must have 1 to {MAX_VALUE_CHARACTERS} characters."
        )
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise SubjectError("value", "The identifier is not valid Unicode text.") from exc
    return SubjectRef(kind, value)


def lookup(ref: SubjectRef) -> str:
    """64 hex digits, equal for equal persons within this installation. Personal data."""
    return hmac.new(keys.lookup_key(), _spelled(ref), hashlib.sha256).hexdigest()


def pseudonym(ref: SubjectRef, subject_key: bytes) -> str:
    """32 hex digits: the name under which the log knows the person, while the key lives."""
    return hmac.new(subject_key, b"pseudonym" + _spelled(ref), hashlib.sha256).hexdigest()[:32]


def commitment(subject_key: bytes) -> str:
    """HMAC-SHA256(key, "commit") in hex: AES-GCM alone does not commit to a key."""
    return hmac.new(subject_key, b"commit", hashlib.sha256).hexdigest()


def _spelled(ref: SubjectRef) -> bytes:
    known = normalise(ref)
    return canonical.encode([known.type, known.value])
