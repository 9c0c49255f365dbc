"""What a merge would bring to a branch, read before it happens: lakeFS holds the branch meanwhile,
and waits a minute, so nothing is read but the newest commit and what changes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from connectors.adapters.base import BranchCommit, Incoming, MergeTooLargeError
from connectors.adapters.lakefs.blocks import Blocks
from connectors.adapters.lakefs.client import Lakefs
from connectors.adapters.lakefs.repository import Entry, entry_of
from connectors.formats.objects import is_unrelated
from connectors.formats.profiles import DataFile, union_of
from connectors.formats.versions import FileVersions, VersionFile

MOST_BYTES = 500_000_000  # of files that change, whose rows are compared while lakeFS waits
Listing = Mapping[str, Entry]


def branch_line(client: Lakefs, branch: str) -> Iterator[BranchCommit]:
    """What happened to a branch, newest first: its commits, and merges into it as one each."""
    for commit in client.log(branch, first_parent=True):
        yield BranchCommit(commit.id, tuple(commit.parents), commit.creation_date)


class Merge:
    """`source` into the branch. Raises StoreError."""

    def __init__(self, client: Lakefs, blocks: Blocks, branch: str, source: str) -> None:
        self.destination = client.head(branch)
        self.before = {e.path: e for e in _listed(client, blocks, self.destination)}
        theirs = {e.path: e for e in _listed(client, blocks, source)}
        after = dict(self.before)
        for change in client.changes(self.destination, source):
            after.pop(change.path, None)
            if change.path in theirs:
                after[change.path] = theirs[change.path]
        self.after = after
        self.objects = {
            entry.key: (ref, entry)
            for ref, entries in ((source, theirs), (self.destination, self.before))
            for entry in entries.values()
        }

    def incoming(self, files: FileVersions) -> Incoming:
        added, gone = _apart(self.after, self.before), _apart(self.before, self.after)
        changing = sum(e.bytes for e in (*added, *gone))
        if changing > MOST_BYTES:
            raise MergeTooLargeError(
                f"Files of {changing:,} bytes change, more than the {MOST_BYTES:,} that are judged "
                "while lakeFS waits. Merge in smaller parts."
            )
        new, old = _rows(files, added), _rows(files, gone)

        def identifiers(column: str) -> Iterable[str]:
            for data in _data(files, added):
                yield from data.texts(column)

        return Incoming(
            destination=self.destination,
            schema_before=tuple(_schema(files, self.before.values())),
            schema_after=tuple(_schema(files, self.after.values())),
            rows_before=sum(d.file.count() for d in _data(files, self.before.values())),
            rows_added=(new - old).total(),
            rows_removed=(old - new).total(),
            identifiers=identifiers,
        )


def _listed(client: Lakefs, blocks: Blocks, ref: str) -> Iterator[Entry]:
    for stats in client.objects(ref):
        if stats.path.startswith(client.place.prefix):
            yield entry_of(blocks, stats)


def _apart(one: Listing, other: Listing) -> list[Entry]:
    """What only one of them lists, or lists otherwise."""
    keys = {path: entry.key for path, entry in other.items()}
    return [entry for path, entry in one.items() if keys.get(path) != entry.key]


def _data(files: FileVersions, entries: Iterable[Entry]) -> Iterator[DataFile]:
    wanted = (e for e in entries if not is_unrelated((e.path, e.key), files.unrelated))
    return files.data(VersionFile(e.path, e.key, e.bytes, e.checksum) for e in wanted)


def _schema(files: FileVersions, entries: Iterable[Entry]) -> list[tuple[str, str]]:
    return union_of(data.schema() for data in _data(files, entries))


def _rows(files: FileVersions, entries: Iterable[Entry]) -> Counter[int]:
    """The hash of each row, by its columns' names, and how often the row is there."""
    found: Counter[int] = Counter()
    for data in _data(files, entries):
        names = sorted(name for name, _ in data.file.columns())
        for values in data.file.rows(names):
            row = tuple((n, repr(list(v))) for n, v in zip(names, values, strict=True) if v)
            found[hash(row)] += 1
    return found
