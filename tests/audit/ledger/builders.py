"""A small log in memory, for tests of the pure core."""

import copy
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.ledger import bundle, canonical, checkpoint, leaf, proof_file, receipt, tiles, tree
from audit.ledger.hashing import leaf_hash
from audit.ledger.receipt import Accepted

ORIGIN = "vestige.example/log"
START_US = 1_790_000_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


class SampleLog:
    """Chained leaves with the given events' details; entry n happened n seconds after the first."""

    def __init__(self, details: Iterable[Mapping[str, Any]]) -> None:
        self.leaves: list[bytes] = []
        self.hashes: list[bytes] = []
        for item in details:
            self.append(item)

    def append(self, details: Mapping[str, Any]) -> None:
        seq = len(self.leaves)
        event = {
            "type": "request.filed",
            "actor": "user:7",
            "resource": f"request:R-2026-{seq:04d}",
            "details": dict(details),
        }
        previous = self.hashes[-1] if self.hashes else leaf.GENESIS
        packed = leaf.pack(seq, START_US + seq * 1_000_000, previous, canonical.encode(event))
        self.leaves.append(packed)
        self.hashes.append(leaf_hash(packed))

    def get(self, level: int, index: int) -> bytes:
        """A hash source that recomputes each subtree."""
        return tree.root_of(self.hashes[index << level : (index + 1) << level])

    def note(self, *keys: Ed25519PrivateKey) -> str:
        head = checkpoint.Checkpoint(ORIGIN, len(self.leaves), tree.root_of(self.hashes))
        return checkpoint.sign(head, *(keys or (KEY,)))

    def bundle(
        self,
        seqs: Iterable[int],
        *,
        statement: Mapping[str, Any] | None = None,
        key: Ed25519PrivateKey = KEY,
    ) -> dict[str, Any]:
        size = len(self.leaves)
        return bundle.build(
            purpose="certificate",
            statement=statement,
            origin=ORIGIN,
            vkey=vkey(key),
            checkpoint=self.note(key),
            entries=[
                (seq, self.leaves[seq], tree.inclusion_proof(seq, size, self.get)) for seq in seqs
            ],
        )


def log_of(count: int) -> SampleLog:
    return SampleLog({"rows": number} for number in range(count))


def vkey(key: Ed25519PrivateKey = KEY) -> str:
    return checkpoint.vkey(ORIGIN, key.public_key())


CERTIFICATE: dict[str, Any] = {
    "purpose": "certificate",
    "reference": "R-2026-0001",
    "erased": {"rows": 17, "datasets": ["dataset:shop:purchases"]},
    "note": "Löschung nach Art. 17 DSGVO",
    "entries": [4, 9],
}


def certificate_log() -> SampleLog:
    """Twelve entries, of which number 10 commits to CERTIFICATE."""
    log = log_of(10)
    log.append({"statement_sha256": bundle.statement_digest(CERTIFICATE)})
    log.append({"rows": 11})
    return log


def certificate_bundle(key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    return certificate_log().bundle([4, 9, 10], statement=CERTIFICATE, key=key)


def with_digest(members: dict[str, Any]) -> dict[str, Any]:
    """The bundle as a forger would leave it: its digest made to match."""
    digest = sha256(canonical.encode({**members, "digest": None})).hexdigest()
    return {**members, "digest": digest}


def answer_of(log: SampleLog, *seqs: int, key: Ed25519PrivateKey = KEY) -> dict[str, Any]:
    """As POST /api/v1/events answers to events that got these places."""
    events = [Accepted(f"id-{seq}", seq, log.hashes[seq]) for seq in seqs]
    return {
        "receipts": [
            {"id": item.id, "seq": item.seq, "leaf_hash": item.leaf_hash.hex()} for item in events
        ],
        "receipt": receipt.sign(ORIGIN, events, key, time="2026-11-20T10:00:00.000000Z"),
        "log": ORIGIN,
        "vkey": vkey(key),
        "checkpoint": log.note(key),
    }


def grown(log: SampleLog, count: int = 20) -> SampleLog:
    """The same log, later."""
    later = copy.deepcopy(log)
    for number in range(count):
        later.append({"later": number})
    return later


def without(log: SampleLog, seq: int) -> SampleLog:
    """The log sealed again from the start, without one of its entries, by whoever has the key."""
    forged = SampleLog({"rows": number} for number in range(len(log.leaves)) if number != seq)
    return grown(forged)


def tlog_proof(log: SampleLog, seq: int) -> bytes:
    path = tree.inclusion_proof(seq, len(log.leaves), log.get)
    return proof_file.dumps(seq, path, log.note(), extra=log.leaves[seq]).encode()


def proof_answer(log: SampleLog, seq: int) -> dict[str, Any]:
    """As GET /api/v1/events/{seq}/proof gives it."""
    size = len(log.leaves)
    return {
        "seq": seq,
        "leaf_hash": log.hashes[seq].hex(),
        "size": size,
        "root": tree.root_of(log.hashes).hex(),
        "proof": [item.hex() for item in tree.inclusion_proof(seq, size, log.get)],
        "checkpoint": log.note(),
    }


def growth_answer(log: SampleLog, first: int) -> dict[str, Any]:
    """As GET /log/consistency?first= gives it."""
    size = len(log.leaves)
    return {
        "first": first,
        "second": size,
        "first_root": tree.root_of(log.hashes[:first]).hex(),
        "second_root": tree.root_of(log.hashes).hex(),
        "proof": [item.hex() for item in tree.consistency_proof(first, size, log.get)],
        "checkpoint": log.note(),
    }


def write_folder(
    log: SampleLog, root: Path, *, entries: bool = True, key: Ed25519PrivateKey = KEY
) -> Path:
    """The log as C2SP tlog-tiles files: a reference, apart from what the product writes."""
    size = len(log.leaves)
    files = {
        tiles.tile_path(level, index, len(data) // 32): data
        for (level, index), data in tiles.updated_tiles(0, log.hashes, lambda *_: b"").items()
    }
    if entries:
        for start in range(0, size, 256):
            leaves = log.leaves[start : start + 256]
            path = tiles.tile_path(tiles.ENTRIES, start // 256, len(leaves))
            files[path] = tiles.encode_entries(leaves)
    files["checkpoint"] = log.note(key).encode()
    files["vkey"] = f"{vkey(key)}\n".encode()
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root
