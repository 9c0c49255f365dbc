"""Who must not come back: digests of erased identifiers."""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Sequence

from audit.keys import named_key
from audit.subjects import SubjectError, SubjectRef, normalise
from compliance.models import Suppression

WHOLE_NUMBERS = frozenset({"byte", "short", "integer", "long"})  # as stores name their types


def keyed_hash(purpose: str, value: str) -> str:
    """HMAC-SHA256 under a key of its own purpose, hex: for equality, never to be reversed."""
    return hmac.new(named_key(purpose), value.encode(), hashlib.sha256).hexdigest()


def suppression_digest(ref: SubjectRef) -> str:
    plain = normalise(ref)
    return keyed_hash("suppression", f"{plain.type}\0{plain.value}")


def number_digest(kind: str, value: str) -> str | None:
    """The same for an identifier that stands in a column of whole numbers; None: it cannot."""
    try:
        number = int(value)
    except ValueError:
        return None
    return keyed_hash("suppression", f"{kind}\0#{number}")


def hits_among(
    values: Iterable[str], kind: str, gone: Collection[str], *, as_numbers: bool
) -> tuple[int, int]:
    """How many of the identifiers have one of these suppression digests, and how many were read.

    A person known as "00004" is 4 in a column of whole numbers; in a text column "4" is another.
    """
    hits = count = 0
    for value in values:
        count += 1
        try:
            digest = (
                number_digest(kind, value)
                if as_numbers
                else suppression_digest(SubjectRef(kind, value))
            )
        except SubjectError:
            continue  # blanks, or longer than any identifier may be
        hits += digest in gone
    return hits, count


def suppressed(refs: Sequence[SubjectRef]) -> list[bool]:
    """For each person, whether they were erased and must not come in again."""
    digests = [suppression_digest(ref) for ref in refs]
    known = set(Suppression.objects.filter(digest__in=digests).values_list("digest", flat=True))
    return [digest in known for digest in digests]
