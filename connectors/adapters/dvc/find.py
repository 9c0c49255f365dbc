"""Finding a person: every object once, and everything else that the repository keeps.

Kinds of findings: `data` (an object that commits point to), `entangled` (one that can go as a whole
only), `orphan` (one to which no commit points), `log` (run cache, temporary files, site caches) are
erased. The others block a plan until somebody has looked, each with what to do: see
`blockers.BLOCKING` and `keepable.BLOCKING_KEEPING`.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from connectors.adapters.base import Findings, Needles, ObjectFinding, Progress, StoreError
from connectors.adapters.dvc.names import ObjectName, name_of
from connectors.adapters.dvc.pieces import Area, Piece, Pieces, scan_piece
from connectors.adapters.dvc.places import Place
from connectors.adapters.dvc.repository import Repository, Uses
from connectors.clock import now
from connectors.formats.delimited import Dialect
from connectors.formats.indexing import StoredObject
from connectors.formats.objects import ObjectSearch
from connectors.formats.person import Columns, Person
from connectors.formats.staging import Staging
from connectors.index import SubjectIndex
from connectors.people import other_identifiers
from connectors.scan.hidden import UPLOAD_GRACE
from connectors.scan.record import Record
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
        exclusive: Iterable[str] = (),
    ) -> None:
        self.repository = repository
        self.staged = staged
        self.person = Person(columns, needles)
        self.objects = ObjectSearch(staged, dialect, columns, self.person, unrelated)
        self.names = self.objects.names
        self.unrelated = unrelated
        self.exclusive = set(exclusive)
        self.pieces = Pieces(repository, columns.subject)
        self.heads = repository.head_objects()
        self.committed = committed(repository)
        self.linked: dict[str, set[str]] = {}
        self.rows: dict[ObjectName, int] = {}  # of the person
        self.doomed: set[ObjectName] = set()
        self._findings: dict[tuple[str, str], ObjectFinding] = {}  # by path and kind
        self.bytes = 0

    def run(self, progress: Progress, index: SubjectIndex | None = None) -> Findings:
        """With an `index`, objects that it rules out are not read. Raises StoreError when an object
        is damaged, or has no column that names people."""
        started = time.monotonic()
        contents = self.repository.contents
        self.objects.look_up(index, stored_objects(self.repository))
        for number, name in enumerate(sorted(contents.objects)):
            progress("find", number, len(contents.objects), self.bytes)
            self._object(name)
            ruled_out = self.objects.is_ruled_out(name.path)
            self.bytes += 0 if ruled_out else contents.entries[name].bytes
        progress("find", len(contents.objects), len(contents.objects), self.bytes)
        self._run_cache()
        for piece in self._pieces():
            self._piece(piece)
        self._uncommitted()
        self._hidden()
        return Findings(
            objects=tuple(self._findings.values()),
            rows_by_version=self._rows_by_version(),
            linked=other_identifiers(self.linked, self.person.needles),
            method=self._method(),
            files_searched=len(contents.objects),
            bytes_searched=self.bytes,
            seconds=time.monotonic() - started,
        )

    def _object(self, name: ObjectName) -> None:
        uses = self.repository.uses.get(name)
        if uses is None:
            if name not in self.repository.elsewhere:
                self._orphan(name)
        elif name.is_folder:
            self._folder(name, uses)
        else:
            self._data(name, uses)
        if name in self.doomed and name in self.repository.elsewhere:
            self._note(name, 0, "elsewhere")

    def _folder(self, name: ObjectName, uses: Uses) -> None:
        """A folder's listing holds file names."""
        self._require_whole(name)
        members = self.repository.members(name) or []
        if any(self.names.names_person(m.path) for m in members):
            self._doom(name, 0, uses)

    def _data(self, name: ObjectName, uses: Uses) -> None:
        match = self.objects.best_match(name.path, uses.paths)
        if match is None:
            self._bytes(name, uses)
            return
        for column, values in match.linked.items():
            self.linked.setdefault(column, set()).update(values)
        shown = self._called(name, uses)
        named = any(self.names.names_person(p) for p in uses.paths)
        others = match.rows - match.person if named else 0
        # Older versions go as a whole, unless they are to be kept; what a branch points to must be
        # looked at.
        at_head = name in self.heads
        counts = {
            "alike": match.alike,
            "mention": match.mentions if at_head else 0,
            "named" if at_head else "named before": others,
        }
        for kind, rows in counts.items():
            if rows:
                self._note(name, rows, kind, shown)
        if match.holds_person or match.mentions:
            entangled = match.mentions and not at_head
            self._doom(name, match.person, uses, "entangled" if entangled else "data")

    def _bytes(self, name: ObjectName, uses: Uses) -> None:
        """What holds no rows is searched as the scan will read it."""
        path = next(iter(uses.paths))
        seen, fine = self.seen_in(self._object_piece(name, path))
        if not fine:
            self._note(name, 0, "opaque", self._called(name, uses))
        if seen and name in self.heads:
            self._note(name, 0, "other", self._called(name, uses))
        elif seen:
            self._doom(name, 0, uses, "entangled")

    def _orphan(self, name: ObjectName) -> None:
        self._require_whole(name)
        logical = self.pieces.logical(name, self.repository.contents.objects[name][0].folder)
        seen, fine = self.seen_in(self._object_piece(name, logical))
        if not fine:
            self._note(name, 0, "opaque")
        if not seen:
            return
        if all(self._is_exclusive(p) for p in self.repository.contents.objects[name]):
            self.doomed.add(name)
            self._note(name, 0, "orphan")
        else:
            self._note(name, 0, "shared")

    def _require_whole(self, name: ObjectName) -> None:
        with self.staged.opened(self.staged.path(name.path, "")):
            pass  # its bytes were compared with its name

    def _object_piece(self, name: ObjectName, logical: str) -> Piece:
        folder = self.repository.contents.objects[name][0].folder
        entry = self.repository.contents.entries[name]
        return Piece(Area.OBJECT, name.path, logical, folder, entry)

    def _is_exclusive(self, place: Place) -> bool:
        """The cache inside the repository is, unless the connector says more."""
        inside = place.path is not None and place.path.is_relative_to(self.repository.root)
        return inside or place.label.removeprefix("remote ") in self.exclusive

    def _doom(self, name: ObjectName, rows: int, uses: Uses, kind: str = "data") -> None:
        self.doomed.add(name)
        self.rows[name] = rows
        if uses.versions:  # else only the work tree points to it, and `_uncommitted` says so
            self._note(name, rows, kind, self._called(name, uses))

    def _note(self, name: ObjectName, rows: int, kind: str, shown: str = "") -> None:
        uses = self.repository.uses.get(name)
        size = self.repository.contents.entries[name].bytes
        self._keep(shown or name.path, size, rows, kind, tuple(uses.versions) if uses else ())

    def _keep(
        self, path: str, size: int, rows: int, kind: str, versions: tuple[str, ...] = ()
    ) -> None:
        self._findings[path, kind] = ObjectFinding(path, size, rows, versions, kind)

    def _called(self, name: ObjectName, uses: Uses) -> str:
        """The object's path and what it is called, without any identifier."""
        return f"{name.path} ({self.names.shown(next(iter(uses.paths)))})"

    def _run_cache(self) -> None:
        """Entries that name an erased object, or the person in a command or a parameter."""
        hashes = [name.md5.encode() for name in self.doomed]
        for place, entry in self.repository.contents.runs:
            piece = Piece(Area.STORE, entry.path, entry.path, place.folder, entry)
            body = piece.read()
            if any(h in body for h in hashes) or self.seen_in(piece)[0]:
                self._keep(entry.path, entry.bytes, 0, "log")

    def _pieces(self) -> Iterator[Piece]:
        runs = {entry.path for _, entry in self.repository.contents.runs}
        for piece in self.pieces.of_places():
            if piece.area is Area.STORE and piece.logical not in runs:
                yield piece
        yield from self.pieces.of_work_tree()
        yield from self.pieces.of_site_caches()
        yield from self.pieces.of_git()

    def _piece(self, piece: Piece) -> None:
        if piece.is_link and not self.pieces.leads_inside(piece):
            self._keep(self.names.shown(piece.path), 0, 0, "link")
            return
        if piece.area is Area.WORK_TREE and self._is_output(piece.path):
            self._copy(piece)
            return
        if piece.is_link:
            return  # what is behind it is read where it is
        seen, fine = self.seen_in(piece)
        if kind := self.kind(piece, seen=seen, fine=fine):
            self._keep(self.names.shown(piece.path), piece.size, 0, kind)

    def kind(self, piece: Piece, *, seen: bool, fine: bool) -> str:
        """What is to be done with something that holds no rows; empty: nothing."""
        if piece.area in (Area.TEMPORARY, Area.SITE_CACHE):
            return "" if fine and not seen else "log"  # DVC makes them anew
        if not seen:
            return "" if fine else "opaque"
        if piece.area is Area.STORE:
            place = next(p for p in self.repository.contents.places if p.folder is piece.folder)
            return "log" if self._is_exclusive(place) else "shared"
        return "work tree" if piece.area is Area.WORK_TREE else "git"

    def _hidden(self) -> None:
        """What buckets keep of objects that were replaced or removed. Behind the name of an object
        that goes, all of it goes unread. An upload that is older than an hour goes too, where
        anything does: nobody can say what it holds, and the scan would fail on it."""
        uploads = []
        for place, piece in self.pieces.of_hidden():
            if piece.is_upload:
                uploads.append(piece)
            elif kind := self._hidden_kind(place, piece):
                self._keep(self._hidden_shown(piece), piece.size, 0, kind)
        if self._findings:
            for piece in uploads:
                entry = piece.entry
                if entry and now() - entry.modified > UPLOAD_GRACE:
                    self._keep(self._hidden_shown(piece), 0, 0, "upload")

    def _hidden_kind(self, place: Place, piece: Piece) -> str:
        """As `kind`."""
        name = ObjectName.at(piece.stored)
        ours = name in self.repository.uses or self._is_exclusive(place)
        if name in self.doomed:
            return "" if ours else "shared"
        seen, fine = self.seen_in(piece)
        if seen:
            return "past" if ours else "shared"
        return "" if fine else "opaque"

    def _hidden_shown(self, piece: Piece) -> str:
        assert isinstance(piece.entry, Hidden)  # noqa: S101 (that is what `of_hidden` gives)
        return f"{piece.entry.mark}{self.names.shown(piece.stored)}"

    def _is_output(self, path: str) -> bool:
        return path in self.committed or any(
            path == p or path.startswith(f"{p}/") for p in self.repository.uncommitted
        )

    def _copy(self, piece: Piece) -> None:
        """A copy in the work tree that is what HEAD says needs no look of its own."""
        name = self.committed.get(piece.path)
        location = self.repository.root / piece.path
        if not location.exists():
            return  # a link to an object that is not there
        if name and name_of(location, legacy=name.legacy).md5 == name.md5:
            return
        seen, fine = self.seen_in(piece)
        if seen or not fine or (name in self.doomed):
            self._keep(self.names.shown(piece.path), piece.size, 0, "uncommitted")

    def _uncommitted(self) -> None:
        """Pointers that nobody has committed, and that lead to the person."""
        for output in self.repository.uncommitted.values():
            names = {output.name, *(f.name for f in self.repository.files(output) or ())}
            if names & self.doomed:
                self._keep(self.names.shown(output.pointer), 0, 0, "uncommitted")

    def seen_in(self, piece: Piece) -> tuple[bool, bool]:
        """(whether it names the person, whether all of it could be read)."""
        record = Record(self.person.names)
        fine = True
        try:
            with piece.opened() as body:
                scan_piece(piece, body, record, self.unrelated)
        except StoreError:
            raise
        # Whatever damage raises, a panic inside polars too: what was not read is not clean.
        except (Exception, pl.exceptions.PanicException):  # noqa: BLE001
            fine = False
        seen = bool(record.counts) or self.names.names_person(piece.logical)
        return seen, fine and not record.unreadable

    def _rows_by_version(self) -> dict[str, int]:
        found: dict[str, int] = {}
        of_output: dict[ObjectName, int] = {}
        for commit in self.repository.retained():
            for output in self.repository.outputs(commit):
                if output.name not in of_output:
                    files = self.repository.files(output) or []
                    of_output[output.name] = sum(self.rows.get(f.name, 0) for f in files)
            found[commit.id] = sum(of_output[o.name] for o in self.repository.outputs(commit))
        return found

    def _method(self) -> str:
        contents = self.repository.contents
        kinds = Counter("folders" if n.is_folder else "files" for n in contents.objects)
        return (
            f"{self.objects.indexed.how(len(contents.objects)) or 'each object read once'} "
            f"(columns {', '.join(self.person.columns.searched)}): "
            f"{kinds['files']} files, {kinds['folders']} folders in {len(contents.places)} places; "
            "run cache, temporary files, work tree and every git object searched as bytes; clones, "
            "forks and what a host keeps of them are out of reach"
        )


def committed(repository: Repository) -> dict[str, ObjectName]:
    """Path → object of every file that HEAD's outputs have in the work tree."""
    head = repository.history.head
    if not head:
        return {}
    outputs = repository.outputs(repository.history.commits[head])
    return {f.path: f.name for o in outputs for f in repository.files(o) or ()}


def stored_objects(repository: Repository) -> list[StoredObject]:
    """The files that outputs in scope point to and that are still there."""
    contents = repository.contents
    return [
        StoredObject(name.path, name.md5, contents.entries[name].bytes, tuple(uses.paths))
        for name, uses in repository.uses.items()
        if name in contents.objects and not name.is_folder
    ]
