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

_MOST = 1_000  # of each place
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
    """What each place holds of the trees from this size on, the newest of it.

    A tree commits to all trees before it: what the newest find, the older would find as well.
    """
    witnesses, certificates = _configured()
    for kind, name in _all(
        "SELECT DISTINCT kind, name FROM audit_anchor WHERE log_id = %s", [log_id]
    ):
        for size, note, proof in _all(
            "SELECT size, note, proof FROM audit_anchor WHERE log_id = %s AND kind = %s"
            " AND name = %s AND size >= %s ORDER BY size DESC LIMIT %s",
            [log_id, kind, name, start, _MOST],
        ):
            holder = _KINDS.get(kind, "held by {}").format(name)
            where = f"the checkpoint over {size} entries {holder}"
            fault = ""
            if isinstance(note, str):
                fault = _proof_fault(kind, note, bytes(proof), witnesses, certificates)
            yield Held(note, where, f"{where[0].upper()}{where[1:]}: {fault}." if fault else "")


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


def _all(sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
