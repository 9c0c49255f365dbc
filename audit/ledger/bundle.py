"""The evidence bundle: one JSON object that proves entries of a log without the log.

    {"format": "vestige-evidence/1", "purpose": "certificate", "statement": {…} or null,
     "log": {"origin": …, "vkey": …}, "checkpoint": "<signed note>",
     "entries": [{"seq": 7, "leaf": "<base64>", "proof": ["<base64>", …]}, …],
     "digest": "<SHA-256, hex, of the canonical JSON of this object with null as its digest>"}

Entries stand in ascending order. Some entry's event carries details.statement_sha256, the digest
of the statement: that binds the statement to the log. The bundle's own digest only guards
against accidents; what an attacker cannot change is what the signed checkpoint covers. Unknown
members are refused, so that nothing unproven rides along. This module builds, writes and reads;
audit.ledger.verify judges.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from audit.ledger import canonical

FORMAT = "vestige-evidence/1"
STATEMENT_FIELD = "statement_sha256"

_MEMBERS = {"format", "purpose", "statement", "log", "checkpoint", "entries", "digest"}


class BundleError(ValueError):
    """The data is no evidence bundle; the sentence names the member and the fault."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One entry: its position, its exact leaf bytes and its RFC 6962 inclusion proof."""

    seq: int
    leaf: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of the right form, of which nothing has been verified.

    `intact` says whether its digest matches: no accident has changed it since it was written.
    """

    purpose: str
    statement: dict[str, Any] | None
    origin: str
    vkey: str
    checkpoint: str
    entries: tuple[BundleEntry, ...]
    intact: bool


def statement_digest(statement: Mapping[str, Any]) -> str:
    """What an entry's details.statement_sha256 must hold to commit to the statement.

    Hex SHA-256 of the RFC 8785 form. Raises CanonicalError when the statement is no JSON.
    """
    return sha256(canonical.encode(dict(statement))).hexdigest()


def build(
    *,
    purpose: str,
    statement: Mapping[str, Any] | None,
    origin: str,
    vkey: str,
    checkpoint: str,
    entries: Iterable[tuple[int, bytes, Sequence[bytes]]],
) -> dict[str, Any]:
    """The bundle as a JSON object. `entries` are (seq, leaf, inclusion proof) in any order.

    The proofs must belong to the tree of `checkpoint`, a signed note. Raises BundleError when
    the parts do not make a bundle; whether they prove anything is for audit.ledger.verify.
    """
    members: dict[str, Any] = {
        "format": FORMAT,
        "purpose": purpose,
        "statement": None if statement is None else dict(statement),
        "log": {"origin": origin, "vkey": vkey},
        "checkpoint": checkpoint,
        "entries": [
            {"seq": seq, "leaf": _base64(leaf), "proof": [_base64(item) for item in proof]}
            for seq, leaf, proof in sorted(entries, key=lambda entry: entry[0])
        ],
    }
    members["digest"] = _digest({**members, "digest": None})
    parse(members)
    return members


def dumps(bundle: Mapping[str, Any]) -> bytes:
    """The bundle as canonical JSON. Raises BundleError when it is none."""
    parse(bundle)
    return canonical.encode(dict(bundle))


def loads(data: bytes | str) -> dict[str, Any]:
    """Read a bundle from JSON text. Raises BundleError for everything that is none."""
    value = decode(data)
    parse(value)
    return value  # type: ignore[no-any-return]  # an object, as parse has made sure


def decode(data: bytes | str) -> Any:
    """The value in JSON text, for `parse`. Stricter than json.loads. Raises BundleError."""
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_number, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise BundleError(f"the file is no UTF-8 text: {error}") from error
    except RecursionError as error:
        raise BundleError("the file is nested too deeply to be an evidence bundle") from error
    except json.JSONDecodeError as error:
        raise BundleError(f"the file is not valid JSON: {error}") from error


def parse(value: object) -> Bundle:
    """Check the form of a bundle. Raises BundleError."""
    members = _members(value, _MEMBERS, "the bundle")
    if members["format"] != FORMAT:
        raise BundleError(f"format must be {FORMAT!r}, not {members['format']!r:.80}")
    log = _members(members["log"], {"origin", "vkey"}, "log")
    statement = members["statement"]
    if statement is not None and not isinstance(statement, dict):
        raise BundleError("statement must be an object or null")
    return Bundle(
        purpose=_text(members["purpose"], "purpose"),
        statement=statement,
        origin=_text(log["origin"], "log.origin"),
        vkey=_text(log["vkey"], "log.vkey"),
        checkpoint=_text(members["checkpoint"], "checkpoint"),
        entries=_entries(members["entries"]),
        intact=members["digest"] == _digest({**members, "digest": None}),
    )


def _entries(value: object) -> tuple[BundleEntry, ...]:
    if not isinstance(value, list) or not value:
        raise BundleError("entries must be a list with at least one entry")
    entries = tuple(_entry(item, f"entries[{number}]") for number, item in enumerate(value))
    seqs = [entry.seq for entry in entries]
    if any(later <= earlier for earlier, later in pairwise(seqs)):
        raise BundleError("entries must stand in ascending order of seq, each once")
    return entries


def _entry(value: object, place: str) -> BundleEntry:
    members = _members(value, {"seq", "leaf", "proof"}, place)
    seq, proof = members["seq"], members["proof"]
    if type(seq) is not int or not 0 <= seq <= canonical.MAX_INT:
        raise BundleError(f"{place}.seq must be a whole number, 0 or more")
    if not isinstance(proof, list):
        raise BundleError(f"{place}.proof must be a list of hashes in base64")
    return BundleEntry(
        seq=seq,
        leaf=_bytes(members["leaf"], f"{place}.leaf"),
        proof=tuple(_bytes(item, f"{place}.proof[{at}]") for at, item in enumerate(proof)),
    )


def _members(value: object, names: set[str], place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{place} must be a JSON object, it is {_kind(value)}")
    missing, unknown = names - value.keys(), value.keys() - names
    if missing:
        raise BundleError(f"{place} lacks {', '.join(sorted(missing))}")
    if unknown:
        listed = ", ".join(sorted(repr(name)[:40] for name in unknown)[:5])
        raise BundleError(f"{place} has members that {FORMAT} does not know: {listed}")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise BundleError(f"{place} must be a text, it is {_kind(value)}")
    return value


def _bytes(value: object, place: str) -> bytes:
    """Base64 in its one canonical spelling."""
    try:
        data = a2b_base64(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if not data or _base64(data) != value:
        raise BundleError(f"{place} must be bytes in base64")
    return data


def _digest(members: dict[str, Any]) -> str:
    try:
        return sha256(canonical.encode(members)).hexdigest()
    except canonical.CanonicalError as error:
        raise BundleError(f"the bundle has no canonical form: {error}") from error


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return "empty" if value == "" else f"of type {type(value).__name__}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Two readers could each see another value.
        raise BundleError("the file repeats a key within one object")
    return members


def _number(text: str) -> int | float:
    """A whole number; beyond 2**53 only as RFC 8785 spells a double, so that no digit is idle."""
    if len(text) < 32:
        value = int(text)
        if abs(value) <= canonical.MAX_INT:
            return value
        if canonical.encode(float(value)) == text.encode():
            return float(value)
    raise BundleError(f"the file holds the number {text[:32]}, which a double cannot carry")


def _refuse_constant(name: str) -> Any:
    raise BundleError(f"the file holds {name}, which is no JSON")
