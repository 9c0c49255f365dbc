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

"vestige-evidence/2" has one member more, "complete": a list of claims that all entries of a
resource with since <= seq < until are in the bundle.

    {"resource": …, "since": 17, "until": 345, "from": µs or null, "before": µs or null,
     "heads": null or {"entry": 345, "bucket": [["<hex>", nth, seq], …], "path": ["<base64>", …]}}

With `from`, `since` is where the entries begin that were recorded then (microseconds since 1970)
or later; with `before`, `until` is where those end that were recorded earlier. `heads` shows the
newest entry of the resource (audit.ledger.heads); audit.ledger.completeness judges all of it.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any

from audit.ledger import canonical
from audit.ledger.hashing import HASH_BYTES
from audit.ledger.heads import PATH_HASHES, Head

FORMAT = "vestige-evidence/1"
FORMAT_COMPLETE = "vestige-evidence/2"
STATEMENT_FIELD = "statement_sha256"

_MEMBERS = {"format", "purpose", "statement", "log", "checkpoint", "entries", "digest"}
_MEMBERS_OF = {FORMAT: _MEMBERS, FORMAT_COMPLETE: _MEMBERS | {"complete"}}


class BundleError(ValueError):
    """The data is no evidence bundle; the sentence names the member and the fault."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One entry: its position, its exact leaf bytes and its RFC 6962 inclusion proof."""

    seq: int
    leaf: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HeadsProof:
    """The bucket of a resource, under the root that entry `entry` commits to."""

    entry: int
    bucket: tuple[Head, ...]
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """That all entries of the resource with since <= seq < until are in the bundle."""

    resource: str
    since: int
    until: int
    from_us: int | None = None
    before_us: int | None = None
    heads: HeadsProof | None = None

    def as_dict(self) -> dict[str, Any]:
        """The claim as JSON. Its members but `heads` are also what a statement says of it."""
        heads = self.heads
        return {
            "resource": self.resource,
            "since": self.since,
            "until": self.until,
            "from": self.from_us,
            "before": self.before_us,
            "heads": heads
            and {
                "entry": heads.entry,
                "bucket": [[head.key.hex(), head.nth, head.seq] for head in heads.bucket],
                "path": [_base64(item) for item in heads.path],
            },
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of the right form, of which nothing has been verified.

    `intact` says whether its digest matches: no accident has changed it since it was written.
    """

    format: str
    purpose: str
    statement: dict[str, Any] | None
    origin: str
    vkey: str
    checkpoint: str
    entries: tuple[BundleEntry, ...]
    complete: tuple[Claim, ...]
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
    complete: Sequence[Claim] = (),
) -> dict[str, Any]:
    """The bundle as a JSON object. `entries` are (seq, leaf, inclusion proof) in any order.

    With claims in `complete` its format is vestige-evidence/2. The proofs must belong to the tree
    of `checkpoint`, a signed note. Raises BundleError when the parts do not make a bundle; whether
    they prove anything is for audit.ledger.verify.
    """
    members: dict[str, Any] = {
        "format": FORMAT_COMPLETE if complete else FORMAT,
        "purpose": purpose,
        "statement": None if statement is None else dict(statement),
        "log": {"origin": origin, "vkey": vkey},
        "checkpoint": checkpoint,
        "entries": [
            {"seq": seq, "leaf": _base64(leaf), "proof": [_base64(item) for item in proof]}
            for seq, leaf, proof in sorted(entries, key=lambda entry: entry[0])
        ],
    }
    if complete:
        members["complete"] = [claim.as_dict() for claim in complete]
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
    named = value.get("format") if isinstance(value, dict) else FORMAT
    known = _MEMBERS_OF.get(named) if isinstance(named, str) else None
    members = _members(value, known or _MEMBERS, "the bundle")
    if known is None:
        raise BundleError(
            f"format must be {' or '.join(map(repr, _MEMBERS_OF))}, not {named!r:.80}"
        )
    log = _members(members["log"], {"origin", "vkey"}, "log")
    statement = members["statement"]
    if statement is not None and not isinstance(statement, dict):
        raise BundleError("statement must be an object or null")
    return Bundle(
        format=members["format"],
        purpose=_text(members["purpose"], "purpose"),
        statement=statement,
        origin=_text(log["origin"], "log.origin"),
        vkey=_text(log["vkey"], "log.vkey"),
        checkpoint=_text(members["checkpoint"], "checkpoint"),
        entries=_entries(members["entries"]),
        complete=_claims(members["complete"]) if "complete" in members else (),
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
    return BundleEntry(
        seq=_whole(members["seq"], f"{place}.seq"),
        leaf=_bytes(members["leaf"], f"{place}.leaf"),
        proof=_hashes(members["proof"], f"{place}.proof"),
    )


def _claims(value: object) -> tuple[Claim, ...]:
    if not isinstance(value, list) or not value:
        raise BundleError("complete must be a list with at least one claim")
    return tuple(_claim(item, f"complete[{number}]") for number, item in enumerate(value))


def _claim(value: object, place: str) -> Claim:
    names = {"resource", "since", "until", "from", "before", "heads"}
    members = _members(value, names, place)
    from_us, before_us = (
        None if members[name] is None else _whole(members[name], f"{place}.{name}")
        for name in ("from", "before")
    )
    claim = Claim(
        _text(members["resource"], f"{place}.resource"),
        _whole(members["since"], f"{place}.since"),
        _whole(members["until"], f"{place}.until"),
        from_us,
        before_us,
        None if members["heads"] is None else _heads(members["heads"], f"{place}.heads"),
    )
    # A period in which nothing was recorded begins and ends at the same entry.
    if claim.until < claim.since or (claim.until == claim.since and None in (from_us, before_us)):
        raise BundleError(f"{place}.until must be more than {place}.since")
    return claim


def _heads(value: object, place: str) -> HeadsProof:
    members = _members(value, {"entry", "bucket", "path"}, place)
    bucket, path = members["bucket"], _hashes(members["path"], f"{place}.path")
    if not isinstance(bucket, list):
        raise BundleError(f"{place}.bucket must be a list of heads")
    if len(path) != PATH_HASHES:
        raise BundleError(f"{place}.path must have {PATH_HASHES} hashes")
    return HeadsProof(
        entry=_whole(members["entry"], f"{place}.entry"),
        bucket=tuple(_head(item, f"{place}.bucket[{at}]") for at, item in enumerate(bucket)),
        path=path,
    )


def _head(value: object, place: str) -> Head:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise BundleError(f"{place} must be a list of hash, nth and seq")
    try:
        key = bytes.fromhex(value[0])
    except ValueError:
        key = b""
    if len(key) != HASH_BYTES or key.hex() != value[0]:
        raise BundleError(f"{place} must begin with 32 bytes in lower-case hexadecimal")
    return Head(key, _whole(value[1], f"{place}[1]"), _whole(value[2], f"{place}[2]"))


def _whole(value: object, place: str) -> int:
    if type(value) is not int or not 0 <= value <= canonical.MAX_INT:
        raise BundleError(f"{place} must be a whole number, 0 or more")
    return value


def _hashes(value: object, place: str) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        raise BundleError(f"{place} must be a list of hashes in base64")
    return tuple(_bytes(item, f"{place}[{at}]") for at, item in enumerate(value))


def _members(value: object, names: set[str], place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{place} must be a JSON object, it is {_kind(value)}")
    missing, unknown = names - value.keys(), value.keys() - names
    if missing:
        raise BundleError(f"{place} lacks {', '.join(sorted(missing))}")
    if unknown:
        listed = ", ".join(sorted(repr(name)[:40] for name in unknown)[:5])
        raise BundleError(f"{place} has members that its format does not know: {listed}")
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
