"""Finding a person: every object once, and everything else that the repository keeps.

Kinds of findings: `data` (an object that commits list), `orphan` (a file of the block store that
no ref leads to), `past` and `upload` (what a bucket keeps of objects that were replaced or removed)
are erased. The others block a plan until somebody has looked, each with what to do: see
`blockers.BLOCKING`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from connectors.adapters.base import Findings, Needles, ObjectFinding, Progress
from connectors.adapters.lakefs.blocks import OWN
from connectors.adapters.lakefs.repository import Repository, Uses
from connectors.clock import now
from connectors.formats.delimited import Dialect
from connectors.formats.indexing import StoredObject
from connectors.formats.objects import ObjectSearch, named_by_content
from connectors.formats.person import Columns, Person
from connectors.formats.staging import Staging
from connectors.index import SubjectIndex
from connectors.people import other_identifiers
from connectors.scan.hidden import UPLOAD_GRACE
from connectors.storage import Hidden


class Search:
    """One search of one repository."""

    def __init__(
        self,
        repository: Repository,
        staged: Staging,
        columns: Columns,
        needles: Needles,
        dialect: Dialect,
        unrelated: Sequence[str] = (),
    ) -> None:
        self.repository = repository
        self.staged = staged
        self.person = Person(columns, needles)
        self.objects = ObjectSearch(staged, dialect, columns, self.person, unrelated)
        self.names = self.objects.names
        self.heads = repository.head_keys()
        self.linked: dict[str, set[str]] = {}
        self.rows: dict[str, int] = {}  # of the person, by key
        self.doomed: set[str] = set()
        self._findings: dict[tuple[str, str], ObjectFinding] = {}  # by path and kind
        self.bytes = 0

    def run(self, progress: Progress, index: SubjectIndex | None = None) -> Findings:
        """With an `index`, objects that it rules out are not read. Raises StoreError when an object
        is damaged, or has no column that names people."""
        started = time.monotonic()
        objects = stored_objects(self.repository)
        self.objects.look_up(index, objects)
        for number, found in enumerate(objects):
            progress("find", number, len(objects), self.bytes)
            self._object(found.stored, self.repository.uses[found.stored])
            self.bytes += 0 if self.objects.is_ruled_out(found.stored) else found.bytes
        progress("find", len(objects), len(objects), self.bytes)
        self._unlisted()
        self._hidden()
        self._names()
        self._open_changes()
        return Findings(
            objects=tuple(self._findings.values()),
            rows_by_version=self._rows_by_version(),
            linked=other_identifiers(self.linked, self.person.needles),
            method=self._method(len(objects)),
            files_searched=len(objects),
            bytes_searched=self.bytes,
            seconds=time.monotonic() - started,
        )

    def _object(self, key: str, uses: Uses) -> None:
        match = self.objects.best_match(key, uses.paths)
        if match is None:
            self._bytes(key, uses)
            return
        for column, values in match.linked.items():
            self.linked.setdefault(column, set()).update(values)
        counts = {
            "alike": match.alike,
            # Older versions go as a whole; what a branch lists must be looked at.
            "mention": match.mentions if key in self.heads else 0,
        }
        for kind, rows in counts.items():
            if rows:
                self._note(key, rows, kind)
        if match.holds_person or match.mentions:
            self._doom(key, match.person)

    def _bytes(self, key: str, uses: Uses) -> None:
        """What holds no rows is searched as the scan will read it."""
        path = next(iter(uses.paths))
        with self.staged.opened(self.staged.path(key, path)) as location:
            seen, fine = self.objects.seen_in(location, path, key)
        if not fine:
            self._note(key, 0, "opaque")
        if seen and key in self.heads:
            self._note(key, 0, "other")
        elif seen:
            self._doom(key, 0)

    def _doom(self, key: str, rows: int) -> None:
        self.doomed.add(key)
        self.rows[key] = rows
        if self.repository.uses[key].versions:  # else `_open_changes` says so
            self._note(key, rows, "data")
        if key in self.repository.elsewhere:
            self._note(key, rows, "elsewhere")
        if not self.repository.blocks.is_inside(key):
            self._note(key, rows, "imported")

    def _note(self, key: str, rows: int, kind: str) -> None:
        uses = self.repository.uses[key]
        shown = f"{self.names.shown(key)} ({self.names.shown(next(iter(uses.paths)))})"
        size = self.repository.objects[key][1].bytes
        self._keep(shown, size, rows, kind, tuple(uses.versions))

    def _keep(
        self, path: str, size: int, rows: int, kind: str, versions: tuple[str, ...] = ()
    ) -> None:
        self._findings[path, kind] = ObjectFinding(path, size, rows, versions, kind)

    def _unlisted(self) -> None:
        """Files of the block store that no ref leads to: of deleted branches and taken back
        changes, of uploads that nobody committed; and what the server keeps for itself."""
        for key, entry in self.repository.stored.items():
            if key in self.repository.uses or key in self.repository.elsewhere:
                continue
            own = key.startswith(OWN)
            with self.repository.blocks.within().opened(key) as location:
                seen, fine = self.objects.seen_in(location, self._called(key, location), key)
            shown = self.names.shown(key)
            if own and seen:
                self._keep(shown, entry.bytes, 0, "server")
            elif seen and " " not in key and shown == key:
                self.doomed.add(key)
                self._keep(key, entry.bytes, 0, "orphan")
            elif seen or self.names.names_person(key):
                self._keep(shown, entry.bytes, 0, "foreign")
            elif not fine and not own:
                self._keep(shown, entry.bytes, 0, "opaque")

    def _called(self, key: str, location: Path) -> str:
        """What a file is read as that no branch lists."""
        if uses := self.repository.uses.get(key):
            return next(iter(uses.paths))
        if key.startswith(OWN):
            return key
        return named_by_content(key, location, self.person.columns.subject)

    def _hidden(self) -> None:
        """What a bucket keeps of objects that were replaced or removed; behind the name of an
        object that goes, all of it goes unread. Nobody can read the parts of an upload in progress:
        one that is older than an hour goes too, where anything does."""
        known = self.doomed | (self.repository.elsewhere - self.repository.uses.keys())
        hidden = [item for item in self.repository.blocks.hidden() if item.path not in known]
        for item in hidden:
            if item.kind != "upload":
                self._past(item)
        for item in hidden if self._findings else ():
            if item.kind == "upload" and now() - item.modified > UPLOAD_GRACE:
                self._keep(f"{item.mark}{self.names.shown(item.path)}", 0, 0, "upload")

    def _past(self, item: Hidden) -> None:
        seen, fine = self.names.names_person(item.path), True
        if item.kind == "version" and not seen:
            with self.repository.blocks.within().opened(item.path, item.id) as location:
                called = self._called(item.path, location)
                seen, fine = self.objects.seen_in(location, called, item.path)
        shown = f"{item.mark}{self.names.shown(item.path)}"
        if seen:
            self._keep(shown, item.bytes, 0, "past")
        elif not fine and not item.path.startswith(OWN):
            self._keep(shown, item.bytes, 0, "opaque")

    def _names(self) -> None:
        """What commits say and list cannot be taken out of them any more."""
        for commit in self.repository.commits.values():
            if self.person.is_named_in(commit.said):
                self._keep(f"commit {commit.id[:12]}", 0, 0, "commit", (commit.id,))
            for entry in self.repository.files(commit):
                texts = [f"{k}={v}" for k, v in entry.metadata.items()]
                if self.names.names_person(entry.path) or any(map(self.person.is_named_in, texts)):
                    self._keep(self.names.shown(entry.path), 0, 0, "named", (commit.id,))
        for ref in (*self.repository.branches, *self.repository.tags):
            if self.names.names_person(ref):
                self._keep(self.names.shown(ref), 0, 0, "ref")

    def _open_changes(self) -> None:
        for branch, changes in self.repository.open_changes.items():
            for entry in changes.values():
                if entry and entry.key in self.doomed:
                    shown = f"{self.names.shown(entry.path)} on {self.names.shown(branch)}"
                    self._keep(shown, entry.bytes, self.rows.get(entry.key, 0), "uncommitted")

    def _rows_by_version(self) -> dict[str, int]:
        return {
            commit.id: sum(self.rows.get(e.key, 0) for e in self.repository.files(commit))
            for commit in self.repository.retained()
        }

    def _method(self, objects: int) -> str:
        folder = "every other file of the block store, and every older version that a bucket keeps,"
        if not self.repository.blocks.folder:
            folder = "nothing else of the block store, which cannot be reached,"
        return (
            f"{self.objects.indexed.how(objects) or 'each object read once'} "
            f"(columns {', '.join(self.person.columns.searched)}): {objects} objects; "
            f"{folder} searched as bytes; the names, notes and messages of "
            f"{len(self.repository.commits)} commits. Commits that held the person stay in lakeFS "
            "after the purge, and what they list of the deleted objects cannot be read any more "
            "(410 Gone)"
        )


def stored_objects(repository: Repository) -> list[StoredObject]:
    """What is listed in scope and still there, by key."""
    return [
        StoredObject(key, entry.checksum, entry.bytes, tuple(repository.uses[key].paths))
        for key in sorted(repository.uses)
        for _, entry in (repository.objects[key],)
        if repository.is_there(key)
    ]
