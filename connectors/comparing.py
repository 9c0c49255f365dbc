"""What differs between two versions of a store, and what its versions share.

Objects are compared by path, size and, where it was read, digest; rows by their values, each as
often as it is there.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from connectors.adapters.base import PhysicalObject, StoreVersion


@dataclass(frozen=True)
class ColumnChange:
    """A column's type before and after; empty where there is no such column."""

    column: str
    before: str
    after: str


@dataclass(frozen=True)
class RowChanges:
    """`modified`: rows whose key is on both sides with other values, counted on neither side; None
    without a key."""

    added: int
    removed: int
    modified: int | None = None


@dataclass(frozen=True)
class Comparison:
    """From `old` to `new`."""

    old: StoreVersion
    new: StoreVersion
    columns: tuple[ColumnChange, ...]
    added: tuple[PhysicalObject, ...]
    removed: tuple[PhysicalObject, ...]
    shared: tuple[PhysicalObject, ...]
    rewritten: tuple[str, ...]  # under the same path, but not the same object: should not be

    @property
    def apart_bytes(self) -> int:
        """What must be read to compare rows: the objects that one of them alone reads."""
        return _bytes(self.added) + _bytes(self.removed)


@dataclass(frozen=True)
class Step:
    """A version beside the one before it: bytes of objects that both read, that it adds, and that
    it no longer reads."""

    version: StoreVersion
    shared: int
    added: int
    dropped: int


@dataclass(frozen=True)
class Sharing:
    """The store's objects, counted once, and as often as versions read them."""

    objects: int
    bytes: int
    reads: int
    bytes_read: int

    @property
    def times(self) -> float:
        """How many times larger the store would be if no object was shared."""
        return self.bytes_read / self.bytes if self.bytes else 1.0


def compare(old: StoreVersion, new: StoreVersion) -> Comparison:
    before, after = {o.path: o for o in old.objects}, {o.path: o for o in new.objects}
    both = before.keys() & after.keys()
    rewritten = {path for path in both if not _same(before[path], after[path])}
    return Comparison(
        old,
        new,
        columns=tuple(_column_changes(dict(old.schema), dict(new.schema))),
        added=tuple(after[p] for p in sorted((after.keys() - both) | rewritten)),
        removed=tuple(before[p] for p in sorted((before.keys() - both) | rewritten)),
        shared=tuple(after[p] for p in sorted(both - rewritten)),
        rewritten=tuple(sorted(rewritten)),
    )


def _same(one: PhysicalObject, other: PhysicalObject) -> bool:
    digests = {one.digest, other.digest} - {None}
    return one.bytes == other.bytes and len(digests) < 2


def _column_changes(before: dict[str, str], after: dict[str, str]) -> Iterator[ColumnChange]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield ColumnChange(name, before.get(name, ""), after.get(name, ""))


def steps(versions: Sequence[StoreVersion]) -> list[Step]:
    """Each version beside its first parent, where that is still kept; in the same order."""
    known = {version.id: version for version in versions}
    found = []
    for version in versions:
        parent = next((known[p] for p in version.parents if p in known), None)
        if parent is None:
            found.append(Step(version, 0, _bytes(version.objects), 0))
        else:
            change = compare(parent, version)
            sizes = (_bytes(o) for o in (change.shared, change.added, change.removed))
            found.append(Step(version, *sizes))
    return found


def sharing(versions: Iterable[StoreVersion]) -> Sharing:
    """What the versions share: the report on duplicates that are not stored twice."""
    read = [o for version in versions for o in version.objects]
    once = {(o.path, o.bytes, o.digest): o for o in read}
    return Sharing(len(once), _bytes(once.values()), len(read), _bytes(read))


@dataclass(frozen=True)
class SharedObject:
    """An object, and the versions that read it, in their order."""

    object: PhysicalObject
    versions: tuple[str, ...]

    @property
    def saved(self) -> int:
        """Bytes that would be stored too often if each version had a copy of its own."""
        return self.object.bytes * (len(self.versions) - 1)


def shared_objects(versions: Iterable[StoreVersion]) -> list[SharedObject]:
    """Every object with the versions that read it: what sharing saves most comes first."""
    readers: dict[PhysicalObject, list[str]] = defaultdict(list)
    for version in versions:
        for item in version.objects:
            readers[item].append(version.id)
    found = [SharedObject(item, tuple(names)) for item, names in readers.items()]
    return sorted(found, key=lambda one: (-one.saved, -one.object.bytes, one.object.path))


def _bytes(objects: Iterable[PhysicalObject]) -> int:
    return sum(o.bytes for o in objects)


def key_columns(text: str) -> list[str]:
    """Columns that name a row, as people write them: with a comma between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def row_changes(
    before: Iterable[pl.DataFrame], after: Iterable[pl.DataFrame], key: Sequence[str] = ()
) -> RowChanges:
    """Compare rows over the columns that all frames have, as often as each row is there.

    `key`: columns that name a row; one that is on both sides with other values was modified. Raises
    ValueError for a key that is no column of both.
    """
    old, new = list(before), list(after)
    frames = [frame for frame in (*old, *new) if frame.width]
    common = sorted(set.intersection(*(set(f.columns) for f in frames))) if frames else []
    if missing := [name for name in key if frames and name not in common]:
        raise ValueError(f"not both versions have the column {', '.join(missing)}")
    sides = [_counted(side, common, key) for side in (old, new)]
    both = sides[0].join(sides[1], on="row", how="full", coalesce=True)
    apart = both.select(
        pl.coalesce("key", "key_right").alias("key"),
        (pl.col("times").fill_null(0) - pl.col("times_right").fill_null(0)).alias("gone"),
    ).filter(pl.col("gone") != 0)
    removed = apart.filter(pl.col("gone") > 0).select("key", times="gone")
    added = apart.filter(pl.col("gone") < 0).select("key", times=-pl.col("gone"))
    counts = [int(side["times"].sum()) for side in (added, removed)]
    if not key:
        return RowChanges(*counts)
    new_keys, old_keys = (
        side.group_by("key").agg(pl.col("times").sum()) for side in (added, removed)
    )
    matched = new_keys.join(old_keys, on="key")
    modified = int(matched.select(pl.min_horizontal("times", "times_right").sum()).item())
    return RowChanges(counts[0] - modified, counts[1] - modified, modified)


_SIDE = {"row": pl.UInt64, "key": pl.UInt64, "times": pl.Int64}


def _counted(
    frames: Iterable[pl.DataFrame], columns: Sequence[str], key: Sequence[str]
) -> pl.DataFrame:
    """The hash of each row and of its key, and how often the row is there."""
    parts = [
        pl.DataFrame(
            {
                "row": _hashes(frame, columns),
                "key": _hashes(frame, key or columns[:1]),
            }
        )
        for frame in frames
        if frame.width
    ]
    if not parts:
        return pl.DataFrame(schema=_SIDE)
    rows = pl.concat(parts).group_by("row").agg(pl.col("key").first(), times=pl.len())
    return rows.cast({"times": pl.Int64})


def _hashes(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    # A number is the same row whatever width its column had when the file was written.
    numbers = pl.selectors.integer()
    return frame.select(columns).with_columns(numbers.cast(pl.Int64, strict=False)).hash_rows()
