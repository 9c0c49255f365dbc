"""A verifier as an outsider would write it from docs/ledger.md: nothing of ours is imported by it.

If it disagrees with the product, the document or the product is wrong.
"""

import hashlib
import json
import struct
from base64 import b64decode
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.ledger import bundle
from audit.ledger.bundle import Claim
from tests.audit.ledger.builders import START_US, certificate_bundle, vkey
from tests.audit.ledger.heads import CountingLog


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def canonical(value: Any) -> bytes:
    """RFC 8785 for values with ASCII keys and no fractions."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def opened_checkpoint(note: str, trusted_vkey: str) -> list[str]:
    """Origin, size and root out of a signed note that the key has signed."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    name, key_id, material = trusted_vkey.split("+", 2)
    key = b64decode(material)
    assert sha256(name.encode() + b"\n" + key)[:4].hex() == key_id
    signed = False
    for line in signatures.splitlines():
        _, signer, blob = line.split(" ")
        if signer == name and b64decode(blob)[:4].hex() == key_id:
            public_key = Ed25519PublicKey.from_public_bytes(key[1:])
            public_key.verify(b64decode(blob)[4:], text.encode())
            signed = True
    assert signed
    assert text.splitlines()[0] == name
    return text.splitlines()


def root_of_path(index: int, size: int, node: bytes, proof: list[bytes]) -> bytes | None:
    """RFC 9162, section 2.1.3.2."""
    last = size - 1
    for sibling in proof:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = sha256(b"\x01" + sibling + node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01" + node + sibling)
        index, last = index >> 1, last >> 1
    return None if last else node


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, over leaf hashes."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"")
    half = 1
    while half * 2 < len(hashes):
        half *= 2
    return sha256(b"\x01" + root_of(hashes[:half]) + root_of(hashes[half:]))


def head_of(resource: str, heads: dict[str, Any], root: str) -> tuple[int, int | None] | None:
    """Count and newest entry of the resource; None when that is not shown."""
    key = sha256(resource.encode())
    keys = [bytes.fromhex(head[0]) for head in heads["bucket"]]
    if any(found[:1] + bytes([found[1] >> 4]) != key[:1] + bytes([key[1] >> 4]) for found in keys):
        return None
    leaves = [
        k + struct.pack(">QQ", *head[1:]) for k, head in zip(keys, heads["bucket"], strict=True)
    ]
    top = root_of([sha256(b"\x00" + leaf) for leaf in leaves])
    path = [b64decode(item) for item in heads["path"]]
    bucket = int.from_bytes(key[:2], "big") >> 4
    if keys != sorted(set(keys)) or root_of_path(bucket, 4096, top, path) != bytes.fromhex(root):
        return None
    found = {head[0]: (head[1], head[2]) for head in heads["bucket"]}
    return found.get(key.hex(), (0, None))


def end_of(claim: dict[str, Any], events: dict[int, Any]) -> tuple[int, int | None] | None:
    until, heads = claim["until"], claim["heads"]
    if heads:
        commitment = events.get(heads["entry"], {})
        said = commitment.get("details", {})
        if commitment.get("type") != "log.heads" or not until <= said["size"] <= heads["entry"]:
            return None
        end = head_of(claim["resource"], heads, said["root"])
        if end is None or end[1] is None or end[1] < until:
            return end
    mine = [seq for seq in sorted(events) if events[seq]["resource"] == claim["resource"]]
    within = next((events[seq].get("within") for seq in mine if seq >= until), None)
    return (within["nth"] - 1, within.get("previous")) if within else None


def is_complete(claim: dict[str, Any], events: dict[int, Any], times: dict[int, int]) -> bool:
    """Without the rule for entries of version 1: those are not accepted."""
    since, until = claim["since"], claim["until"]
    for time, border in ((claim["from"], since), (claim["before"], until)):
        if time is not None and not (
            (border == 0 or times.get(border - 1, time) < time) and times.get(border, 0) >= time
        ):
            return False
    end = (0, None) if since == until else end_of(claim, events)
    mine = [s for s in sorted(events) if events[s]["resource"] == claim["resource"]]
    for seq in reversed([s for s in mine if since <= s < until]):
        within = events[seq].get("within", {})
        if end != (within.get("nth"), seq):
            return False
        end = (within["nth"] - 1, within.get("previous"))
    return end is not None and (end[1] is None or end[1] < since)


def outsider_verify(data: bytes, trusted_vkey: str) -> bool:
    bundle = json.loads(data)
    origin, size, root = opened_checkpoint(bundle["checkpoint"], trusted_vkey)
    if bundle["log"] != {"origin": origin, "vkey": trusted_vkey}:
        return False
    events: dict[int, Any] = {}
    times: dict[int, int] = {}
    for entry in bundle["entries"]:
        leaf = b64decode(entry["leaf"])
        magic, seq, time, _previous = struct.unpack_from(">4sQQ32s", leaf)
        proof = [b64decode(item) for item in entry["proof"]]
        found = root_of_path(seq, int(size), sha256(b"\x00" + leaf), proof)
        if magic != b"VLG1" or seq != entry["seq"] or found != b64decode(root):
            return False
        events[seq], times[seq] = json.loads(leaf[52:]), time
    if not all(is_complete(claim, events, times) for claim in bundle.get("complete", [])):
        return False
    if bundle["statement"] is None:
        return True
    digest = sha256(canonical(bundle["statement"])).hex()
    if not any(event["details"].get("statement_sha256") == digest for event in events.values()):
        return False
    return set(bundle["statement"]["entries"]) <= set(events)


def test_a_verifier_written_from_the_document_accepts_our_bundle() -> None:
    assert outsider_verify(bundle.dumps(certificate_bundle()), vkey())


def test_a_verifier_written_from_the_document_refuses_forgeries() -> None:
    data = bundle.dumps(certificate_bundle())
    assert not outsider_verify(data.replace(b"R-2026-0001", b"R-2026-0002"), vkey())
    with pytest.raises(InvalidSignature):
        outsider_verify(data.replace(b"log\\n12\\n", b"log\\n13\\n"), vkey())


RESOURCES = ["a", "b", "a", "c", "a", "b", "b", "a"]


def complete_bundle(left_out: int | None = None, *, until: int = 8, moved: int = 0) -> bytes:
    """Claims by heads, by the next entry, with borders, and of a resource without entries."""
    log = CountingLog(RESOURCES)
    entry = log.add_heads()
    claims = [
        Claim("a", 0, until, heads=log.heads_proof(entry, "a", 8)),
        Claim("b", 2, 6),
        Claim("a", 1 + moved, 5, START_US + 500_000, START_US + 4_500_000),
        Claim("nobody", 0, 8, heads=log.heads_proof(entry, "nobody", 8)),
    ]
    seqs = [seq for seq in range(entry + 1) if seq != left_out]
    return bundle.dumps(log.complete_bundle(claims, seqs))


def test_a_verifier_written_from_the_document_finds_a_complete_bundle_complete() -> None:
    assert outsider_verify(complete_bundle(), vkey())
    assert outsider_verify(complete_bundle(3), vkey()), "of another resource"


def test_a_verifier_written_from_the_document_finds_what_is_left_out() -> None:
    for left_out in (0, 1, 2, 4, 5, 6, 7, 8):
        assert not outsider_verify(complete_bundle(left_out), vkey()), left_out
    assert not outsider_verify(complete_bundle(until=9), vkey())
    assert not outsider_verify(complete_bundle(moved=1), vkey())
