"""The heads of the log, gathered from the entries and kept in tables: see audit.ledger.heads.

Appending does nothing for them. Before the log commits to its heads, what was added since the last
time is gathered, in chunks with a transaction each, so that nobody waits long for a lock.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from django.db import connection, transaction

from audit.events import LOG_HEADS
from audit.ledger import canonical
from audit.ledger.bundle import HeadsProof
from audit.ledger.hashing import HASH_BYTES
from audit.ledger.heads import (
    BUCKETS,
    EMPTY_BUCKETS,
    Head,
    bucket_of,
    bucket_path,
    bucket_root,
    key_of,
    map_root,
)
from audit.ledger.leaf import unpack
from audit.models import Entry, HeadsMap, Log, PrunedPlace, ResourceHead
from audit.pruned import ranges_within

_ENTRIES_AT_ONCE = 50_000
_BUCKETS_AT_ONCE = 64
_KEYS_AT_ONCE = 500
_CHANGED = bytes(HASH_BYTES)  # in the place of a bucket's root, until it is computed anew
_BEHIND_ALL = b"\xff" * (HASH_BYTES + 1)


class HeadsMissingError(RuntimeError):
    """No entry commits to the heads that are needed; record them and ask again."""


class Commitment(NamedTuple):
    """An entry that commits to the heads of the first `size` entries."""

    entry: int
    size: int
    root: str


def commitments(log_id: int, limit: int = 1) -> list[Commitment]:
    """The newest commitments, newest first."""
    rows = Entry.objects.filter(log_id=log_id, type=LOG_HEADS.name).order_by("-seq")
    found = []
    for seq, leaf in rows.values_list("seq", "leaf")[:limit]:
        details = canonical.decode(unpack(bytes(leaf)).event)["details"]
        found.append(Commitment(seq, details["size"], details["root"]))
    return found


def are_due(log_id: int) -> bool:
    """Whether the log has grown since it last committed, by more than such commitments."""
    size = next((last.size for last in commitments(log_id)), 0)
    newer = Entry.objects.filter(log_id=log_id, seq__gte=size)
    return newer.exclude(type=LOG_HEADS.name).exists()


def gather(log_id: int) -> None:
    """Bring the heads up to the entries that there are; commits after each chunk."""
    while True:
        with transaction.atomic():
            if not _gather_chunk(log_id):
                return


def commitment(log_id: int) -> dict[str, int | str]:
    """Size, root and number of the heads gathered so far, for the entry that commits to them.

    Inside a transaction: the heads stay as they are until its end.
    """
    found = _locked_map(log_id)
    roots = bytearray(bytes(found.roots))
    changed = [b for b in range(BUCKETS) if roots[b * 32 : b * 32 + 32] == _CHANGED]
    for bucket, heads in _buckets(log_id, changed):
        roots[bucket * 32 : bucket * 32 + 32] = bucket_root(heads)
    if changed:
        HeadsMap.objects.filter(pk=log_id).update(roots=bytes(roots))
    return {"size": found.size, "root": map_root(bytes(roots)).hex(), "resources": found.resources}


@transaction.atomic
def shown(log_id: int, resource: str) -> tuple[int, HeadsProof]:
    """The newest heads that the log commits to: their size, and this resource's bucket in them.

    Raises HeadsMissingError when it commits to none, or more were gathered since.
    """
    found = _locked_map(log_id)
    roots = bytes(found.roots)
    # Those who commit at the same time do so for different sizes; the tables hold one of them.
    root = map_root(roots).hex()
    for made in commitments(log_id, limit=8):
        if (made.size, made.root) == (found.size, root):
            bucket = bucket_of(key_of(resource))
            heads = dict(_buckets(log_id, [bucket]))[bucket]
            return made.size, HeadsProof(
                made.entry, tuple(heads), tuple(bucket_path(bucket, roots))
            )
    raise HeadsMissingError("The log does not commit to the heads of its resources yet.")


def _locked_map(log_id: int) -> HeadsMap:
    empty = HeadsMap(log_id=log_id, size=0, resources=0, roots=EMPTY_BUCKETS)
    HeadsMap.objects.bulk_create([empty], ignore_conflicts=True)
    return HeadsMap.objects.select_for_update().get(pk=log_id)


def _gather_chunk(log_id: int) -> bool:
    """Whether there was anything to gather."""
    found = _locked_map(log_id)
    size = Log.objects.filter(pk=log_id).values_list("size", flat=True).first() or 0
    stop = min(size, found.size + _ENTRIES_AT_ONCE)
    if stop <= found.size:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT resource, max(nth), max(seq), min(nth) FROM audit_entry"
            " WHERE log_id = %s AND seq >= %s AND seq < %s GROUP BY resource",
            [log_id, found.size, stop],
        )
        rows = cursor.fetchall()
    if ranges_within(log_id, 0, stop).exists():  # the first entry of a resource may be gone
        rows = _with_pruned(log_id, found.size, stop, rows)
    _store(log_id, sorted(Head(key_of(name), nth, seq) for name, nth, seq, _ in rows))
    roots = bytearray(bytes(found.roots))
    for bucket in {bucket_of(key_of(name)) for name, *_ in rows}:
        roots[bucket * 32 : bucket * 32 + 32] = _CHANGED
    first = sum(lowest == 1 for *_, lowest in rows)  # so many resources are new
    HeadsMap.objects.filter(pk=log_id).update(
        size=stop, resources=found.resources + first, roots=bytes(roots)
    )
    return True


_Row = tuple[str, int, int, int]


def _with_pruned(log_id: int, start: int, stop: int, rows: list[_Row]) -> list[_Row]:
    """The rows with what is known of pruned entries; the last number is 1 for new resources."""
    newest = {name: (nth, seq) for name, nth, seq, _ in rows}
    places = PrunedPlace.objects.filter(log_id=log_id, seq__gte=start, seq__lt=stop)
    for name, nth, seq in places.values_list("resource", "nth", "seq"):
        newest[name] = max(newest.get(name, (nth, seq)), (nth, seq))
    keys = {key_of(name): name for name in newest}
    known: set[str] = set()
    wanted = list(keys)
    for at in range(0, len(wanted), _KEYS_AT_ONCE):
        some = wanted[at : at + _KEYS_AT_ONCE]
        there = ResourceHead.objects.filter(log_id=log_id, key__in=some)
        known.update(keys[bytes(key)] for key in there.values_list("key", flat=True))
    return [(name, *place, 0 if name in known else 1) for name, place in newest.items()]


def _store(log_id: int, heads: list[Head]) -> None:
    keep = " ON CONFLICT (log_id, key) DO UPDATE SET nth = excluded.nth, seq = excluded.seq"
    insert = "INSERT INTO audit_resourcehead (log_id, key, nth, seq)"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            columns = [list(column) for column in zip(*heads, strict=True)]
            cursor.execute(
                f"{insert} SELECT %s, * FROM unnest(%s::bytea[], %s::bigint[], %s::bigint[]){keep}",  # noqa: S608
                [log_id, *columns],
            )
        else:
            cursor.executemany(
                f"{insert} VALUES (%s, %s, %s, %s){keep}", [(log_id, *head) for head in heads]
            )


def _buckets(log_id: int, wanted: list[int]) -> Iterator[tuple[int, list[Head]]]:
    """Each of these buckets, given in ascending order, with its heads by key."""
    for start, stop in _runs(wanted):
        rows = ResourceHead.objects.filter(
            log_id=log_id, key__gte=_lowest(start), key__lt=_lowest(stop)
        )
        heads = (Head(bytes(key), *rest) for key, *rest in rows.order_by("key").values_list(
            "key", "nth", "seq"
        ))  # fmt: skip
        found = {bucket: list(some) for bucket, some in groupby(heads, lambda h: bucket_of(h.key))}
        yield from ((bucket, found.get(bucket, [])) for bucket in range(start, stop))


def _runs(wanted: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring buckets are read together."""
    start = 0
    for at in range(1, len(wanted) + 1):
        ends = at == len(wanted) or wanted[at] != wanted[at - 1] + 1
        if ends or at - start == _BUCKETS_AT_ONCE:
            yield wanted[start], wanted[at - 1] + 1
            start = at


def _lowest(bucket: int) -> bytes:
    """What no key of the bucket is below."""
    return (bucket << 4).to_bytes(2, "big") if bucket < BUCKETS else _BEHIND_ALL
