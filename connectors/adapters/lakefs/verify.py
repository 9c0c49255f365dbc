"""The independent reading of everything that is left: the block store, and what the server says.

It follows no listing to find files: each is read where it lies. Listings only lend a name to what
has none, so that CSV is read as CSV. It asks the server itself, in its own way: commit after commit
from each ref, for each listing whole.
"""

from dataclasses import replace
from pathlib import Path

from connectors.adapters.base import Progress, ScanReport
from connectors.adapters.lakefs.blocks import OWN, Blocks
from connectors.adapters.lakefs.client import Lakefs
from connectors.formats.objects import is_unrelated, named_by_content
from connectors.scan.content import scan_name
from connectors.scan.folder import FolderScan
from connectors.scan.identifiers import Identifiers
from connectors.scan.record import Record

_METHOD = (
    "every file in the repository's storage namespace, and every older version that its bucket "
    "keeps, read where it lies: Parquet pages, "
    "dictionaries, statistics and notes, JSON, CSV, text, and packed files decoded; all bytes and "
    "names searched; the server's own listings, in a format of its own, searched as bytes, and by "
    "what the server says: refs, the messages, authors and notes of all commits, every path and "
    "note that they list, and changes that nobody committed"
)


class Verification:
    """One scan. `unrelated`: patterns of paths that may be in formats that cannot be decoded."""

    def __init__(
        self, client: Lakefs, blocks: Blocks, identifiers: Identifiers, unrelated: tuple[str, ...]
    ) -> None:
        self.client = client
        self.blocks = blocks
        self.identifiers = identifiers
        self.unrelated = unrelated
        self.record = Record(identifiers)
        self.called: dict[str, str] = {}  # key → a path under which some commit lists it
        self.elsewhere: set[str] = set()
        self._seen: set[str] = set()
        self._listed: set[tuple[str, str]] = set()

    def run(self, progress: Progress, *, with_control: bool) -> ScanReport:
        folder = self.blocks.within()
        self._server()
        scan = FolderScan(
            folder,
            self.identifiers,
            metadata_folders=(OWN,),
            belongs=self._belongs,
            named=self._named,
            opaque=self._may_be_opaque,
        )
        scan.record.take(self.record)
        return replace(scan.run(progress, with_control=with_control), method=_METHOD)

    def _belongs(self, key: str) -> bool:
        return key in self.called or key not in self.elsewhere

    def _named(self, key: str, location: Path) -> str:
        if key in self.called:
            return f"{key}: {self.called[key]}"
        if key.startswith(OWN):
            return key
        return named_by_content(key, location, sorted(self.identifiers.identity_names))

    def _may_be_opaque(self, key: str) -> bool:
        paths = [key, self.called.get(key, key)]
        return key.startswith(OWN) or is_unrelated(paths, self.unrelated)

    def _server(self) -> None:
        """What the server says; a missing object of a newest commit fails the scan."""
        branches, tags = self.client.branches(), self.client.tags()
        for ref, head in (*branches.items(), *tags.items()):
            self._text(ref, f"ref {ref}")
            waiting = [head]
            while waiting:
                name = waiting.pop()
                if name not in self._seen:
                    self._seen.add(name)
                    waiting += self._commit(name)
        needed: dict[str, str] = {}
        for branch, head in branches.items():
            needed |= self._objects(head) | self._objects(branch)
        # Looked at last: whatever the server names was there before.
        stored = {entry.path for entry in self.blocks.entries()}
        for key, path in needed.items():
            if key not in stored:
                self.record.fail(path, "a branch lists it, and its data is not in the store")

    def _commit(self, name: str) -> list[str]:
        """Searches one commit; returns its parents."""
        commit = self.client.commit(name)
        place = f"commit {name[:12]}"
        for text in (commit.message, commit.committer):
            self._text(text, place)
        for key, value in (commit.metadata or {}).items():
            self._text(f"{key}={value}", place)
        self._objects(name)
        return list(commit.parents)

    def _objects(self, ref: str) -> dict[str, str]:
        """Searches what a ref lists; returns it: key → path."""
        listed = {}
        for stats in self.client.objects(ref):
            key = self.blocks.key(stats.physical_address)
            if not stats.path.startswith(self.client.place.prefix):
                self.elsewhere.add(key)
                continue
            listed[key] = stats.path
            self.called.setdefault(key, stats.path)
            if (stats.path, key) not in self._listed:
                self._listed.add((stats.path, key))
                for part in stats.path.split("/"):
                    scan_name(part, self.record)
                for name, value in (stats.metadata or {}).items():
                    self._text(f"{name}={value}", f"notes of {stats.path}")
        return listed

    def _text(self, text: str, place: str) -> None:
        found = list(dict.fromkeys(self.identifiers.within(text)))
        self.record.hits(found, place, "text")
