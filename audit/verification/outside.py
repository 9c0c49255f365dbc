"""Checkpoints that others outside hold: the stored log must contain each of them.

What they gave for it, a cosignature or a time stamp, is verified where their key or certificate is
configured. What an owner of the database has deleted here, they still hold: the next question to
a witness shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from django.db import connection

from audit.ledger.checkpoint import InvalidNoteError, VerifierKey
from audit.ledger.cosignature import answered
from audit.places import PlacesError, tsa, witness_policy
from audit.timestamps import InvalidTokenError, verify_token

_AT_A_TIME = 1_000
_KINDS = {
    "witness": "that the witness {} cosigned",
    "timestamp": "that {} has stamped",
    "publication": "published at {}",
}


@dataclass(frozen=True, slots=True)
class Held:
    """A signed note that somebody holds, and what is wrong with what they gave for it."""

    note: Any
    where: str
    fault: str = ""


def held(log_id: int, start: int) -> Iterator[Held]:
    """What is held of the trees from this size on, by size; each note once for each holder."""
    witnesses, certificates = _configured()
    last = (start, 0)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT size, id, kind, name, note, proof FROM audit_anchor WHERE log_id = %s"
                " AND (size > %s OR (size = %s AND id > %s)) ORDER BY size, id LIMIT %s",
                [log_id, last[0], *last, _AT_A_TIME],
            )
            rows = cursor.fetchall()
        for size, _, kind, name, note, proof in rows:
            where = (
                f"the checkpoint over {size} entries {_KINDS.get(kind, 'held by {}').format(name)}"
            )
            fault = ""
            if isinstance(note, str):
                fault = _proof_fault(kind, note, bytes(proof), witnesses, certificates)
            yield Held(note, where, f"{where[0].upper()}{where[1:]}: {fault}." if fault else "")
        if len(rows) < _AT_A_TIME:
            return
        last = rows[-1][:2]


def _proof_fault(
    kind: str,
    note: str,
    proof: bytes,
    witnesses: list[VerifierKey],
    certificates: tuple[x509.Certificate, ...],
) -> str:
    try:
        if kind == "witness":
            answered(note, proof.decode(), witnesses)
        elif kind == "timestamp" and certificates:
            verify_token(proof, note, certificates)
    except InvalidTokenError as exc:
        return f"its time stamp is not good: {exc}"
    except (InvalidNoteError, UnicodeDecodeError) as exc:
        return str(exc)
    return ""


def _configured() -> tuple[list[VerifierKey], tuple[x509.Certificate, ...]]:
    """What can be verified; nothing where the settings are wrong, which is said elsewhere."""
    try:
        witnesses = witness_policy().keys
    except PlacesError:
        witnesses = []
    try:
        authority = tsa()
    except PlacesError:
        authority = None
    return witnesses, authority.certificates if authority else ()
