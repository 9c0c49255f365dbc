"""Checks every entry that commits to the heads of the log against the entries before it."""

from collections import defaultdict
from collections.abc import Iterator
from struct import Struct
from typing import Any

from audit.ledger import canonical
from audit.ledger.heads import (
    EMPTY_BUCKETS,
    HEADS_TYPE,
    Head,
    bucket_of,
    bucket_root,
    key_of,
    map_root,
)
from audit.ledger.leaf import unpack
from audit.verification import stored
from audit.verification.outcome import Finding

_PAIR = Struct(">QQ")  # count and number, packed: there may be millions of resources


def findings(log_id: int) -> Iterator[Finding]:
    """Entries that commit to other heads than the entries before them have.

    Commitments that reach less far than the last pruned range cannot be computed any more.
    One pass, whatever the number of commitments. The columns must have been compared with the
    leaves before. Memory grows with the number of resources, by about 250 bytes each.
    """
    said = [(seq, _details(leaf)) for seq, leaf in stored.entries_of_type(log_id, HEADS_TYPE)]
    pruned = stored.pruned_ranges(log_id)
    bound = pruned[-1][1] if pruned else 0
    gathered = _Gathered(log_id, bound)
    for seq, details in sorted(said, key=lambda item: (_size(item[1]), item[0])):
        size = _size(details)
        if 0 <= size < bound:
            continue  # some of what it is about is gone
        if not 0 <= size <= seq:
            yield Finding(seq, "it does not say of how many entries its heads are.")
        elif details != gathered.details(size):
            yield Finding(seq, f"the heads of the first {size} entries are not those it names.")


class _Gathered:
    """The heads of the first entries, of more and more of them, from `bound` entries on."""

    def __init__(self, log_id: int, bound: int) -> None:
        self._log_id, self._bound = log_id, bound
        self._size = self._resources = 0
        self._buckets: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        self._roots = bytearray(EMPTY_BUCKETS)

    def details(self, size: int) -> dict[str, Any]:
        """What an entry must say that commits to the heads of the first `size` entries."""
        changed = self._begin() if self._size < self._bound else set()
        for resource, count, newest in stored.newest_by_resource(self._log_id, self._size, size):
            key = key_of(resource)
            bucket = self._buckets[bucket_of(key)]
            before = _PAIR.unpack(bucket[key])[0] if key in bucket else 0
            self._resources += key not in bucket
            bucket[key] = _PAIR.pack(before + count, newest)
            changed.add(bucket_of(key))
        for index in changed:
            heads = [Head(key, *_PAIR.unpack(v)) for key, v in sorted(self._buckets[index].items())]
            self._roots[index * 32 : index * 32 + 32] = bucket_root(heads)
        self._size = size
        root = map_root(bytes(self._roots)).hex()
        return {"size": size, "root": root, "resources": self._resources}

    def _begin(self) -> set[int]:
        """The heads behind the last pruned range; the buckets that they are in."""
        for resource, nth, newest in stored.heads_at(self._log_id, self._bound):
            key = key_of(resource)
            self._buckets[bucket_of(key)][key] = _PAIR.pack(nth, newest)
            self._resources += 1
        self._size = self._bound
        return set(self._buckets)


def _details(leaf: bytes) -> dict[str, Any]:
    details = canonical.decode(unpack(leaf).event).get("details")
    return details if isinstance(details, dict) else {}


def _size(details: dict[str, Any]) -> int:
    size = details.get("size")
    return size if type(size) is int else -1
