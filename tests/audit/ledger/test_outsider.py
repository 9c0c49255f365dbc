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
from tests.audit.ledger.builders import certificate_bundle, vkey


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


def outsider_verify(data: bytes, trusted_vkey: str) -> bool:
    bundle = json.loads(data)
    origin, size, root = opened_checkpoint(bundle["checkpoint"], trusted_vkey)
    if bundle["log"] != {"origin": origin, "vkey": trusted_vkey}:
        return False
    events = {}
    for entry in bundle["entries"]:
        leaf = b64decode(entry["leaf"])
        magic, seq, _time, _previous = struct.unpack_from(">4sQQ32s", leaf)
        proof = [b64decode(item) for item in entry["proof"]]
        found = root_of_path(seq, int(size), sha256(b"\x00" + leaf), proof)
        if magic != b"VLG1" or seq != entry["seq"] or found != b64decode(root):
            return False
        events[seq] = json.loads(leaf[52:])
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
