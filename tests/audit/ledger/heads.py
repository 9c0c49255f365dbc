"""A small log whose entries count themselves within their resource, and its heads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audit.ledger import bundle, canonical, heads, leaf, tree
from audit.ledger.bundle import Claim, HeadsProof
from audit.ledger.hashing import leaf_hash
from tests.audit.ledger.builders import KEY, ORIGIN, START_US, SampleLog, vkey

NEWEST = 10**9


class CountingLog(SampleLog):
    """Entries of the named resources; entry n was recorded n seconds after the first.

    `old`: this many of the first entries are of version 1, which do not count themselves.
    """

    def __init__(self, resources: Iterable[str], *, old: int = 0) -> None:
        super().__init__(())
        self.resources: list[str] = []
        self._old = old
        for name in resources:
            self.add(name)

    def add(
        self,
        resource: str,
        *,
        type: str = "UPDATE",  # the member's name
        details: Mapping[str, Any] | None = None,
        within: Mapping[str, int] | None = None,
    ) -> int:
        seq = len(self.leaves)
        event: dict[str, Any] = {"type": type, "resource": resource, "details": dict(details or {})}
        event["v"] = 1 if seq < self._old else 2
        if seq >= self._old:
            earlier = self.seqs(resource)
            place = {"nth": len(earlier) + 1} | ({"previous": earlier[-1]} if earlier else {})
            event["within"] = dict(within or place)
        previous = self.hashes[-1] if self.hashes else leaf.GENESIS
        packed = leaf.pack(seq, START_US + seq * 1_000_000, previous, canonical.encode(event))
        self.leaves.append(packed)
        self.hashes.append(leaf_hash(packed))
        self.resources.append(resource)
        return seq

    def seqs(self, resource: str, since: int = 0, until: int = NEWEST) -> list[int]:
        """The naive answer: all entries of the resource in the range."""
        return [
            seq
            for seq, name in enumerate(self.resources)
            if name == resource and since <= seq < until
        ]

    def heads(self, size: int) -> list[heads.Head]:
        """The heads of the first `size` entries, by key."""
        newest: dict[str, heads.Head] = {}
        for seq, name in enumerate(self.resources[:size]):
            nth = newest[name].nth + 1 if name in newest else 1
            newest[name] = heads.Head(heads.key_of(name), nth, seq)
        return sorted(newest.values())

    def add_heads(self, size: int | None = None, wrong: Mapping[str, Any] | None = None) -> int:
        """An entry that commits to the heads of the first `size` entries."""
        size = len(self.leaves) if size is None else size
        found = self.heads(size)
        root = heads.map_root(bucket_roots(found)).hex()
        details = {"size": size, "root": root, "resources": len(found)} | dict(wrong or {})
        return self.add("log:main", type=heads.HEADS_TYPE, details=details)

    def heads_proof(self, entry: int, resource: str, size: int) -> HeadsProof:
        found = self.heads(size)
        bucket = heads.bucket_of(heads.key_of(resource))
        return HeadsProof(
            entry,
            tuple(head for head in found if heads.bucket_of(head.key) == bucket),
            tuple(heads.bucket_path(bucket, bucket_roots(found))),
        )

    def complete_bundle(
        self,
        claims: Sequence[Claim],
        seqs: Iterable[int],
        statement: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        size = len(self.leaves)
        return bundle.build(
            purpose="completeness",
            statement=statement,
            origin=ORIGIN,
            vkey=vkey(KEY),
            checkpoint=self.note(KEY),
            entries=[
                (seq, self.leaves[seq], tree.inclusion_proof(seq, size, self.get))
                for seq in sorted(set(seqs))
            ],
            complete=claims,
        )


def bucket_roots(found: Sequence[heads.Head]) -> bytes:
    buckets: list[list[heads.Head]] = [[] for _ in range(heads.BUCKETS)]
    for head in found:
        buckets[heads.bucket_of(head.key)].append(head)
    return b"".join(heads.bucket_root(bucket) for bucket in buckets)
